"""What searching costs as the log grows, and what the projection costs the appends.

    python -m tests.load.search --entries 1000000

Two projections, one of a tenth of the entries, filled in the database itself with the same mixture;
then every kind of search in turn on both, newest 100 within a tenth of the time. What is printed
is the p50 over the larger ÷ the p50 over the smaller. Then appends, with `sharegate project` at
work beside them ÷ without, round by round.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random
from time import perf_counter

import asyncpg
import uvloop

from sharegate.audit.note import SignerKey
from sharegate.cli.keys import new_signing_key
from sharegate.consortium.coverage import Coverage
from sharegate.consortium.memory import SignerMemory
from sharegate.consortium.signer import Signer
from sharegate.embedded import EmbeddedPostgres
from sharegate.record.audit_log import Draft
from sharegate.record.migrate import provision, provisioned_search
from sharegate.record.postgres import PostgresAuditLog
from sharegate.record.reader import PostgresReader
from sharegate.record.search import Criteria, PostgresSearch
from tests.integration.searchable import invented
from tests.load.figures import HEAD, Goal, machine, percentile, ratios, row, say, spread
from tests.load.parts import numbered
from tests.postgres import on_a_thread, reachable_directory, remove_abandoned, stopped_at_the_end

ORIGIN = "bench.sharegate.example"
BASE = 1_780_000_000_000
EACH = 100  # milliseconds between two entries
WAITING = 64
GROWTH = Goal(2.5, 1.5, more=False)
KEPT = Goal(0.8, 0.95, more=True)
_INDEXES = """
select indexdef from pg_indexes
 where schemaname = 'sharegate' and tablename = $1 and indexname not like '%_pkey'
"""
_FILL = """
insert into sharegate.search_entry
select i, {base} + i * {each}, case when r < 0.1 then 'refusal' else 'release' end, null,
       'department-' || c, substring(sha256(('o' || c || '-' || o)::bytea) from 1 for 16),
       substring(sha256(('m' || i / 3)::bytea) from 1 for 16),
       'provider-' || (i % 10), 'resource-' || (i % 4), 'query', 'purpose-' || (i % 12),
       case when r < 0.1 then 'deny' else 'permit' end,
       case when r < 0.1 then 'no-grant' end, 'grant-' || (i % 500)
  from (select i, (random() * 49)::int as c, (random() * 39)::int as o, random() as r
          from generate_series($1::bigint, $2::bigint - 1) as i) as drawn
"""
_PEOPLE = """
insert into sharegate.search_person
select substring(sha256(('p' || (random() * {people})::int)::bytea) from 1 for 16),
       {base} + i * {each}, i
  from generate_series($1::bigint, $2::bigint - 1) as i
