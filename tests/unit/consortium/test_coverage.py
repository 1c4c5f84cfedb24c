"""Coverage: who waits, who is answered, and that old proofs are those of the whole tree."""

import asyncio

import pytest

from sharegate.audit.chain import GENESIS, encode_leaf
from sharegate.audit.checkpoint import Checkpoint
from sharegate.audit.proof import verify_consistency, verify_inclusion
from sharegate.audit.tree import Frontier, inclusion_path, leaf_hash, node_hash
from sharegate.consortium import coverage as coverage_module
from sharegate.consortium.coverage import STORED_LEVELS, Coverage, completed_subtrees, extend
from sharegate.consortium.memory import LogState
from sharegate.errors import AuditLogUnavailable, LogDiverged, Unavailable


def chain(count, core=b"{}"):
    leaves, last = [], GENESIS
    for n in range(count):
        leaves.append(encode_leaf(n, last, core))
        last = leaf_hash(leaves[-1])
    return leaves


LEAVES = chain(66_050)
HASHES = [leaf_hash(leaf) for leaf in LEAVES]


def _levels():
    levels, row = [], HASHES
    while row:
        levels.append(row)
        row = [node_hash(row[n], row[n + 1]) for n in range(0, len(row) - 1, 2)]
    return levels


LEVELS = _levels()


class Shelf:
    """A reader over a list of leaves, with the subtrees that were stored."""

    def __init__(self, leaves=LEAVES, missing=()):
        self.kept = leaves
        self.missing = set(missing)
        self.asked = 0
        self.read = 0
        self.down = False

    async def leaves(self, first, most):
        self.asked += 1
        if self.down:
            raise OSError
        found = self.kept[first : first + most]
        self.read += len(found)
        return found

    async def subtrees(self, ranges):
        self.asked += 1
        if self.down:
            raise OSError
        found = {}
        for level, first, after in ranges:
            assert level in STORED_LEVELS
            for n in range(first, after):
                if (level, n) not in self.missing and n < len(LEVELS[level]):
                    found[level, n] = LEVELS[level][n]
        self.read += len(found)
        return found


def state(size):
    return LogState(Frontier.empty().extend(HASHES[:size]), HASHES[size - 1] if size else GENESIS)


def coverage(size=None, shelf=None):
    made = Coverage(shelf or Shelf())
    if size is not None:
        made.resume(state(size), b"note %d" % size)
    return made


def publish(made, upto):
    first = made.state.frontier.size
    made.publish(extend(made.state, LEAVES[first:upto]), b"note %d" % upto)


async def waiting(made, *indexes):
    tasks = [asyncio.ensure_future(made.covered(index)) for index in indexes]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


# --- old entries ------------------------------------------------------------------------------

SIZES = [1, 2, 3, 255, 256, 257, 511, 512, 513, 1000, 65_535, 65_536, 65_537, 65_793, 66_050]


