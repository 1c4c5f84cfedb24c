"""The leaves of the audit log and the hash chain inside them.

A leaf is `"SGL1" || u64be sequence number || previous leaf hash || core`. The leaf
hash of RFC 6962 serves twice: the tree is built from it, and the next leaf records
it as `prev`. So the chain costs no hashing of its own, every checkpoint covers it,
and an altered entry is named by its successor.

What each check can say:

* An entry altered in place, or one missing, added or moved: the chain names it.
* A log rewritten from some entry on, with its chain made whole again: only a
  checkpoint signed before can tell, and it tells the stretch since the last
  checkpoint that still agrees.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from itertools import islice, pairwise, takewhile
from struct import Struct
from typing import assert_never

from sharegate.audit.checkpoint import Checkpoint
from sharegate.audit.text import MAX_SIZE
from sharegate.audit.tree import HASH_BYTES, Frontier, leaf_hash
from sharegate.audit.verdict import Malformed, Unproven

GENESIS = bytes(HASH_BYTES)
"""What the first leaf of a log records as its predecessor's hash."""

MAX_LEAF_BYTES = 65_535
"""An entry bundle of C2SP tlog-tiles counts the bytes of an entry in 16 bits."""

_MAGIC = b"SGL1"
_PREFIX = Struct(f">4sQ{HASH_BYTES}s")
_BATCH = 4096


@dataclass(frozen=True, slots=True)
class Leaf:
    """One entry's exact bytes, taken apart.

    Attributes:
        seq: the entry's zero-based place in the log, below 2^63.
        prev: 32 bytes, the leaf hash of the entry before; `GENESIS` for the first.
        core: what was recorded; at least one byte, not read here.
    """

    seq: int
    prev: bytes
    core: bytes


def encode_leaf(seq: int, prev: bytes, core: bytes) -> bytes:
    """Write a leaf; `parse_leaf` gives the same parts back.

    Raises:
        Malformed: a part is not as `Leaf` has it, or the leaf would pass 65,535 bytes.
    """
    if not 0 <= seq < MAX_SIZE or len(prev) != HASH_BYTES:
        raise Malformed("a leaf has a number below 2^63 - 1 and a previous hash of 32 bytes")
    if not 0 < len(core) <= MAX_LEAF_BYTES - _PREFIX.size:
        raise Malformed(f"a leaf cannot have a core of {len(core)} bytes")
    return _PREFIX.pack(_MAGIC, seq, prev) + core


def parse_leaf(data: bytes) -> Leaf:
    """Read a leaf; `encode_leaf` gives the same bytes back.

    Raises:
        Malformed: not a leaf.
    """
    if not _PREFIX.size < len(data) <= MAX_LEAF_BYTES:
        raise Malformed(f"a leaf cannot have {len(data)} bytes")
    magic, seq, prev = _PREFIX.unpack_from(data)
    if magic != _MAGIC or seq >= MAX_SIZE:
        raise Malformed("a leaf begins with SGL1 and a number below 2^63 - 1")
    return Leaf(seq, prev, data[_PREFIX.size :])


def follows(data: bytes, seq: int, prev: bytes) -> bool:
    """Say whether these are the bytes of a leaf with this number and predecessor.

    There is one prefix such a leaf can have, so it need not be taken apart.
    """
    return (
        data[: _PREFIX.size] == _PREFIX.pack(_MAGIC, seq, prev)
        and _PREFIX.size < len(data) <= MAX_LEAF_BYTES
    )


def linked(leaves: Sequence[bytes], first: int) -> tuple[bytes, list[bytes]] | None:
    """Hash leaves that follow one another, whatever stands before them.

    Args:
        leaves: At least one.
        first: The number of the first.

    Returns:
        What the first records as the hash before it, and the leaf hash of each; None where one of
        them is not the leaf that must follow.
    """
    try:
        before = prev = parse_leaf(leaves[0]).prev
    except Malformed:
        return None
    hashes = []
    for seq, leaf in enumerate(leaves, first):
        if not follows(leaf, seq, prev):
            return None
        prev = leaf_hash(leaf)
        hashes.append(prev)
    return before, hashes


def core_of(leaf: bytes) -> bytes:
    """Give the core of what is known to be a leaf."""
    return leaf[_PREFIX.size :]


