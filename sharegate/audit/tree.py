"""The Merkle tree of RFC 6962: its hashes, its growing edge, and paths through it.

A tree only ever appends, so the hashes of its maximal complete subtrees (the
`Frontier`, at most 63 of them) are all one needs in order to extend it, to know
its root, and to prove the leaves just added. Node `(level, n)` is the complete
subtree over leaves `[n * 2**level, (n + 1) * 2**level)`. Its hash never changes
once it is full, so it may be stored and fetched for ever.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Self

from sharegate.audit.text import MAX_SIZE
from sharegate.audit.verdict import Malformed

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()

Node = tuple[int, int]
"""`(level, n)`: a complete subtree, as above."""

Fetch = Callable[[int, int], bytes]
"""Gives the 32-byte hash of the complete subtree `(level, n)`."""


def leaf_hash(data: bytes) -> bytes:
    """Hash one leaf: SHA-256(0x00 || data). RFC 6962 section 2.1."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees into their parent: SHA-256(0x01 || left || right). RFC 6962 section 2.1."""
    return sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Frontier:
    """The growing edge of a tree: enough to extend it and to know its root.

    Attributes:
        size: leaves in the tree, at most 2^63 - 1.
        hashes: the maximal complete subtrees, left to right, largest first; one for
            each bit set in `size`.

    Raises:
        Malformed: size and hashes do not fit each other.
    """

    size: int
    hashes: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if not 0 <= self.size <= MAX_SIZE:
            raise Malformed(f"a tree cannot have {self.size} leaves")
        if len(self.hashes) != self.size.bit_count():
            raise Malformed(f"{len(self.hashes)} hashes do not make a frontier of size {self.size}")
        _require_hashes(self.hashes)

    @classmethod
    def empty(cls) -> Self:
        """Give the frontier of the tree without leaves."""
        return cls(0, ())

    @classmethod
    def of(cls, size: int, edge: bytes) -> Self:
        """Give the frontier that :attr:`edge` was taken from.

        Raises:
            Malformed: They do not fit each other.
        """
        at = range(0, len(edge), HASH_BYTES)
        return cls(size, tuple(edge[each : each + HASH_BYTES] for each in at))

    @property
    def edge(self) -> bytes:
        """The hashes as one value, to be kept."""
        return b"".join(self.hashes)

    def extend(self, leaf_hashes: Sequence[bytes]) -> "Frontier":
        """Give the frontier after these leaves; each completed node is hashed exactly once."""
        return Batch(self, leaf_hashes).after

    def root(self) -> bytes:
        """Give the root of the tree (the Merkle Tree Hash of RFC 6962 section 2.1)."""
        return _fold(self.hashes) if self.hashes else EMPTY_ROOT


