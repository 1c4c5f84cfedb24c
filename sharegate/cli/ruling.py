"""``sharegate ruling``: see what the rules left to an officer, and rule on it.

Run by the provider, on its own machine: only there are the keys that open the facts and sign.
"""

import argparse
import asyncio
import sys
import time
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from msgspec import Struct

from sharegate.audit.chain import parse_leaf
from sharegate.audit.text import write_base64
from sharegate.audit.verdict import Malformed
from sharegate.authorize.read import read_request
from sharegate.cli.call import CallerSettings, load_caller, send, signed
from sharegate.cli.options import Verbs
from sharegate.cli.plain import as_json, moment, outline, plain
from sharegate.errors import ShareGateError
from sharegate.model.ids import new_id
from sharegate.model.request import AccessRequest
from sharegate.model.ruling import DAY_MS, Effect, Ruling, SignedRuling, signed_bytes, written
from sharegate.private_keys import load_ed25519, load_x25519
from sharegate.record.entry import read_core, unb64
from sharegate.record.opening import open_detail

_OK: Final = 200
_HOUR_MS: Final = DAY_MS // 24


class NotRuled(ShareGateError):
    """The gateway did not do as asked, or what it gave is not what was recorded."""


class Shown(Struct, frozen=True):
    """A referral as the gateway lists it; base64 for bytes."""

    exchange_id: UUID
    entry: int
    at: int
    consumer: str
    resource: str
    purpose: str
    question: str
    leaf: str
    sealed: str
    wrapped: str | None
    ruling: UUID | None
    used: bool


