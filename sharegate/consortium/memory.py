"""The signer's own memory: the last state of the log it may have signed.

A file apart from the database, so that a database which was rolled back, swapped or rewritten
cannot make the signer sign a second history. Holding the file's lock is what makes a process the
signer; the kernel lets go of it when the process ends, however it ends.

The file has two slots of 4,096 bytes, written in turn, each with its own checksum: a write torn by
a power cut spoils one slot and leaves the state before it, which is then still the last one signed,
since a state is always remembered before it is signed.
"""

import fcntl
import os
import secrets
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Self

import msgspec

from sharegate.audit.chain import GENESIS
from sharegate.audit.tree import Frontier
from sharegate.errors import LogDiverged

_SLOT_BYTES = 4096
_DIGEST_BYTES = 32
_HOLDER_BYTES = 16


class _Slot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one slot says."""

    origin: str
    turn: int
    size: int
    frontier: list[str]
    last: str
    holder: str = ""


@dataclass(frozen=True, slots=True)
class LogState:
    """A state of the log: all that is needed to go on from it.

    Attributes:
        frontier: The tree: its size, and from it the root.
        last: The leaf hash of the last entry, which commits to all before it.
    """

    frontier: Frontier
    last: bytes

    @classmethod
    def empty(cls) -> Self:
        """The state of a log without entries."""
        return cls(Frontier.empty(), GENESIS)


class SignerMemory:
    """The file; used by one process at a time."""

    def __init__(self, path: Path, origin: str) -> None:
        """Name the file; nothing is opened.

        Args:
            path: Made if absent; its directory must exist.
            origin: The log it belongs to.
        """
        self._path = path
        self._origin = origin
        self.holder = secrets.token_bytes(_HOLDER_BYTES)
        """Whose memory this is; made up at first, and from then on what the file says."""
        self._file: int | None = None
        self._turn = 0

    def seize(self) -> bool:
        """Become the only user of the file, or stay it; say whether it worked. Does not wait.

        Raises:
            OSError: The file cannot be opened.
        """
        if self._file is not None:
            return True
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return False
        _sync_directory(self._path.parent)
        self._file = file
        return True

    @property
    def held(self) -> bool:
        """Whether this process is the file's user."""
        return self._file is not None

    def recall(self) -> LogState | None:
        """Read the newest remembered state, or None where nothing was ever remembered.

        May be called without holding the file; what is read may then be one state old.

        Raises:
            LogDiverged: There is something, but none of it is whole, or it is another log's.
            OSError: The file cannot be read.
        """
        data = self._path.read_bytes() if self._path.exists() else b""
        if not data:
            return None
        slots = [_read_slot(data[at : at + _SLOT_BYTES]) for at in (0, _SLOT_BYTES)]
        whole = [slot for slot in slots if slot is not None]
        if not whole:
            raise LogDiverged(f"the signer's memory {self._path} is damaged")
        newest = max(whole, key=lambda slot: slot.turn)
        if newest.origin != self._origin:
            raise LogDiverged(f"the signer's memory {self._path} is of another log")
        self._turn = newest.turn
        if newest.holder:
            self.holder = bytes.fromhex(newest.holder)
        hashes = tuple(bytes.fromhex(node) for node in newest.frontier)
        return LogState(Frontier(newest.size, hashes), bytes.fromhex(newest.last))

    def remember(self, state: LogState) -> None:
        """Make a state durable. Blocks for as long as the disk takes.

        Raises:
            OSError: It may not be durable; do not sign it.
        """
        assert self._file is not None, "seize it first"
        turn = self._turn + 1  # kept only on success: a failed write must not spoil both slots
        body = msgspec.json.encode(
            _Slot(
                origin=self._origin,
                turn=turn,
                size=state.frontier.size,
                frontier=[node.hex() for node in state.frontier.hashes],
                last=state.last.hex(),
                holder=self.holder.hex(),
            )
        )
        slot = (sha256(body).digest() + body).ljust(_SLOT_BYTES, b"\n")
        if os.pwrite(self._file, slot, turn % 2 * _SLOT_BYTES) != _SLOT_BYTES:
            raise OSError(f"the signer's memory {self._path} could not be written whole")
        os.fdatasync(self._file)
        self._turn = turn

    def release(self) -> None:
        """Let another process have the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _read_slot(slot: bytes) -> _Slot | None:
    body = slot[_DIGEST_BYTES:].rstrip(b"\n")
    if sha256(body).digest() != slot[:_DIGEST_BYTES]:
        return None
    return msgspec.json.decode(body, type=_Slot)


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