class Batch:
    """Leaves appended to a tree together, ready to give each its inclusion path.

    One signed checkpoint covers a whole batch. Everything a path needs is either in
    the frontier before the batch or hashed while extending it, so no earlier node is
    ever read back; a path costs one look-up a level.

    Attributes:
        after: the frontier once the batch is in.
    """

    __slots__ = ("_beyond", "_first", "_levels", "after")

    def __init__(self, before: Frontier, leaf_hashes: Sequence[bytes]) -> None:
        """Append the leaves to `before`, in order; each completed node is hashed once.

        Raises:
            Malformed: a leaf hash is not 32 bytes, or the tree would pass 2^63 - 1 leaves.
        """
        _require_hashes(leaf_hashes)
        kept = list(before.hashes)  # still on the edge, larger than anything reached yet
        edge: list[bytes] = []  # on the edge after the batch, smallest first
        levels: list[tuple[int, list[bytes]]] = []  # a level: number of its first node, nodes
        n, nodes = before.size, list(leaf_hashes)
        while nodes:
            if n & 1:
                n -= 1
                nodes.insert(0, kept.pop())
            levels.append((n, nodes))
            if len(nodes) & 1:
                edge.append(nodes[-1])
            pairs = iter(nodes)
            n >>= 1
            # Written out, not node_hash(): the call alone would cost a tenth more here.
            nodes = [
                sha256(b"\x01" + left + right).digest()
                for left, right in zip(pairs, pairs, strict=False)  # an odd one out is in `edge`
            ]
        self.after = Frontier(before.size + len(leaf_hashes), (*kept, *reversed(edge)))
        self._first = before.size
        self._levels = levels
        self._beyond: dict[int, tuple[bytes, ...]] = {}

    def path(self, index: int) -> tuple[bytes, ...]:
        """Give a new leaf's inclusion path in the tree `after`, the leaf's sibling first.

        Raises:
            ValueError: the leaf at `index` is not of this batch.
        """
        size = self.after.size
        if not self._first <= index < size:
            raise ValueError(f"leaf {index} is not among {self._first} to {size - 1}")
        # Where index and size first differ, size has the bit: that bit is the level of
        # the complete subtree on the edge that holds the leaf.
        level = (index ^ size).bit_length() - 1
        path = []
        n = index
        for first, nodes in self._levels[:level]:
            path.append(nodes[(n ^ 1) - first])
            n >>= 1
        return (*path, *self._beyond_subtree(level))

    def node(self, level: int, n: int) -> bytes:
        """Give a complete subtree of `after`: one with a new leaf, or on the edge of either tree.

        A `Fetch` for whatever was on the tree's edge anywhere in this batch, so for the
        consistency path from there to `after`.

        Raises:
            KeyError: it is another one.
        """
        if level < len(self._levels):
            first, nodes = self._levels[level]
            if 0 <= n - first < len(nodes):
                return nodes[n - first]
        size = self.after.size
        if size >> level & 1 and n == size >> level ^ 1:
            return self.after.hashes[(size >> level + 1).bit_count()]
        raise KeyError((level, n))

    def completed(self, level: int) -> list[tuple[int, bytes]]:
        """List the subtrees of 2^level leaves that this batch completed: (n, hash), in order."""
        if level >= len(self._levels):
            return []
        first, nodes = self._levels[level]
        before = self._first >> level  # complete already, and here only as a left neighbour
        return [(n, node) for n, node in enumerate(nodes, start=first) if n >= before]

    def _beyond_subtree(self, level: int) -> tuple[bytes, ...]:
        """Give the upper end of the paths of all leaves under one subtree of the edge."""
        beyond = self._beyond.get(level)
        if beyond is None:
            place = (self.after.size >> level + 1).bit_count()
            left, right = self.after.hashes[:place], self.after.hashes[place + 1 :]
            beyond = (*((_fold(right),) if right else ()), *reversed(left))
            self._beyond[level] = beyond
        return beyond


def inclusion_path(index: int, size: int, fetch: Fetch) -> tuple[bytes, ...]:
    """Compute PATH(index, D[size]) of RFC 6962 section 2.1.1 from stored complete subtrees.

    Args:
        index: the leaf, zero-based.
        size: the tree in which it is to be proved.
        fetch: asked once for each of `inclusion_nodes(index, size)`.

    Raises:
        ValueError: the leaf is not in a tree of that size.
    """
    return tuple(range_root(start, end, fetch) for start, end in _inclusion_ranges(index, size))


def inclusion_nodes(index: int, size: int) -> list[Node]:
    """List the nodes an inclusion path is made of, so that a caller may fetch them at once.

    Raises:
        ValueError: the leaf is not in a tree of that size.
    """
    ranges = _inclusion_ranges(index, size)
    return [node for start, end in ranges for node in range_nodes(start, end)]


def range_nodes(start: int, end: int) -> list[Node]:
    """List the maximal complete subtrees of leaves `[start, end)`, left to right.

    `start` is a multiple of the smallest power of two that is at least `end - start`,
    as it is for every range the recursion of RFC 6962 reaches.
    """
    nodes = []
    while start < end:
        level = (end - start).bit_length() - 1
        nodes.append((level, start >> level))
        start += 1 << level
    return nodes


def range_root(start: int, end: int, fetch: Fetch) -> bytes:
    """Compute the hash of the leaves `[start, end)` of `range_nodes`, not empty."""
    return _fold([fetch(level, n) for level, n in range_nodes(start, end)])


def _inclusion_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """List the leaf ranges whose hashes make the path: at each split, the side left aside."""
    if not 0 <= index < size <= MAX_SIZE:
        raise ValueError(f"no leaf {index} in a tree of size {size}")
    start, end = 0, size
    aside = []
    while end - start > 1:
        middle = start + split(end - start)
        if index < middle:
            aside.append((middle, end))
            end = middle
        else:
            aside.append((start, middle))
            start = middle
    aside.reverse()
    return aside


def split(size: int) -> int:
    """Give the largest power of two below `size` (> 1), where RFC 6962 splits a tree."""
    return 1 << (size - 1).bit_length() - 1


def _fold(hashes: Sequence[bytes]) -> bytes:
    """Join neighbouring complete subtrees, largest first, into the hash of their whole range."""
    root = hashes[-1]
    for left in hashes[-2::-1]:
        root = node_hash(left, root)
    return root


def _require_hashes(hashes: Sequence[bytes]) -> None:
    if set(map(len, hashes)) - {HASH_BYTES}:
        raise Malformed(f"a hash in this tree has {HASH_BYTES} bytes")
