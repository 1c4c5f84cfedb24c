"""The routes of a witness (C2SP tlog-witness)."""

import re
from collections.abc import Awaitable
from typing import Final, Protocol

from aiohttp import web

from sharegate.audit.witnessing import MAX_BYTES, SIZE_TYPE, Refused, Status
from sharegate.errors import ShareGateError
from sharegate.web.arriving import read_body

_BODY_SECONDS: Final = 10.0
_HASH: Final = re.compile(r"[0-9a-f]{64}")


class Cosigns(Protocol):
    """The witness behind the routes."""

    def add_checkpoint(self, body: bytes) -> Awaitable[bytes]:
        """Give cosignature lines, or raise `Refused`."""

    def newest(self, hashed: str) -> bytes | None:
        """Give the newest checkpoint of the log with this hash."""


class WitnessRoutes:
    """What logs ask, and monitors."""

    def __init__(self, witness: Cosigns) -> None:
        """Put the routes together."""
        self._witness = witness

    def application(self) -> web.Application:
        """The aiohttp application."""
        application = web.Application(client_max_size=MAX_BYTES)
        application.router.add_post("/add-checkpoint", self.add_checkpoint)
        application.router.add_get("/{hashed}/checkpoint", self.checkpoint)
        return application

    async def add_checkpoint(self, request: web.Request) -> web.Response:
        """``POST /add-checkpoint``: cosignatures of a checkpoint that adds to the last one."""
        try:
            body = await read_body(request, _BODY_SECONDS)
            lines = await self._witness.add_checkpoint(body)
        except Refused as refused:
            return _refused(refused)
        except (ShareGateError, OSError):
            return _said(503, "This witness cannot cosign for this log now.")
        return web.Response(body=lines, content_type="text/plain", charset="utf-8")

    async def checkpoint(self, request: web.Request) -> web.Response:
        """``GET /{SHA-256 of the origin}/checkpoint``: the newest checkpoint cosigned."""
        hashed = request.match_info["hashed"]
        try:
            note = self._witness.newest(hashed) if _HASH.fullmatch(hashed) else None
        except ShareGateError:
            return _said(503, "This witness does not remember this log.")
        if note is None:
            return _said(404, "This witness has cosigned no checkpoint of such a log.")
        return web.Response(
            body=note,
            content_type="text/plain",
            charset="utf-8",
            headers={"Cache-Control": "no-cache"},
        )


def _refused(refused: Refused) -> web.Response:
    if refused.status is Status.STALE:
        # SPEC: The response body MUST consist of the tree size of the latest cosigned checkpoint
        # in decimal, followed by a newline (U+000A). [...] a Content-Type of text/x.tlog.size.
        return web.Response(
            status=refused.status,
            body=f"{refused.size}\n".encode(),
            headers={"Content-Type": SIZE_TYPE},
        )
    return _said(refused.status, f"{refused}.")


def _said(status: int, detail: str) -> web.Response:
    return web.Response(status=status, text=detail + "\n")
