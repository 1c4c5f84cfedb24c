"""The hash chain inside the leaves: whatever happened to a log, the right entry is named."""

import random
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharegate.audit.chain import (
    GENESIS,
    MAX_LEAF_BYTES,
    Fault,
    Leaf,
    Rule,
    Verifier,
    encode_leaf,
    linked,
    parse_leaf,
    verify_chain,
)
from sharegate.audit.checkpoint import Checkpoint
from sharegate.audit.tree import EMPTY_ROOT, Frontier, leaf_hash
from sharegate.audit.verdict import Malformed, Unproven

ORIGIN = "gateway.tax.example/log"
SIZE = 40


def chained(cores, seq=0, prev=GENESIS):
    leaves = []
    for core in cores:
        leaves.append(encode_leaf(seq, prev, core))
        seq, prev = seq + 1, leaf_hash(leaves[-1])
    return leaves


def tree_of(leaves):
    return Frontier.empty().extend(list(map(leaf_hash, leaves)))


def state_of(leaves, size):
    return Checkpoint(ORIGIN, size, tree_of(leaves[:size]).root())


def rechained(leaves, index, core):
    """Rewrite one entry and everything after it, as one who holds the database could."""
    cores = [core, *(parse_leaf(leaf).core for leaf in leaves[index + 1 :])]
    prev = leaf_hash(leaves[index - 1]) if index else GENESIS
    return leaves[:index] + chained(cores, index, prev)


CORES = [b'{"entry":%d}' % i for i in range(SIZE)]
LEAVES = chained(CORES)
HEAD = state_of(LEAVES, SIZE)


def flipped(leaf, place, bit=0):
    return leaf[:place] + bytes([leaf[place] ^ 1 << bit]) + leaf[place + 1 :]


def altered(index, place):
    leaves = list(LEAVES)
    leaves[index] = flipped(leaves[index], place)
    return leaves


MAGIC_BYTE, SEQ_BYTE, PREV_BYTE, CORE_BYTE = 2, 11, 30, 50

# --- Leaves


def test_a_leaf_as_it_is_hashed():
    leaf = encode_leaf(258, bytes(range(32)), b"{}")
    assert leaf == b"SGL1" + b"\0\0\0\0\0\0\1\2" + bytes(range(32)) + b"{}"
    assert parse_leaf(leaf) == Leaf(258, bytes(range(32)), b"{}")
    assert bytes(32) == GENESIS


@given(st.integers(0, 2**63 - 2), st.binary(min_size=32, max_size=32), st.binary(min_size=1))
def test_leaves_are_read_back(seq, prev, core):
    data = encode_leaf(seq, prev, core)
    leaf = parse_leaf(data)
    assert leaf == Leaf(seq, prev, core)
    assert encode_leaf(leaf.seq, leaf.prev, leaf.core) == data


@given(st.binary(max_size=60) | st.binary(min_size=30, max_size=60).map(lambda b: b"SGL1\0" + b))
def test_whatever_is_read_as_a_leaf_is_written_the_same(data):
    try:
        leaf = parse_leaf(data)
    except Malformed:
        return
    assert encode_leaf(leaf.seq, leaf.prev, leaf.core) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"SGL1",
        LEAVES[0][:44],
        b"SGL2" + LEAVES[0][4:],
        b"sgl1" + LEAVES[0][4:],
        b"SGL1" + b"\x80" + LEAVES[0][5:],
        b"SGL1" + b"\x7f" + b"\xff" * 7 + LEAVES[0][12:],
        LEAVES[0] + bytes(MAX_LEAF_BYTES),
    ],
)
def test_what_is_not_a_leaf(data):
    with pytest.raises(Malformed):
        parse_leaf(data)


@pytest.mark.parametrize(
    ("seq", "prev", "core"),
    [
        (-1, GENESIS, b"x"),
        (2**63 - 1, GENESIS, b"x"),
        (0, bytes(31), b"x"),
        (0, bytes(33), b"x"),
        (0, GENESIS, b""),
        (0, GENESIS, bytes(MAX_LEAF_BYTES - 43)),
    ],
)
def test_leaves_that_cannot_be(seq, prev, core):
    with pytest.raises(Malformed):
        encode_leaf(seq, prev, core)


def test_the_largest_leaf_fits():
    leaf = encode_leaf(0, GENESIS, bytes(MAX_LEAF_BYTES - 44))
    assert len(leaf) == MAX_LEAF_BYTES
    assert verify_chain([leaf]) == tree_of([leaf])