class Rule(StrEnum):
    """What every log keeps, and a faulty one has broken."""

    MALFORMED = "malformed"
    SEQUENCE = "sequence"
    PREV = "prev"
    ALTERED = "altered"
    ROOT = "root"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Fault:
    """The first place where a log contradicts itself or a checkpoint.

    Entries before it, back to the last checkpoint that agrees, may have been rewritten
    together with it.

    Attributes:
        index_low: first entry in doubt, zero-based.
        index_high: last entry in doubt; equal to `index_low` when the entry is named exactly.
        rule: what was broken.
    """

    index_low: int
    index_high: int
    rule: Rule

    def __str__(self) -> str:
        if self.index_low == self.index_high:
            return f"entry {self.index_low}: {self._reason()}"
        return f"entries {self.index_low} to {self.index_high}: {self._reason()}"

    def _reason(self) -> str:
        match self.rule:
            case Rule.MALFORMED:
                return "the bytes are not an entry of this log"
            case Rule.SEQUENCE:
                return "the sequence number is not the entry's place in the log"
            case Rule.PREV:
                return "the hash recorded for the entry before is not that entry's"
            case Rule.ALTERED:
                return "the bytes are not those whose hash the next entry recorded"
            case Rule.ROOT:
                return "the chain holds, but not up to the root of the checkpoint"
            case Rule.MISSING:
                return "the checkpoint covers more entries than there are"
            case _:
                assert_never(self.rule)