"""
_STEP = 100_000


def token(text: str) -> bytes:
    return sha256(text.encode()).digest()[:16]


async def fill(dsn: str, entries: int) -> None:
    """Put so many invented rows in; indexes are made afterwards, which is quicker."""
    connection = await asyncpg.connect(dsn)
    indexes = [each["indexdef"] for each in await connection.fetch(_INDEXES, "search_entry")]
    for each in indexes:
        await connection.execute(f"drop index sharegate.{each.split()[2]}")
    await connection.execute("set synchronous_commit = off; set maintenance_work_mem = '512MB'")
    values = {"base": BASE, "each": EACH, "people": 200_000}
    for first in range(0, entries, _STEP):
        after = min(first + _STEP, entries)
        await connection.execute(_FILL.format(**values), first, after)
        await connection.execute(_PEOPLE.format(**values), first, after)
    for each in indexes:
        await connection.execute(each)
    await connection.execute("vacuum analyze sharegate.search_entry")
    await connection.execute("vacuum analyze sharegate.search_person")
    await connection.close()


def wanted(kind: str, entries: int, chance: Random) -> Criteria:
    """One search of a kind, for what is there, within a tenth of the time."""
    span = entries * EACH
    since = BASE + chance.randrange(span * 9 // 10)
    at = chance.randrange(entries)
    when = {"since": since, "until": since + span // 10}
    department = f"department-{chance.randrange(1, 49)}"
    match kind:
        case "officer":
            officer = f"o{department[11:]}-{chance.randrange(1, 39)}"
            return Criteria(consumer=department, officer=token(officer), **when)
        case "resource":
            return Criteria(provider=f"provider-{at % 10}", resource=f"resource-{at % 4}", **when)
        case "matter":
            moment = BASE + at * EACH
            when = {"since": moment - span // 20, "until": moment + span // 20}
            return Criteria(matter=token(f"m{at // 3}"), **when)
        case "person":
            return Criteria(person=token(f"p{chance.randrange(200_000)}"), **when)
        case _:
            return Criteria(consumer=department, effect="deny", **when)


KINDS = ("officer", "resource", "matter", "person", "a department's refusals")


async def searches(
    dsns: Sequence[tuple[str, int]], rounds: int, each: int
) -> dict[str, list[float]]:
    """The ratio of the two p50s, by kind, one for each round."""
    searchers = [PostgresSearch(dsn) for dsn, _ in dsns]
    chance, found = Random(7), {kind: [] for kind in KINDS}
    try:
        for _ in range(rounds):
            for kind in KINDS:
                took: list[list[float]] = [[], []]
                for _ in range(each):
                    for at, (_, entries) in enumerate(dsns):
                        criteria = wanted(kind, entries, chance)
                        began = perf_counter()
                        await searchers[at].find(criteria)
                        took[at].append(perf_counter() - began)
                small, large = (percentile(one, 0.5) for one in took)
                found[kind].append(large / small)
                say(f"  {kind:<26} {small * 1e3:6.2f} ms  {large * 1e3:6.2f} ms")
    finally:
        for one in searchers:
            await one.close()
    return found


@contextlib.asynccontextmanager
async def signing(
    dsns: tuple[str, str], key: SignerKey, state: Path
) -> AsyncIterator[PostgresAuditLog]:
    """A gateway's audit log with its signer, without the rest of a gateway."""
    readers = PostgresReader(dsns[1]), PostgresReader(dsns[1])
    audit_log = PostgresAuditLog(dsns[0], readers[0], lambda _: None, seconds=2)
    await audit_log.start()
    coverage = Coverage(readers[1])
    memory = SignerMemory(state / "signer.memory", key.name)
    signer = Signer(key, memory, readers[1], coverage, audit_log, lambda _: None)
    await signer.start()
    try:
        yield audit_log
    finally:
        await signer.stop()
        await audit_log.stop()
        for reader in readers:
            await reader.close()


async def appended(audit_log: PostgresAuditLog, drafts: Iterator[Draft], seconds: float) -> float:
    """Entries appended a second, with 64 always waiting."""
    count, until = 0, perf_counter() + seconds

    async def one() -> None:
        nonlocal count
        while perf_counter() < until:
            await audit_log.append(next(drafts))
            count += 1

    await asyncio.gather(*(one() for _ in range(WAITING)))
    return count / seconds


def drafts() -> Iterator[Draft]:
    """Real entries, made beforehand; only their ids differ."""
    chance = Random(1)
    made = [invented(chance, number) for number in range(500)]
    number = 0
    while True:
        number += 1
        yield numbered(made[number % len(made)], number)


