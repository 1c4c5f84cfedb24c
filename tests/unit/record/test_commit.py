"""Group commit: what is written together, in what order, and what a failure touches."""

import asyncio
import contextlib
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharegate.record.commit import GroupCommit


class DiskError(Exception):
    pass


@dataclass
class Disk:
    """Writes when told to, and remembers what it was given."""

    batches: list[list[object]] = field(default_factory=list)
    in_flight: int = 0
    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    fails: bool = False

    async def write(self, batch):
        assert self.in_flight == 0, "two batches at once"
        self.in_flight += 1
        self.batches.append(list(batch))
        try:
            await self.gate.acquire()
            if self.fails:
                raise DiskError
            return [f"written {item}" for item in batch]
        finally:
            self.in_flight -= 1

    @property
    def written(self):
        return [item for batch in self.batches for item in batch]


async def settle():
    """Let everything run that can."""
    for _ in range(12):
        await asyncio.sleep(0)


def group(disk, *, most=100, key=lambda item: item):
    return GroupCommit(disk.write, key=key, most=most)


def submit(commit, *items):
    return [asyncio.ensure_future(commit.submit(item)) for item in items]


async def test_a_lone_item_is_written_at_once_and_what_queues_meanwhile_is_the_next_batch():
    disk = Disk()
    commit = group(disk)
    first = submit(commit, "a")
    await settle()
    assert disk.batches == [["a"]]
    rest = submit(commit, "b", "c", "d")
    await settle()
    assert disk.batches == [["a"]]
    disk.gate.release()
    await settle()
    assert disk.batches == [["a"], ["b", "c", "d"]]
    assert [task.done() for task in first + rest] == [True, False, False, False]
    disk.gate.release()
    assert await asyncio.gather(*first, *rest) == [f"written {item}" for item in "abcd"]


async def test_items_that_arrive_in_one_turn_share_the_first_batch():
    disk = Disk()
    tasks = submit(group(disk), *"abc")
    await settle()
    assert disk.batches == [["a", "b", "c"]]
    disk.gate.release()
    await asyncio.gather(*tasks)


async def test_no_batch_is_larger_than_most():
    disk = Disk()
    tasks = submit(group(disk, most=2), *"abcde")
    for _ in range(3):
        disk.gate.release()
    await asyncio.gather(*tasks)
    assert disk.batches == [["a", "b"], ["c", "d"], ["e"]]


async def test_equal_keys_go_one_after_the_other_and_overtake_nobody_of_their_key():
    disk = Disk()
    commit = group(disk, key=lambda item: item[0])
    tasks = submit(commit, "a1", "a2", "b1", "a3", "b2", "c1")
    for _ in range(3):
        disk.gate.release()
    await asyncio.gather(*tasks)
    assert disk.batches == [["a1", "b1", "c1"], ["a2", "b2"], ["a3"]]


async def test_who_was_held_back_for_its_key_is_first_in_the_next_batch():
    disk = Disk()
    tasks = submit(group(disk, most=2, key=lambda item: item[0]), "a1", "a2", "b1", "c1", "d1")
    for _ in range(3):
        disk.gate.release()
    await asyncio.gather(*tasks)
    assert disk.batches == [["a1", "b1"], ["a2", "c1"], ["d1"]]


async def test_a_write_that_fails_fails_its_batch_and_no_other():
    disk = Disk()
    commit = group(disk, most=2)
    doomed = submit(commit, "a", "b")
    spared = submit(commit, "c")
    disk.fails = True
    disk.gate.release()
    await settle()
    disk.fails = False
    disk.gate.release()
    outcomes = await asyncio.gather(*doomed, *spared, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [DiskError, DiskError, str]
    assert disk.batches == [["a", "b"], ["c"]]  # nothing is tried again


@pytest.mark.parametrize("results", [["only one"], ["one", "two", "three"]])
async def test_a_write_that_answers_for_others_than_it_was_given_fails_them_all(results):
    async def write(_batch):
        return results

    tasks = submit(GroupCommit(write, key=id, most=9), "a", "b")
    async with asyncio.timeout(5):
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ValueError, ValueError]


