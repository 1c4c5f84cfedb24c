"""One department's database down or hung: recorded, told plainly, nobody else's trouble (B5)."""

import asyncio
import contextlib
import json
import time
from itertools import pairwise

import pytest

from sharegate.cli.demo.departments import build_departments
from tests.faults.callers import (
    CALLERS,
    asking,
    assert_kept,
    canaries_of,
    kind_of,
    p99,
    tell,
)
from tests.faults.conftest import breakable_server
from tests.faults.mutants import start_mutant
from tests.faults.processes import freeze, thaw
from tests.postgres import on_a_thread
from tests.site import PERSONS, site_on

BROKEN_SECONDS = 4.0
SOURCE_SECONDS = 2.0


@pytest.fixture(scope="module")
def town(postgres):
    """A site whose tax bureau has a server of its own, and its gateway."""
    with breakable_server() as taxes, site_on(postgres) as site:
        elsewhere = on_a_thread(
            build_departments(taxes, passwords=lambda role: f"password-of-{role}", persons=PERSONS)
        )
        site.sources["tax"] = elsewhere["tax"]
        gateway = site.gateway()
        settings = gateway.config.read_text()
        bounded = settings.replace(
            "[sources.tax]\n", f"[sources.tax]\nseconds = {SOURCE_SECONDS}\n"
        )
        assert bounded != settings
        gateway.config.write_text(bounded)
        gateway.start()
        yield site, taxes


def incomes(site):
    """A question of civil affairs to the tax bureau, permitted and not without rows."""
    return site.properties(
        provider="tax",
        resource="incomes",
        where={"id_number": site.people.applicant.id_number},
    )


@contextlib.asynccontextmanager
async def stopped(server):
    await server.stop("immediate")
    yield
    await server.start()


@contextlib.asynccontextmanager
async def hung(server):
    await asyncio.to_thread(freeze, server)
    try:
        yield
    finally:
        await asyncio.to_thread(thaw, server)


@pytest.mark.parametrize(
    ("fault", "statuses"), [(stopped, {502}), (hung, {502, 504})], ids=["stopped", "hung"]
)
async def test_a_source_that_fails_fails_alone(town, fault, statuses):
    site, taxes = town
    caller = site.caller("civil-affairs")
    async with (
        asking(caller, site.properties, callers=4) as housing,
        asking(caller, lambda: incomes(site), callers=4) as tax,
    ):
        calm_from = time.monotonic()
        await tax.until_answered(8)
        await housing.until_answered(50)
        broken = time.monotonic()
        async with fault(taxes):
            since = time.monotonic()
            await asyncio.sleep(BROKEN_SECONDS)
            ended = time.monotonic()
        repaired = time.monotonic()
        back = await tax.until_answered() - repaired
    calm = [one for one in housing.since(calm_from) if one.ended <= broken]
    during = [one for one in housing.since(since) if one.ended <= ended]
    assert {one.status for one in housing.asked} == {200}
    failed = [one for one in tax.asked if one.status != 200]
    assert failed
    entries = await assert_kept(site, housing)
    await assert_kept(site, tax)
    canaries = canaries_of(next(iter(housing.released().values())).body)
    canaries += canaries_of(next(iter(tax.released().values())).body)
    for one in failed:
        assert one.status in statuses, one.body
        problem = json.loads(one.body)
        assert problem["type"].removeprefix("urn:sharegate:problem:") in {
            "source-unavailable",
            "source-timeout",
        }
        assert entries[one.exchange_id].seq == problem["entry"]
        assert kind_of(entries[one.exchange_id]) == "failure"
        seen = one.body.decode() + repr(one.headers) + taxes.dsn("tax", "tax_gateway", "-")
        assert not [canary for canary in canaries if canary in seen]
    told = site.gateways[0].output.read_text()
    assert "password" not in told
    assert not [canary for canary in canaries if canary in told]
    tell(
        f"tax {fault.__name__}: {len(failed)} failures recorded, p99 {p99(failed):.2f} s; housing"
        f" answered {len(during)}, p99 {p99(during) * 1000:.0f} ms"
        f" (before: {p99(calm) * 1000:.0f} ms); tax back after {back:.2f} s"
    )
    assert unharmed(during)


def unharmed(housing):
    """Whether its answers kept coming; all would wait for tax at once if anything were shared."""
    arrivals = sorted(one.ended for one in housing)
    pauses = [later - earlier for earlier, later in pairwise(arrivals)]
    return len(arrivals) > CALLERS and max(pauses) < SOURCE_SECONDS * 3 / 4


async def test_sources_that_share_a_queue_are_found(town):
    site, taxes = town
    gateway = site.gateways[0]
    assert gateway.stop() == 0
    await asyncio.to_thread(start_mutant, gateway, "one_source_at_a_time")
    caller = site.caller("civil-affairs")
    async with (
        asking(caller, site.properties, callers=4) as housing,
        asking(caller, lambda: incomes(site), callers=4) as tax,
    ):
        await tax.until_answered()
        async with hung(taxes):
            since = time.monotonic()
            await asyncio.sleep(BROKEN_SECONDS)
            ended = time.monotonic()
    assert not unharmed([one for one in housing.since(since) if one.ended <= ended])
    gateway.kill()
