"""Checks that a leaf is in a tree, and that a later tree only added to an earlier one.

Every check returns nothing when the proof holds and raises `Unproven`, with the
reason in plain words, when it does not. The procedures are those of RFC 9162
(2.1.3.2, 2.1.4.2) and, for subtrees, draft-ietf-plants-merkle-tree-certs
(sections 4.3, 4.4): one pass over the path, no recursion, and a path one hash too short
or too long fails.

A tree of size 0 proves nothing about its successors. RFC 9162 defines no
consistency proof from it and `verify_consistency` refuses one, where C2SP's
witness takes any first checkpoint as consistent: whoever takes a first
checkpoint on trust says so where it does so, and calls nothing here.
"""

from collections.abc import Sequence

from sharegate.audit.text import MAX_SIZE
from sharegate.audit.tree import EMPTY_ROOT, HASH_BYTES, Fetch, node_hash, range_root, split
from sharegate.audit.verdict import Unproven

Subtree = tuple[int, int]
"""`(start, end)`: the leaves from `start` to before `end`, as one node of some tree has them."""


def verify_inclusion(
    index: int, size: int, leaf_hash: bytes, path: Sequence[bytes], root: bytes
) -> None:
    """Check that the leaf is at `index` in the tree of this size and root. RFC 9162 2.1.3.2.

    Args:
        index: zero-based place of the leaf.
        size: leaves in the tree.
        leaf_hash: 32 bytes, `tree.leaf_hash` of the leaf.
        path: 32-byte hashes, the leaf's sibling first.
        root: 32 bytes, from a checkpoint whose signatures were checked.

    Raises:
        Unproven: it is not proved.
    """
    verify_subtree_inclusion(index, (0, size), leaf_hash, path, root)


def verify_subtree_inclusion(
    index: int, subtree: Subtree, leaf_hash: bytes, path: Sequence[bytes], root: bytes
) -> None:
    """Check that the leaf at `index` of the log is in this subtree of it.

    As `verify_inclusion`, `root` being the subtree's; merkle-tree-certs section 4.3.

    Raises:
        Unproven: it is not proved, or the range is not a subtree.
    """
    start, end = subtree
    _require_subtree(start, end)
    if not start <= index < end:
        raise Unproven(f"leaf {index} is not among the leaves from {start} to before {end}")
    _require_hashes("leaf hash", (leaf_hash,))
    _require_hashes("path", path)
    node, last = index - start, end - start - 1
    computed = leaf_hash
    for sibling in path:
        if last == 0:
            raise Unproven("the inclusion path is too long")
        if node & 1 or node == last:
            computed = node_hash(sibling, computed)
            # On the right edge a node without a sibling rises unchanged.
            rise = _trailing_zeros(node)
            node, last = node >> rise, last >> rise
        else:
            computed = node_hash(computed, sibling)
        node, last = node >> 1, last >> 1
    if last != 0:
        raise Unproven("the inclusion path is too short")
    if computed != root:
        raise Unproven("the inclusion path leads to another root")


def verify_consistency(
    size1: int, size2: int, root1: bytes, root2: bytes, path: Sequence[bytes]
) -> None:
    """Check that the tree of `size2` only appended to the tree of `size1`. RFC 9162 2.1.4.2.

    Trees of one size are consistent when their roots are equal, with an empty path.

    Raises:
        Unproven: it is not proved, `size1` is 0, or `size1` is larger than `size2`.
    """
    if size1 == 0:
        raise Unproven("an empty tree proves nothing about a later one")
    verify_subtree_consistency((0, size1), size2, root1, root2, path)