# --- A log that is right


@pytest.mark.parametrize("size", [0, 1, 2, 39, SIZE])
def test_a_good_log_gives_its_tree(size):
    states = [state_of(LEAVES, n) for n in range(0, size + 1, 3)]
    assert verify_chain(LEAVES[:size], states) == tree_of(LEAVES[:size])


@given(st.lists(st.integers(0, 9)), st.sets(st.integers(0, SIZE)))
def test_a_good_log_may_come_in_batches_of_any_size(batches, checkpoints):
    verifier = Verifier([state_of(LEAVES, size) for size in checkpoints])
    left = iter(LEAVES)
    for count in batches:
        assert verifier.feed(list(islice(left, count))) is None
    assert verifier.feed(left) is None
    assert verifier.finish() is None
    assert verifier.frontier == tree_of(LEAVES)
    assert verifier.prev == leaf_hash(LEAVES[-1])


def test_reading_goes_on_from_a_known_state():
    for start in (1, 7, 32):
        known = tree_of(LEAVES[:start])
        prev = leaf_hash(LEAVES[start - 1])
        states = [state_of(LEAVES, start), HEAD]
        assert verify_chain(LEAVES[start:], states, known, prev) == tree_of(LEAVES)
        assert verify_chain(LEAVES[start:], (), known, bytes(32)) == Fault(start, start, Rule.PREV)


def test_a_long_log_is_read_through():
    leaves = chained([b"%d" % i for i in range(9000)])
    state = state_of(leaves, 9000)
    assert verify_chain(iter(leaves), [state]) == tree_of(leaves)
    leaves[5000] = flipped(leaves[5000], -1)
    assert verify_chain(iter(leaves), [state]) == Fault(5000, 5000, Rule.ALTERED)


# --- A log that is not


@pytest.mark.parametrize("checkpoints", [[], [HEAD], [state_of(LEAVES, n) for n in range(41)]])
@pytest.mark.parametrize(
    ("place", "rule"),
    [
        (MAGIC_BYTE, Rule.MALFORMED),
        (SEQ_BYTE, Rule.SEQUENCE),
        (PREV_BYTE, Rule.PREV),
        (CORE_BYTE, Rule.ALTERED),
    ],
)
def test_the_altered_entry_is_named(checkpoints, place, rule):
    for index in range(SIZE - 2):  # the last two: see below
        assert verify_chain(altered(index, place), checkpoints) == Fault(index, index, rule)


def test_the_last_entry_has_no_successor_to_tell():
    last = SIZE - 1
    # Only a checkpoint knows its bytes: the last one that agrees is where doubt begins.
    assert verify_chain(altered(last, CORE_BYTE)) == tree_of(altered(last, CORE_BYTE))
    assert verify_chain(altered(last, CORE_BYTE), [HEAD]) == Fault(0, last, Rule.ROOT)
    states = [state_of(LEAVES, 17), state_of(LEAVES, last), HEAD]
    assert verify_chain(altered(last, CORE_BYTE), states[1:]) == Fault(last, last, Rule.ROOT)
    assert verify_chain(altered(last, CORE_BYTE), states[::2]) == Fault(17, last, Rule.ROOT)
    # A `prev` that does not fit could be its own fault or its predecessor's.
    assert verify_chain(altered(last, PREV_BYTE)) == Fault(last - 1, last, Rule.PREV)
    assert verify_chain(altered(last - 1, CORE_BYTE)) == Fault(last - 1, last, Rule.PREV)
    assert verify_chain(altered(last, PREV_BYTE), [HEAD]) == Fault(last, last, Rule.PREV)
    assert verify_chain(altered(last - 1, CORE_BYTE), [HEAD]) == Fault(
        last - 1, last - 1, Rule.ALTERED
    )


def test_two_altered_neighbours_are_both_in_the_range():
    leaves = altered(20, CORE_BYTE)
    leaves[21] = flipped(leaves[21], CORE_BYTE)
    assert verify_chain(leaves, [HEAD]) == Fault(20, 21, Rule.PREV)


def test_a_missing_added_or_moved_entry_is_named():
    missing = LEAVES[:9] + LEAVES[10:]
    added = [*LEAVES[:9], LEAVES[3], *LEAVES[9:]]
    moved = [*LEAVES[:9], LEAVES[10], LEAVES[9], *LEAVES[11:]]
    for leaves in (missing, added, moved):
        for states in ([], [HEAD]):
            assert verify_chain(leaves, states) == Fault(9, 9, Rule.SEQUENCE)
    assert verify_chain(LEAVES[1:]) == Fault(0, 0, Rule.SEQUENCE)


