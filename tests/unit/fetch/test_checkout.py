import asyncio

import pytest

from sharegate.fetch.checkout import BACK_OFF_SECONDS, Checkout, Link
from sharegate.fetch.source import SourceUnavailable, Trouble

LATER = 60.0


class Wire:
    """What a checkout needs of a connection."""

    def __init__(self):
        self.closed = False
        self.may_close = asyncio.Event()
        self.may_close.set()
        self.statements = 0

    def is_closed(self):
        return self.closed

    async def close(self, *, timeout):
        await self.may_close.wait()
        self.closed = True

    def terminate(self):
        self.closed = True

    async def prepare(self, text, *, timeout):
        self.statements += 1
        return text


class Opener:
    def __init__(self):
        self.opened = []
        self.attempts = 0
        self.trouble = self.slip = None

    async def __call__(self):
        self.attempts += 1
        await asyncio.sleep(0)
        if self.slip is not None:
            raise self.slip
        if self.trouble is not None:
            raise SourceUnavailable(self.trouble)
        self.opened.append(Link(Wire()))
        return self.opened[-1]


def deadline(seconds=LATER):
    return asyncio.get_running_loop().time() + seconds


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)


async def test_opens_lazily_and_lends_again():
    opener = Opener()
    checkout = Checkout(opener, 3)
    assert opener.attempts == 0
    for _ in range(5):
        checkout.give(await checkout.take(deadline()))
    assert opener.attempts == 1


async def test_first_come_first_served_and_bounded():
    opener = Opener()
    checkout = Checkout(opener, 2)
    served = []

    async def borrow(number):
        link = await checkout.take(deadline())
        served.append(number)
        await asyncio.sleep(0)
        checkout.give(link)

    await asyncio.gather(*(borrow(number) for number in range(50)))
    assert served == list(range(50))
    assert opener.attempts == 2


async def test_a_drivers_slip_while_connecting_loses_no_place():
    opener = Opener()
    checkout = Checkout(opener, 2)
    for slip in (AttributeError("server_version"), IndexError(), LookupError()) * 3:
        opener.slip = slip
        checkout._resting_until = 0.0
        with pytest.raises(SourceUnavailable) as told:
            await checkout.take(deadline())
        assert told.value.trouble is Trouble.DOWN
    opener.slip, checkout._resting_until = None, 0.0
    assert [await checkout.take(deadline()) for _ in range(2)] == opener.opened


async def test_who_waits_too_long_is_told_and_skipped():
    checkout = Checkout(Opener(), 1)
    link = await checkout.take(deadline())
    late = asyncio.create_task(checkout.take(deadline(0.001)))
    patient = asyncio.create_task(checkout.take(deadline()))
    with pytest.raises(TimeoutError):
        await late
    checkout.give(link)
    assert await patient is link


async def test_hanging_up_while_waiting_or_in_the_moment_of_being_served_loses_no_link():
    checkout = Checkout(Opener(), 1)
    link = await checkout.take(deadline())
    waiting = asyncio.create_task(checkout.take(deadline()))
    served = asyncio.create_task(checkout.take(deadline()))
    await settle()
    waiting.cancel()
    await settle()
    checkout.give(link)
    served.cancel()
    await settle()
    assert served.cancelled()
    assert await checkout.take(deadline()) is link


async def test_a_link_in_doubt_counts_until_it_is_cut():
    opener = Opener()
    checkout = Checkout(opener, 1)
    link = await checkout.take(deadline())
    link.connection.may_close.clear()
    checkout.discard(link)
    waiting = asyncio.create_task(checkout.take(deadline()))
    await settle()
    assert opener.attempts == 1
    link.connection.may_close.set()
    assert await waiting is not link
    assert opener.attempts == 2


async def test_a_link_that_was_lost_is_replaced():
    opener = Opener()
    checkout = Checkout(opener, 1)
    link = await checkout.take(deadline())
    checkout.give(link)
    link.connection.closed = True
    assert await checkout.take(deadline()) is not link


async def test_a_source_that_is_down_fails_everyone_who_waits_without_hammering_it():
    opener = Opener()
    opener.trouble = Trouble.UNSAFE_ROLE
    checkout = Checkout(opener, 4)
    takers = [checkout.take(deadline()) for _ in range(100)]
    told = await asyncio.gather(*takers, return_exceptions=True)
    assert [type(each) for each in told] == [SourceUnavailable] * 100
    assert {each.trouble for each in told} == {Trouble.UNSAFE_ROLE}
    assert opener.attempts <= 4
    opener.trouble = None
    with pytest.raises(SourceUnavailable):
        await checkout.take(deadline())
    await asyncio.sleep(BACK_OFF_SECONDS * 1.2)
    checkout.give(await checkout.take(deadline()))


async def test_who_can_still_be_served_waits_on_when_one_more_connection_is_refused():
    opener = Opener()
    checkout = Checkout(opener, 2)
    link = await checkout.take(deadline())
    opener.trouble = Trouble.DOWN
    waiting = asyncio.create_task(checkout.take(deadline()))
    await settle()
    assert not waiting.done()
    checkout.give(link)
    assert await waiting is link


async def test_the_last_link_lost_while_the_source_is_down_fails_who_waits():
    opener = Opener()
    checkout = Checkout(opener, 2)
    link = await checkout.take(deadline())
    opener.trouble = Trouble.DOWN
    waiting = asyncio.create_task(checkout.take(deadline()))
    await settle()
    checkout.discard(link)
    with pytest.raises(SourceUnavailable):
        await waiting


async def test_closing_tells_who_waits_and_cuts_every_link():
    opener = Opener()
    checkout = Checkout(opener, 2)
    links = [await checkout.take(deadline()) for _ in range(2)]
    waiting = asyncio.create_task(checkout.take(deadline()))
    await settle()
    checkout.give(links[0])
    checkout.give(await waiting)
    waiting = asyncio.create_task(checkout.take(deadline()))
    await waiting
    also = asyncio.create_task(checkout.take(deadline()))
    await settle()
    await checkout.close()
    with pytest.raises(SourceUnavailable):
        await also
    for link in links:
        checkout.give(link)
    await checkout.close()
    assert all(link.connection.closed for link in opener.opened)
    with pytest.raises(SourceUnavailable):
        await checkout.take(deadline())


async def test_prepared_statements_are_kept_and_bounded():
    link = Link(Wire())
    for number in range(200):
        await link.prepare(str(number), 1.0)
        assert link.prepared("0")  # used each time, so never the longest unused
    assert link.prepared("1") is None
    assert link.prepared("199") == "199"
    link.forget("199")
    assert link.prepared("199") is None
