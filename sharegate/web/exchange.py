"""The routes that departments use."""

import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Final
from uuid import UUID

import msgspec
from aiohttp import ETag, hdrs, web

from sharegate.gateway import Gateway
from sharegate.model.catalogue import Catalogue
from sharegate.model.ids import text
from sharegate.model.passage import Arrived, Disclosure, Released
from sharegate.observe import Observer
from sharegate.settings import Limits
from sharegate.web import problems, rulings
from sharegate.web.arriving import RETRY, Guard, read_body, take_in
from sharegate.web.channel import no_channel
from sharegate.web.openapi import (
    ENTRY_HEADER,
    EXCHANGE_HEADER,
    RECEIPT_HEADER,
    openapi_document,
)

RECEIPT_CONTENT_TYPE: Final = "text/plain"
_COSIGNED: Final = "min=cosigned"
_RECEIPT_PATH: Final = re.compile(r"/v1/receipts/[^{}/]+")
_JSON: Final = "application/json"
_NOTHING_LISTED: Final = Catalogue({}, {})


class ExchangeRoutes:
    """Turns requests into walks, and what the walk gives into responses."""

    def __init__(
        self,
        gateway: Gateway,
        checkpoint: Callable[[], bytes],
        limits: Limits,
        observe: Observer,
        peer: Callable[[web.Request], tuple[str, ...]] = no_channel,
        catalogue: Callable[[], Catalogue] = lambda: _NOTHING_LISTED,
    ) -> None:
        """Put the routes together.

        Args:
            gateway: The walk.
            checkpoint: Gives the newest signed checkpoint.
            limits: What is too large and too many.
            observe: Told of whoever leaves the walk without an answer.
            peer: Gives the names of a connection's client certificate.
            catalogue: Gives the catalogue in force; the description follows it.
        """
        self._peer = peer
        self._gateway = gateway
        self._checkpoint = checkpoint
        self._limits = limits
        self._guard = Guard(limits, observe)
        self._catalogue = catalogue
        self._described: tuple[Catalogue, bytes] | None = None
        # With each the document itself, so that no other can come to have its `id`.
        self._catalogues: dict[int, tuple[Mapping[str, object], bytes, ETag]] = {}

    def application(self) -> web.Application:
        """The aiohttp application; it has no middleware, so an answer pays for none."""
        application = web.Application(client_max_size=self._limits.body_bytes)
        router = application.router
        router.add_post("/v1/exchanges", self._guard(self.exchange))
        router.add_get("/v1/receipts/{exchange_id}", self._guard(self.receipt), allow_head=False)
        router.add_get("/v1/referrals", self._guard(self.referrals), allow_head=False)
        router.add_post("/v1/rulings", self._guard(self.rule))
        router.add_get("/v1/catalogue", self._guard(self.catalogue), allow_head=False)
        router.add_get("/log/checkpoint", self._guard(self.checkpoint))
        router.add_get("/openapi.json", self._guard(self.openapi))
        router.add_route("*", r"/{anything:[\s\S]*}", self.nothing_here)
        return application

    async def exchange(self, request: web.Request) -> web.StreamResponse:
        """``POST /v1/exchanges``: one access request; ``?receipt=inline`` wants the receipt too."""
        arrived = await self._arrived(request)
        wrong = _wrong_with(request.content_type, arrived.query)
        if wrong is None:
            released = await self._gateway.exchange(arrived, receipt=bool(arrived.query))
        else:
            released = await self._gateway.refuse(arrived, wrong)
        headers = _headers(released)
        if isinstance(released.outcome, Disclosure):
            headers[hdrs.CONTENT_TYPE] = _JSON
            return web.Response(body=released.body, headers=headers)
        return problems.refused(released, headers)

    async def receipt(self, request: web.Request) -> web.StreamResponse:
        """``GET /v1/receipts/{exchange_id}``: the receipt of one of the caller's exchanges.

        With ``?min=cosigned`` it leads to a checkpoint that a quorum of witnesses has cosigned.
        """
        arrived = await self._arrived(request)
        wanted = _uuid(request.match_info["exchange_id"])
        if arrived.query not in {"", _COSIGNED}:
            wrong = f"The query may be {_COSIGNED} and nothing else."
            found: bytes | Released = await self._gateway.refuse(arrived, wrong)
        else:
            cosigned = arrived.query == _COSIGNED
            found = await self._gateway.receipt(arrived, wanted, cosigned=cosigned)
        if isinstance(found, Released):
            return problems.refused(found, _headers(found))
        return web.Response(body=found, content_type=RECEIPT_CONTENT_TYPE, charset="utf-8")

    async def referrals(self, request: web.Request) -> web.StreamResponse:
        """``GET /v1/referrals``: what was referred to the officer's department."""
        arrived = await self._arrived(request)
        found = await self._gateway.referrals(arrived)
        if isinstance(found, Released):
            return problems.refused(found, _headers(found))
        return web.Response(body=rulings.listed(found), content_type=_JSON)

    async def rule(self, request: web.Request) -> web.StreamResponse:
        """``POST /v1/rulings``: an officer's signed ruling."""
        arrived = await self._arrived(request)
        heard = await self._gateway.rule(arrived)
        if isinstance(heard, Released):
            return problems.refused(heard, _headers(heard))
        return web.Response(body=rulings.heard(heard), content_type=_JSON)

    async def catalogue(self, request: web.Request) -> web.StreamResponse:
        """``GET /v1/catalogue``: what this officer may learn of what the providers list."""
        arrived = await self._arrived(request)
        body, tag = self._written(self._gateway.catalogue(arrived))
        if tag in (request.if_none_match or ()):
            unchanged = web.Response(status=304)
            unchanged.etag = tag
            return unchanged
        answer = web.Response(body=body, content_type=_JSON, headers=_PRIVATE)
        answer.etag = tag
        return answer

    def _written(self, document: Mapping[str, object]) -> tuple[bytes, ETag]:
        """Write a catalogue and its tag, once for as long as it is the same one."""
        found = self._catalogues.get(id(document))
        if found is None:
            body = _encode(document)
            if sum(len(each[1]) for each in self._catalogues.values()) + len(body) > _MOST_BYTES:
                self._catalogues.clear()
            found = document, body, ETag(sha256(body).hexdigest()[:32])
            self._catalogues[id(document)] = found
        return found[1:]

    async def checkpoint(self, _request: web.Request) -> web.StreamResponse:
        """``GET /log/checkpoint``: the newest signed checkpoint (C2SP tlog-tiles)."""
        note = self._checkpoint()
        if not note:
            return problems.problem(
                problems.UNAVAILABLE, "No checkpoint is signed yet.", headers=RETRY
            )
        return web.Response(
            body=note,
            content_type="text/plain",
            charset="utf-8",
            headers={"Cache-Control": "no-cache"},
        )

    async def openapi(self, _request: web.Request) -> web.StreamResponse:
        """``GET /openapi.json``: this interface, described."""
        catalogue = self._catalogue()
        if self._described is None or self._described[0] is not catalogue:
            self._described = catalogue, openapi_document(catalogue)
        return web.Response(body=self._described[1], content_type=_JSON)

    async def _arrived(self, request: web.Request) -> Arrived:
        body = await read_body(request, self._limits.body_seconds)
        return take_in(request, body, self._peer(request))

    async def nothing_here(self, request: web.Request) -> web.StreamResponse:
        """Every other path and method."""
        allowed = _methods_of(request.path)
        if allowed is not None and request.method not in allowed:
            return problems.problem(
                problems.NOT_ALLOWED, f"Use {allowed[0]}.", headers={"Allow": ", ".join(allowed)}
            )
        return problems.problem(problems.NOT_FOUND, "See /openapi.json for what is here.")


