"""Callers and databases that give up at random moments: never two entries, never a silent release.

And SIGTERM under load: not ready first, then every request begun is answered (A4).
"""

import asyncio
import contextlib
import json
import random
import signal
import time
from dataclasses import replace

from aiohttp import ClientSession

from sharegate.cli.audit import verify_log
from sharegate.cli.call import prepare
from sharegate.settings import load_settings
from tests.faults.callers import (
    CALLERS,
    Load,
    ask,
    asking,
    assert_kept,
    kind_of,
    logged,
    session,
    tell,
)
from tests.faults.mutants import start_mutant
from tests.faults.processes import freeze, thaw

SEED = 20261121
REQUESTS = 40  # of each caller
COPIES = 3  # of each request: whoever hung up does not know, and asks again with the same bytes
LONGEST_PATIENCE = 0.03
HANGS = 6
LONGEST_HANG = 0.6


async def hang_up_and_ask_again(site, requests):
    """What impatient callers got: for each request the statuses that arrived, and the entries."""
    chance = random.Random(SEED)
    caller, load = site.caller("civil-affairs"), Load()
    before = await logged(site)
    arrived = []

    async def impatient():
        mine = session()
        for _ in range(requests):
            request = prepare(caller, site.properties())
            statuses = []
            for copy in range(COPIES):
                patience = chance.random() * LONGEST_PATIENCE if copy < COPIES - 1 else None
                try:
                    got = await asyncio.wait_for(ask(mine, request), patience)
                except TimeoutError:
                    await mine.close()  # hung up: the connection is gone with the answer
                    mine = session()
                    continue
                load.asked.append(got)
                statuses.append(got.status)
            arrived.append(statuses)
        await mine.close()

    await asyncio.gather(*(impatient() for _ in range(CALLERS)))
    entries = await logged(site)
    kinds = [kind_of(entry) for key, entry in entries.items() if key not in before]
    return load, arrived, kinds


async def test_callers_who_hang_up_and_send_the_same_request_again(running):
    load, arrived, kinds = await hang_up_and_ask_again(running, REQUESTS)
    await assert_kept(running, load)
    asked = CALLERS * REQUESTS
    assert len(arrived) == asked
    for statuses in arrived:
        assert set(statuses) <= {200, 409}
        assert statuses.count(200) <= 1
    # One entry for each request, whether its answer arrived or not, and one for all its copies.
    assert kinds.count("release") == asked
    assert kinds.count("refusal") <= asked
    lost = asked - len(load.released())
    assert lost, "nobody ever hung up in time: the test saw nothing"
    tell(f"{len(kinds)} entries for {asked} requests, {lost} answers hung up on")


async def test_a_gateway_that_forgets_requests_is_found(running):
    gateway = running.gateways[0]
    assert gateway.stop() == 0
    await asyncio.to_thread(start_mutant, gateway, "forgetful")
    _, arrived, kinds = await hang_up_and_ask_again(running, 3)
    assert kinds.count("release") > len(arrived)
    gateway.kill()


async def test_one_request_sent_to_two_gateways_at_once_is_answered_once(running):
    """D2; a second name in front of the same log, so that both believe the signature."""
    first = running.gateways[0]
    second = running.gateway()
    settings = second.config.read_text()
    theirs, ours = (one.exchange_url.partition("://")[2] for one in (second, first))
    second.config.write_text(settings.replace(f'authority = "{theirs}"', f'authority = "{ours}"'))
    second.start()
    request = prepare(running.caller("civil-affairs"), running.properties())
    copy = replace(request, url=request.url.replace(first.exchange_url, second.exchange_url))

    async def alone(one):
        async with session() as mine:
            return await ask(mine, one)

    before = await logged(running)
    got = await asyncio.gather(*(alone(one) for one in [request, copy] * 25))
    assert sorted(one.status for one in got) == [200] + [409] * 49
    first.kill()
    first.start()
    again = [await alone(one) for one in (request, copy)]
    assert [one.status for one in again] == [409, 409]
    assert len(await logged(running)) == len(before) + 2
    assert second.stop() == 0
    assert first.stop() == 0


async def test_a_database_that_hangs_at_random_moments(running):
    """Appends given up at the gateway may be applied later: an entry then, but no second one."""
    chance = random.Random(SEED)
    async with asking(running.caller("civil-affairs"), running.properties) as load:
        for _ in range(HANGS):
            await load.until_answered(chance.randrange(1, 30))
            await asyncio.to_thread(freeze, running.server)
            # Every other time longer than the watch waits for an answer (1 s).
            await asyncio.sleep(chance.random() * LONGEST_HANG + chance.choice([0, 1.3]))
            await asyncio.to_thread(thaw, running.server)
        await load.until_answered(CALLERS)
    assert {one.status for one in load.asked} <= {200, 503}
    entries = await assert_kept(running, load)
    tell(f"{len(load.released())} released, {len(entries)} logged")


async def until_not_ready(gateway, signalled):
    """Why it says, on /readyz, that it is not."""
    while True:
        status, said = await asyncio.to_thread(gateway.readiness)
        if status == 503:
            return json.loads(said)["reason"]
        assert status == 200, "the listener closed before it said that it was not ready"
        assert time.monotonic() < signalled + 5
        await asyncio.sleep(0.005)


async def test_sigterm_under_load_loses_no_answer(apart):
    gateway = apart.gateway()
    with gateway.config.open("a") as config:
        config.write("\n[limits]\ndrain_seconds = 0.5\n")
    gateway.start()
    async with asking(apart.caller("civil-affairs"), apart.properties) as load:
        await load.until_answered(20)
        gateway.process.send_signal(signal.SIGTERM)
        signalled = time.monotonic()
        assert await until_not_ready(gateway, signalled) == "draining"
        draining = time.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                while gateway.process.poll() is None:
                    await asyncio.sleep(0.01)
    assert gateway.process.returncode == 0, gateway.output.read_text()[-2000:]
    assert load.since(draining, 200), "not ready and closed at once: no balancer could notice"
    entries = await assert_kept(apart, load)
    released = {key for key, entry in entries.items() if kind_of(entry) == "release"}
    # Whatever was begun was finished: no answer was recorded that did not arrive.
    assert released == set(load.released())
    assert {one.status for one in load.asked} <= {200, 0}
    assert await verify_log(load_settings(gateway.config).audit_log) == len(entries)


async def test_sigterm_without_its_database_ends_too(apart):
    gateway = apart.gateway()
    gateway.start()
    await asyncio.to_thread(freeze, apart.server)
    try:
        async with ClientSession() as mine:
            asked = asyncio.create_task(
                ask(mine, prepare(apart.caller("civil-affairs"), apart.properties()))
            )
            await asyncio.sleep(0.05)
            gateway.process.send_signal(signal.SIGTERM)
            code = await asyncio.to_thread(gateway.process.wait, 20)
            got = await asked
    finally:
        await asyncio.to_thread(thaw, apart.server)
    assert code == 0, gateway.output.read_text()[-2000:]
    assert got.status in {503, 0}
