"""Which entries a signed checkpoint covers, and the proof of it for each.

Holds the tree's growing edge and the batches signed last; whoever waits for an entry to be covered
waits here. The older proofs are made again from the database, from stored hashes of complete
subtrees and at most two blocks of 256 leaves.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from sharegate.audit.chain import follows
from sharegate.audit.checkpoint import Checkpoint
from sharegate.audit.proof import consistency_path, verify_inclusion
from sharegate.audit.tree import (
    HASH_BYTES,
    Batch,
    Fetch,
    Frontier,
    Node,
    inclusion_nodes,
    inclusion_path,
    leaf_hash,
)
from sharegate.audit.verdict import Unproven
from sharegate.consortium.memory import LogState
from sharegate.errors import AuditLogUnavailable, LogDiverged, Unavailable
from sharegate.model.passage import Covered
from sharegate.record.reader import Broken, PostgresReader

T = TypeVar("T")

STORED_LEVELS = (8, 16, 24, 32, 40, 48, 56)
_BLOCK_LEVEL = 8
_RECENT_BATCHES = 64
_RECENT_ENTRIES = 8192  # of 65 KB at most
_NOTHING_SIGNED = (Unavailable.UNSIGNED, "no checkpoint has been signed yet")


@dataclass(frozen=True, slots=True)
class Stretch:
    """Entries read back from the log, checked, and hashed onto the tree.

    Attributes:
        before: The tree without them.
        after: The state of the log with them.
    """

    before: Frontier
    leaves: Sequence[bytes]
    batch: Batch
    after: LogState

    @property
    def first(self) -> int:
        """The index of the first leaf."""
        return self.before.size


@dataclass(frozen=True, slots=True)
class Joined:
    """Stretches that follow one another, as one: from `first` to a tree with this root."""

    first: int
    leaves: Sequence[bytes]
    batch: Batch
    root: bytes


@dataclass(frozen=True, slots=True)
class _OnePath:
    steps: tuple[bytes, ...]

    def path(self, _index: int) -> tuple[bytes, ...]:
        return self.steps


def extend(state: LogState, leaves: Sequence[bytes]) -> Stretch:
    """Hash leaves read back from the log onto its tree. Pure.

    Raises:
        LogDiverged: A leaf is not the one that must follow.
    """
    seq = state.frontier.size
    last = state.last
    hashes = []
    for data in leaves:
        if not follows(data, seq, last):
            raise LogDiverged(f"entry {seq} does not follow the entry before it")
        last = leaf_hash(data)
        hashes.append(last)
        seq += 1
    batch = Batch(state.frontier, hashes)
    return Stretch(state.frontier, leaves, batch, LogState(batch.after, last))


class Coverage:
    """The port :class:`sharegate.record.audit_log.Checkpoints`, fed by a signer or a follower."""

    def __init__(self, reader: PostgresReader) -> None:
        """Begin without any state; nothing is covered until :meth:`resume`."""
        self.wanted = asyncio.Event()
        self.state = LogState.empty()
        self.checkpoint = b""
        self._reader = reader
        self._waiting: dict[int, list[asyncio.Future[Covered | None]]] = {}
        self._recent: deque[tuple[Stretch, bytes]] = deque(maxlen=_RECENT_BATCHES)
        self._joined: Joined | None = None
        self._unusable: tuple[Unavailable, str] | None = _NOTHING_SIGNED

    def require_usable(self) -> None:
        """Raise at once if nothing will be covered now."""
        if self._unusable is not None:
            raise AuditLogUnavailable(*self._unusable)

    async def covered(self, index: int) -> Covered:
        """Wait until a signed checkpoint covers the entry at `index`."""
        covered = None
        while covered is None:
            self.require_usable()
            if index < self.state.frontier.size:
                return self._recently(index) or await self._again(index)
            waiter: asyncio.Future[Covered | None] = asyncio.get_running_loop().create_future()
            self._waiting.setdefault(index, []).append(waiter)
            self.wanted.set()
            covered = await waiter
        return covered

    def resume(self, state: LogState, checkpoint: bytes) -> None:
        """Go on from a state that is already signed; usable once its checkpoint is known."""
        if self._is_frozen:
            return
        self.state = state
        self.checkpoint = checkpoint
        self._unusable = None if checkpoint else _NOTHING_SIGNED
        for waiter in self._take_waiters():
            waiter.set_result(None)  # look again

    def usable_again(self) -> None:
        """All that was found in the log is signed; go on, unless nothing ever was."""
        if self.checkpoint and not self._is_frozen:
            self._unusable = None

    def publish(self, stretch: Stretch, checkpoint: bytes) -> None:
        """A checkpoint over these entries has been signed: answer whoever waits for one."""
        if self._is_frozen:
            return
        self.state = stretch.after
        self.checkpoint = checkpoint
        self._recent.append((stretch, checkpoint))
        while self._recent[0][0].after.frontier.size < self.state.frontier.size - _RECENT_ENTRIES:
            self._recent.popleft()
        self._unusable = None
        for index in [index for index in self._waiting if index < self.state.frontier.size]:
            covered = self._recently(index)
            assert covered is not None
            for waiter in self._waiting.pop(index):
                if not waiter.done():  # it may have given up
                    waiter.set_result(covered)

    def awaits_more(self) -> bool:
        """Whether someone waits for an entry not covered yet."""
        return bool(self._waiting)

    def suspend(self, reason: Unavailable, detail: str) -> None:
        """Refuse whoever waits, and cover nothing until the next checkpoint; frozen, never again.

        What was under way when it was frozen, and ends only then, changes nothing any more.
        """
        if self._is_frozen:
            return
        self._unusable = (reason, detail)
        for waiter in self._take_waiters():
            waiter.set_exception(AuditLogUnavailable(reason, detail))

    @property
    def _is_frozen(self) -> bool:
        return self._unusable is not None and self._unusable[0] is Unavailable.FROZEN

    def _take_waiters(self) -> list[asyncio.Future[Covered | None]]:
        waiters = [waiter for waiters in self._waiting.values() for waiter in waiters]
        self._waiting.clear()
        return [waiter for waiter in waiters if not waiter.done()]  # it may have given up

    def _recently(self, index: int) -> Covered | None:
        for stretch, checkpoint in reversed(self._recent):
            if stretch.first <= index < stretch.after.frontier.size:
                leaf = stretch.leaves[index - stretch.first]
                return Covered(index, leaf, checkpoint, stretch.batch)
        return None

    async def under(self, index: int, state: Checkpoint, note: bytes) -> Covered:
        """Prove an entry under a checkpoint of this log: of late ones nothing is read back.

        Raises:
            AuditLogUnavailable: As for :func:`prove`; or the log is frozen.
        """
        joined = self._join(index, state)
        if joined is not None:
            self._require_unfrozen()
            return Covered(index, joined.leaves[index - joined.first], note, joined.batch)
        leaf, path = await prove(self._reader, index, state.size, state.root)
        self._require_unfrozen()
        return Covered(index, leaf, note, _OnePath(path))

    def grown(self, old: int, state: Checkpoint) -> tuple[bytes, ...] | None:
        """The consistency path from the tree of a size above 0 to a later checkpoint of this log.

        None where the late batches do not reach from the one to the other.
        """
        joined = self._join(old, state)
        return None if joined is None else consistency_path(old, state.size, joined.batch.node)

    def _join(self, index: int, state: Checkpoint) -> Joined | None:
        """The late batches, from an entry's on up to a checkpoint, as one; None where one lacks.

        Kept for whoever asks next: of those who wait for one checkpoint, the first has the first
        entry.
        """
        joined = self._joined
        if joined is None or joined.batch.after.size != state.size or index < joined.first:
            joined = self._joined = self._joined_from(index, state.size)
        return joined if joined is not None and joined.root == state.root else None

    def _joined_from(self, index: int, size: int) -> Joined | None:
        before: Frontier | None = None
        hashes: list[bytes] = []
        leaves: list[bytes] = []
        for stretch, _ in self._recent:
            if index < stretch.after.frontier.size <= size:
                before = before or stretch.before
                hashes += [node for _, node in stretch.batch.completed(0)]
                leaves += stretch.leaves
        if before is None or before.size > index or before.size + len(leaves) != size:
            return None
        batch = Batch(before, hashes)
        return Joined(before.size, leaves, batch, batch.after.root())

    async def _again(self, index: int) -> Covered:
        """Prove an older entry, from what is stored, under the newest checkpoint."""
        frontier, checkpoint = self.state.frontier, self.checkpoint
        leaf, path = await prove(self._reader, index, frontier.size, frontier.root())
        self._require_unfrozen()
        return Covered(index, leaf, checkpoint, _OnePath(path))

    def _require_unfrozen(self) -> None:
        """Raise if nothing may leave any more, not even what was signed before."""
        if self._is_frozen:
            self.require_usable()


class Nodes(Protocol):
    """What proofs are made from: `PostgresReader`, or a log's files."""

    async def leaves(self, first: int, most: int) -> list[bytes]:
        """At most `most` leaves in order, from index `first`."""

    async def subtrees(self, ranges: Sequence[tuple[int, int, int]]) -> dict[Node, bytes]:
        """Stored subtree hashes, for ranges of (level, first, after)."""


