"""What it costs to hold an answer until a quorum of witnesses has cosigned its entry.

    python -m tests.load.cosigned

A site with four witnesses, processes of their own, three of which must cosign; 32 callers ask for
what a grant lets out only when it is cosigned, and for the same where it does not demand that. One
round trip is one `add-checkpoint` to one of these witnesses, asked alone, with another log: it
checks the signature and a consistency proof, makes the checkpoint durable, and cosigns.
"""

import argparse
import asyncio
import secrets
import signal
import sys
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import uvloop
from aiohttp import ClientSession
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sharegate.audit.checkpoint import Checkpoint, sign
from sharegate.audit.note import SignerKey
from sharegate.audit.tree import Frontier
from sharegate.audit.witnessing import Submission, encode
from sharegate.cli.demo.stage import sign_everything
from sharegate.cli.main import main as sharegate
from sharegate.embedded import EmbeddedPostgres
from tests.faults.callers import asking
from tests.integration.witnessed_site import Witnesses, witnessed
from tests.load.figures import HEAD, Goal, machine, percentile, ratios, row, say, spread
from tests.postgres import on_a_thread, reachable_directory, stopped_at_the_end
from tests.site import Site, site_on

CALLERS = 32
GOAL = Goal(3, 2, more=False)
OTHER = SignerKey("round-trips.example/log", Ed25519PrivateKey.from_private_bytes(b"t" * 32))


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure."""

    rounds: int = 5
    seconds: float = 2.0
    trips: int = 100


def demanding(site: Site, assurance: str) -> None:
    """Have the grant that is asked under demand this."""
    grants = site.policies / "housing" / "grants.csv"
    rows = [line.split(",") for line in grants.read_text(encoding="utf-8").splitlines()]
    for each in rows[1:]:
        if each[0] == "housing-001":
            each[rows[0].index("assurance")] = assurance
    grants.write_text("".join(",".join(each) + "\n" for each in rows), encoding="utf-8")
    sign_everything(site.place)


class RoundTrips:
    """Asks one witness alone."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._tree = Frontier.empty()

    async def __call__(self, session: ClientSession, count: int) -> list[float]:
        """So many in turn: the seconds of each."""
        took = []
        for _ in range(count):
            before = self._tree
            # From 2^n - 1 or anywhere: a tree that grows by one has its old nodes as the proof.
            leaf = secrets.token_bytes(32)
            self._tree = before.extend([leaf])
            path = _grown_by_one(before, leaf)
            note = sign(Checkpoint(OTHER.name, self._tree.size, self._tree.root()), OTHER)
            body = encode(Submission(before.size, path, note))
            began = perf_counter()
            async with session.post(f"{self._url}/add-checkpoint", data=body) as answer:
                assert answer.status == 200, await answer.text()
            took.append(perf_counter() - began)
        return took


def _grown_by_one(before: Frontier, leaf: bytes) -> tuple[bytes, ...]:
    """The consistency proof (RFC 9162 2.1.4.1) from a tree to the one with one leaf more."""
    nodes = list(before.hashes)  # the largest first
    if not nodes:
        return ()
    low = nodes.pop()
    if not nodes:
        return (leaf,)  # a whole tree: it is its own seed
    # The old tree's smallest whole part, then what it is joined with, from the bottom up.
    return (low, leaf, *reversed(nodes))


@asynccontextmanager
async def _running(plan: Plan) -> AsyncIterator[tuple[Site, RoundTrips]]:
    with ExitStack() as stack:
        place = stack.enter_context(reachable_directory())
        server = EmbeddedPostgres(place / "postgres")
        stack.enter_context(stopped_at_the_end(server))
        await asyncio.to_thread(on_a_thread, server.start())
        site = await asyncio.to_thread(stack.enter_context, site_on(server))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        witnesses = await asyncio.to_thread(Witnesses, folder, site.log_key)
        stack.callback(witnesses.stop)
        one = witnesses.members[0]
        config = Path(one.config)
        text = config.read_text(encoding="utf-8")
        config.write_text(text.replace('logs = ["', f'logs = ["{OTHER.vkey}", "'), encoding="utf-8")
        begin = ["witness", "begin", OTHER.name, "--config", one.config]
        assert await asyncio.to_thread(sharegate, begin) == 0
        gateway = site.gateway()
        witnessed(gateway, witnesses.quorum_file())
        await asyncio.to_thread(witnesses.start)
        await asyncio.to_thread(gateway.start)
        yield site, RoundTrips(one.url)
        gateway.stop()


async def _p50(site: Site, plan: Plan) -> float:
    async with asking(site.caller("civil-affairs"), site.properties, CALLERS) as load:
        await load.until_answered(CALLERS)
        before = len(load.asked)
        await asyncio.sleep(plan.seconds)
    took = [one.ended - one.began for one in load.asked[before:] if one.status == 200]
    return percentile(took, 0.5)


async def measure(plan: Plan) -> list[str]:
    """Every figure, round by round; the lines of the table."""
    of: dict[str, list[float]] = defaultdict(list)
    async with _running(plan) as (site, trips), ClientSession() as session:
        await trips(session, 5)
        for _ in range(plan.rounds):
            for assurance in ("cosigned", "signed"):
                await asyncio.to_thread(demanding, site, assurance)
                await asyncio.sleep(2.5)  # by now it is in force
                of[assurance].append(await _p50(site, plan))
            of["trip"].append(percentile(await trips(session, plan.trips), 0.5))
    held = [a - b for a, b in zip(of["cosigned"], of["signed"], strict=True)]
    return [
        HEAD,
        row("cosigned answer p50, 32 callers ÷ one witness round trip",
            spread(ratios(of["cosigned"], of["trip"])), GOAL),
        row("  added to a signed answer ÷ one witness round trip",
            spread(ratios(held, of["trip"])), None),
        row("  one witness round trip alone, ms",
            spread([1000 * each for each in of["trip"]]), None),
        "",
        machine(plan.rounds),
    ]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.cosigned", description=__doc__)
    parser.add_argument("--rounds", type=int, default=Plan().rounds)
    parser.add_argument("--seconds", type=float, default=Plan().seconds)
    chosen = parser.parse_args(arguments)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for line in runner.run(measure(Plan(chosen.rounds, chosen.seconds))):
            say(line)
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as Ctrl-C: nothing stays behind
    sys.exit(main())