_encode: Final = msgspec.json.Encoder(order="deterministic").encode
_MOST_BYTES: Final = 8 * 1024 * 1024
_PRIVATE: Final = {"Cache-Control": "private, no-cache"}


def _wrong_with(content_type: str, query: str) -> str | None:
    """What no body could mend, if anything. The query is compared as signed: in one spelling."""
    if content_type != _JSON:
        return "Content-Type must be application/json."
    if query not in {"", "receipt=inline"}:
        return "The query may be receipt=inline and nothing else."
    return None


def _headers(released: Released) -> dict[str, str]:
    headers = {EXCHANGE_HEADER: text(released.exchange_id), ENTRY_HEADER: str(released.index)}
    if released.receipt is not None:
        headers[RECEIPT_HEADER] = b64encode(released.receipt).decode()
    return headers


def _methods_of(path: str) -> tuple[str, ...] | None:
    """The methods this path does have."""
    if path in {"/v1/exchanges", "/v1/rulings"}:
        return (hdrs.METH_POST,)
    if path in {"/log/checkpoint", "/openapi.json"}:
        return (hdrs.METH_GET, hdrs.METH_HEAD)
    if path in {"/v1/catalogue", "/v1/referrals"} or _RECEIPT_PATH.fullmatch(path) is not None:
        return (hdrs.METH_GET,)
    return None


def _uuid(text: str) -> UUID | None:
    """Read an exchange id as RFC 9562 writes it; Python alone reads braces and `urn:uuid:` too."""
    try:
        read = UUID(text)
    except ValueError:
        return None
    return read if str(read) == text.lower() else None