@pytest.mark.parametrize("size", SIZES)
async def test_the_proof_of_an_old_entry_is_that_of_the_whole_tree(size):
    shelf = Shelf()
    made = coverage(size, shelf)
    places = {0, 1, size // 2, size // 3, size - 1, size - 2, size & ~255, 255, 256, 65_535, 65_536}
    for index in sorted(place for place in places if 0 <= place < size):
        shelf.read = 0
        covered = await made.covered(index)
        path = covered.paths.path(index)
        assert (covered.index, covered.leaf) == (index, LEAVES[index])
        assert covered.checkpoint == b"note %d" % size
        assert path == inclusion_path(index, size, lambda level, n: LEVELS[level][n])
        verify_inclusion(index, size, HASHES[index], path, state(size).frontier.root())
        assert shelf.read <= 2 * 256 + 2 * 256  # two blocks of leaves and as many stored hashes


async def test_only_so_many_entries_are_held_however_few_batches_they_are(monkeypatch):
    monkeypatch.setattr(coverage_module, "_RECENT_ENTRIES", 8)
    shelf = Shelf()
    made = coverage(0, shelf)
    for upto in (3, 6, 12, 14, 15):
        publish(made, upto)
    assert [(await made.covered(index)).leaf for index in range(6, 15)] == LEAVES[6:15]
    assert shelf.read == 0
    assert (await made.covered(5)).leaf == LEAVES[5]
    assert shelf.read > 0


async def test_a_subtree_that_is_not_stored_yet_is_computed_from_what_is_below_it():
    """The newest ones are stored a moment after the checkpoint that completes them."""
    for missing in [(8, 0)], [(16, 0)], [(16, 0), (8, 3), (8, 200)]:
        made = coverage(66_050, Shelf(missing=missing))
        for index in (300, 66_000):
            covered = await made.covered(index)
            path = inclusion_path(index, 66_050, lambda level, n: LEVELS[level][n])
            assert (covered.leaf, covered.paths.path(index)) == (LEAVES[index], path)


async def test_a_subtree_that_nothing_is_below_means_later_not_never():
    shelf = Shelf(LEAVES[:500], missing=[(8, 1)])
    made = coverage(600, shelf)
    with pytest.raises(AuditLogUnavailable) as refused:
        await made.covered(10)
    assert refused.value.reason is Unavailable.UNSIGNED
    shelf.kept = LEAVES
    assert (await made.covered(10)).leaf == LEAVES[10]


async def test_an_old_entry_that_was_altered_gets_no_receipt():
    altered = list(LEAVES[:600])
    altered[300] = encode_leaf(300, HASHES[299], b'{"changed":1}')
    made = coverage(600, Shelf(altered))
    for index in (300, 301):  # itself, and one whose path it is on
        with pytest.raises(AuditLogUnavailable) as refused:
            await made.covered(index)
        assert refused.value.reason is Unavailable.FROZEN
    assert (await made.covered(10)).leaf == LEAVES[10]


async def test_a_database_that_is_gone_or_too_short_is_unavailable():
    shelf = Shelf()
    made = coverage(600, shelf)
    shelf.down = True
    with pytest.raises(AuditLogUnavailable):
        await made.covered(1)
    with pytest.raises(AuditLogUnavailable):
        await coverage(600, Shelf(LEAVES[:100])).covered(300)


# --- recent entries ---------------------------------------------------------------------------


async def test_recent_entries_are_covered_without_the_database():
    shelf = Shelf()
    made = coverage(0, shelf)
    for upto in (3, 10, 300, 301):
        publish(made, upto)
    for index in (0, 2, 3, 9, 10, 299, 300):
        covered = await made.covered(index)
        size = int(covered.checkpoint.split()[1])
        assert covered.leaf == LEAVES[index]
        assert covered.paths.path(index) == inclusion_path(
            index, size, lambda level, n: LEVELS[level][n]
        )
    assert shelf.asked == 0


async def test_entries_between_what_was_followed_and_what_was_resumed_are_read_again():
    shelf = Shelf()
    made = coverage(0, shelf)
    publish(made, 10)
    made.resume(state(20), b"note 20")  # the signer went on; its memory was found at 20
    publish(made, 30)
    for index in (5, 10, 15, 19, 20, 29):
        covered = await made.covered(index)
        size = int(covered.checkpoint.split()[1])
        verify_inclusion(
            index, size, leaf_hash(covered.leaf), covered.paths.path(index),
            state(size).frontier.root(),
        )  # fmt: skip
    assert shelf.asked == 2 * 3  # for 10, 15 and 19 alone


ENDS = (300, 301, 310, 555, 556, 700)


def in_batches(shelf):
    made = coverage(0, shelf)
    for end in ENDS:
        publish(made, end)
    return made


async def test_of_recent_entries_nothing_is_read_back_under_whichever_later_checkpoint():
    shelf = Shelf()
    coverage = in_batches(shelf)
    for size in (*ENDS[::-1], *ENDS):
        checkpoint = Checkpoint("o", size, Frontier.empty().extend(HASHES[:size]).root())
        for index in {0, 299, 300, 305, 554, 555, 699} & set(range(size)):
            covered = await coverage.under(index, checkpoint, b"note")
            assert (covered.leaf, covered.checkpoint) == (LEAVES[index], b"note")
            path = covered.paths.path(index)
            verify_inclusion(index, size, HASHES[index], path, checkpoint.root)
    assert shelf.asked == 0
    # A checkpoint that ends within a batch, or that is not of this log, is held against the stored.
    inside = Checkpoint("o", 560, Frontier.empty().extend(HASHES[:560]).root())
    covered = await coverage.under(300, inside, b"note")
    verify_inclusion(300, 560, HASHES[300], covered.paths.path(300), inside.root)
    assert shelf.asked > 0
    with pytest.raises(AuditLogUnavailable):
        await coverage.under(300, Checkpoint("o", 556, bytes(32)), b"note")


def test_that_a_tree_only_grew_is_proven_without_reading_from_any_late_size_on():
    coverage = in_batches(None)
    roots = {size: Frontier.empty().extend(HASHES[:size]).root() for size in range(1, 701)}
    for size in (*ENDS[::-1], *ENDS):
        checkpoint = Checkpoint("o", size, roots[size])
        for old in {1, 299, *ENDS, 305, 511, 512, 600} & set(range(1, size)):
            path = coverage.grown(old, checkpoint)
            verify_consistency(old, size, roots[old], roots[size], path)
    assert coverage.grown(310, Checkpoint("o", 560, roots[560])) is None  # within a batch
    assert coverage.grown(310, Checkpoint("o", 556, bytes(32))) is None  # not of this log


async def test_a_gap_in_what_was_followed_is_read_again():
    shelf = Shelf()
    coverage = Coverage(shelf)
    first = extend(LogState.empty(), LEAVES[:300])
    gap = extend(first.after, LEAVES[300:310])
    coverage.publish(first, b"300")
    coverage.resume(gap.after, b"310")
    coverage.publish(extend(gap.after, LEAVES[310:320]), b"320")
    checkpoint = Checkpoint("o", 320, Frontier.empty().extend(HASHES[:320]).root())
    for index, asked in ((315, False), (5, True)):
        before = shelf.asked
        covered = await coverage.under(index, checkpoint, b"note")
        verify_inclusion(index, 320, HASHES[index], covered.paths.path(index), checkpoint.root)
        assert (shelf.asked > before) is asked


async def test_only_so_many_batches_are_held_and_the_older_are_read_again():
    shelf = Shelf()
    made = coverage(0, shelf)
    for upto in range(1, 101):
        publish(made, upto)
    assert (await made.covered(99)).index == 99
    assert shelf.asked == 0
    assert (await made.covered(0)).leaf == LEAVES[0]
    assert shelf.asked == 2


# --- waiting ----------------------------------------------------------------------------------


async def test_whoever_waits_is_answered_once_a_checkpoint_covers_the_entry():
    made = coverage(0)
    tasks = await waiting(made, 0, 1, 1, 5)
    assert made.wanted.is_set()
    assert made.awaits_more()
    publish(made, 2)
    covered = await asyncio.gather(*tasks[:3])
    assert [each.index for each in covered] == [0, 1, 1]
    assert not tasks[3].done()
    assert made.awaits_more()
    publish(made, 6)
    assert (await tasks[3]).checkpoint == b"note 6"
    assert not made.awaits_more()


async def test_who_gave_up_waiting_disturbs_nobody():
    made = coverage(0)
    gave_up, stays = await waiting(made, 1, 1)
    gave_up.cancel()
    await asyncio.sleep(0)
    publish(made, 2)
    assert (await stays).index == 1
    gave_up, stays = await waiting(made, 3, 3)
    gave_up.cancel()
    await asyncio.sleep(0)
    made.suspend(Unavailable.DOWN, "gone")
    with pytest.raises(AuditLogUnavailable):
        await stays
    made.resume(state(2), b"note 2")
    gave_up, stays = await waiting(made, 3, 3)
    gave_up.cancel()
    await asyncio.sleep(0)
    made.resume(state(4), b"note 4")
    assert (await stays).index == 3


async def test_nothing_is_covered_before_anything_was_signed():
    made = coverage()
    with pytest.raises(AuditLogUnavailable) as refused:
        made.require_usable()
    assert refused.value.reason is Unavailable.UNSIGNED
    with pytest.raises(AuditLogUnavailable):
        await made.covered(0)
    made.resume(state(3), b"")  # where another process is known to be, but not what it signed
    made.usable_again()
    with pytest.raises(AuditLogUnavailable):
        await made.covered(0)
    made.resume(state(3), b"note 3")
    assert (await made.covered(0)).checkpoint == b"note 3"


@pytest.mark.parametrize("back", ["resume", "publish", "usable_again"])
async def test_suspended_it_refuses_at_once_until_something_is_signed_again(back):
    made = coverage(2)
    (task,) = await waiting(made, 5)
    made.suspend(Unavailable.UNSIGNED, "stop")
    with pytest.raises(AuditLogUnavailable) as refused:
        await task
    assert refused.value.reason is Unavailable.UNSIGNED
    for index in (0, 5):
        with pytest.raises(AuditLogUnavailable):
            await made.covered(index)
    match back:
        case "resume":
            made.resume(state(6), b"note 6")
        case "publish":
            publish(made, 6)
        case "usable_again":
            made.usable_again()
            publish(made, 6)
    made.require_usable()
    assert (await made.covered(5)).index == 5


@pytest.mark.parametrize("back", ["resume", "publish", "usable_again", "suspend"])
async def test_frozen_it_refuses_for_good(back):
    made = coverage(2)
    (task,) = await waiting(made, 5)
    made.suspend(Unavailable.FROZEN, "stop")
    match back:
        case "resume":
            made.resume(state(6), b"note 6")
        case "publish":
            publish(made, 6)
        case "usable_again":
            made.usable_again()
        case "suspend":
            made.suspend(Unavailable.DOWN, "stopping")
    for refused in (task, made.covered(0), made.covered(5)):
        with pytest.raises(AuditLogUnavailable) as why:
            await refused
        assert why.value.reason is Unavailable.FROZEN
    assert (made.state, made.checkpoint) == (state(2), b"note 2")


async def test_frozen_it_proves_nothing_from_memory_either():
    made = coverage(2)
    publish(made, 6)
    of = Checkpoint("log.example", 6, made.state.frontier.root())
    assert (await made.under(4, of, b"cosigned")).index == 4
    made.suspend(Unavailable.FROZEN, "stop")
    with pytest.raises(AuditLogUnavailable) as why:
        await made.under(4, of, b"cosigned")
    assert why.value.reason is Unavailable.FROZEN


# --- hashing on -------------------------------------------------------------------------------


def test_extending_follows_the_chain_and_the_tree():
    stretch = extend(state(250), LEAVES[250:520])
    assert stretch.after == state(520)
    assert stretch.first == 250
    assert completed_subtrees(stretch.batch) == [(8, 0, LEVELS[8][0]), (8, 1, LEVELS[8][1])]


def test_every_complete_subtree_is_stored_once_however_the_log_was_cut():
    stored, at = [], 0
    for step in (1, 255, 1, 254, 2, 300, 7000, 57_723, 1, 400):
        stored += completed_subtrees(extend(state(at), LEAVES[at : at + step]).batch)
        at += step
    assert stored == [(8, n, LEVELS[8][n]) for n in range(at >> 8)][:256] + [
        (16, 0, LEVELS[16][0])
    ] + [(8, n, LEVELS[8][n]) for n in range(256, at >> 8)]


@pytest.mark.parametrize(
    "leaves",
    [
        LEAVES[4:6],
        [LEAVES[3], LEAVES[5]],
        [encode_leaf(3, HASHES[1], b"{}")],
        [encode_leaf(4, HASHES[2], b"{}")],
        [LEAVES[3], encode_leaf(4, HASHES[2], b"{}")],
        [b""],
        [LEAVES[3], b"SGL1"],
        [b"x" * 70_000],
    ],
)
def test_a_leaf_that_does_not_follow_is_never_hashed_onto_the_tree(leaves):
    with pytest.raises(LogDiverged):
        extend(state(3), leaves)


def test_nothing_new_changes_nothing():
    assert extend(state(7), []).after == state(7)
