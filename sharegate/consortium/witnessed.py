"""How far the witnesses have seen the log: kept in a file, judged by the quorum file and a clock.

The newest checkpoint that a quorum cosigned stands in one file, its lines under it, replaced whole
by whichever process signs and read by all. Nothing else is remembered: how old the quorum is and
how many entries it has not seen follow from that note, the log's size and the time.
"""

import asyncio
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from time import time
from typing import Final

from sharegate import durable
from sharegate.audit.note import VerifierKey
from sharegate.audit.quorum import Cosigned, Quorum, open_cosigned, read_quorum
from sharegate.audit.verdict import Malformed, Unproven
from sharegate.consortium.coverage import Coverage
from sharegate.errors import AuditLogUnavailable, Misconfigured, Unavailable
from sharegate.model.passage import Covered
from sharegate.observe import Cosignatures, Observer
from sharegate.settings import WitnessesSettings

_LOOK_SECONDS: Final = 0.25
_PATIENCE_SECONDS: Final = 10.0
FILE: Final = "cosigned.note"
_TOO_LONG: Final = "the witnesses have not been heard of for too long"
_TOO_MANY: Final = "too many entries are not witnessed yet"


class Standing(StrEnum):
    """How near the witnesses of a log are. A closed list."""

    NEAR = "near"
    STALE = "stale"
    """No person's data is read."""
    CLOSED = "closed"
    """Nothing is answered but break-glass."""


def load_quorum(path: Path, key: VerifierKey | None = None) -> Quorum:
    """Read a quorum file.

    Args:
        path: The file.
        key: A log's, which it must list.

    Raises:
        Misconfigured: It cannot be read, is none, or does not list the key.
    """
    try:
        quorum = read_quorum(path.read_bytes())
    except OSError as error:
        raise Misconfigured(str(path), error.strerror or "cannot be read") from error
    except Malformed as error:
        raise Misconfigured(str(path), str(error)) from error
    if key is not None and all(each.key != key for each in quorum.logs):
        raise Misconfigured(str(path), f"does not list the key of {key.name}")
    return quorum


def quorum_time(quorum: Quorum, cosigned: Cosigned) -> int:
    """The latest moment at which a quorum had cosigned: seconds of Unix time; 0 where none has."""
    for at in sorted(set(cosigned.times.values()), reverse=True):
        if quorum.met_by([name for name, time in cosigned.times.items() if time >= at]):
            return at
    return 0


class Witnessed:
    """The newest checkpoint that a quorum has cosigned, and whether it is new enough."""

    def __init__(
        self,
        quorum: Quorum,
        path: Path,
        coverage: Coverage,
        observe: Observer,
        limits: WitnessesSettings,
        clock: Callable[[], float] = time,
    ) -> None:
        """Look into the file; what it holds and does not hold is worth nothing.

        Args:
            quorum: What is enough.
            path: The file.
            coverage: The log, as far as it is signed; proves entries under older checkpoints.
            observe: Told how far the witnesses are.
            limits: How far the log may be ahead of them.
            clock: Seconds of Unix time.
        """
        self.note = b""
        self.cosigned: Cosigned | None = None
        self._quorum = quorum
        self._path = path
        self._coverage = coverage
        self._observe = observe
        self._limits = limits
        self._clock = clock
        self._moved = asyncio.Event()
        self._writing = asyncio.Lock()
        self.wanted = asyncio.Event()
        """Set when somebody waits for the witnesses."""
        self.look()

    def look(self) -> None:
        """Take up what another process has put into the file. Blocks for a moment."""
        try:
            note = self._path.read_bytes()
        except OSError:
            return
        if note != self.note:
            self.take_up(note)

    def is_behind(self, note: bytes) -> bool:
        """Whether a quorum has cosigned more of the log in this note, or the same of it later."""
        try:
            found = open_cosigned(note, self._quorum)
        except (Malformed, Unproven):
            return False
        known = self.cosigned
        return known is None or self._reach(found) > self._reach(known)

    def _reach(self, cosigned: Cosigned) -> tuple[int, int]:
        return cosigned.checkpoint.size, quorum_time(self._quorum, cosigned)

    async def keep(self, note: bytes) -> None:
        """Keep a checkpoint that a quorum has cosigned; an older one is passed over.

        Raises:
            OSError: It may not be durable.
        """
        if self.take_up(note):
            await self.store()

    async def store(self) -> None:
        """Make what was taken up durable, for other processes.

        Raises:
            OSError: It may not be durable.
        """
        async with self._writing:
            await asyncio.to_thread(durable.replace, self._path, self.note)

    def take_up(self, note: bytes) -> bool:
        """Go on from it, if a quorum has cosigned it and it is no older; say whether that is so."""
        try:
            found = open_cosigned(note, self._quorum)
        except (Malformed, Unproven):
            return False
        known = self.cosigned
        if not self._quorum.met_by(found.times):
            return False
        if known is not None and self._reach(found) < self._reach(known):
            return False
        self.note, self.cosigned = note, found
        self._moved.set()
        self._moved = asyncio.Event()
        self.tell()
        return True

    def tell(self) -> None:
        """Say how far the witnesses are."""
        age, unseen = self._standing()
        self._observe(Cosignatures(age=age, unseen=unseen))

    def require(self, *, detail: bool) -> None:
        """Raise while the witnesses have seen too little of the log.

        Args:
            detail: Whether a person's data is about to be read; otherwise the log is only written.

        Raises:
            AuditLogUnavailable: They have.
        """
        match self.standing():
            case Standing.CLOSED:
                raise AuditLogUnavailable(Unavailable.UNWITNESSED, _TOO_LONG)
            case Standing.STALE if detail:
                age, _ = self._standing()
                why = _TOO_LONG if age > self._limits.stale_seconds else _TOO_MANY
                raise AuditLogUnavailable(Unavailable.UNWITNESSED, why)

    def standing(self) -> Standing:
        """How near the witnesses are."""
        age, unseen = self._standing()
        limits = self._limits
        if age > limits.closed_seconds:
            return Standing.CLOSED
        if age > limits.stale_seconds or unseen > limits.stale_entries:
            return Standing.STALE
        return Standing.NEAR

    async def covered(self, index: int) -> Covered:
        """Wait until a quorum has cosigned a checkpoint over an entry, and prove it under that.

        Raises:
            AuditLogUnavailable: It has not, in the time there is.
        """
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while True:
                    moved, cosigned = self._moved, self.cosigned
                    if cosigned is not None and index < cosigned.checkpoint.size:
                        return await self._coverage.under(index, cosigned.checkpoint, self.note)
                    self.wanted.set()
                    await self._wait(moved)
        except TimeoutError as error:
            raise AuditLogUnavailable(
                Unavailable.UNWITNESSED, "the witnesses have not cosigned this entry yet"
            ) from error

    async def _wait(self, moved: asyncio.Event) -> None:
        """Until this process moved on, or another one may have."""
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                await moved.wait()
        except TimeoutError:
            self.look()

    def _standing(self) -> tuple[float, int]:
        """How many seconds ago a quorum cosigned, and how many entries it has not seen."""
        size = self._coverage.state.frontier.size
        if self.cosigned is None:
            return self._clock(), size
        age = max(0.0, self._clock() - quorum_time(self._quorum, self.cosigned))
        return age, max(0, size - self.cosigned.checkpoint.size)
