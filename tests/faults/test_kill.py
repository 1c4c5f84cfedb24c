"""`kill -9` of the gateway and of PostgreSQL under load: nothing leaves without an entry (A1)."""

import asyncio
import random
import time

import asyncpg
import pytest

from tests.faults.callers import PATIENCE_SECONDS, asking, assert_kept, missing, tell
from tests.faults.mutants import start_mutant
from tests.faults.processes import kill_every_process, kill_postmaster

pytestmark = pytest.mark.timeout(3600)  # as long as --rounds asks for; each wait is bounded
SEED = 20261120
MOST_ANSWERS = 40  # between two kills, so that a kill falls anywhere in the first moments too
MOST_DELAY = 0.02
MUTANT_ROUNDS = 5


async def until_the_next_kill(load, chance):
    """Some answers, and then any moment: so every kill has requests in flight."""
    await load.until_answered(chance.randrange(1, MOST_ANSWERS))
    await asyncio.sleep(chance.random() * MOST_DELAY)


def told(what, seconds, load, entries):
    """One line for the record; pytest shows it with -s or -rP."""
    median = sorted(seconds)[len(seconds) // 2]
    tell(
        f"{what}: {len(seconds)} rounds, {len(load.released())} released, {len(entries)} logged, "
        f"back after median {median:.2f} s, at most {max(seconds):.2f} s"
    )
    assert max(seconds) < PATIENCE_SECONDS


async def test_gateway_killed(running, rounds):
    gateway = running.gateways[0]
    chance, back, checked = random.Random(SEED), [], set()
    async with asking(running.caller("civil-affairs"), running.properties) as load:
        for _ in range(rounds):
            await until_the_next_kill(load, chance)
            gateway.kill()
            began = time.monotonic()
            await asyncio.to_thread(gateway.start, ready=False)
            back.append(await load.until_answered() - began)
            await assert_kept(running, load, checked)
    entries = await assert_kept(running, load, checked)
    told("gateway killed", back, load, entries)


@pytest.mark.parametrize("kill", [kill_postmaster, kill_every_process])
async def test_postgresql_killed(running, rounds, kill):
    gateway = running.gateways[0]
    process = gateway.process.pid
    chance, back, checked = random.Random(SEED), [], set()
    async with asking(running.caller("civil-affairs"), running.properties) as load:
        for _ in range(rounds):
            await until_the_next_kill(load, chance)
            await asyncio.to_thread(kill, running.server)
            await running.server.start()
            up = time.monotonic()
            back.append(await load.until_answered() - up)
            await assert_kept(running, load, checked)
    entries = await assert_kept(running, load, checked)
    told(f"{kill.__name__} of PostgreSQL", back, load, entries)
    assert gateway.process.pid == process
    assert gateway.process.poll() is None, "it had to be restarted"


async def test_the_gateway_that_signs_killed_while_another_follows(running, rounds):
    """The other takes over: what the killed one had signed and told nobody is signed again."""
    gateways = [running.gateways[0], running.gateway()]
    gateways[1].start()
    chance, checked, back = random.Random(SEED), set(), []
    callers = [running.caller("civil-affairs", gateway) for gateway in gateways]
    async with (
        asking(callers[0], running.properties) as first,
        asking(callers[1], running.properties) as second,
    ):
        for turn in range(max(3, rounds // 6)):
            # Whichever was killed last follows by now, so its peer is the one that signs.
            signing, following = (0, 1) if turn % 2 == 0 else (1, 0)
            loads = first, second
            await until_the_next_kill(loads[signing], chance)
            gateways[signing].kill()
            began = time.monotonic()
            back.append(await loads[following].until_answered() - began)
            await asyncio.to_thread(gateways[signing].start)
            for load in loads:
                await assert_kept(running, load, checked)
    entries = await assert_kept(running, first, checked)
    await assert_kept(running, second, checked)
    assert {one.status for one in first.asked + second.asked} <= {0, 200, 503}
    told("signing gateway killed", back, first, entries)
    assert [gateway.stop() for gateway in gateways] == [0, 0]


async def test_the_kill_finds_a_gateway_that_releases_before_it_records(running):
    gateway = running.gateways[0]
    gateway.stop()
    chance, lost = random.Random(SEED), 0
    await asyncio.to_thread(start_mutant, gateway, "early_release")
    async with asking(running.caller("civil-affairs"), running.properties) as load:
        for _ in range(MUTANT_ROUNDS):
            await until_the_next_kill(load, chance)
            gateway.kill()
            lost = len(await missing(running, load))
            if lost:
                break
            await asyncio.to_thread(start_mutant, gateway, "early_release")
    assert lost > 0


async def test_the_kill_finds_a_database_that_commits_without_flushing(apart):
    """The check of the settings is taken out; what is in memory only dies with the server."""
    superuser = await asyncpg.connect(apart.audit_dsn())
    await superuser.execute(
        "alter role sharegate_append_login set synchronous_commit = off;"
        "create or replace function sharegate.durable(standby boolean) returns boolean"
        " language sql as 'select true'"
    )
    await superuser.close()
    gateway = apart.gateway()
    gateway.start()
    async with asking(apart.caller("civil-affairs"), apart.properties) as load:
        await load.until_answered(50)
        kill_every_process(apart.server)
    await apart.server.start()
    lost = len(await missing(apart, load))
    assert lost > 0
    # Nobody can bring the entries back, but the signer knows that they were there.
    gateway.wait_for_readiness(503)
    assert await eventually_frozen(gateway)


async def eventually_frozen(gateway):
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        status, body = gateway.readiness()
        if status == 503 and "frozen" in body:
            return True
        await asyncio.sleep(0.05)
    return False
