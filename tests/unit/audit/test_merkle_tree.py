"""The tree and its proofs, against the recursive definitions of RFC 6962 and known answers."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharegate.audit.proof import (
    consistency_path,
    verify_consistency,
    verify_inclusion,
    verify_subtree_consistency,
    verify_subtree_inclusion,
)
from sharegate.audit.tree import (
    EMPTY_ROOT,
    Batch,
    Frontier,
    inclusion_nodes,
    inclusion_path,
    leaf_hash,
    node_hash,
)
from sharegate.audit.verdict import Malformed, Unproven

# --- The oracle: RFC 6962 section 2.1 and draft-ietf-plants-merkle-tree-certs section 4.4.1,
# --- word for word and slow, over leaf hashes.


def split_at(n):
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def mth(leaves):
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = split_at(len(leaves))
    return hashlib.sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path_of(m, leaves):
    if len(leaves) == 1:
        return []
    k = split_at(len(leaves))
    if m < k:
        return [*path_of(m, leaves[:k]), mth(leaves[k:])]
    return [*path_of(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(start, end, leaves, known):
    n = len(leaves)
    if (start, end) == (0, n):
        return [] if known else [mth(leaves)]
    k = split_at(n)
    if end <= k:
        return [*subproof(start, end, leaves[:k], known), mth(leaves[k:])]
    if k <= start:
        return [*subproof(start - k, end - k, leaves[k:], known), mth(leaves[:k])]
    return [*subproof(0, end - k, leaves[k:], known=False), mth(leaves[:k])]


def is_subtree(start, end):
    width = 1
    while width < end - start:
        width *= 2
    return start % width == 0


# --- What the tests share


def leaves_of(count):
    return [leaf_hash(b"entry %d" % i) for i in range(count)]


MOST = 70
LEAVES = leaves_of(MOST)


def fetch(level, n):
    """Give a complete subtree of LEAVES, as a store would."""
    wanted = LEAVES[n << level : (n + 1) << level]
    assert len(wanted) == 1 << level, "asked for a subtree that is not complete"
    return mth(wanted)


def refused(check, *arguments):
    with pytest.raises(Unproven):
        check(*arguments)


# --- Known answers: those of the Certificate Transparency reference tests

KNOWN_LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
KNOWN_ROOTS = {
    0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


@pytest.mark.parametrize("size", KNOWN_ROOTS)
def test_known_roots(size):
    hashes = [leaf_hash(leaf) for leaf in KNOWN_LEAVES[:size]]
    assert Frontier.empty().extend(hashes).root().hex() == KNOWN_ROOTS[size]


def test_leaf_and_node_hashes_are_apart():
    left, right = LEAVES[:2]
    assert leaf_hash(left + right) != node_hash(left, right)
    assert node_hash(left, right) == hashlib.sha256(b"\x01" + left + right).digest()
    assert hashlib.sha256(b"").digest() == EMPTY_ROOT


def test_the_example_tree_of_rfc_6962():
    """Section 2.1.3 draws the tree of seven leaves and names the nodes of its proofs."""
    d = LEAVES[:7]
    a, b, c, dd, e, f, j = d
    g, h, i = node_hash(a, b), node_hash(c, dd), node_hash(e, f)
    k, l_ = node_hash(g, h), node_hash(i, j)
    batch = Batch(Frontier.empty(), d)
    assert batch.path(0) == (b, h, l_)
    assert batch.path(3) == (c, g, l_)
    assert batch.path(4) == (f, j, k)
    assert batch.path(6) == (i, k)
    assert consistency_path(3, 7, fetch) == (c, dd, g, l_)
    assert consistency_path(4, 7, fetch) == (l_,)
    assert consistency_path(6, 7, fetch) == (i, j, k)


# --- Growing


def test_a_frontier_holds_the_complete_subtrees_of_its_size():
    frontier = Frontier.empty()
    for size in range(MOST):
        assert (frontier.size, len(frontier.hashes)) == (size, size.bit_count())
        assert frontier.root() == mth(LEAVES[:size])
        frontier = frontier.extend([LEAVES[size]])


@given(st.lists(st.integers(0, 20), max_size=8))
def test_batches_of_any_size_grow_the_same_tree(batches):
    frontier = Frontier.empty()
    leaves = leaves_of(sum(batches))
    for size in batches:
        before = frontier
        frontier = frontier.extend(leaves[frontier.size : frontier.size + size])
        assert before.size + size == frontier.size
    assert frontier == Frontier.empty().extend(leaves)
    assert frontier.root() == mth(leaves)


def test_extending_hashes_each_completed_node_once(monkeypatch):
    hashed = []

    def counting(data):
        hashed.append(data)
        return hashlib.sha256(data)

    monkeypatch.setattr("sharegate.audit.tree.sha256", counting)
    frontier = Frontier.empty()
    for size in (3, 1, 8, 0, 21, 30):
        frontier = frontier.extend(LEAVES[frontier.size : frontier.size + size])
    # A tree of n leaves has n - popcount(n) complete nodes above them.
    assert len(hashed) == len(set(hashed)) == 63 - (63).bit_count()


@pytest.mark.parametrize(
    ("size", "hashes"),
    [
        (0, (bytes(32),)),
        (1, ()),
        (3, (bytes(32),)),
        (1, (bytes(31),)),
        (1, (bytes(33),)),
        (-1, ()),
        (2**63, (bytes(32),)),
    ],
)
def test_a_frontier_must_fit_its_size(size, hashes):
    with pytest.raises(Malformed):
        Frontier(size, hashes)


def test_a_tree_ends_at_two_to_the_63_less_one():
    nearly = Frontier(2**63 - 2, tuple(LEAVES[:62]))
    full = nearly.extend([LEAVES[0]])
    assert (full.size, len(full.hashes)) == (2**63 - 1, 63)
    with pytest.raises(Malformed):
        full.extend([LEAVES[0]])


@pytest.mark.parametrize("wrong", [b"", bytes(31), bytes(33)])
def test_only_hashes_are_appended(wrong):
    with pytest.raises(Malformed):
        Frontier.empty().extend([LEAVES[0], wrong])


# --- Inclusion


def test_every_inclusion_path_is_the_recursive_one():
    for size in range(1, MOST + 1):
        for index in range(size):
            assert list(inclusion_path(index, size, fetch)) == path_of(index, LEAVES[:size])


@given(st.integers(0, 40), st.integers(1, 30))
def test_a_batch_knows_the_paths_of_its_leaves(before, count):
    batch = Batch(Frontier.empty().extend(LEAVES[:before]), LEAVES[before : before + count])
    size = before + count
    assert batch.after == Frontier.empty().extend(LEAVES[:size])
    for index in range(before, size):
        assert list(batch.path(index)) == path_of(index, LEAVES[:size])


@given(st.integers(0, 40), st.integers(0, 30))
def test_a_batch_lists_the_subtrees_it_completed(before, count):
    batch = Batch(Frontier.empty().extend(LEAVES[:before]), LEAVES[before : before + count])
    for level in range(8):
        width = 1 << level
        ends = range(width, before + count + 1, width)
        assert batch.completed(level) == [
            (end // width - 1, mth(LEAVES[end - width : end])) for end in ends if end > before
        ]


@given(st.integers(0, 40), st.integers(1, 30))
def test_a_batch_proves_that_the_tree_only_grew_since_any_size_in_it(before, count):
    batch = Batch(Frontier.empty().extend(LEAVES[:before]), LEAVES[before : before + count])
    size = before + count
    for old in range(max(before, 1), size + 1):
        assert consistency_path(old, size, batch.node) == consistency_path(old, size, fetch)


@given(st.integers(0, 40), st.integers(1, 30))
def test_a_batch_gives_the_true_node_or_none(before, count):
    batch = Batch(Frontier.empty().extend(LEAVES[:before]), LEAVES[before : before + count])
    for level in range(8):
        for n in range(-2, 80):
            end = (n + 1) << level
            try:
                node = batch.node(level, n)
            except KeyError:
                assert not before < end <= before + count  # what it completed it has
            else:
                assert n >= 0
                assert end <= before + count
                assert node == mth(LEAVES[n << level : end])


@pytest.mark.parametrize("index", [-1, 4, 7, 100])
def test_a_batch_knows_no_other_leaves(index):
    batch = Batch(Frontier.empty().extend(LEAVES[:5]), LEAVES[5:7])
    with pytest.raises(ValueError, match="not among 5 to 6"):
        batch.path(index)


def test_the_nodes_of_a_path_are_exactly_those_it_asks_for():
    for size in range(1, MOST + 1):
        for index in range(size):
            asked = []

            def noting(level, n, asked=asked):
                asked.append((level, n))
                return bytes(32)

            inclusion_path(index, size, noting)
            assert asked == inclusion_nodes(index, size)
            assert all(((n + 1) << level) <= size for level, n in asked)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (5, 5), (-1, 5), (0, 2**63)])
def test_there_is_no_path_outside_the_tree(index, size):
    with pytest.raises(ValueError, match="no leaf"):
        inclusion_nodes(index, size)


def test_inclusion_proofs_hold_and_nothing_near_them_does():
    for size in (1, 2, 3, 7, 8, 33, 64, 70):
        root = mth(LEAVES[:size])
        for index in range(size):
            path = path_of(index, LEAVES[:size])
            leaf = LEAVES[index]
            verify_inclusion(index, size, leaf, path, root)
            refused(verify_inclusion, index, size, leaf, [*path, root], root)
            refused(verify_inclusion, index, size, leaf, [bytes(32), *path], root)
            refused(verify_inclusion, index, size, leaf, path, bytes(32))
            refused(verify_inclusion, index, size, bytes(32), path, root)
            refused(verify_inclusion, size, size, leaf, path, root)
            refused(verify_inclusion, -1, size, leaf, path, root)
            refused(verify_inclusion, index ^ 1, size, leaf, path, root)
            for place in range(len(path)):
                without = path[:place] + path[place + 1 :]
                refused(verify_inclusion, index, size, leaf, without, root)
                cut = [*path[:place], path[place][:31], *path[place + 1 :]]
                refused(verify_inclusion, index, size, leaf, cut, root)


@pytest.mark.parametrize("index", [0, 7])
def test_a_path_of_another_length_fails_even_if_its_hashes_lead_to_the_root(index):
    """A liar may choose the root too: the size alone says how long the path must be."""
    steps = [*path_of(index, LEAVES[:8]), bytes(32), bytes(32)]
    root = LEAVES[index]
    for length in range(6):
        reason = "too short" if length < 3 else "too long"
        if length == 3:
            verify_inclusion(index, 8, LEAVES[index], steps[:3], root)
        else:
            with pytest.raises(Unproven, match=reason):
                verify_inclusion(index, 8, LEAVES[index], steps[:length], root)
        if length < 5:
            root = node_hash(steps[length], root) if index else node_hash(root, steps[length])


def test_an_inner_node_is_not_a_leaf_of_a_smaller_tree():
    root = mth(LEAVES[:4])
    verify_inclusion(0, 4, LEAVES[0], path_of(0, LEAVES[:4]), root)
    # The attack a size in the checkpoint and 0x00/0x01 prefixes are there to stop: as
    # hashes the shorter tree is right, so only the data can show the node is no leaf.
    inner = LEAVES[0] + LEAVES[1]
    refused(verify_inclusion, 0, 2, leaf_hash(inner), [mth(LEAVES[2:4])], root)


@given(st.integers(0, 2**63), st.integers(0, 2**64), st.lists(st.binary(min_size=32, max_size=32)))
def test_garbage_is_refused_and_never_crashes(index, size, path):
    refused(verify_inclusion, index, size, bytes(32), path, b"x" * 32)


def test_the_tallest_tree_can_be_proved():
    size = 2**63 - 1
    frontier = Frontier(size - 1, tuple(LEAVES[:62]))
    batch = Batch(frontier, [LEAVES[0]])
    path = batch.path(size - 1)
    assert len(path) == 62
    verify_inclusion(size - 1, size, LEAVES[0], path, batch.after.root())


# --- Consistency


def test_consistency_paths_are_the_recursive_ones_and_hold():
    for size2 in range(1, 41):
        later = LEAVES[:size2]
        root2 = mth(later)
        for size1 in range(1, size2 + 1):
            path = consistency_path(size1, size2, fetch)
            root1 = mth(later[:size1])
            assert list(path) == subproof(0, size1, later, known=True)
            verify_consistency(size1, size2, root1, root2, path)


def test_nothing_near_a_consistency_proof_holds():
    for size1, size2 in ((1, 2), (3, 7), (4, 7), (6, 7), (7, 8), (8, 8), (21, 33), (32, 64)):
        root1, root2 = mth(LEAVES[:size1]), mth(LEAVES[:size2])
        path = list(consistency_path(size1, size2, fetch))
        other = bytes(32)
        refused(verify_consistency, size1, size2, other, root2, path)
        refused(verify_consistency, size1, size2, root1, other, path)
        refused(verify_consistency, size1, size2, root1, root2, [*path, root2])
        refused(verify_consistency, size1, size2, root1, root2, [other, *path])
        refused(verify_consistency, size2 + 1, size2, root1, root2, path)
        refused(verify_consistency, 0, size2, EMPTY_ROOT, root2, [])
        refused(verify_consistency, -1, size2, root1, root2, path)
        for place in range(len(path)):
            without = path[:place] + path[place + 1 :]
            refused(verify_consistency, size1, size2, root1, root2, without)
            swapped = [*path[:place], other, *path[place + 1 :]]
            refused(verify_consistency, size1, size2, root1, root2, swapped)
            cut = [*path[:place], path[place][:31], *path[place + 1 :]]
            refused(verify_consistency, size1, size2, root1, root2, cut)


def test_a_consistency_path_of_another_length_fails_even_if_it_leads_to_the_root():
    one, two, three = LEAVES[:3]
    # Right for a tree of two, offered for larger ones; and the other way round.
    verify_consistency(1, 2, one, node_hash(one, two), [two])
    for size2 in (3, 4, 5, 8):
        with pytest.raises(Unproven, match="too short"):
            verify_consistency(1, size2, one, node_hash(one, two), [two])
    root = node_hash(node_hash(one, two), three)
    verify_consistency(1, 3, one, root, [two, three])
    for upper in (root, node_hash(three, node_hash(one, two))):
        with pytest.raises(Unproven, match="too long"):
            verify_consistency(1, 2, one, upper, [two, three])


def test_bytes_cannot_move_from_one_hash_to_the_next():
    """Two strings hash as one, so each must have its length."""
    one, two = LEAVES[:2]
    root = node_hash(one, two)
    refused(verify_consistency, 1, 2, one[:31], root, [one[31:] + two])
    refused(verify_inclusion, 0, 2, one[:31], [one[31:] + two], root)


def test_a_range_no_tree_has_as_a_node_is_refused():
    joined = node_hash(LEAVES[1], LEAVES[2])
    with pytest.raises(Unproven, match="not a subtree"):
        verify_subtree_inclusion(1, (1, 3), LEAVES[1], [LEAVES[2]], joined)
    with pytest.raises(Unproven, match="not a subtree"):
        verify_subtree_consistency((1, 3), 3, joined, joined, [])


@pytest.mark.parametrize(("size1", "size2"), [(0, 5), (6, 5), (1, 2**63)])
def test_there_is_no_consistency_path_for_such_sizes(size1, size2):
    with pytest.raises(ValueError, match="no consistency path"):
        consistency_path(size1, size2, fetch)


def test_every_subtree_is_proved_in_its_tree():
    for size in range(1, 34):
        root = mth(LEAVES[:size])
        for end in range(1, size + 1):
            for start in range(end):
                sub = mth(LEAVES[start:end])
                if not is_subtree(start, end):
                    refused(verify_subtree_consistency, (start, end), size, sub, root, [])
                    refused(verify_subtree_inclusion, start, (start, end), LEAVES[0], [], sub)
                    continue
                path = subproof(start, end, LEAVES[:size], known=True)
                verify_subtree_consistency((start, end), size, sub, root, path)
                refused(verify_subtree_consistency, (start, end), size, bytes(32), root, path)
                refused(verify_subtree_consistency, (start, end), size, sub, root, [*path, root])
                refused(verify_subtree_consistency, (start, end), end - 1, sub, root, path)


def test_every_leaf_is_proved_in_its_subtree():
    for start, end in ((0, 13), (8, 13), (16, 32), (32, 33), (64, 70)):
        root = mth(LEAVES[start:end])
        for index in range(start, end):
            path = path_of(index - start, LEAVES[start:end])
            verify_subtree_inclusion(index, (start, end), LEAVES[index], path, root)
            if start:
                refused(
                    verify_subtree_inclusion, index - start, (start, end), LEAVES[index], path, root
                )
        refused(verify_subtree_inclusion, end, (start, end), LEAVES[end - 1], [], root)


def test_the_empty_subtree_is_part_of_every_tree_that_reaches_it():
    verify_subtree_consistency((3, 3), 5, EMPTY_ROOT, bytes(32), [])
    refused(verify_subtree_consistency, (3, 3), 5, bytes(32), bytes(32), [])
    refused(verify_subtree_consistency, (3, 3), 5, EMPTY_ROOT, bytes(32), [bytes(32)])
    refused(verify_subtree_consistency, (6, 6), 5, EMPTY_ROOT, bytes(32), [])


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 1000])
def test_a_frontier_is_kept_as_one_value_and_read_back(size):
    frontier = Frontier.empty().extend([bytes([n % 256]) * 32 for n in range(size)])
    assert Frontier.of(size, frontier.edge) == frontier
    for other in (frontier.edge + b"x", frontier.edge + bytes(32), frontier.edge[:-1] or b"x"):
        with pytest.raises(Malformed):
            Frontier.of(size, other)
