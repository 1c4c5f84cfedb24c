"""Quotas in the audit log's own database.

That it is the same database is what makes counts exact whoever dies. Its write-ahead log has one
order: a reservation commits before its answer does, so it need not wait for the disk by itself, and
no answer is durable whose reservation is not. And what became of an exchange that nobody settled is
read off the log, once the append function refuses requests that old.
"""

import asyncio
from contextlib import suppress
from time import perf_counter
from typing import Final
from uuid import UUID

from sharegate.authorize.line import BROKEN, Line
from sharegate.authorize.quota import Claim, QuotaUnavailable

_RESERVE: Final = "select sharegate.reserve_quota($1, $2, $3, $4, $5)"
_SETTLE: Final = "select sharegate.settle_quota($1, $2)"
_SWEEP: Final = "select sharegate.sweep_quota()"
_ASIDE_SECONDS: Final = 10.0
_SWEEP_SECONDS: Final = 60.0
_TELL_SECONDS: Final = 0.2
_TELL: Final = 512
# The module says why that loses nothing.
_SESSION: Final = {"synchronous_commit": "off"}


class PostgresQuotas:
    """Keeps what :class:`~sharegate.authorize.quota.Quotas` promises, in PostgreSQL.

    One connection reserves, one statement at a time; what came of exchanges goes over another, as
    many at once as there are by then.
    """

    def __init__(self, dsn: str, *, seconds: float = 1.0) -> None:
        """Prepare; the first claim connects.

        Args:
            dsn: A login with the role ``sharegate_append``, to the database of the audit log.
            seconds: How long one reservation may take, waiting for its turn included.
        """
        self._reserving = Line(dsn, seconds, **_SESSION)
        self._aside = Line(dsn, _ASIDE_SECONDS, **_SESSION)
        self._answered: list[UUID] = []
        self._returned: list[UUID] = []
        self._told = asyncio.Event()
        self._settling: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to settle, and to sweep up after processes that died."""
        self._settling = asyncio.create_task(self._settle())

    async def stop(self) -> None:
        """Settle what was told so far, if that is possible, and disconnect."""
        if self._settling is not None:
            self._settling.cancel()
            with suppress(asyncio.CancelledError):
                await self._settling
            with suppress(*BROKEN):
                await self._hand_in()
        self._reserving.drop()
        self._aside.drop()

    async def reserve(self, claim: Claim) -> int | None:
        """Reserve in every term or in none, as the port promises; one round trip."""
        terms = claim.terms
        try:
            rows = await self._reserving.ask(
                _RESERVE,
                claim.exchange_id,
                claim.signed_at,
                [term.key for term in terms],
                [term.most for term in terms],
                [term.until for term in terms],
            )
        except BROKEN as error:
            # Its text may carry what was sent.
            raise QuotaUnavailable(_kind(error)) from None
        place = rows[0][0]
        return place - 1 if place else None

    def settle(self, exchange_id: UUID, *, answered: bool) -> None:
        """Take note of what came of an exchange; the database is told in a moment.

        Of answers it is told many at once: nobody waits for that, as their places stay taken.
        """
        (self._answered if answered else self._returned).append(exchange_id)
        if not answered or len(self._answered) >= _TELL:
            self._told.set()

    async def _settle(self) -> None:
        sweep_at = perf_counter() + _TELL_SECONDS
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_TELL_SECONDS):
                    await self._told.wait()
            # What cannot be handed in is swept up.
            with suppress(*BROKEN):
                await self._hand_in()
                if perf_counter() >= sweep_at:
                    sweep_at = perf_counter() + _SWEEP_SECONDS
                    await self._aside.ask(_SWEEP)

    async def _hand_in(self) -> None:
        self._told.clear()
        answered, self._answered = self._answered, []
        returned, self._returned = self._returned, []
        if answered or returned:
            await self._aside.ask(_SETTLE, answered, returned)


def _kind(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "the database did not answer in time"
    state = str(getattr(error, "sqlstate", None) or "")
    return f"the database refused: {state}" if state else "the database is not reachable"