async def test_who_gives_up_before_the_write_is_not_written():
    disk = Disk()
    commit = group(disk)
    waiting = submit(commit, "a")
    await settle()
    given_up, stays = submit(commit, "b", "c")
    await settle()
    given_up.cancel()
    disk.gate.release()
    disk.gate.release()
    await asyncio.gather(*waiting, stays)
    assert disk.batches == [["a"], ["c"]]


async def test_who_gives_up_during_the_write_disturbs_nobody():
    disk = Disk()
    commit = group(disk)
    given_up, stays = submit(commit, "a", "b")
    await settle()
    given_up.cancel()
    await settle()
    assert given_up.cancelled()
    disk.gate.release()
    assert await stays == "written b"
    again = submit(commit, "c")
    disk.gate.release()
    assert await asyncio.gather(*again) == ["written c"]


async def test_if_all_who_wait_give_up_nothing_is_written_and_the_next_is():
    disk = Disk()
    commit = group(disk)
    waiting = submit(commit, "a")
    await settle()
    for task in (given_up := submit(commit, "b", "c")):
        await settle()
        task.cancel()
    disk.gate.release()
    await asyncio.gather(*waiting)
    await settle()
    assert all(task.cancelled() for task in given_up)
    late = submit(commit, "d")
    disk.gate.release()
    await asyncio.gather(*late)
    assert disk.batches == [["a"], ["d"]]


async def test_a_writer_that_was_cancelled_fails_its_batch_and_a_new_one_serves_the_rest():
    disk = Disk()
    commit = group(disk)
    doomed = submit(commit, "a")
    await settle()
    left = submit(commit, "b")
    await settle()
    writer = commit._writer
    writer.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await writer
    with pytest.raises(asyncio.CancelledError):
        await doomed[0]
    late = submit(commit, "c")
    disk.gate.release()
    assert await asyncio.gather(*left, *late) == ["written b", "written c"]


# --- any course of events --------------------------------------------------------------------

steps = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.integers(0, 3)),
        st.tuples(st.just("cancel"), st.integers(0, 30)),
        st.tuples(st.just("finish"), st.booleans()),
        st.tuples(st.just("wait"), st.none()),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=150)
@given(steps, st.integers(1, 4))
def test_whatever_happens_order_batches_and_outcomes_are_right(course, most):
    asyncio.run(_play(course, most))


async def _play(course, most):
    play = Play(most)
    for act, value in course:
        await getattr(play, act)(value)
    await settle()
    while play.disk.in_flight:
        await play.finish(fails=False)
    play.judge()


class Play:
    """Submits, gives up, lets writes end well or badly, and knows what must come of it."""

    def __init__(self, most):
        self.most = most
        self.disk = Disk()
        self.commit = group(self.disk, most=most, key=lambda item: item[1])
        self.tasks, self.failed, self.never = {}, set(), set()

    async def submit(self, key):
        item = (len(self.tasks), key)
        self.tasks[item] = submit(self.commit, item)[0]

    async def cancel(self, number):
        if self.tasks:
            item = list(self.tasks)[number % len(self.tasks)]
            if not self.tasks[item].done() and item not in self.disk.written:
                self.never.add(item)
            self.tasks[item].cancel()

    async def wait(self, _):
        await settle()

    async def finish(self, fails):
        await settle()
        if self.disk.in_flight:
            self.disk.fails = fails
            if fails:
                self.failed.update(self.disk.batches[-1])
            self.disk.gate.release()
        await settle()

    def judge(self):
        written = self.disk.written
        assert not self.never & set(written)
        assert len(set(written)) == len(written)
        for batch in self.disk.batches:
            assert 1 <= len(batch) <= self.most
            assert len({key for _, key in batch}) == len(batch)
            assert batch == sorted(batch)
        for key in range(4):
            of_key = [number for number, k in written if k == key]
            assert of_key == sorted(of_key)
        for item, task in self.tasks.items():
            assert task.done(), "nobody is left waiting"
            if item in self.failed and not task.cancelled():
                assert isinstance(task.exception(), DiskError)
            elif not task.cancelled():
                assert task.result() == f"written {item}"
