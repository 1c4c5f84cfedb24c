"""What the port AuditLog promises, held against PostgreSQL and against an audit log in memory."""

import asyncio
import contextlib
from uuid import uuid4

import pytest

from sharegate.errors import AuditLogUnavailable
from sharegate.record.audit_log import Appended, Replayed, Stale
from tests.integration.audit_database import cores, draft, make
from tests.unit.record.memory_log import Kept, MemoryAuditLog

MINUTE = 60_000


class OnPostgres:
    """One log in a database, and as many gateways over it as are asked for."""

    def __init__(self, database):
        self.database = database
        self.gateways = contextlib.AsyncExitStack()

    async def gateway(self):
        return await self.gateways.enter_async_context(self.database.gateway())

    async def close(self):
        await self.gateways.aclose()
        self.gateways = contextlib.AsyncExitStack()

    async def forget(self, milliseconds):
        await self.database.ask("select sharegate.forget_replays($1)", milliseconds)

    async def now(self):
        return (await self.database.ask("select (extract(epoch from now()) * 1000)::bigint"))[0][0]

    async def leaves(self):
        return await self.database.leaves()


class InMemory:
    """The same in memory."""

    def __init__(self):
        self.kept = Kept()
        self.gateways = []

    async def gateway(self):
        self.gateways.append(MemoryAuditLog(self.kept))
        return self.gateways[-1]

    async def close(self):
        for gateway in self.gateways:
            gateway.unusable = "down", "stopped"
        self.gateways.clear()

    async def forget(self, milliseconds):
        self.kept.forget(milliseconds)

    async def now(self):
        return self.kept.now

    async def leaves(self):
        return self.kept.leaves


@pytest.fixture(params=["memory", "postgres"])
async def site(request):
    if request.param == "memory":
        made = InMemory()
    else:
        made = OnPostgres(await make(request.getfixturevalue("database")))
    yield made
    await made.close()


async def test_entries_of_all_gateways_form_one_sequence_without_gaps(site):
    gateways = [await site.gateway() for _ in range(3)]
    drafts = [draft(b"%d" % n) for n in range(240)]
    fates = await asyncio.gather(*(gateways[n % 3].append(each) for n, each in enumerate(drafts)))
    assert all(isinstance(fate, Appended) for fate in fates)
    assert sorted(fate.index for fate in fates) == list(range(240))
    placed = sorted(zip((fate.index for fate in fates), drafts, strict=True), key=lambda p: p[0])
    assert cores(await site.leaves()) == [each.core for _, each in placed]
    for gateway in range(3):  # and each gateway's own entries are in the order it was given them
        mine = [fate.index for fate in fates[gateway::3]]
        assert mine == sorted(mine)


async def test_a_replay_key_is_used_once_whoever_asks_and_however_many_at_once(site):
    gateways = [await site.gateway() for _ in range(3)]
    now = await site.now()
    copies = [draft(b"%d" % n, key=b"k" * 32, signed_at=now) for n in range(30)]
    fates = await asyncio.gather(*(gateways[n % 3].append(each) for n, each in enumerate(copies)))
    (first,) = [fate for fate in fates if isinstance(fate, Appended)]
    assert [fate for fate in fates if fate != first] == [Replayed(first.index)] * 29
    assert len(await site.leaves()) == 1


async def test_a_replay_key_stays_used_after_a_restart(site):
    first = await site.gateway()
    await first.append(draft())
    used = draft()
    assert await first.append(used) == Appended(1)
    await site.close()
    again = await site.gateway()
    assert await again.append(draft(b"other", key=used.replay_key)) == Replayed(1)
    assert await again.append(draft()) == Appended(2)
    assert len(await site.leaves()) == 3


async def test_a_replay_takes_no_place_between_entries_that_do(site):
    gateway = await site.gateway()
    used = draft()
    await gateway.append(used)
    fates = await asyncio.gather(*(gateway.append(each) for each in (draft(), used, draft())))
    assert fates == [Appended(1), Replayed(0), Appended(2)]


async def test_what_was_signed_before_what_is_remembered_is_stale_for_good(site):
    gateway = await site.gateway()
    now = await site.now()
    old = draft(signed_at=now - 2 * MINUTE)
    assert await gateway.append(old) == Appended(0)
    assert await gateway.append(old) == Replayed(0)
    await site.forget(MINUTE)
    assert await gateway.append(old) == Stale()  # its key is forgotten, so it may not come back
    assert await gateway.append(draft(signed_at=now - 2 * MINUTE)) == Stale()
    await site.forget(3 * MINUTE)
    assert await gateway.append(old) == Stale(), "what is forgotten is never remembered again"
    assert len(await site.leaves()) == 1


async def test_what_was_signed_since_is_still_remembered(site):
    gateway = await site.gateway()
    fresh = draft(signed_at=await site.now())
    await gateway.append(fresh)
    await site.forget(MINUTE)
    assert await gateway.append(fresh) == Replayed(0)


async def test_signed_at_zero_means_now_by_the_logs_own_clock(site):
    gateway = await site.gateway()
    await site.forget(MINUTE)
    used = draft(signed_at=0)
    assert await gateway.append(used) == Appended(0)
    assert await gateway.append(draft(signed_at=1)) == Stale()
    await site.forget(MINUTE)
    assert await gateway.append(used) == Replayed(0), "it is remembered as signed now"


async def test_an_exchange_is_found_at_its_first_entry_by_every_gateway(site):
    one, other = await site.gateway(), await site.gateway()
    wanted = uuid4()
    for n in range(6):
        await one.append(draft(exchange_id=wanted if n in {2, 4} else None))
    assert await one.find(wanted) == await other.find(wanted) == 2
    assert await one.find(uuid4()) is None


async def test_a_gateway_that_was_stopped_says_so_and_appends_nothing(site):
    gateway = await site.gateway()
    gateway.require_usable()
    await site.close()
    with pytest.raises(AuditLogUnavailable):
        gateway.require_usable()
    with pytest.raises(AuditLogUnavailable):
        await gateway.append(draft())
    assert len(await site.leaves()) == 0
