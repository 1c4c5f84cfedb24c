"""``make bench``: ratios of one interleaved run, beside the goals.

Each round takes one sample of every arm, in turn, and a ratio is formed inside its round, so that
whatever else the machine does falls on both sides of it. What is printed is the median of the
rounds' ratios with the lowest and the highest, and for each arm the processor time of its one
process for a request. The load generator, the gateway and PostgreSQL share the machine; all
connections are on its loopback, and fsync is on.
"""

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import uvloop

from sharegate.authorize.ruleset import load_rule_set
from sharegate.identify.registry import load_registry
from tests.load import search, swap
from tests.load.figures import HEAD, Goal, machine, number, percentile, ratios, row, say, spread
from tests.load.parts import Appends, Claims, Decisions
from tests.load.stand import ARMS, Stand, standing

MANY = 32
_ALONE = ("best", "channel", "signed")
_WARM_UP = 300
_LEAST = 64
_SHOWN = 45

GOALS: Mapping[str, Goal | None] = {
    "full ÷ best bare, rps, 32 callers, channel-authenticated": Goal(0.50, 0.75, more=True),
    "full ÷ plain bare": Goal(0.85, 1.1, more=True),
    "full, signature on every request ÷ plain bare": Goal(0.5, 0.8, more=True),
    "the same entry without rooms ÷ best bare": None,
    "naive ÷ plain bare": None,
    "full, signature on every request ÷ naive": None,
    "p99 full ÷ best bare": Goal(2.0, 1.3, more=False),
    "p99 full, signed ÷ best bare": None,
    "added p50 at 1 caller ÷ one durable single-row commit": Goal(3, 2, more=False),
    "added p50 at 1 caller, signed ÷ one such commit": None,
    "decision at 100,000 rules ÷ at 10 rules": Goal(1.2, 1.05, more=False),
    "stock Casbin ÷ ours at 100,000 rules, equal results": Goal(5000, 15000, more=True),
    "group-commit appends ÷ pooled INSERT+commit, 64 waiting": Goal(6, 12, more=True),
    "held for a signed checkpoint: added p50 ÷ append p50": Goal(2, 1, more=False),
    "verify entries from PostgreSQL ÷ one-shot SHA-256": Goal(10, 5, more=False),
    "verify them from files, two processes ÷ one-shot SHA-256": Goal(6, 3, more=False),
    "gateway resident memory, 100,000 grants, MB": Goal(250, 150, more=False),
    "changed set of 100,000 grants, seconds until in force": Goal(1, 0.5, more=False),
    "  the event loop held meanwhile, ms": Goal(50, 20, more=False),
    "claim of two quotas at 1 caller ÷ one such commit": None,
}


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure.

    Attributes:
        rounds: Samples of each arm.
        seconds: How long one sample of an arm lasts, about.
        alone: Requests of one sample with a single caller.
        appends: Entries of one sample of the audit log.
        inserts: Rows of one sample beside it.
        entries: How long the verified log is.
        grants: How many there are.
        most: Seconds after which no further round begins.
        searched: How long the larger of two logs is that are searched; none are by default.
    """

    rounds: int = 9
    seconds: float = 1.2
    alone: int = 300
    appends: int = 8_000
    inserts: int = 2_000
    entries: int = 100_000
    grants: int = 100_000
    most: float = 240
    searched: int = 0


QUICK = Plan(rounds=3, seconds=0.5, alone=100, appends=2_000, inserts=500, entries=20_000, most=60)
LONG = Plan(entries=1_000_000, most=900, searched=10_000_000)
SMOKE = Plan(rounds=1, seconds=0, alone=5, appends=64, inserts=64, entries=128, grants=200, most=60)


class Samples:
    """What was measured, by arm or part and by figure; each round adds one."""

    def __init__(self) -> None:
        self.of: dict[tuple[str, str], list[float]] = defaultdict(list)

    def add(self, what: str, **figures: float) -> None:
        for name, value in figures.items():
            self.of[what, name].append(value)

    def ratios(self) -> dict[str, list[float]]:
        """The values of every line of the table, in the order of `GOALS`."""
        of = self.of

        def rps(above: str, below: str) -> list[float]:
            return ratios(of[above, "rps"], of[below, "rps"])

        def added(arm: str) -> list[float]:
            pairs = zip(of[arm, "alone"], of["best", "alone"], strict=True)
            return ratios([full - bare for full, bare in pairs], of["commit", "p50"])

        values = (
            rps("channel", "best"),
            rps("channel", "plain"),
            rps("signed", "plain"),
            rps("piece", "best"),
            rps("naive", "plain"),
            rps("signed", "naive"),
            ratios(of["channel", "p99"], of["best", "p99"]),
            ratios(of["signed", "p99"], of["best", "p99"]),
            added("channel"),
            added("signed"),
            ratios(of["decision", "many"], of["decision", "few"]),
            ratios(of["decision", "stock"], of["decision", "many"]),
            ratios(of["appends", "grouped"], of["appends", "pooled"]),
            ratios(of["held", "added"], of["held", "append"]),
            ratios(of["verify", "seconds"], of["verify", "once"]),
            ratios(of["files", "seconds"], of["files", "once"]),
            of["channel", "megabytes"],
            of["swap", "seconds"],
            of["swap", "held"],
            ratios(of["claim", "p50"], of["commit", "p50"]),
        )
        return dict(zip(GOALS, values, strict=True))


def measure(stand: Stand, plan: Plan) -> Samples:
    """Take every sample, round by round."""
    samples = Samples()
    began = time.monotonic()
    for kind in ARMS:
        stand.start(kind)
    counts = {kind: _count(stand, kind, plan) for kind in ARMS}
    departments = load_registry(stand.site.place / "registry.toml").departments
    decisions = Decisions(load_rule_set(stand.policies, departments), stand.policies)
    fresh = stand.fresh_log()
    appends = Appends(fresh, stand.dsn(), stand.entry_sample())
    claims, held = Claims(fresh[0]), stand.held()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, ExitStack() as stack:
        runner.run(appends.start())
        # Whatever goes wrong: a loop does not close around connections that are open.
        stack.callback(lambda: runner.run(appends.stop()))
        runner.run(appends.fill(plan.entries))
        runner.run(appends.seal(stand.site.place / "sealed"))
        for turn in range(plan.rounds):
            if time.monotonic() - began > plan.most:
                say(f"(out of time after {turn} of {plan.rounds} rounds)")
                break
            # Forwards and backwards in turn: no arm always follows the same one.
            for kind in ARMS if turn % 2 == 0 else ARMS[::-1]:
                said = stand.ask(kind, MANY, counts[kind])
                samples.add(kind, **{name: said[name] for name in ("rps", "p50", "p99", "cpu")})
                samples.add("asker", cpu=said["asker_cpu"])
            for kind in _ALONE:
                samples.add(kind, alone=stand.ask(kind, 1, plan.alone)["p50"])
            samples.add("commit", p50=percentile(runner.run(appends.commit(plan.alone)), 0.5))
            appended, added = runner.run(held.alone(plan.alone))
            samples.add("held", append=percentile(appended, 0.5), added=percentile(added, 0.5))
            samples.add("claim", p50=percentile(runner.run(claims.alone(plan.alone)), 0.5))
            samples.add(
                "decision", many=decisions.many(), few=decisions.few(), stock=decisions.stock()
            )
            samples.add(
                "appends",
                grouped=runner.run(appends.grouped(plan.appends)),
                pooled=runner.run(appends.pooled(plan.inserts)),
            )
            samples.add(
                "verify",
                seconds=runner.run(appends.verify()),
                once=runner.run(appends.hash_once()),
            )
            seconds, once = appends.verify_files()
            samples.add("files", seconds=seconds, once=once)
            samples.add("channel", megabytes=stand.arms["channel"].megabytes())
        samples.add("verify", entries=appends.entries)
        with tempfile.TemporaryDirectory() as place:
            site = swap.lay_out(Path(place), plan.grants)
            for seconds, held in runner.run(swap.measure(site, len(samples.of["commit", "p50"]))):
                samples.add("swap", seconds=seconds, held=held * 1e3)
    return samples


def _count(stand: Stand, kind: str, plan: Plan) -> int:
    """How many requests last as long as one sample should; warms the arm up."""
    stand.ask(kind, MANY, _WARM_UP if plan.seconds else _LEAST)
    if not plan.seconds:
        return _LEAST
    rate = stand.ask(kind, MANY, _WARM_UP)["rps"]
    return max(_LEAST, int(rate * plan.seconds))


def report(samples: Samples) -> list[str]:
    """The tables, line by line."""
    of = samples.of
    lines = ["", HEAD]
    for (name, values), goal in zip(samples.ratios().items(), GOALS.values(), strict=True):
        lines.append(row(name, spread(values), goal))
    head = f"{'32 callers':<12} {'rps':>8} {'p50 ms':>8} {'p99 ms':>8} {'CPU µs a request':>18}"
    lines += ["", f"{head} {'1 caller p50 ms':>17}"]
    for kind in ARMS:
        middle = {name: median(of[kind, name]) for name in ("rps", "p50", "p99", "cpu")}
        alone = number(median(of[kind, "alone"]) * 1e3) if kind in _ALONE else ""
        lines.append(
            f"{kind:<12} {number(middle['rps']):>8} {number(middle['p50'] * 1e3):>8} "
            f"{number(middle['p99'] * 1e3):>8} {number(middle['cpu'] * 1e6):>18} {alone:>17}"
        )

    def middling(what: str, name: str, unit: float = 1) -> str:
        return number(median(of[what, name]) * unit)

    lines += [
        "",
        f"load generator {middling('asker', 'cpu', 1e6)} µs a request",
        f"one durable commit of one row {middling('commit', 'p50', 1e3)} ms",
        (
            f"decision {middling('decision', 'few', 1e6)} µs over 10 rules, "
            f"{middling('decision', 'many', 1e6)} µs over all; stock Casbin "
            f"{middling('decision', 'stock', 1e3)} ms"
        ),
        (
            f"appends {middling('appends', 'grouped')} a second, pooled INSERTs "
            f"{middling('appends', 'pooled')}"
        ),
        (
            f"{of['verify', 'entries'][0]:,.0f} entries verified in "
            f"{middling('verify', 'seconds')} s, hashed at once in {middling('verify', 'once')} s"
        ),
    ]
    return lines


def profiled(stand: Stand, kind: str, plan: Plan) -> list[str]:
    """Look where one arm's processor time goes under load.

    Two lists: the functions by the time spent in themselves, and by that of all they call.
    """
    place = stand.site.place / "profile.json"
    stand.start(kind, place)
    stand.ask(kind, MANY, _WARM_UP)
    asked, arm = _WARM_UP, stand.arms[kind]
    until = time.monotonic() + 15 * plan.seconds
    cpu = []
    while time.monotonic() < until:
        cpu.append(stand.ask(kind, MANY, 1000)["cpu"])
        asked += 1000
    stand.arms.pop(kind)
    arm.stop()
    seen = json.loads(place.read_text(encoding="utf-8"))
    each = median(cpu) * 1e6 / seen["looks"]
    lines = ["", f"{kind}: {number(median(cpu) * 1e6)} µs of processor a request, {asked} requests"]
    for title, counts in (("in itself", seen["own"]), ("with all it calls", seen["whole"])):
        lines += ["", f"{'µs':>8} {title}"]
        ranked = sorted(counts.items(), key=lambda item: -item[1])[:_SHOWN]
        lines += [f"{count * each:>8.1f} {where}" for where, count in ranked]
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(prog="python -m tests.load.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter samples")
    parser.add_argument(
        "--long", action="store_true", help="verify 1,000,000 entries and search 10,000,000"
    )
    parser.add_argument("--profile", nargs="?", const="signed", choices=ARMS,
                        help="profile a gateway under load instead")  # fmt: skip
    chosen = parser.parse_args(arguments)
    plan = QUICK if chosen.quick else LONG if chosen.long else Plan()
    say(f"building: PostgreSQL, three departments, two gateways, {plan.grants:,} grants")
    with standing(plan.grants) as stand:
        if chosen.profile is not None:
            lines = profiled(stand, chosen.profile, plan)
        else:
            samples = measure(stand, plan)
            lines = [*report(samples), "", machine(len(samples.of["plain", "rps"]))]
    if plan.searched and chosen.profile is None:
        lines += ["", HEAD, *search.measure(search.Plan(entries=plan.searched))]
    for line in lines:
        say(line)
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as Ctrl-C: nothing stays behind
    sys.exit(main())
