"""The right to sign: lent by the log's database to one host's signer at a time, and numbered.

Every time it changes hands its number rises. Whoever signs reads that number in the same moment as
what it is about to sign, so a process that slept past its time finds that the right is not its own
any more; and the database keeps no checkpoint under an older number. Between two looks, its own
clock says how long a signer may go on.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Final, Protocol

from sharegate.record.audit_log import Lent
from sharegate.record.reader import Broken

SECONDS: Final = 5.0
_RENEW_SECONDS: Final = 1.0
# What two clocks may differ by over that time, and the time an answer of the database takes.
_MARGIN_SECONDS: Final = 1.0


def _since_boot() -> float:
    """A clock that no one sets, and that goes on while the machine sleeps; in seconds."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lender(Protocol):
    """What lends the right to sign; each may raise one of `reader.Broken`."""

    async def take_signing(self, holder: bytes, seconds: float) -> Lent:
        """Take it, unless another signer has it."""

    async def renew_signing(self, fence: int, seconds: float) -> bool:
        """Have it for longer; False where another took it."""


class Lease:
    """One signer's share in the right to sign."""

    def __init__(self, lender: Lender, clock: Callable[[], float] = _since_boot) -> None:
        """Have nothing yet.

        Args:
            lender: The log's database.
            clock: Seconds, never set back.
        """
        self.fence: int | None = None
        """The number under which this signer may sign, or None."""
        self.others_live = False
        """Whether another signer was seen at work."""
        self._lender = lender
        self._clock = clock
        self._until = 0.0
        self._renewed = 0.0
        self._look_at = 0.0
        self._seen: tuple[bytes | None, datetime] | None = None

    async def take(self, holder: bytes) -> bool:
        """Take the right to sign if it is free, looking about once a second; say whether it is had.

        Args:
            holder: 16 bytes that no other signer's memory has.

        Raises:
            Broken: It may have been taken.
        """
        now = self._clock()
        if self.fence is not None or now < self._look_at:
            return self.fence is not None
        self._look_at = now + _RENEW_SECONDS
        lent = await self._lender.take_signing(holder, SECONDS)
        if lent.fence is None:
            self.others_live |= self._seen not in {None, (lent.before, lent.until)}
            self._seen = lent.before, lent.until
            return False
        self.fence = lent.fence
        self._extended(now)
        return True

    def runs(self) -> bool:
        """Whether it may be signed now, as far as this machine's clock tells."""
        return self.fence is not None and self._clock() < self._until

    async def continues(self) -> bool:
        """Whether it may be signed now; asks the database only where the time is over.

        Raises:
            Broken: It may have been renewed.
        """
        return self.runs() or await self.renew()

    async def renew(self) -> bool:
        """Have it for longer where that is due; say whether it is still had.

        Raises:
            Broken: It may have been renewed.
        """
        now = self._clock()
        if self.fence is not None and now >= min(self._until, self._renewed + _RENEW_SECONDS):
            if not await self._lender.renew_signing(self.fence, SECONDS):
                self.fence = None
                return False
            self._extended(now)
        return self.fence is not None

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Renew it for as long as the context is open, however long what is done there takes."""

        async def renewing() -> None:
            while True:
                await asyncio.sleep(_RENEW_SECONDS)
                with suppress(Exception):  # whoever is about to sign finds out
                    await self.renew()

        task = asyncio.create_task(renewing())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})  # not the task itself: who is cancelled now must learn of it

    def lose(self) -> None:
        """Another signer was seen to have it."""
        self.fence = None
        self._look_at = 0.0

    async def give_back(self) -> None:
        """Let another signer have it at once."""
        if self.fence is not None:
            fence, self.fence = self.fence, None
            with suppress(*Broken):
                await self._lender.renew_signing(fence, 0)

    def _extended(self, asked: float) -> None:
        """It runs from when it was asked for, which is before the database's clock was read."""
        self._renewed, self._until = asked, asked + SECONDS - _MARGIN_SECONDS