def test_a_missing_entry_whose_successors_were_renumbered_is_in_the_range():
    renumbered = [
        encode_leaf(leaf.seq - 1, leaf.prev, leaf.core) for leaf in map(parse_leaf, LEAVES[10:])
    ]
    assert verify_chain(LEAVES[:9] + renumbered) == Fault(8, 9, Rule.PREV)


def test_a_rewritten_tail_is_found_by_the_checkpoints_and_only_by_them():
    leaves = rechained(LEAVES, 20, b"forged")
    assert verify_chain(leaves) == tree_of(leaves)
    assert verify_chain(leaves, [HEAD]) == Fault(0, SIZE - 1, Rule.ROOT)
    states = [state_of(LEAVES, size) for size in (40, 10, 30, 16, 24)]
    assert verify_chain(leaves, states) == Fault(16, 23, Rule.ROOT)
    every = [state_of(LEAVES, size) for size in range(41)]
    assert verify_chain(leaves, every) == Fault(20, 20, Rule.ROOT)


def test_a_cut_off_log_misses_what_the_checkpoints_cover():
    states = [state_of(LEAVES, 10), HEAD, state_of(LEAVES, 35)]
    assert verify_chain(LEAVES[:33], states) == Fault(33, 39, Rule.MISSING)
    assert verify_chain([], [HEAD]) == Fault(0, 39, Rule.MISSING)
    assert verify_chain(LEAVES[:33], [state_of(LEAVES, 33)]) == tree_of(LEAVES[:33])


@pytest.mark.parametrize("leaf", [b"", LEAVES[7][:43], LEAVES[7][:44], b"x" * 70_000])
def test_bytes_that_are_no_entry_are_named(leaf):
    assert verify_chain([*LEAVES[:7], leaf, *LEAVES[8:]], [HEAD]) == Fault(7, 7, Rule.MALFORMED)


def test_garbage_after_a_doubt_does_not_hide_it():
    for garbage in (b"", b"x" * 44, b"x" * 45):
        leaves = [*altered(7, CORE_BYTE)[:9], garbage]
        fault = verify_chain(leaves)
        assert fault == Fault(7, 8, Rule.PREV)


def test_the_fault_does_not_depend_on_how_the_leaves_come():
    rng = random.Random(7)
    states = [state_of(LEAVES, size) for size in (5, 11, 12, 30, 40)]
    for _ in range(300):
        index = rng.randrange(SIZE)
        leaves = altered(index, rng.randrange(len(LEAVES[index])))
        whole = verify_chain(leaves, states)
        verifier = Verifier(states)
        place = 0
        while place < SIZE:
            step = rng.randrange(4)
            verifier.feed(leaves[place : place + step])
            place += step
        assert verifier.finish() == whole
        assert isinstance(whole, Fault)
        assert whole.index_low <= index <= whole.index_high
        assert whole.index_low == index or whole.rule is Rule.ROOT


@given(
    st.lists(st.integers(1, SIZE), max_size=6),
    st.lists(st.integers(1, SIZE), max_size=4),
    st.one_of(st.none(), st.tuples(st.integers(0, SIZE - 1), st.integers(0, 54))),
    st.data(),
)
def test_hashes_are_taken_where_leaves_would_be_and_what_is_wrong_is_left(cuts, signed, flip, data):
    leaves = LEAVES if flip is None else altered(*flip)
    checkpoints = [state_of(LEAVES, size) for size in {*signed, SIZE}]
    fed, joined = Verifier(checkpoints), Verifier(checkpoints)
    ends = sorted({*cuts, SIZE})
    for first, after in zip([0, *ends], ends, strict=False):
        part = leaves[first:after]
        fed.feed(part)
        found = linked(part, first) if data.draw(st.booleans()) else None
        if found is None or not joined.take(*found):
            joined.feed(part)
        assert (joined.frontier, joined.prev, joined.agrees) == (fed.frontier, fed.prev, fed.agrees)
    assert joined.finish() == fed.finish()
    assert (fed.fault is None) is (leaves == LEAVES)