class Verifier:
    """Reads a log once, from a known state on, and names the first entry that is not right.

    Feed it leaves in order, in batches of any size, then call `finish`. It hashes each
    leaf once and keeps a frontier, so its memory does not grow with the log. After the
    first fault it reads no further.

    Attributes:
        frontier: the tree over the leaves read so far, without any that is in doubt.
        prev: the leaf hash of the last of them.
        fault: the first fault, once it is certain.
    """

    __slots__ = (
        "_agreed", "_before", "_checkpoints", "_doubt", "fault", "frontier", "prev",
    )  # fmt: skip

    def __init__(
        self,
        checkpoints: Iterable[Checkpoint] = (),
        frontier: Frontier | None = None,
        prev: bytes = GENESIS,
    ) -> None:
        """Start from a state one trusts; from the beginning of the log unless told.

        Args:
            checkpoints: states the log has been in, in any order, signatures already
                checked. The more of them, the closer a rewritten stretch is named.
            frontier: the tree before the first leaf that will be fed.
            prev: the leaf hash of the last leaf in that tree.

        Raises:
            Unproven: two checkpoints contradict each other (a fork: keep both), or one
                contradicts the state one trusts.
            ValueError: a checkpoint is older than the state one trusts.
        """
        self.frontier = Frontier.empty() if frontier is None else frontier
        self.prev = prev
        self.fault: Fault | None = None
        self._agreed = self.frontier.size
        self._before = self.frontier  # the tree without its last leaf
        self._doubt: Leaf | Checkpoint | None = None
        self._checkpoints = _in_order(checkpoints)
        if self._checkpoints and self._checkpoints[0].size < self.frontier.size:
            raise ValueError("a checkpoint is older than the state to start from")
        self._compare()
        if self._doubt is not None:
            raise Unproven("a checkpoint contradicts the state to start from")

    @property
    def agrees(self) -> bool:
        """Whether a checkpoint vouches for exactly what was read, the last leaf too."""
        return self._doubt is None and self._agreed == self.frontier.size

    def feed(self, leaves: Iterable[bytes]) -> Fault | None:
        """Read the next leaves and give the first fault, as soon as it is certain."""
        coming = iter(leaves)
        while self.fault is None:
            if self._doubt is None:
                if not self._advance(coming):
                    break
            elif (successor := next(coming, None)) is not None:
                self.fault = self._settle(successor)
            else:
                break
        return self.fault

    def take(self, prev: bytes, hashes: Sequence[bytes]) -> bool:
        """Go on by the hashes of the next leaves, which somebody found to follow one another.

        Args:
            prev: What the first of these leaves records as the hash before it.
            hashes: Of each, at least one.

        Returns:
            Whether they fit. If not, nothing was taken: fed as leaves, they show what is wrong.
        """
        if self.fault is not None or self._doubt is not None or prev != self.prev:
            return False
        start, count = self.frontier.size, len(hashes)
        passed = [*takewhile(lambda each: each.size <= start + count, self._checkpoints)]
        roots = {checkpoint.size - start: checkpoint.root for checkpoint in passed}
        at, before, tree = 0, self._before, self.frontier
        for stop in sorted({*roots, count - 1, count} - {0}):
            before, tree, at = tree, tree.extend(hashes[at:stop]), stop
            if stop in roots and tree.root() != roots[stop]:
                return False
        for _ in passed:
            self._agreed = self._checkpoints.popleft().size
        self._before, self.frontier, self.prev = before, tree, hashes[-1]
        return True

    def finish(self) -> Fault | None:
        """Give the first fault of the log, now that it has no more leaves."""
        if self.fault is None and self._doubt is not None:
            self.fault = self._settle(None)
        if self.fault is None and self._checkpoints:
            last = self._checkpoints[-1].size - 1
            self.fault = Fault(self.frontier.size, last, Rule.MISSING)
        return self.fault

    def _advance(self, coming: Iterator[bytes]) -> bool:
        """Read good leaves up to the next checkpoint; say whether there was any leaf."""
        prev, seq = self.prev, self.frontier.size
        room = min(_BATCH, self._checkpoints[0].size - seq) if self._checkpoints else _BATCH
        hashes = []
        suspect = None
        for leaf in islice(coming, room):
            if not follows(leaf, seq, prev):
                suspect = leaf
                break
            prev = sha256(b"\x00" + leaf).digest()
            hashes.append(prev)
            seq += 1
        if hashes:
            self._before = self.frontier.extend(hashes[:-1])
            self.frontier = self._before.extend(hashes[-1:])
            self.prev = prev
            self._compare()
        if suspect is not None:
            self._question(suspect)
        return suspect is not None or bool(hashes)

    def _compare(self) -> None:
        """Hold the tree against the checkpoints of its size."""
        while self._checkpoints and self._checkpoints[0].size == self.frontier.size:
            checkpoint = self._checkpoints.popleft()
            if checkpoint.root != self.frontier.root():
                self._doubt = checkpoint
                return
            self._agreed = checkpoint.size

    def _question(self, suspect: bytes) -> None:
        """Name what is wrong with the leaf that should follow, or doubt it for now."""
        index = self.frontier.size
        try:
            leaf = parse_leaf(suspect)
        except Malformed:
            self.fault = Fault(index, index, Rule.MALFORMED)
            return
        if leaf.seq != index:
            self.fault = Fault(index, index, Rule.SEQUENCE)
        elif index == self._agreed:  # the state it should follow is trusted, or signed
            self.fault = Fault(index, index, Rule.PREV)
        else:
            self._doubt = leaf

    def _settle(self, successor: bytes | None) -> Fault:
        """Name the entry at fault, with the help of the leaf after it, if there is one.

        A `prev` that does not fit leaves two entries in question, the one that holds it
        and the one before; a root that does not fit, all since the last that did. What
        the successor recorded, or else the next checkpoint's root, tells which bytes
        were there: the guess that hashes to it is the truth.
        """
        recorded = None
        if successor is not None and len(successor) > _PREFIX.size:
            recorded = _PREFIX.unpack_from(successor)[2]
        index, doubt = self.frontier.size, self._doubt
        if isinstance(doubt, Checkpoint):
            if recorded is not None and self._before.extend([recorded]).root() == doubt.root:
                return Fault(index - 1, index - 1, Rule.ALTERED)
            return Fault(self._agreed, index - 1, Rule.ROOT)
        assert doubt is not None
        as_found = leaf_hash(encode_leaf(index, doubt.prev, doubt.core))
        mended = leaf_hash(encode_leaf(index, self.prev, doubt.core))
        if recorded is not None:
            guilty_before, guilty_itself = recorded == as_found, recorded == mended
        else:
            at_next = [c.root for c in self._checkpoints if c.size == index + 1]
            guilty_before = self._before.extend([doubt.prev, as_found]).root() in at_next
            guilty_itself = self.frontier.extend([mended]).root() in at_next
        if guilty_before:
            return Fault(index - 1, index - 1, Rule.ALTERED)
        return Fault(index if guilty_itself else index - 1, index, Rule.PREV)


def verify_chain(
    leaves: Iterable[bytes],
    checkpoints: Iterable[Checkpoint] = (),
    frontier: Frontier | None = None,
    prev: bytes = GENESIS,
) -> Frontier | Fault:
    """Read a whole log and give its tree, or its first fault; as `Verifier` does."""
    verifier = Verifier(checkpoints, frontier, prev)
    verifier.feed(leaves)
    return verifier.finish() or verifier.frontier


def _in_order(checkpoints: Iterable[Checkpoint]) -> deque[Checkpoint]:
    """Sort the checkpoints of one log by size, each size once.

    Raises:
        Unproven: they are of several logs, or a size has two roots.
    """
    ordered = deque(sorted(set(checkpoints), key=lambda checkpoint: checkpoint.size))
    for earlier, later in pairwise(ordered):
        if earlier.origin != later.origin:
            raise Unproven(f"checkpoints of two logs: {earlier.origin!r}, {later.origin!r}")
        if earlier.size == later.size:
            raise Unproven(f"two checkpoints of size {later.size} have different roots")
    return ordered
