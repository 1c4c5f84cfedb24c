"""A handler in one piece that records what the gateway records: the floor under all its rooms.

It reads, fetches, masks, seals, commits to, appends, has read back and has signed exactly what the
gateway does of the one question the load generator asks, and writes the same entry. It has no
rooms, no values passed between them and no metrics, bounds nothing in time, refuses nothing with a
reason, and takes for granted what the rules said the first time. Nobody should write a gateway so;
what it answers a second is about what the best arrangement of rooms around this entry, in this
language, could come near to.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
from aiohttp import web

from sharegate.app import load_signing_key
from sharegate.authorize.authorize import Authorize
from sharegate.authorize.read import _decode_usual
from sharegate.authorize.ruleset import load_rule_set
from sharegate.consortium.signed_log import signed_log
from sharegate.fetch.checkout import Checkout, Link
from sharegate.fetch.fetch import _leave
from sharegate.fetch.plan import plan
from sharegate.fetch.sql import statement
from sharegate.identify.officer import OfficerTokens
from sharegate.identify.registry import load_registry
from sharegate.model.decision import Permit
from sharegate.model.ids import new_id
from sharegate.model.party import Caller, KeyId
from sharegate.model.passage import Identified
from sharegate.record import answer as answers
from sharegate.record import detail as details
from sharegate.record import entry as entries
from sharegate.record.audit_log import Appended, Draft
from sharegate.record.entry import Label, b64, commit
from sharegate.record.suite import AES
from sharegate.settings import load_settings

_BEARER = len("Bearer ")
_encode = msgspec.json.Encoder().encode


@dataclass
class _Known:
    """What the rules said of a kind of question the first time."""

    caller: Caller
    permit: Permit
    text: str
    leave: Any
    wrapping: details.Wrapping


@asynccontextmanager
async def one_piece(  # noqa: PLR0915  in one piece on purpose
    settings_file: Path, source: str, authority: str, connections: int
) -> AsyncIterator[Callable[[web.Request], Awaitable[web.Response]]]:
    """Give the handler; it has an audit log and a signer of its own."""
    settings = load_settings(settings_file)
    registry = load_registry(settings.registry)
    authorize = Authorize(load_rule_set(settings.policies, registry.departments))
    tokens = OfficerTokens(registry.issuers, audience=authority)
    sealer = details.DetailSealer(registry.audit_office_key, os.urandom)

    async def connect() -> Link:
        return Link(await asyncpg.connect(source))

    checkout = Checkout(connect, connections)
    known: dict[object, _Known] = {}

    def first(body: bytes, token: str, at: int) -> _Known:
        officer = tokens.officer(token, at)
        caller = Caller(officer.department, officer.id, KeyId("key"), officer.issuer)
        digest = sha256(body).digest()
        decided = authorize(Identified(new_id(at), at, caller, at, digest, body, digest))
        permit, request = decided.decision, decided.request
        assert isinstance(permit, Permit)
        assert request is not None
        planned = plan(permit, request)
        assert planned is not None
        provider = decided.names.departments[permit.resource.provider]
        return _Known(
            caller,
            permit,
            statement(planned.shape).text,
            _leave(permit),
            sealer._wrapping(provider.detail_key, at),
        )

    async with AsyncExitStack() as stack:
        assert settings.audit_log.append_dsn is not None
        assert settings.audit_log.read_dsn is not None
        dsns = settings.audit_log.append_dsn, settings.audit_log.read_dsn
        key = load_signing_key(settings.audit_log)
        opened = await signed_log(settings.audit_log, key, dsns, lambda _: None, stack)
        stack.push_async_callback(checkout.close)

        async def handle(request: web.Request) -> web.Response:
            body = await request.read()
            at = time.time_ns() // 1_000_000
            token = request.headers["Authorization"][_BEARER:]
            officer = tokens.officer(token, at)
            said = _decode_usual(body)
            kind = (
                officer.department, said.provider, said.resource, said.mode, said.purpose,
                said.legal_basis, tuple(said.where),
            )  # fmt: skip
            held = known.get(kind)
            if held is None:
                held = known[kind] = first(body, token, at)
            caller, permit = held.caller, held.permit
            exchange_id = new_id(at)
            text = str(exchange_id)
            link = await checkout.take(asyncio.get_running_loop().time() + 5)
            try:
                prepared = link.prepared(held.text) or await link.prepare(held.text, 5)
                found = await prepared.fetch(text, *said.where.values(), permit.row_limit)
            finally:
                checkout.give(link)
            rows = [
                {
                    name: None if (value := row[place]) is None else to_leave(value)
                    for name, (place, to_leave) in zip(permit.fields, held.leave, strict=True)
                }
                for row in found
            ]
            random = os.urandom(7 * 32)
            salts = [random[start : start + 32] for start in range(0, 6 * 32, 32)]
            for_officer, for_matter, for_request, for_asked, for_response, for_detail = salts
            resource = permit.resource
            answer = _encode(
                answers._Answer(
                    text, resource.provider, resource.id, resource.version, permit.grant,
                    permit.rule_set, rows, len(rows) >= permit.row_limit, b64(for_response),
                )
            )  # fmt: skip
            digest = sha256(body).digest()
            plaintext = _encode(
                details._Plain(
                    b64(body), caller.officer,
                    details._Salts(*[b64(salts[place]) for place in (3, 5, 1, 0, 2, 4)]), 1,
                )
            )  # fmt: skip
            entry_key, wrapping = random[6 * 32 :], held.wrapping
            ciphertext = AES.encrypt(entry_key, plaintext, exchange_id.bytes)
            wrapped = details.b64encode(AES.wrap(wrapping.key, entry_key, os.urandom))
            asked_by = {
                name: b64(commit(for_asked, Label.ASKED_BY, _encode([name, value])))
                for name, value in said.where.items()
            }
            core = _encode(
                entries._Core(
                    asked_by=asked_by,
                    caller=entries._Caller(
                        consumer=caller.consumer, issuer=caller.issuer, key=caller.key_id,
                        officer=b64(commit(for_officer, Label.OFFICER, caller.officer.encode())),
                    ),
                    decision=entries._Decision(
                        effect="permit", fields=permit.fields, row_limit=permit.row_limit,
                        rule=permit.grant, rule_set=permit.rule_set,
                    ),
                    detail=entries._Detail(
                        algorithm=AES.id, ciphertext=b64(sha256(ciphertext).digest()),
                        plaintext=b64(commit(for_detail, Label.DETAIL, plaintext)),
                        readers=wrapping.readers, retention="personal-3y",
                    ),
                    id=b64(exchange_id.bytes),
                    kind="release",
                    mode=said.mode,
                    provider=said.provider,
                    purpose=entries._Purpose(
                        code=said.purpose, legal_basis=said.legal_basis,
                        matter=b64(commit(for_matter, Label.MATTER, said.matter.encode())),
                    ),
                    request=b64(commit(for_request, Label.REQUEST, digest)),
                    resource=entries._Version(id=resource.id, version=resource.version),
                    response=entries._Response(
                        bytes=len(answer), rows=len(rows),
                        digest=b64(commit(for_response, Label.RESPONSE, sha256(answer).digest())),
                    ),
                    schema=1,
                    time=at,
                )
            )  # fmt: skip
            draft = Draft(
                exchange_id, sha256(exchange_id.bytes).digest(), at, core, ciphertext,
                b'{"key":"%b","to":%b}' % (wrapped, wrapping.encrypted),
            )  # fmt: skip
            fate = await opened.audit_log.append(draft)  # under a signed checkpoint, too
            assert isinstance(fate, Appended)
            headers = {
                "ShareGate-Exchange": text,
                "ShareGate-Entry": str(fate.index),
                "Content-Type": "application/json",
            }
            return web.Response(body=answer, headers=headers)

        yield handle
