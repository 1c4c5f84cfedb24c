"""What comes from the network, and the problem documents for what leaves its walk early."""

import asyncio
import logging
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import hdrs, web

from sharegate.errors import AuditLogUnavailable, Unauthenticated
from sharegate.model.ids import new_id
from sharegate.model.passage import Arrived
from sharegate.observe import NotBelieved, NotRecorded, Observer, Throttled
from sharegate.settings import Limits
from sharegate.web import problems
from sharegate.web.unproven import UnprovenCount

RETRY: Final = {"Retry-After": "1"}
_SIGNED_HEADERS: Final = ("content-digest", "authorization", "signature-input", "signature")

logger = logging.getLogger("sharegate.web")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Guard:
    """Stands around every handler that proves who asks."""

    def __init__(self, limits: Limits, observe: Observer) -> None:
        """Count from nothing.

        Args:
            limits: What is too large and too many.
            observe: Told of whoever leaves the walk without an answer.
        """
        self._limits = limits
        self._observe = observe
        self._unproven = UnprovenCount(limits.unproven_per_minute)

    def __call__(self, handler: Handler) -> Handler:
        """Turn whatever leaves the walk into its problem document."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            try:
                return await handler(request)
            except Unauthenticated as nobody:
                return self._unbelieved(request, nobody)
            except AuditLogUnavailable as unrecorded:
                self._observe(NotRecorded(unrecorded.reason))
                return problems.problem(
                    problems.UNAVAILABLE,
                    f"{unrecorded}; nothing was released.",
                    headers=RETRY,
                    reason=unrecorded.reason,
                )
            except web.HTTPRequestEntityTooLarge:
                most = self._limits.body_bytes
                return problems.problem(problems.TOO_LARGE, f"A body has at most {most} bytes.")
            except web.HTTPRequestTimeout:
                answer = problems.problem(problems.TOO_SLOW, "The body did not arrive in time.")
                answer.force_close()
                return answer
            except ConnectionError:
                raise  # the peer is gone: nobody to answer
            except Exception as error:  # noqa: BLE001  the last line of defence; fails closed
                _log_without_data(error)
                return problems.problem(problems.INTERNAL, "Nothing was released.")

        return guarded

    def _unbelieved(self, request: web.Request, nobody: Unauthenticated) -> web.Response:
        """Answer whoever proved nothing; past the budget, without saying why.

        A proven request is never turned away for what others behind the same address do.
        """
        self._observe(NotBelieved(nobody.reason))
        if self._unproven.over(request.remote or "", time.monotonic()):
            self._observe(Throttled())
            answer = problems.problem(
                problems.TOO_MANY, "Slow down.", headers={"Retry-After": "60"}
            )
            answer.force_close()
            return answer
        return problems.problem(
            problems.UNAUTHENTICATED,
            str(nobody),
            headers={"WWW-Authenticate": 'Bearer realm="sharegate"'},
            reason=nobody.reason,
            part=nobody.part,
        )


async def read_body(request: web.Request, seconds: float) -> bytes:
    """Read a request's body, which has to arrive in time.

    Raises:
        HTTPRequestTimeout: It has not.
        HTTPRequestEntityTooLarge: It is longer than the application takes.
    """
    if request.content.is_eof():  # as nearly always: it came with its head, and needs no timer
        return await request.read()
    try:
        async with asyncio.timeout(seconds):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout from None


def take_in(request: web.Request, body: bytes, peer: tuple[str, ...] = ()) -> Arrived:
    """What a request brought, before any of it is believed."""
    at = time.time_ns() // 1_000_000
    path, _, query = request.raw_path.partition("?")
    headers = request.headers
    return Arrived(
        exchange_id=new_id(at),
        at=at,
        method=request.method,
        authority=", ".join(headers.getall(hdrs.HOST, ())),
        path=path,
        query=query,
        headers={
            name: ", ".join(headers.getall(name)) for name in _SIGNED_HEADERS if name in headers
        },
        body=body,
        peer=peer,
    )


def _log_without_data(error: BaseException) -> None:
    """Say where it failed, not with what: an exception's text may hold someone's data."""
    place = "".join(traceback.format_tb(error.__traceback__))
    logger.error("internal error %s at\n%s", type(error).__name__, place)