class _Referrals(Struct, frozen=True):
    referrals: tuple[Shown, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """What was referred, opened: the officer who asked, and his question."""

    officer: str
    asked: AccessRequest


@dataclass(frozen=True, slots=True)
class Answer:
    """What an officer says to a referral, and for how long."""

    by: str
    effect: Effect
    legal_basis: str
    fields: tuple[str, ...]
    at: int
    expires: int


def add_to(verbs: Verbs) -> None:
    """Add the verb."""
    parser = verbs.add_parser("ruling", help="see what was referred, and rule on it")
    acts = parser.add_subparsers(required=True, metavar="ACT")
    listing = acts.add_parser("list", help="what was referred in the last 30 days")
    listing.set_defaults(run=_list)
    showing = acts.add_parser("show", help="open one referral's facts")
    showing.set_defaults(run=_show)
    ruling = [acts.add_parser(effect.value, help=f"{effect.value} it, signed") for effect in Effect]
    for act in (listing, showing, *ruling):
        act.add_argument("--as", dest="caller", type=Path, required=True, metavar="FILE",
                         help="the provider's caller settings (TOML)")  # fmt: skip
    for act in (showing, *ruling):
        act.add_argument("exchange", type=UUID, help="the exchange that was referred")
        act.add_argument("--detail-key", type=Path, required=True, metavar="FILE",
                         help="the provider's private detail key (X25519, PEM)")  # fmt: skip
    for act in (listing, showing):
        act.add_argument("--json", action="store_true", help="print JSON")
    for act, effect in zip(ruling, Effect, strict=True):
        act.add_argument("--by", required=True, metavar="PERSON", help="who rules")
        act.add_argument("--key", type=Path, required=True, metavar="FILE",
                         help="that person's private key (Ed25519, PEM)")  # fmt: skip
        act.add_argument("--legal-basis", required=True, help="the norm the ruling rests on")
        act.add_argument("--hours", type=int, default=72, help="how long it may be used")
        act.add_argument("--fields", default="", help="comma-separated; default: all the rules let out")  # noqa: E501  # fmt: skip
        act.set_defaults(run=_rule, effect=effect)


async def fetch_referrals(caller: CallerSettings) -> tuple[Shown, ...]:
    """Ask the gateway what was referred to the caller's department.

    Raises:
        NotRuled: It does not say.
        NoAnswer: It could not be reached.
    """
    reply = await send(signed(caller, "GET", "/v1/referrals", "", b""))
    if reply.status != _OK:
        raise NotRuled(plain(reply.body.decode(errors="replace")))
    try:
        return msgspec.json.decode(reply.body, type=_Referrals).referrals
    except msgspec.MsgspecError as error:
        raise NotRuled("the gateway's answer cannot be read") from error


def open_facts(shown: Shown, key: X25519PrivateKey) -> Facts:
    """Open a referral's detail, and see that it is the one its entry was written with.

    Raises:
        NotRuled: It is not.
    """
    try:
        core = read_core(parse_leaf(b64decode(shown.leaf)).core)
        opened = open_detail(
            core,
            key,
            entry_id=shown.exchange_id.bytes,
            sealed=b64decode(shown.sealed),
            wrapped=None if shown.wrapped is None else b64decode(shown.wrapped),
        )
        asked = read_request(unb64(opened.get("body")))
    except (ValueError, Malformed) as error:
        raise NotRuled(f"the referral cannot be opened: {error}") from error
    decision = core.get("decision")
    question = decision.get("question") if isinstance(decision, Mapping) else None
    if not isinstance(asked, AccessRequest) or question != shown.question:
        raise NotRuled("the entry is not that of this referral")
    return Facts(str(opened.get("officer")), asked)


def write_ruling(shown: Shown, facts: Facts, answer: Answer, key: Ed25519PrivateKey) -> bytes:
    """Sign a ruling on exactly what was asked, as it travels."""
    asked = facts.asked
    statement = Ruling(
        id=new_id(answer.at),
        referral=shown.exchange_id,
        by=answer.by,
        provider=asked.provider,
        consumer=shown.consumer,
        officer=facts.officer,
        resource=asked.resource,
        purpose=asked.purpose,
        matter=asked.matter,
        where={str(name): value for name, value in asked.where.items()},
        question=shown.question,
        effect=answer.effect,
        legal_basis=answer.legal_basis,
        fields=answer.fields,
        at=answer.at,
        expires=answer.expires,
    )
    signature = write_base64(key.sign(signed_bytes(statement)))
    return written(SignedRuling(statement, (signature,)))


def _list(chosen: argparse.Namespace) -> int:
    found = asyncio.run(fetch_referrals(load_caller(chosen.caller)))
    if chosen.json:
        print(as_json([_map(each) for each in found]))
        return 0
    for each in found:
        state = "open" if each.ruling is None else f"ruled {each.ruling}"
        what = f"{each.consumer} {each.resource} {each.purpose} {each.question}"
        used = ", used" if each.used else ""
        print(f"{each.exchange_id}  {moment(each.at)}  {plain(what)}  {state}{used}")
    return 0


def _show(chosen: argparse.Namespace) -> int:
    shown, facts = _found(chosen, load_caller(chosen.caller))
    said = {**_map(shown), "officer": facts.officer, "asked": msgspec.to_builtins(facts.asked)}
    print(as_json(said) if chosen.json else "\n".join(outline(said)))
    return 0


def _rule(chosen: argparse.Namespace) -> int:
    caller = load_caller(chosen.caller)
    key = load_ed25519(chosen.key)
    shown, facts = _found(chosen, caller)
    at = time.time_ns() // 1_000_000
    fields = tuple(filter(None, chosen.fields.split(",")))
    expires = at + chosen.hours * _HOUR_MS
    answer = Answer(chosen.by, chosen.effect, chosen.legal_basis, fields, at, expires)
    body = write_ruling(shown, facts, answer, key)
    reply = asyncio.run(send(signed(caller, "POST", "/v1/rulings", "", body)))
    if reply.status != _OK:
        print(plain(reply.body.decode(errors="replace")), file=sys.stderr)
        return 1
    print(reply.body.decode())
    return 0


def _found(chosen: argparse.Namespace, caller: CallerSettings) -> tuple[Shown, Facts]:
    reader = load_x25519(chosen.detail_key)
    for each in asyncio.run(fetch_referrals(caller)):
        if each.exchange_id == chosen.exchange:
            return each, open_facts(each, reader)
    raise NotRuled("no such exchange was referred to this department in the last 30 days")


def _map(shown: Shown) -> dict[str, object]:
    """What is for reading; the bytes are for opening."""
    said: dict[str, object] = msgspec.to_builtins(shown)
    return {name: said[name] for name in said if name not in ("leaf", "sealed", "wrapped")}
