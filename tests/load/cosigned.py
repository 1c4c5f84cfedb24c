"""What it costs to hold an answer until a quorum of witnesses has cosigned its entry.

    python -m tests.load.cosigned

A site with four witnesses, processes of their own, three of which must cosign; 32 callers ask for
what a grant lets out only when it is cosigned, and for the same where it does not demand that. One
round trip is one `add-checkpoint` to one of these witnesses, asked alone, with another log: it
checks the signature and a consistency proof, makes the checkpoint durable, and cosigns.

It is measured twice: with the witnesses on this machine, where 32 callers who never rest keep its
processors busy and a round trip is next to nothing, and with a line between them and the gateway
that takes 20 ms there and back, as one between two cities does.
"""

import argparse
import asyncio
import json
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
from sharegate.audit.proof import consistency_path
from sharegate.audit.tree import Batch, Frontier
from sharegate.audit.witnessing import Submission, encode
from sharegate.cli.demo.stage import sign_everything
from sharegate.cli.main import main as sharegate
from sharegate.embedded import EmbeddedPostgres
from tests.integration.witnessed_site import Witnesses, witnessed
from tests.load.figures import HEAD, Goal, machine, percentile, ratios, row, say, spread
from tests.load.stand import end, question, spawn
from tests.postgres import on_a_thread, reachable_directory, stopped_at_the_end
from tests.site import Site, free_port, site_on

CALLERS = 32
GOAL = Goal(3, 2, more=False)
AFAR = 0.020
OTHER = SignerKey("round-trips.example/log", Ed25519PrivateKey.from_private_bytes(b"t" * 32))


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure."""

    rounds: int = 5
    asked: int = 1500
    trips: int = 60


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
            grown = Batch(before, [secrets.token_bytes(32)])
            self._tree = grown.after
            path = ()
            if before.size:
                path = consistency_path(before.size, self._tree.size, grown.node)
            note = sign(Checkpoint(OTHER.name, self._tree.size, self._tree.root()), OTHER)
            body = encode(Submission(before.size, path, note))
            began = perf_counter()
            async with session.post(f"{self._url}/add-checkpoint", data=body) as answer:
                assert answer.status == 200, await answer.text()
            took.append(perf_counter() - began)
        return took


class Line:
    """The way to the witnesses (see `tests.load.distance`)."""

    def __init__(self, witnesses: Witnesses) -> None:
        self.urls, ports = {}, {}
        for one in witnesses.members:
            port = free_port()
            ports[port], self.urls[one.name] = one.port, f"http://127.0.0.1:{port}"
        self._process = spawn("tests.load.distance", json.dumps(ports))
        self._said("ready")

    def take(self, seconds: float) -> None:
        """Take so long there and back from now on."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        self._said("set")

    def _said(self, expected: str) -> None:
        assert self._process.stdout is not None
        if self._process.stdout.readline() != f"{expected}\n":
            raise RuntimeError("the line to the witnesses is broken")

    def stop(self) -> None:
        end(self._process)


class Callers:
    """The load generator, which asks this site's gateway."""

    def __init__(self, site: Site) -> None:
        port = int(site.gateways[0].exchange_url.rpartition(":")[2])
        self._asked = question(site, port, site.people.applicant.id_number)
        self._process = spawn("tests.load.asker")

    def p50(self, count: int) -> float:
        """Ask so many times; the seconds that half of the answers took at most.

        Raises:
            RuntimeError: An answer was not the right one.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = self._asked | {"callers": CALLERS, "count": count}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        said = json.loads(self._process.stdout.readline())
        if said["wrong"] or said["answers"] != count:
            raise RuntimeError(f"{said['answers']} of {count} were answered: {said['wrong']}")
        return float(said["p50"])

    def stop(self) -> None:
        end(self._process)


@asynccontextmanager
async def _running() -> AsyncIterator[tuple[Site, RoundTrips, Line, Callers]]:
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
        line = Line(witnesses)
        stack.callback(line.stop)
        witnessed(gateway, witnesses.quorum_file(line.urls))
        await asyncio.to_thread(witnesses.start)
        await asyncio.to_thread(gateway.start)
        stack.callback(gateway.stop)
        callers = Callers(site)
        stack.callback(callers.stop)
        yield site, RoundTrips(line.urls[one.name]), line, callers


async def measure(plan: Plan) -> list[str]:
    """Every figure, round by round; the lines of the table."""
    of: dict[tuple[str, float], list[float]] = defaultdict(list)
    async with _running() as (site, trips, line, callers), ClientSession() as session:
        await trips(session, 5)
        for _ in range(plan.rounds):
            for assurance in ("cosigned", "signed"):
                await asyncio.to_thread(demanding, site, assurance)
                await asyncio.sleep(2.5)  # by now it is in force
                for way in (0.0, AFAR):
                    line.take(way)
                    took = await asyncio.to_thread(callers.p50, plan.asked)
                    of[assurance, way].append(took)
            for way in (0.0, AFAR):
                line.take(way)
                of["trip", way].append(percentile(await trips(session, plan.trips), 0.5))
    lines = [HEAD]
    for where, way in (("here", 0.0), ("20 ms away", AFAR)):
        whole, signed, trip = of["cosigned", way], of["signed", way], of["trip", way]
        held = [a - b for a, b in zip(whole, signed, strict=True)]
        lines += [
            row(f"witnesses {where}: cosigned p50, 32 callers ÷ round trip",
                spread(ratios(whole, trip)), GOAL),
            row("  added to a signed answer ÷ round trip", spread(ratios(held, trip)), None),
            row("  a signed answer p50, ms", spread([1000 * each for each in signed]), None),
            row("  one witness round trip alone, ms", spread([1000 * each for each in trip]), None),
        ]  # fmt: skip
    return [*lines, "", machine(plan.rounds)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.cosigned", description=__doc__)
    parser.add_argument("--rounds", type=int, default=Plan().rounds)
    parser.add_argument("--asked", type=int, default=Plan().asked)
    chosen = parser.parse_args(arguments)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for line in runner.run(measure(Plan(chosen.rounds, chosen.asked))):
            say(line)
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as Ctrl-C: nothing stays behind
    sys.exit(main())
