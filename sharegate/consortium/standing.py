"""Write down when a log's witnesses fall behind, and when they are near again.

The process that signs does it, once for each change. That a log is frozen cannot stand in it: what
froze it is kept as evidence, and its gateways say so.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from typing import Final, Protocol

from sharegate.consortium.witnessed import Standing
from sharegate.errors import AuditLogUnavailable
from sharegate.model.act import Act, ActKind, RecordAct
from sharegate.model.ids import new_id

_BY: Final = "gateway"
_LOOK_SECONDS: Final = 1.0
_AT_START_SECONDS: Final = 60.0


class Stands(Protocol):
    """What knows how near the witnesses are."""

    def standing(self) -> Standing:
        """How near."""


class Signs(Protocol):
    """The signer."""

    signs: bool
    """Whether this process is the one that signs."""


class StandingEntries:
    """Looks once a second, for as long as it runs."""

    def __init__(
        self,
        witnessed: Stands,
        signer: Signs,
        recorder: RecordAct,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Know nothing yet; what is so at the start is not a change, unless it lasts.

        Args:
            witnessed: How near the witnesses are.
            signer: Whether this process writes it down.
            recorder: Where.
            clock: Seconds, never set back.
        """
        self._witnessed = witnessed
        self._signer = signer
        self._recorder = recorder
        self._clock = clock
        self._known: Standing | None = None
        self._began = clock()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            with suppress(AuditLogUnavailable):  # it is looked at again
                await self.look()

    async def look(self) -> None:
        """Look once.

        Raises:
            AuditLogUnavailable: There is a change, and it may not be written down.
        """
        if not self._signer.signs:
            self._known, self._began = None, self._clock()
            return
        now = self._witnessed.standing()
        if self._known is None and now is not Standing.NEAR:
            if self._clock() - self._began < _AT_START_SECONDS:
                return
        elif self._known in {None, now}:
            self._known = now
            return
        await self._write(now)
        self._known = now

    async def _write(self, now: Standing) -> None:
        at = time.time_ns() // 1_000_000
        entry_id = new_id(at)
        act = Act(
            kind=ActKind.AVAILABILITY,
            at=at,
            by=_BY,
            facts={"witnesses": now.value},
            detail={},
            provider=None,
            once=sha256(b"sharegate-availability" + entry_id.bytes).digest(),
        )
        await self._recorder.record_act(act, entry_id)
