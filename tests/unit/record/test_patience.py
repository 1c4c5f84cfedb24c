"""Bounds on how long things take, held against what asyncio.timeout does."""

import asyncio

import pytest

from sharegate.record.patience import Patience

SHORT, LONG = 0.03, 30


@pytest.fixture(params=["ours", "asyncio's"])
def bounded(request):
    """Runs something under a bound, ours or the one it stands for."""
    patiences = {}

    async def run(seconds, work):
        if request.param == "ours":
            with patiences.setdefault(seconds, Patience(seconds))():
                return await work
        async with asyncio.timeout(seconds):
            return await work

    return run


async def test_what_ends_in_time_gives_what_it_gives(bounded):
    assert await bounded(LONG, asyncio.sleep(0, "done")) == "done"


async def test_what_lasts_too_long_is_cut_short(bounded):
    with pytest.raises(TimeoutError):
        await bounded(SHORT, asyncio.sleep(LONG))
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_an_error_in_time_stays_what_it_is(bounded):
    async def fails():
        raise KeyError(1)

    with pytest.raises(KeyError):
        await bounded(LONG, fails())


async def test_an_error_after_the_time_stays_what_it_is(bounded):
    async def fails():
        try:
            await asyncio.sleep(LONG)
        finally:
            raise KeyError(1)

    with pytest.raises(KeyError):
        await bounded(SHORT, fails())
    assert asyncio.current_task().cancelling() == 0


async def test_who_is_cancelled_in_time_is_cancelled(bounded):
    task = asyncio.create_task(bounded(LONG, asyncio.sleep(LONG)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_who_is_cancelled_besides_is_not_told_that_it_took_too_long(bounded):
    async def lingers():
        try:
            await asyncio.sleep(LONG)
        finally:
            task.cancel()
            await asyncio.sleep(0)

    task = asyncio.create_task(bounded(SHORT, lingers()))
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_one_bound_within_another(bounded):
    with pytest.raises(TimeoutError):
        await bounded(LONG, bounded(SHORT, asyncio.sleep(LONG)))
    with pytest.raises(TimeoutError):
        await bounded(SHORT, bounded(LONG, asyncio.sleep(LONG)))


async def test_each_of_many_has_its_own_time():
    patience, ended, loop = Patience(0.1), [], asyncio.get_running_loop()

    async def lasts(began, seconds):
        await asyncio.sleep(began)
        since = loop.time()
        try:
            with patience():
                await asyncio.sleep(seconds)
        except TimeoutError:
            ended.append(("late", began, loop.time() - since >= 0.1))
        else:
            ended.append(("done", began, True))

    plans = [(0, LONG), (0.02, 0), (0.04, LONG), (0.06, 0.001), (0.13, LONG), (0.25, LONG)]
    await asyncio.gather(*(lasts(*plan) for plan in plans))
    assert ended == [
        ("done", 0.02, True), ("done", 0.06, True), ("late", 0, True), ("late", 0.04, True),
        ("late", 0.13, True), ("late", 0.25, True),
    ]  # fmt: skip
    assert not patience._bounds
    assert patience._timer is None


async def test_one_timer_does_for_all_and_comes_to_each():
    patience, timers = Patience(SHORT), set()

    async def lasts():
        with patience():
            timers.add(patience._timer)
            await asyncio.sleep(LONG)

    first = asyncio.create_task(lasts())
    await asyncio.sleep(SHORT / 2)
    async with asyncio.timeout(LONG / 2):
        ended = await asyncio.gather(first, lasts(), lasts(), return_exceptions=True)
    assert [type(each) for each in ended] == [TimeoutError] * 3
    assert len(timers) == 1


async def test_what_has_ended_is_forgotten_with_the_oldest():
    patience = Patience(LONG)

    async def lasts():
        with patience():
            await asyncio.sleep(LONG)

    oldest = asyncio.create_task(lasts())
    await asyncio.sleep(0)
    for _ in range(5):
        with patience():
            await asyncio.sleep(0)
    oldest.cancel()
    with pytest.raises(asyncio.CancelledError):
        await oldest
    assert not patience._bounds
