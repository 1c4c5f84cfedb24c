"""The right to sign: when it is had, for how long, and when another is at work."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from sharegate.consortium.lease import SECONDS, Lease
from sharegate.record.audit_log import Lent

MINE, OTHER = b"m" * 16, b"o" * 16
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


class Lender:
    """A database with a clock of its own, which the tests move."""

    def __init__(self):
        self.now = 0.0
        self.holder, self.fence, self.until = None, 0, 0.0
        self.asked = []
        self.slow = 0.0

    async def take_signing(self, holder, seconds):
        self.asked.append("take")
        before, until = self.holder, self.until
        fence = None
        if until <= self.now or before == holder:
            self.holder, self.until = holder, self.now + seconds
            self.fence += 1
            fence = self.fence
        self.now += self.slow
        return Lent(fence, before, BEGINNING + timedelta(seconds=until))

    async def renew_signing(self, fence, seconds):
        self.asked.append("renew")
        if fence != self.fence:
            return False
        self.until = self.now + seconds
        return True

    def clock(self):
        return self.now


@pytest.fixture
def lender():
    return Lender()


def lease(lender):
    return Lease(lender, lender.clock)


async def test_it_is_taken_and_runs_shorter_than_it_is_lent(lender):
    mine = lease(lender)
    assert not mine.runs()
    assert await mine.take(MINE)
    assert (mine.fence, mine.runs()) == (1, True)
    lender.now = SECONDS - 1.01
    assert mine.runs()
    lender.now = SECONDS - 1
    assert not mine.runs()
    assert lender.until > lender.now, "nobody else could have taken it before"


async def test_the_time_an_answer_takes_is_taken_off(lender):
    lender.slow = 3.0
    mine = lease(lender)
    assert await mine.take(MINE)
    lender.now = 3.99
    assert mine.runs()
    lender.now = 4.0
    assert not mine.runs()


async def test_it_is_renewed_once_a_second_and_where_it_ran_out(lender):
    mine = lease(lender)
    await mine.take(MINE)
    for now, asked in ((0.5, 0), (1.0, 1), (1.5, 1), (2.0, 2)):
        lender.now = now
        assert await mine.renew()
        assert lender.asked.count("renew") == asked
    lender.now = 100.0
    assert not mine.runs()
    assert await mine.continues(), "nobody took it meanwhile"
    assert mine.runs()
    assert mine.fence == 1
    asked = len(lender.asked)
    assert await mine.continues()
    assert len(lender.asked) == asked


async def test_it_is_renewed_while_something_takes_long(lender, monkeypatch):
    monkeypatch.setattr("sharegate.consortium.lease._RENEW_SECONDS", 0.001)
    mine = lease(lender)
    await mine.take(MINE)
    async with mine.kept():
        for _ in range(20):
            lender.now += SECONDS / 10
            await asyncio.sleep(0.02)
            assert mine.runs()
    asked = len(lender.asked)
    await asyncio.sleep(0.02)
    assert len(lender.asked) == asked


async def test_who_is_cancelled_while_a_renewal_ends_is_cancelled(lender, monkeypatch):
    monkeypatch.setattr("sharegate.consortium.lease._RENEW_SECONDS", 0.0)
    begun, ending = asyncio.Event(), asyncio.Event()

    async def renew(_fence, _seconds):
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ending.set()
            await asyncio.sleep(0.05)  # a driver that tidies up

    lender.renew_signing = renew
    lease = Lease(lender, lender.clock)
    await lease.take(MINE)
    went_on = []

    async def work():
        async with lease.kept():
            lender.now = 100.0
            await begun.wait()
        went_on.append(True)

    task = asyncio.create_task(work())
    await ending.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not went_on


async def test_one_who_slept_past_it_finds_that_another_has_it(lender):
    mine, other = lease(lender), lease(lender)
    await mine.take(MINE)
    assert not await other.take(OTHER)
    lender.now = SECONDS
    assert await other.take(OTHER)
    assert not mine.runs()
    assert not await mine.continues()
    assert mine.fence is None
    assert not mine.runs()
    assert not await mine.renew()
    assert other.runs()


async def test_what_was_given_back_is_another_s_at_once(lender):
    mine, other = lease(lender), lease(lender)
    await mine.take(MINE)
    await mine.give_back()
    assert not mine.runs()
    assert await other.take(OTHER)
    assert other.fence == 2
    await mine.give_back()  # it has nothing to give
    assert other.runs()
    assert await other.renew()


async def test_the_same_memory_takes_it_again_at_once(lender):
    """The process before it died; its number does not count any more."""
    died, mine = lease(lender), lease(lender)
    await died.take(MINE)
    assert await mine.take(MINE)
    assert mine.fence == 2
    lender.now = 1.0
    assert not await died.renew()


async def test_it_looks_about_once_a_second_and_at_once_after_a_loss(lender):
    mine, other = lease(lender), lease(lender)
    await mine.take(MINE)
    for now, asked in ((0.0, 2), (0.5, 2), (0.99, 2), (1.0, 3), (1.5, 3)):
        lender.now = now
        assert not await other.take(OTHER)
        assert lender.asked.count("take") == asked
    other.lose()
    assert not await other.take(OTHER)
    assert lender.asked.count("take") == 4
    assert await mine.take(MINE)
    assert lender.asked.count("take") == 4, "it has it"


async def test_another_is_at_work_where_it_renews_and_not_where_it_is_merely_named(lender):
    dead, mine = lease(lender), lease(lender)
    await dead.take(OTHER)
    for now in (0.0, 1.0, 2.0, 3.0):
        lender.now = now
        assert not await mine.take(MINE)
        assert not mine.others_live
    await dead.renew()
    lender.now = 4.0
    assert not await mine.take(MINE)
    assert mine.others_live