def verify_subtree_consistency(
    subtree: Subtree, size: int, root1: bytes, root2: bytes, path: Sequence[bytes]
) -> None:
    """Check that the subtree with `root1` is part of the tree of this size with `root2`.

    merkle-tree-certs section 4.4. The empty subtree (`start` = `end`) is part of every
    tree that reaches it: only its own root is looked at then.

    Raises:
        Unproven: it is not proved, or the range is not a subtree within `size`.
    """
    start, end = subtree
    _require_subtree(start, end)
    if not end <= size <= MAX_SIZE:
        raise Unproven(f"a tree of size {size} does not reach to {end}")
    _require_hashes("path", path)
    if start == end:
        if path or root1 != EMPTY_ROOT:
            raise Unproven("an empty subtree has the empty root and an empty path")
        return
    first, last, tree_last = start, end - 1, size - 1
    # The path begins at the largest complete subtree that ends where ours ends.
    rise = (last ^ first).bit_length()
    if last != tree_last:
        rise = min(rise, _trailing_zeros(end))
    first, last, tree_last = first >> rise, last >> rise, tree_last >> rise
    if first == last:
        seed, steps = root1, path
    elif path:
        seed, steps = path[0], path[1:]
    else:
        raise Unproven("the consistency path is too short")
    computed1, computed2 = _climb(first, last, tree_last, seed, steps)
    if computed1 != root1:
        raise Unproven("the consistency path leads to another earlier root")
    if computed2 != root2:
        raise Unproven("the consistency path leads to another later root")


def _climb(
    first: int, last: int, tree_last: int, seed: bytes, steps: Sequence[bytes]
) -> tuple[bytes, bytes]:
    """Compute the subtree's and the tree's root from a node that both share.

    `first`, `last` and `tree_last` number, on the level reached, the nodes over the
    first and the last leaf of the subtree and the last leaf of the tree.
    """
    computed1 = computed2 = seed
    for sibling in steps:
        if tree_last == 0:
            raise Unproven("the consistency path is too long")
        if last & 1 or last == tree_last:
            if first < last:
                computed1 = node_hash(sibling, computed1)
            computed2 = node_hash(sibling, computed2)
            rise = _trailing_zeros(last)
            first, last, tree_last = first >> rise, last >> rise, tree_last >> rise
        else:
            computed2 = node_hash(computed2, sibling)
        first, last, tree_last = first >> 1, last >> 1, tree_last >> 1
    if tree_last != 0:
        raise Unproven("the consistency path is too short")
    return computed1, computed2


def consistency_path(size1: int, size2: int, fetch: Fetch) -> tuple[bytes, ...]:
    """Compute PROOF(size1, D[size2]) of RFC 6962 section 2.1.2 from stored complete subtrees.

    Raises:
        ValueError: not 0 < `size1` <= `size2` < 2^63.
    """
    if not 0 < size1 <= size2 <= MAX_SIZE:
        raise ValueError(f"no consistency path from size {size1} to size {size2}")
    start, end = 0, size2
    aside = []
    while end != size1:
        middle = start + split(end - start)
        if size1 <= middle:
            aside.append((middle, end))
            end = middle
        else:
            aside.append((start, middle))
            start = middle
    if start != 0:  # otherwise what remains is the earlier tree itself, whose root is known
        aside.append((start, end))
    return tuple(range_root(start, end, fetch) for start, end in reversed(aside))


def _require_subtree(start: int, end: int) -> None:
    """Refuse leaf ranges that are no subtree (merkle-tree-certs section 4.1)."""
    if not 0 <= start <= end <= MAX_SIZE:
        raise Unproven(f"no tree has leaves from {start} to before {end}")
    if end > start and start & ((1 << (end - start - 1).bit_length()) - 1):
        raise Unproven(f"the leaves from {start} to before {end} are not a subtree")


def _require_hashes(what: str, hashes: Sequence[bytes]) -> None:
    # Roots are only compared, or hashed together with 32-byte hashes towards a root of
    # 32 bytes, so their length needs no look of its own; `Checkpoint` fixes it anyway.
    if any(len(value) != HASH_BYTES for value in hashes):
        raise Unproven(f"the {what} has a hash that is not {HASH_BYTES} bytes")


def _trailing_zeros(number: int) -> int:
    """Count the zero bits below the lowest one bit; none for 0."""
    return (number & -number).bit_length() - 1 if number else 0
