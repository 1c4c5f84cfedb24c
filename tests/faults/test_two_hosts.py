"""Two hosts with one log: the one that signs sleeps past its right to, and wakes (A7).

Each host has its own state, so nothing but the database stands between two signers.
"""

import asyncio
import contextlib
import random
import signal
import time

import pytest

from sharegate.audit import receipt as receipts
from sharegate.audit.checkpoint import open_checkpoint
from sharegate.audit.note import VerifierKey
from sharegate.audit.tree import Frontier, leaf_hash
from tests.faults.callers import PATIENCE_SECONDS, asking, assert_kept, logged, tell
from tests.faults.mutants import start_mutant
from tests.integration.witnessed_site import Witnesses, witnessed

SEED = 20261120
CALLERS = 4


def signs(gateway):
    return "\nsharegate_signs 1.0" in gateway.metrics()


async def turns(gateway, *, to_sign, seconds=PATIENCE_SECONDS):
    """Whether it begins to sign, or ends, in that time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if await asyncio.to_thread(signs, gateway) == to_sign:
            return True
        await asyncio.sleep(0.1)
    return False


@contextlib.contextmanager
def asleep(gateway):
    gateway.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        gateway.process.send_signal(signal.SIGCONT)


@contextlib.asynccontextmanager
async def asked_on_both(site, gateways):
    async with (
        asking(site.caller("civil-affairs", gateways[0]), site.properties, CALLERS) as first,
        asking(site.caller("civil-affairs", gateways[1]), site.properties, CALLERS) as second,
    ):
        yield first, second


async def forks(site, loads):
    """Checkpoints under which something was released, and that are not of the log as it is."""
    key = VerifierKey.parse(site.log_key)
    notes = {
        receipts.parse(one.receipt).checkpoint_note
        for load in loads
        for one in load.released().values()
    }
    given = {open_checkpoint(note, [key], key.name) for note in notes}
    leaves = [entry.leaf for entry in sorted((await logged(site)).values(), key=lambda e: e.seq)]
    tree, roots = Frontier.empty(), {}
    for leaf in leaves:
        tree = tree.extend([leaf_hash(leaf)])
        roots[tree.size] = tree.root()
    return [one for one in given if roots.get(one.size) != one.root], len(given)


async def test_who_slept_past_its_right_to_sign_follows_when_it_wakes(apart, rounds):
    gateways = [apart.gateway(), apart.gateway("elsewhere")]
    for gateway in gateways:
        await asyncio.to_thread(gateway.start)
    assert [signs(gateway) for gateway in gateways] == [True, False]
    chance, taken, checked = random.Random(SEED), [], set()
    async with asked_on_both(apart, gateways) as loads:
        for turn in range(max(2, rounds // 10)):
            signing, following = (0, 1) if turn % 2 == 0 else (1, 0)
            for load in loads:
                await load.until_answered(5)
            await asyncio.sleep(1.2 + chance.random())  # by now the other remembers what it follows
            with asleep(gateways[signing]):
                began = time.monotonic()
                assert await turns(gateways[following], to_sign=True)
                await loads[following].until_answered(5)
                taken.append(time.monotonic() - began)
            assert await turns(gateways[signing], to_sign=False)
            for load in loads:
                await load.until_answered(5)
                await assert_kept(apart, load, checked)
            assert signs(gateways[following])
    wrong, given = await forks(apart, loads)
    assert wrong == []
    assert {one.status for load in loads for one in load.asked} <= {0, 200, 503}
    tell(
        f"{len(taken)} signers slept past their right: the other answered after {max(taken):.1f} s "
        f"at most; {len(checked)} answers under {given} checkpoints, no fork"
    )
    assert [gateway.stop() for gateway in gateways] == [0, 0]


async def test_the_sleep_finds_a_signer_that_believes_its_right_lasts(apart):
    gateways = [apart.gateway(), apart.gateway("elsewhere")]
    await asyncio.to_thread(start_mutant, gateways[0], "sleepwalker")
    await asyncio.to_thread(gateways[1].start)
    async with asked_on_both(apart, gateways) as loads:
        for load in loads:
            await load.until_answered(5)
        await asyncio.sleep(1.5)
        with asleep(gateways[0]):
            assert await turns(gateways[1], to_sign=True)
        await loads[0].until_answered(5)
        assert not await turns(gateways[0], to_sign=False, seconds=5)


@pytest.fixture
def with_witnesses(apart, tmp_path):
    """Two hosts, the first of which signs, and four witnesses."""
    witnesses = Witnesses(tmp_path, apart.log_key)
    witnesses.start()
    gateways = [apart.gateway(), apart.gateway("elsewhere")]
    for gateway in gateways:
        witnessed(gateway, witnesses.quorum_file())
        gateway.start()
    yield gateways
    witnesses.stop()


async def test_who_slept_is_not_stopped_by_what_the_other_showed_the_witnesses(
    apart, with_witnesses
):
    signing, following = with_witnesses
    async with asked_on_both(apart, with_witnesses) as loads:
        await loads[0].until_answered(20)
        with asleep(signing):
            assert await turns(following, to_sign=True)
            await loads[1].until_answered(20)
            await asyncio.sleep(1)
        assert await turns(signing, to_sign=False)
        for load in loads:
            await load.until_answered(20)
        assert signs(following)
    assert [gateway.stop() for gateway in with_witnesses] == [0, 0]
    for gateway in with_witnesses:
        assert "frozen" not in gateway.output.read_text(encoding="utf-8")
