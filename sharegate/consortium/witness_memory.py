"""What a witness remembers: of each log the newest checkpoint that it cosigned.

A directory with one file for each log, named by the SHA-256 of its origin: the checkpoint's note,
with the log's line and the witness's own, replaced whole, so that a power cut leaves the old one or
the new one. A file of no bytes says that the witness has begun with this log and cosigned nothing.
One that is missing is no beginning: whoever lost what he remembers could be led onto another
branch, so a log is begun once, by a command, and never by itself.
"""

import fcntl
import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from sharegate import durable
from sharegate.consortium.evidence import keep
from sharegate.errors import Misconfigured, ShareGateError

_LOCK: Final = "lock"
_EVIDENCE: Final = "evidence"


class Forgotten(ShareGateError):
    """The witness has lost, or never had, what it has to remember of a log."""


def origin_hash(origin: str) -> str:
    """The SHA-256 of an origin in lower-case hexadecimal, as C2SP tlog-witness has it."""
    return sha256(origin.encode()).hexdigest()


@dataclass(slots=True)
class WitnessMemory:
    """The directory; used by one process at a time."""

    directory: Path
    _lock: int | None = None

    def seize(self) -> None:
        """Become its only user; the kernel lets go when the process ends, however it ends.

        Raises:
            Misconfigured: Another process uses it, or it cannot be used at all.
        """
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            lock = os.open(self.directory / _LOCK, flags, 0o600)
        except OSError as error:
            raise Misconfigured(str(self.directory), error.strerror or "cannot be used") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise Misconfigured(str(self.directory), "is used by another witness") from None
        self._lock = lock

    def release(self) -> None:
        """Let another process have it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def recall(self, origin: str) -> bytes | None:
        """Give the note of the newest checkpoint; None where nothing was cosigned yet.

        Raises:
            Forgotten: The witness has not begun with this log, or its file cannot be read.
        """
        try:
            return self._file(origin).read_bytes() or None
        except FileNotFoundError:
            raise Forgotten(f"this witness has not begun with {origin}") from None
        except OSError as error:
            raise Forgotten(f"what is remembered of {origin} cannot be read") from error

    def begin(self, origin: str, note: bytes = b"") -> None:
        """Begin with a log, where the witness has not begun with it. Blocks.

        Raises:
            Misconfigured: It has.
            OSError: It may not be durable.
        """
        if self._file(origin).exists():
            raise Misconfigured(str(self._file(origin)), f"the witness has begun with {origin}")
        durable.replace(self._file(origin), note)

    def remember(self, origin: str, note: bytes) -> None:
        """Make a checkpoint durable as the newest one. Blocks for as long as the disk takes.

        Raises:
            OSError: It may not be durable; do not give its cosignature away.
        """
        assert self._lock is not None, "seize it first"
        durable.replace(self._file(origin), note)

    def keep_evidence(self, origin: str, name: str, data: bytes) -> None:
        """Keep what shows that a log contradicted itself; so much of it and no more. Blocks."""
        keep(self.directory / _EVIDENCE / origin_hash(origin), name, data)

    def _file(self, origin: str) -> Path:
        return self.directory / f"{origin_hash(origin)}.note"