@pytest.mark.parametrize("place", range(44))  # all that comes before a core
@pytest.mark.parametrize("index", [5, 6, 9])
def test_only_leaves_that_follow_one_another_are_linked(index, place):
    assert linked(altered(index, place)[5:10], 5) is None
    assert linked(LEAVES[5:10], 5) == (leaf_hash(LEAVES[4]), list(map(leaf_hash, LEAVES[5:10])))
    assert linked(LEAVES[5:10], 6) is None
    assert linked([b"", *LEAVES[6:10]], 5) is None
    elsewhere = flipped(LEAVES[5], PREV_BYTE)  # what stands before the first is not looked at
    assert linked([elsewhere], 5) == (parse_leaf(elsewhere).prev, [leaf_hash(elsewhere)])


@pytest.mark.parametrize("first", [0, 20, SIZE - 2])
def test_the_last_whose_hash_was_taken_is_named_by_the_one_after_it(first):
    leaves = altered(SIZE - 2, CORE_BYTE)
    verifier = Verifier([HEAD])
    verifier.feed(leaves[:first])
    hashes = list(map(leaf_hash, leaves[first : SIZE - 1]))
    assert verifier.take(parse_leaf(leaves[first]).prev, hashes)
    assert verifier.feed(leaves[SIZE - 1 :]) is None  # no successor has told yet
    assert verifier.finish() == Fault(SIZE - 2, SIZE - 2, Rule.ALTERED)


def test_hashes_that_do_not_fit_change_nothing():
    checkpoints = [state_of(LEAVES, 10), HEAD]
    hashes = list(map(leaf_hash, LEAVES))
    for prev, taken in ((b"x" * 32, hashes[:5]), (GENESIS, [*hashes[:9], bytes(32)])):
        verifier = Verifier(checkpoints)
        assert not verifier.take(prev, taken)
        assert verifier.frontier == Frontier.empty()
        assert verifier.take(GENESIS, hashes[:5])
        assert not verifier.take(GENESIS, hashes[5:6])
        assert verifier.feed(LEAVES[5:]) is None
        assert verifier.finish() is None
    faulty = Verifier(checkpoints)
    assert faulty.feed([LEAVES[1]]) is not None
    assert not faulty.take(GENESIS, hashes[:5])


def test_after_the_first_fault_nothing_more_is_read():
    verifier = Verifier()
    assert verifier.feed(altered(7, SEQ_BYTE)) == Fault(7, 7, Rule.SEQUENCE)
    assert verifier.frontier == tree_of(LEAVES[:7])
    unread = iter(LEAVES[8:])
    assert verifier.feed(unread) == verifier.finish() == Fault(7, 7, Rule.SEQUENCE)
    assert next(unread) == LEAVES[8]


# --- Checkpoints that cannot be used


def test_two_checkpoints_of_one_size_and_two_roots_are_a_fork():
    forged = Checkpoint(ORIGIN, SIZE, bytes(32))
    with pytest.raises(Unproven, match="size 40 have different roots"):
        Verifier([HEAD, state_of(LEAVES, 3), forged])
    assert verify_chain(LEAVES, [HEAD, HEAD]) == tree_of(LEAVES)


def test_checkpoints_must_be_of_one_log_and_not_older_than_the_start():
    with pytest.raises(Unproven, match="two logs"):
        Verifier([HEAD, Checkpoint("other.example", 1, bytes(32))])
    start = tree_of(LEAVES[:7])
    with pytest.raises(ValueError, match="older"):
        Verifier([state_of(LEAVES, 6)], start)
    with pytest.raises(Unproven, match="contradicts"):
        Verifier([Checkpoint(ORIGIN, 7, bytes(32))], start)
    Verifier([Checkpoint(ORIGIN, 0, EMPTY_ROOT)])


@pytest.mark.parametrize("rule", Rule)
def test_a_fault_is_said_in_words(rule):
    assert str(Fault(7, 7, rule)).startswith("entry 7: the ")
    assert str(Fault(7, 9, rule)).startswith("entries 7 to 9: the ")


def test_an_entry_that_a_checkpoint_ends_with_is_not_blamed_for_what_follows():
    """Written anew from 6 on, with a wrong hash of the entry before in 6."""
    true = chained([b"%d" % n for n in range(10)])
    forged = [*true[:6], *chained([b"forged"] * 4, seq=6, prev=bytes(32))]
    states = [state_of(true, 6), state_of(true, 10)]
    assert verify_chain(forged, states) == Fault(6, 6, Rule.PREV)
    resumed = verify_chain(forged[6:], states[1:], tree_of(true[:6]), leaf_hash(true[5]))
    assert resumed == Fault(6, 6, Rule.PREV)