async def beside(server: EmbeddedPostgres, place: Path, rounds: int, seconds: float) -> list[float]:
    """Appends with the follower at work ÷ without, one ratio for each round."""
    dsns = await provision(server.dsn, ORIGIN, "bench_log")
    project, _ = provisioned_search(server.dsn, "bench_log")
    key = SignerKey(ORIGIN, new_signing_key(place / "log.pem"))
    (place / "state").mkdir()
    config = place / "gateway.toml"
    said = _SETTINGS.format(origin=ORIGIN, append=dsns[0], read=dsns[1], project=project)
    config.write_text(said, encoding="utf-8")
    coming, with_it, without = drafts(), [], []
    async with signing(dsns, key, place / "state") as audit_log:
        await appended(audit_log, coming, seconds)
        follower = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "sharegate", "project", "--config", str(config),
            stdout=asyncio.subprocess.DEVNULL, stderr=None,
        )  # fmt: skip
        await asyncio.sleep(2)
        try:
            for turn in range(rounds):
                for stopped in (turn % 2 == 0, turn % 2 != 0):
                    follower.send_signal(signal.SIGSTOP if stopped else signal.SIGCONT)
                    await asyncio.sleep(0.2)
                    rate = await appended(audit_log, coming, seconds)
                    (without if stopped else with_it).append(rate)
                    behind = await _behind(server)
                    say(f"  {'without' if stopped else 'with':<8} {rate:8,.0f}/s  behind {behind}")
        finally:
            follower.send_signal(signal.SIGCONT)
            follower.terminate()
            await follower.wait()
    return ratios(with_it, without)


async def _behind(server: EmbeddedPostgres) -> int:
    connection = await asyncpg.connect(server.dsn("bench_log"))
    try:
        behind: int = await connection.fetchval(
            "select h.size - p.size from sharegate.head h, sharegate.search_place p"
        )
        return behind
    finally:
        await connection.close()


_SETTINGS = """
policies = "policies"
registry = "registry.toml"
[listen]
exchange = "127.0.0.1:8080"
admin = "127.0.0.1:9080"
authority = "bench"
[trust]
administrators = [
    "administrator-one+d52684b2+Ab/U2p6fCmenmUoqhoLftYknFWL5O89WPyqwwHa+QtlS",
    "administrator-two+7f7cbcb8+Aa1p4N7fXfXVNRZPjcd43C7yycP2yCbEHJOavRhecOH2",
]
[audit_log]
origin = "{origin}"
append_dsn = "{append}"
read_dsn = "{read}"
signing_key = "log.pem"
state = "state"
[projection]
dsn = "{project}"
[sources]
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure.

    Attributes:
        entries: Of the larger projection.
        rounds: Samples of each kind.
        seconds: How long one sample of appends lasts.
        each: Searches of one kind in a round.
    """

    entries: int = 1_000_000
    rounds: int = 5
    seconds: float = 3.0
    each: int = 60


def measure(plan: Plan) -> list[str]:
    """Take every sample on a server of its own; give the lines of the table."""
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(reachable_directory())
        server = EmbeddedPostgres(place / "postgres")
        stack.enter_context(stopped_at_the_end(server))
        on_a_thread(server.start())
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        run = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop)).run
        kept = run(beside(server, home, plan.rounds, plan.seconds))
        dsns = []
        for size in (plan.entries // 10, plan.entries):
            name = f"bench_{size}"
            run(provision(server.dsn, ORIGIN, name))
            began = perf_counter()
            run(fill(server.dsn(name), size))
            say(f"  {size:,} entries put in and indexed in {perf_counter() - began:.0f} s")
            dsns.append((provisioned_search(server.dsn, name)[1], size))
        found = run(searches(dsns, plan.rounds, plan.each))
    lines = [
        row(f"search p50 by {kind}, {plan.entries:,} ÷ a tenth", spread(values), GROWTH)
        for kind, values in found.items()
    ]
    return [*lines, row("appends with the follower at work ÷ without", spread(kept), KEPT)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench."""
    usual = Plan()
    parser = argparse.ArgumentParser(prog="python -m tests.load.search", description=__doc__)
    parser.add_argument("--entries", type=int, default=usual.entries)
    parser.add_argument("--rounds", type=int, default=usual.rounds)
    parser.add_argument("--seconds", type=float, default=usual.seconds)
    parser.add_argument("--each", type=int, default=usual.each)
    chosen = parser.parse_args(arguments)
    remove_abandoned()
    say(machine(chosen.rounds))
    lines = measure(Plan(**vars(chosen)))
    for line in ("", HEAD, *lines):
        say(line)
    return 0


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