async def prove(
    reader: Nodes, index: int, size: int, root: bytes
) -> tuple[bytes, tuple[bytes, ...]]:
    """Prove an entry from what is stored: its leaf, and its inclusion path, both checked.

    Args:
        reader: Reads leaves and stored subtrees.
        index: The entry's place, below `size`.
        size: Of a signed checkpoint.
        root: Of the same.

    Raises:
        AuditLogUnavailable: The database gives no answer, what is stored is not what was signed,
            or it is not complete yet.
    """
    nodes = inclusion_nodes(index, size)
    fetch, leaves = await read_nodes(reader, [*nodes, (0, index)])
    try:
        path = inclusion_path(index, size, fetch)
        leaf = leaves[index]
        # What is stored may have been altered since it was signed: then there is no receipt.
        verify_inclusion(index, size, leaf_hash(leaf), path, root)
    except Unproven as error:
        raise AuditLogUnavailable(
            Unavailable.FROZEN, f"entry {index}, or its proof, is not what was signed"
        ) from error
    except KeyError as error:
        raise AuditLogUnavailable(
            Unavailable.UNSIGNED, "the proof of this entry is being rebuilt"
        ) from error
    return leaf, path


async def read_nodes(reader: Nodes, nodes: Sequence[Node]) -> tuple[Fetch, Mapping[int, bytes]]:
    """Read what is needed to know complete subtrees, and the leaves among it by index.

    What is read is not judged; a subtree that is not stored is computed from what is below it.

    Raises:
        AuditLogUnavailable: The database gives no answer.
    """
    try:
        ranges = [_stored_range(level, n) for level, n in nodes if level >= _BLOCK_LEVEL]
        stored = await _stored(reader, ranges)
        leaves: dict[int, bytes] = {}
        for block in {n << level >> _BLOCK_LEVEL for level, n in nodes if level < _BLOCK_LEVEL}:
            first = block << _BLOCK_LEVEL
            leaves |= dict(enumerate(await reader.leaves(first, 1 << _BLOCK_LEVEL), start=first))
    except Broken as error:
        raise AuditLogUnavailable(Unavailable.DOWN, "the audit log cannot be read now") from error

    def fetch(level: int, n: int) -> bytes:
        first, after = n << level, n + 1 << level
        if level < _BLOCK_LEVEL:
            hashes = {(0, at): leaf_hash(leaves[at]) for at in range(first, after)}
            return _complete(hashes, 0, first, after)
        at_level, low_n, high_n = _stored_range(level, n)
        return _complete(stored, at_level, low_n, high_n)

    return fetch, leaves


