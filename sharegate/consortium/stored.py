"""The log as the database gives it back, held against what was remembered and signed.

Nothing here is taken at its word: whatever does not follow from what is remembered, or from what
the log's own key has signed, is a log that diverged.
"""

from typing import Final

from sharegate.audit.checkpoint import Checkpoint, open_checkpoint
from sharegate.audit.note import VerifierKey
from sharegate.audit.tree import Frontier, leaf_hash
from sharegate.audit.verdict import Malformed, Unproven
from sharegate.consortium.coverage import STORED_LEVELS, Stretch, extend
from sharegate.consortium.memory import LogState
from sharegate.errors import LogDiverged
from sharegate.record.reader import PostgresReader, Tail

MOST: Final = 1024
"""Entries that are read back at once."""
_FANOUT: Final = 256


async def beginning(reader: PostgresReader) -> LogState:
    """Where the entries begin that are in the database: at 0, or after those in archives.

    It is what the database says; that it is true shows when what follows leads to a signed root.

    Raises:
        LogDiverged: It cannot be true.
        Broken: The database gives no answer.
    """
    size, last, edge = await reader.archived()
    try:
        return LogState(Frontier.of(size, edge), last)
    except Malformed as error:
        raise LogDiverged(f"the tree of {size} archived entries is damaged") from error


class StoredLog:
    """What a signer, or who follows one, reads back; each method may raise `reader.Broken`."""

    def __init__(self, reader: PostgresReader, key: VerifierKey) -> None:
        """Read nothing yet.

        Args:
            reader: Reads the log.
            key: The log's, named as its origin.
        """
        self._reader = reader
        self._key = key

    async def newest(self) -> tuple[bytes, Checkpoint] | None:
        """The newest checkpoint that is kept, as signed and as read.

        Raises:
            LogDiverged: It is not this log's.
        """
        note = await self._reader.checkpoint()
        if note is None:
            return None
        try:
            return note, open_checkpoint(note, [self._key], self._key.name)
        except (Malformed, Unproven) as error:
            raise LogDiverged(f"a stored checkpoint is not this log's: {error}") from error

    async def compare(self, remembered: LogState | None, holder: bytes) -> LogState:
        """Hold the database against a signer's memory before anything is signed.

        Args:
            remembered: What that memory ends with.
            holder: Whose memory it is. It may end before the newest checkpoint only where the
                signer of another host has signed that one.

        Returns:
            What to go on from.

        Raises:
            LogDiverged: They contradict each other.
        """
        origin, size, last = await self._reader.head()
        if origin != self._key.name:
            raise LogDiverged(f"the database holds the log {origin!r}, not {self._key.name!r}")
        kept = await self.newest()
        if remembered is None:
            if size or kept:
                raise LogDiverged(f"the log has {size} entries, and the signer's memory is missing")
            return LogState.empty()
        known = remembered.frontier.size
        if size < known:
            raise LogDiverged(f"the database is behind: {size} entries, but {known} were signed")
        if kept is not None:
            newest = kept[1]
            if newest.size > known and await self._reader.newest_signer() not in {None, holder}:
                remembered = (await self.stretch(remembered, newest)).after
                known = remembered.frontier.size
            _compare_newest(newest, remembered.frontier)
        if known:
            leaves = await self._reader.leaves(known - 1, 1)
            if not leaves or leaf_hash(leaves[0]) != remembered.last:
                raise LogDiverged(f"entry {known - 1} is not the one that was signed")
        if size == known and last != remembered.last:
            raise LogDiverged(f"the head is not that of the log signed at size {known}")
        return remembered

    async def missing_subtrees(self, size: int) -> list[tuple[int, int, bytes]]:
        """Hash again the stored subtrees that a crash kept from being stored."""
        missing: list[tuple[int, int, bytes]] = []
        have: dict[tuple[int, int], bytes] = {}
        for level in STORED_LEVELS:
            known = await self._reader.stored_subtrees(level)
            for n in range(known, size >> level):
                if level == STORED_LEVELS[0]:
                    leaves = await self._reader.leaves(n * _FANOUT, _FANOUT)
                    row = [leaf_hash(leaf) for leaf in leaves]
                else:
                    below = level - STORED_LEVELS[0], n * _FANOUT, (n + 1) * _FANOUT
                    have |= await self._reader.subtrees([below])
                    row = [have[below[0], at] for at in range(below[1], below[2])]
                have[level, n] = Frontier.empty().extend(row).root()
                missing.append((level, n, have[level, n]))
        return missing

    async def stretch(self, state: LogState, checkpoint: Checkpoint) -> Stretch:
        """The entries up to a checkpoint, read back a part at a time; at least the last part.

        Whoever knows nothing yet begins with the first that is there. Whoever knows something, but
        less than what left since, cannot tell whether it is this log.

        Raises:
            LogDiverged: They are not what it was signed over.
        """
        if not state.frontier.size:
            state = await beginning(self._reader)
        while True:
            size = state.frontier.size
            leaves = await self._reader.leaves(size, min(MOST, checkpoint.size - size))
            stretch = extend(state, leaves)
            if stretch.after.frontier.size == checkpoint.size or not leaves:
                break
            state = stretch.after
        if stretch.after.frontier.root() != checkpoint.root:
            raise LogDiverged(f"the checkpoint of size {checkpoint.size} is not of this log")
        return stretch


def _compare_newest(newest: Checkpoint, remembered: Frontier) -> None:
    """Hold the newest checkpoint in the database against the signer's memory."""
    if newest.size > remembered.size:
        raise LogDiverged(
            f"the signer's memory is behind: it ends at {remembered.size}, but a checkpoint "
            f"of size {newest.size} was signed"
        )
    if newest.size == remembered.size and newest.root != remembered.root():
        raise LogDiverged(f"two checkpoints of size {newest.size} have different roots")


def certain(state: LogState, tail: Tail) -> Stretch | None:
    """Hash leaves onto the tree, each vouched for by what comes after it. Pure.

    A leaf's own bytes could have changed since they were appended. The leaf after it recorded
    their hash, and the head that of the newest; a leaf without such a witness waits.

    Args:
        state: What is signed.
        tail: The log's end, from the end of `state` on: at most :data:`MOST` leaves.

    Returns:
        The stretch to sign; None where there is nothing new.

    Raises:
        LogDiverged: The log is shorter than what is signed, or its bytes are not what they were.
    """
    size, last, _, leaves = tail
    first = state.frontier.size
    if size < first:
        raise LogDiverged(f"the database is behind: {size} entries, but {first} were signed")
    stretch = extend(state, leaves)
    reached = stretch.after.frontier.size
    if reached == size:
        if stretch.after.last != last:
            raise LogDiverged(f"entry {size - 1} is not the one that was appended")
        return stretch if leaves else None
    if reached > size or len(leaves) < MOST:
        raise LogDiverged(f"the entries end at {reached}, but the head says {size}")
    return extend(state, leaves[:-1])
