"""Any change to a past that witnesses have cosigned is found offline, and the place is named.

Whoever changes it holds everything but the witnesses' keys: the entries, their hashes, the log's
own signing key. What stands against him is one earlier checkpoint that somebody kept.
"""

import random
from collections import Counter

import pytest

from sharegate.audit.chain import GENESIS, Fault, Rule, encode_leaf, parse_leaf, verify_chain
from sharegate.audit.checkpoint import Checkpoint
from sharegate.audit.tree import Frontier, leaf_hash
from sharegate.audit.verdict import Unproven

ORIGIN = "audit.sharegate.example"
SIZE, KEPT = 64, 48  # entries now, and when the checkpoint was cosigned that was kept
CHANCE = random.Random(4)


def chained(cores):
    """A log with these cores, its chain whole."""
    leaves, prev = [], GENESIS
    for seq, core in enumerate(cores):
        leaves.append(encode_leaf(seq, prev, core))
        prev = leaf_hash(leaves[-1])
    return leaves


CORES = [CHANCE.randbytes(CHANCE.randrange(40, 90)) for _ in range(SIZE)]
LOG = chained(CORES)


def signed(leaves):
    """What whoever has the log's key signs over them."""
    root = Frontier.empty().extend([leaf_hash(leaf) for leaf in leaves]).root()
    return Checkpoint(ORIGIN, len(leaves), root)


COSIGNED, NEWEST = signed(LOG[:KEPT]), signed(LOG)


def flips():
    """Every byte of every entry, one bit of it."""
    for index in range(KEPT):
        for at in range(len(LOG[index])):
            leaf = bytearray(LOG[index])
            leaf[at] ^= 1 << CHANCE.randrange(8)
            yield index, [*LOG[:index], bytes(leaf), *LOG[index + 1 :]]


def deletions():
    for index in range(KEPT):
        yield index, [*LOG[:index], *LOG[index + 1 :]]


def insertions():
    for index in range(KEPT):
        new = encode_leaf(index, parse_leaf(LOG[index]).prev, b"new")
        yield index, [*LOG[:index], new, *LOG[index:]]
        if index:  # the same entry twice: the second is what does not belong
            yield index, [*LOG[:index], LOG[index - 1], *LOG[index:]]


def swaps():
    for index in range(KEPT):
        for other in range(index + 1, KEPT):
            leaves = [*LOG]
            leaves[index], leaves[other] = leaves[other], leaves[index]
            yield index, leaves


def truncations():
    for size in range(KEPT):
        yield size, LOG[:size]


def renumbered():
    """An entry is taken out or put in, and all numbers after it fit again, but not the hashes."""
    for index in range(KEPT):
        for cores in (
            [*CORES[:index], *CORES[index + 1 :]],
            [*CORES[:index], b"x", *CORES[index:]],
        ):
            rest = [parse_leaf(leaf).prev for leaf in LOG]
            rest = [*rest, rest[-1]][: len(cores)]
            yield index, [encode_leaf(n, rest[n], core) for n, core in enumerate(cores)]


def rehashed():
    """Every one of the former with its chain made whole again, as if it had always been so."""
    for index in range(KEPT):
        for core in (b"another", CORES[index][:-1], CORES[index] + b"x", CORES[index - 1]):
            yield index, chained([*CORES[:index], core, *CORES[index + 1 :]])
        yield index, chained([*CORES[:index], *CORES[index + 1 :]])
        yield index, chained([*CORES[:index], b"new", *CORES[index:]])
        for other in range(index + 1, KEPT):
            cores = [*CORES]
            cores[index], cores[other] = cores[other], cores[index]
            yield index, chained(cores)


KINDS = [flips, deletions, insertions, swaps, truncations, renumbered, rehashed]
NAMED = [kind for kind in KINDS if kind not in (truncations, rehashed)]


def verdict(leaves, *checkpoints):
    return verify_chain(leaves, checkpoints)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_changed_past_is_found_though_the_log_s_own_key_signed_it_again(kind):
    for index, leaves in kind():
        if leaves == LOG:
            continue
        found = verdict(leaves, COSIGNED, signed(leaves)) if len(leaves) != KEPT else None
        if found is None:  # two roots of one size: the checkpoints alone convict
            with pytest.raises(Unproven):
                verdict(leaves, COSIGNED, signed(leaves))
            continue
        assert isinstance(found, Fault), index
        # One that was put in looks right until the next one, which has its number.
        assert found.index_low - 1 <= index <= found.index_high, (index, found)


@pytest.mark.parametrize("kind", NAMED, ids=lambda kind: kind.__name__)
def test_what_does_not_mend_the_chain_is_named_within_one_entry(kind):
    for index, leaves in kind():
        if index == KEPT - 1:
            continue  # the last of what was cosigned: no entry of it vouches for that one
        found = verdict(leaves, COSIGNED, NEWEST)
        assert isinstance(found, Fault), index
        assert found.index_high - found.index_low <= 1
        assert abs(found.index_low - index) <= 1, (index, found)


def test_there_are_ten_thousand_and_the_table_of_them(capsys):
    count = Counter()
    exact = Counter()
    for kind in KINDS:
        for index, leaves in kind():
            for newest in (NEWEST, None):
                if newest is None and len(leaves) == KEPT:
                    continue
                found = verdict(leaves, COSIGNED, newest or signed(leaves))
                count[kind.__name__] += 1
                exact[kind.__name__] += found.index_low == found.index_high == index
    with capsys.disabled():
        print()
        for name, all_of_them in count.items():
            named = f"{exact[name]:>6,} by the very entry" if exact[name] else "   by a stretch"
            print(f"  {name:<12} {all_of_them:>6,} found, {named}")
    assert count.total() >= 10_000


def test_no_honest_log_is_accused():
    for size in range(SIZE + 1):
        known = [signed(LOG[:n]) for n in sorted(CHANCE.sample(range(size + 1), min(3, size + 1)))]
        assert verdict(LOG[:size], *known).size == size


def test_without_the_kept_checkpoint_a_rewritten_past_passes():
    """The mutant: what makes the difference is that somebody kept one."""
    for _, leaves in rehashed():
        assert not isinstance(verdict(leaves, signed(leaves)), Fault)


def test_with_more_kept_the_stretch_is_closer():
    kept = [signed(LOG[:n]) for n in range(8, KEPT + 1, 8)]
    for index, leaves in rehashed():
        found = (
            verdict(leaves, *kept, signed(leaves))
            if len(leaves) not in range(8, KEPT + 1, 8)
            else None
        )
        if found is not None:
            assert found.index_high - found.index_low < 8
            assert found.rule is Rule.ROOT
            assert found.index_low <= index <= found.index_high