async def _stored(reader: Nodes, ranges: Sequence[tuple[int, int, int]]) -> dict[Node, bytes]:
    """Subtree hashes of levels that are stored. The newest ones are stored a moment late."""
    found = await reader.subtrees(ranges)
    for level, first, after in ranges:
        for n in range(first, after):
            if (level, n) in found:
                continue
            start = n << _BLOCK_LEVEL
            if level == _BLOCK_LEVEL:
                row = [leaf_hash(leaf) for leaf in await reader.leaves(start, 1 << _BLOCK_LEVEL)]
            else:
                lower, end = level - _BLOCK_LEVEL, start + (1 << _BLOCK_LEVEL)
                below = await _stored(reader, [(lower, start, end)])
                row = [below[lower, at] for at in range(start, end) if (lower, at) in below]
            if len(row) == 1 << _BLOCK_LEVEL:
                found[level, n] = Frontier.empty().extend(row).root()
    return found


async def computed(reader: Nodes, compute: Callable[[Fetch], T]) -> T:
    """Compute something over the stored tree, as `proof.consistency_path` does: read, then compute.

    Raises:
        AuditLogUnavailable: The database gives no answer, or is not complete yet.
    """
    nodes: list[Node] = []

    def noting(level: int, n: int) -> bytes:
        nodes.append((level, n))
        return bytes(HASH_BYTES)

    compute(noting)
    fetch, _ = await read_nodes(reader, nodes)
    try:
        return compute(fetch)
    except KeyError as error:
        raise AuditLogUnavailable(
            Unavailable.UNSIGNED, "the proof of these entries is being rebuilt"
        ) from error


def completed_subtrees(batch: Batch) -> list[tuple[int, int, bytes]]:
    """The subtrees worth storing that a batch completed: (level, n, hash)."""
    return [(level, n, node) for level in STORED_LEVELS for n, node in batch.completed(level)]


def _stored_range(level: int, n: int) -> tuple[int, int, int]:
    """Which stored subtrees make up a node of a level from 8 on: (level, first, after)."""
    stored = level // _BLOCK_LEVEL * _BLOCK_LEVEL
    return stored, n << (level - stored), n + 1 << (level - stored)


def _complete(nodes: dict[Node, bytes], level: int, first: int, after: int) -> bytes:
    """Join complete subtrees of one level, a power of two of them, into their parent."""
    return Frontier.empty().extend([nodes[level, at] for at in range(first, after)]).root()
