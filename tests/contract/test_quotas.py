"""What the port Quotas promises, held against PostgreSQL and against counts in memory."""

import asyncio
import contextlib
import secrets
from uuid import uuid4

import pytest

from sharegate.authorize.quota import Claim, Term
from sharegate.authorize.quota_postgres import PostgresQuotas
from tests.integration.audit_database import draft, make, until
from tests.unit.authorize.memory_quotas import Counts, MemoryQuotas

SIGNED = 1_000_000
UNTIL = 2_000_000


class OnPostgres:
    def __init__(self, database):
        self.database = database
        self.gateways = []

    async def gateway(self):
        quotas = PostgresQuotas(self.database.append, seconds=30)
        await quotas.start()
        self.gateways.append(quotas)
        return quotas

    async def close(self):
        for quotas in self.gateways:
            await quotas.stop()

    async def used(self, key):
        rows = await self.database.ask("select used from sharegate.quota_count where key = $1", key)
        return rows[0]["used"] if rows else 0

    async def held(self):
        return {
            row["exchange_id"]
            for row in await self.database.ask("select exchange_id from sharegate.quota_hold")
        }

    async def record(self, exchange_id, kind):
        core = f'{{"id":"x","kind":"{kind}","mode":"query"}}'.encode()
        one = draft(core, exchange_id=exchange_id)
        await self.database.ask(
            "select sharegate.append($1, $2, $3, $4, $5, $6, $7, false)",
            [one.exchange_id], [one.replay_key], [0], [one.core], [one.sealed], [one.wrapped],
            [None],
        )  # fmt: skip

    async def sweep(self, oldest):
        await self.database.ask("update sharegate.head set remembers_from = $1", oldest)
        await self.database.ask("select sharegate.sweep_quota()")


class InMemory:
    def __init__(self):
        self.counts = Counts()
        self.recorded = {}

    async def gateway(self):
        return MemoryQuotas(self.counts)

    async def close(self):
        pass

    async def used(self, key):
        return self.counts.used[key]

    async def held(self):
        return set(self.counts.held)

    async def record(self, exchange_id, kind):
        self.recorded[exchange_id] = kind

    async def sweep(self, oldest):
        MemoryQuotas(self.counts).sweep(oldest, self.recorded)


@pytest.fixture(params=["memory", "postgres"])
async def place(request):
    """Somewhere counts are kept, and as many gateways over it as are asked for."""
    if request.param == "memory":
        yield InMemory()
        return
    found = OnPostgres(await make(request.getfixturevalue("database")))
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(found.close)
        yield found


def key():
    return secrets.token_bytes(32)


def claim(*terms, signed_at=SIGNED):
    return Claim(uuid4(), signed_at, tuple(Term(counted, most, UNTIL) for counted, most in terms))


async def test_there_are_as_many_places_as_there_may_be_answers(place):
    quotas, officer = await place.gateway(), key()
    given = [await quotas.reserve(claim((officer, 3))) for _ in range(5)]
    assert given == [None, None, None, 0, 0]
    assert await place.used(officer) == 3


async def test_none_is_allowed_where_none_may_be(place):
    quotas = await place.gateway()
    assert await quotas.reserve(claim((key(), 0))) == 0


async def test_counts_are_apart(place):
    quotas, one, two = await place.gateway(), key(), key()
    assert await quotas.reserve(claim((one, 1))) is None
    assert await quotas.reserve(claim((two, 1))) is None
    assert await quotas.reserve(claim((one, 1))) == 0


async def test_it_names_the_first_term_without_a_place_and_reserves_in_none(place):
    quotas, roomy, full, fuller = await place.gateway(), key(), key(), key()
    await quotas.reserve(claim((full, 1), (fuller, 1)))
    wanted = claim((roomy, 9), (full, 1), (fuller, 1))
    assert await quotas.reserve(wanted) == 1
    assert await place.used(roomy) == 0
    assert wanted.exchange_id not in await place.held()


async def test_a_lower_most_counts_what_was_counted_under_a_higher_one(place):
    quotas, officer = await place.gateway(), key()
    await quotas.reserve(claim((officer, 9)))
    await quotas.reserve(claim((officer, 9)))
    assert await quotas.reserve(claim((officer, 2))) == 0
    assert await quotas.reserve(claim((officer, 3))) is None


async def test_what_was_not_answered_comes_back_and_what_was_does_not(place):
    quotas, officer = await place.gateway(), key()
    answered, refused = claim((officer, 2)), claim((officer, 2))
    await quotas.reserve(answered)
    await quotas.reserve(refused)
    quotas.settle(answered.exchange_id, answered=True)
    quotas.settle(refused.exchange_id, answered=False)

    async def settled():
        return not await place.held()

    await until(settled)
    assert await place.used(officer) == 1
    assert await quotas.reserve(claim((officer, 2))) is None
    assert await quotas.reserve(claim((officer, 2))) == 0


async def test_it_comes_back_once_whoever_says_so_how_often(place):
    quotas, other, officer = await place.gateway(), await place.gateway(), key()
    kept, returned = claim((officer, 9)), claim((officer, 9))
    await quotas.reserve(kept)
    await quotas.reserve(returned)
    for _ in range(3):
        quotas.settle(returned.exchange_id, answered=False)
        other.settle(returned.exchange_id, answered=False)
        quotas.settle(uuid4(), answered=False)

    async def settled():
        return await place.held() == {kept.exchange_id}

    await until(settled)
    await place.sweep(SIGNED + 1)
    assert await place.used(officer) == 0
    quotas.settle(kept.exchange_id, answered=False)
    other.settle(returned.exchange_id, answered=False)
    last = claim((key(), 1))
    await quotas.reserve(last)
    quotas.settle(last.exchange_id, answered=True)

    async def all_settled():
        return not await place.held()

    await until(all_settled)
    assert await place.used(officer) == 0


async def test_all_that_ask_at_once_over_two_gateways_get_no_more_than_there_are(place):
    gateways = [await place.gateway(), await place.gateway()]
    officer, department = key(), key()
    claims = [claim((officer, 20), (department, 30)) for _ in range(40)]
    claims += [claim((department, 30), (key(), 9)) for _ in range(20)]  # in another order
    given = await asyncio.gather(*(gateways[n % 2].reserve(each) for n, each in enumerate(claims)))
    assert await place.used(department) == given.count(None) == 30
    assert await place.used(officer) == given[:40].count(None) <= 20


@pytest.mark.parametrize(
    ("kind", "counted"), [("release", 1), ("refusal", 0), ("failure", 0), (None, 0), ("new", 1)]
)
async def test_what_nobody_settled_is_settled_by_what_was_recorded(place, kind, counted):
    quotas, officer = await place.gateway(), key()
    dead = claim((officer, 1))
    await quotas.reserve(dead)
    if kind is not None:
        await place.record(dead.exchange_id, kind)
    await place.sweep(SIGNED)  # the audit log still takes requests signed then
    assert await quotas.reserve(claim((officer, 1))) == 0
    assert await place.held() == {dead.exchange_id}
    await place.sweep(SIGNED + 1)
    assert await place.held() == set()
    assert await place.used(officer) == counted
    assert await quotas.reserve(claim((officer, 1))) == (0 if counted else None)
