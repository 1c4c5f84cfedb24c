"""Quotas in PostgreSQL: processes that race, die or lose their database; who may touch what."""

import asyncio
import contextlib
import secrets
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from sharegate.authorize.quota import Claim, QuotaUnavailable, Term
from sharegate.authorize.quota_postgres import PostgresQuotas
from sharegate.record.audit_log import Stale
from tests.faults.processes import freeze, kill_every_process, thaw
from tests.integration.audit_database import ask, draft, make, make_on, until

ROOT = Path(__file__).parents[2]
SIGNED = 1_000_000


@pytest.fixture
async def log_database(database):
    return await make(database)


def claim(key, most=1, signed_at=SIGNED):
    return Claim(uuid4(), signed_at, (Term(key, most, 2_000_000),))


@contextlib.contextmanager
def askers(dsn, processes, count, *terms, spread=1):
    """Processes that connected and wait for the word."""
    words = [word for key, most in terms for word in (key.hex(), str(most))]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.integration.quota_asker", dsn, str(count), str(spread),
             *words],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(processes)
    ]  # fmt: skip
    try:
        for process in started:
            assert process.stdout.readline() == "READY\n"
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()


def race(started):
    """Let them all ask, and give how many each was given."""
    for process in started:
        process.stdin.write("\n")
        process.stdin.flush()
    return [int(process.stdout.readline()) for process in started]


async def used(database, key):
    rows = await database.ask("select used from sharegate.quota_count where key = $1", key)
    return rows[0]["used"] if rows else 0


# --- exact ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("spread", "most"), [(1, 100), (60, 7)])
async def test_processes_that_race_for_one_officer_are_given_exactly_what_there_is(
    log_database, spread, most
):
    officer = secrets.token_bytes(31) + b"\0"
    each = 60 if spread == 1 else 5 * spread
    with askers(log_database.append, 4, each, (officer, most), spread=spread) as started:
        given = await asyncio.to_thread(race, started)
    assert sum(given) == most * spread, given
    rows = await log_database.ask("select used from sharegate.quota_count")
    assert [row["used"] for row in rows] == [most] * spread
    held = await log_database.ask("select count(*) from sharegate.quota_hold where keys <> '{}'")
    assert held[0][0] == most * spread


async def test_a_department_over_two_processes_is_given_exactly_what_there_is(log_database):
    department, officers = secrets.token_bytes(32), [secrets.token_bytes(32) for _ in range(2)]
    with contextlib.ExitStack() as stack:
        started = []
        # One names the department before the officer, the other after.
        for officer, first in zip(officers, (True, False), strict=True):
            terms = [(department, 150), (officer, 120)]
            terms = terms if first else terms[::-1]
            started += stack.enter_context(askers(log_database.append, 1, 130, *terms))
        given = await asyncio.to_thread(race, started)
    assert sum(given) == 150, given
    assert max(given) <= 120
    assert [await used(log_database, each) for each in officers] == given


async def slow_down(database, what):
    """Let a reservation rest before it writes, so that whoever does not wait for it comes first."""
    await database.ask(
        "create function public.rest() returns trigger language plpgsql as "
        "'begin perform pg_sleep(0.2); return new; end'"
    )
    await database.ask(
        f"create trigger rest before {what} on sharegate.quota_count "
        "for each row execute function public.rest()"
    )


async def test_the_last_place_is_not_given_away_while_somebody_is_taking_it(log_database):
    officer = secrets.token_bytes(32)
    gateways = [PostgresQuotas(log_database.append, seconds=30) for _ in range(3)]
    for quotas in gateways:
        assert await quotas.reserve(claim(officer, 4)) is None
    await slow_down(log_database, "update")
    given = await asyncio.gather(*(quotas.reserve(claim(officer, 4)) for quotas in gateways))
    assert sorted(given, key=str) == [0, 0, None]
    assert await used(log_database, officer) == 4
    for quotas in gateways:
        await quotas.stop()


async def test_two_who_need_the_same_counts_in_another_order_never_wait_for_each_other(
    log_database,
):
    keys = [secrets.token_bytes(32) for _ in range(3)]
    gateways = [PostgresQuotas(log_database.append, seconds=30) for _ in range(2)]
    for quotas in gateways:  # they connect
        await quotas.reserve(claim(secrets.token_bytes(32)))
    await slow_down(log_database, "insert")

    def of(order):
        return Claim(uuid4(), SIGNED, tuple(Term(key, 9, 2**52) for key in order))

    given = await asyncio.gather(gateways[0].reserve(of(keys)), gateways[1].reserve(of(keys[::-1])))
    assert given == [None, None]
    for quotas in gateways:
        await quotas.stop()


# --- whoever dies -----------------------------------------------------------------------------


async def test_a_killed_process_keeps_its_places_until_no_answer_of_it_can_be_recorded(
    log_database,
):
    officer = secrets.token_bytes(32)
    with askers(log_database.append, 1, 3, (officer, 3)) as (process,):
        assert await asyncio.to_thread(race, [process]) == [3]
        process.kill()
        process.wait()
        (answered, *_) = await log_database.ask(
            "select exchange_id from sharegate.quota_hold where signed_at = $1", SIGNED
        )
    quotas = PostgresQuotas(log_database.append, seconds=30)
    async with log_database.gateway() as audit_log:
        # Its last answer was on its way to the log.
        core = b'{"id":"x","kind":"release","mode":"query"}'
        await audit_log.append(draft(core, exchange_id=answered["exchange_id"]))
        assert await quotas.reserve(claim(officer, 3)) == 0
        await log_database.ask("select sharegate.forget_replays(0)")
        await log_database.ask("select sharegate.sweep_quota()")
        # What was left of it comes too late.
        assert isinstance(await audit_log.append(draft(signed_at=SIGNED)), Stale)
    assert await used(log_database, officer) == 1
    given = [await quotas.reserve(claim(officer, 3)) for _ in range(3)]
    assert given == [None, None, 0]
    await quotas.stop()


async def test_no_answer_survives_a_crash_of_the_database_without_its_count(private_postgres):
    server = private_postgres()
    database = await make_on(server)
    officer = secrets.token_bytes(32)
    quotas = PostgresQuotas(database.append, seconds=30)
    wanted = [claim(officer, 1000) for _ in range(50)]
    async with database.gateway() as audit_log:
        for each in wanted:
            await quotas.reserve(each)
            await audit_log.append(draft(b'{"kind":"release"}', exchange_id=each.exchange_id))
        kill_every_process(server)
    await server.stop("immediate")
    await server.start()
    recorded = {row[0] for row in await database.ask("select exchange_id from sharegate.entry")}
    assert recorded == {each.exchange_id for each in wanted}
    assert await used(database, officer) == 50
    await quotas.stop()


async def test_a_gateway_sweeps_up_and_forgets_periods_long_over(log_database):
    officer, old = secrets.token_bytes(32), secrets.token_bytes(32)
    quotas = PostgresQuotas(log_database.append, seconds=30)
    await quotas.reserve(claim(officer))
    await quotas.reserve(Claim(uuid4(), SIGNED, (Term(old, 1, 5),)))
    await log_database.ask("update sharegate.head set remembers_from = $1", 2_000_000)
    await quotas.start()

    async def swept():
        return not await log_database.ask("select from sharegate.quota_hold")

    await until(swept)
    rows = await log_database.ask("select key from sharegate.quota_count order by key = $1", old)
    assert [row["key"] for row in rows] == [officer, old]  # for a day after its period
    await log_database.ask("update sharegate.head set remembers_from = $1", 6 + 86_400_000)
    await log_database.ask("select sharegate.sweep_quota()")
    rows = await log_database.ask("select key from sharegate.quota_count")
    assert [row["key"] for row in rows] == [officer]
    await quotas.stop()


async def test_what_was_told_before_the_end_is_handed_in(log_database):
    officer = secrets.token_bytes(32)
    quotas = PostgresQuotas(log_database.append, seconds=30)
    await quotas.start()
    refused = claim(officer)
    await quotas.reserve(refused)
    quotas.settle(refused.exchange_id, answered=False)
    await quotas.stop()
    assert await used(log_database, officer) == 0


# --- whoever cannot count ---------------------------------------------------------------------


async def test_a_database_that_is_not_there_is_no_count():
    quotas = PostgresQuotas("postgresql://a@127.0.0.1:1/d")
    with pytest.raises(QuotaUnavailable, match="not reachable"):
        await quotas.reserve(claim(bytes(32)))
    await quotas.stop()


async def test_a_database_that_breaks_or_hangs_is_no_count_and_is_used_again(private_postgres):
    server = private_postgres()
    database = await make_on(server)
    quotas = PostgresQuotas(database.append, seconds=0.5)
    officer = secrets.token_bytes(32)
    assert await quotas.reserve(claim(officer, 9)) is None
    freeze(server)
    given = await asyncio.gather(
        *(quotas.reserve(claim(officer, 9)) for _ in range(5)), return_exceptions=True
    )
    assert [str(each) for each in given] == ["the database did not answer in time"] * 5
    thaw(server)

    async def counts_again():
        with contextlib.suppress(QuotaUnavailable):
            return await quotas.reserve(claim(officer, 9)) is None

    await until(counts_again)
    kill_every_process(server)
    with pytest.raises(QuotaUnavailable):
        await quotas.reserve(claim(officer, 9))
    await server.stop("immediate")
    await server.start()
    await until(counts_again)
    assert await used(database, officer) <= 9
    await quotas.stop()


async def test_a_row_that_somebody_holds_is_waited_for_no_longer_than_allowed(log_database):
    officer = secrets.token_bytes(32)
    quotas = PostgresQuotas(log_database.append, seconds=0.3)
    await quotas.reserve(claim(officer, 9))
    owner = await asyncpg.connect(log_database.owner)
    async with owner.transaction():
        await owner.execute("update sharegate.quota_count set used = used")
        with pytest.raises(QuotaUnavailable):
            await quotas.reserve(claim(officer, 9))
    await owner.close()
    assert await quotas.reserve(claim(officer, 9)) is None
    await quotas.stop()


async def test_no_error_repeats_what_was_sent(log_database):
    quotas = PostgresQuotas(log_database.append, seconds=30)
    short = Claim(uuid4(), SIGNED, (Term(b"canary-7f3a", 1, 1),))
    with pytest.raises(QuotaUnavailable) as refused:
        await quotas.reserve(short)
    assert str(refused.value) == "the database refused: 23514"
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__
    await quotas.stop()


# --- who may touch what -----------------------------------------------------------------------


async def test_only_the_login_that_appends_may_count(log_database):
    for statement in (
        "select sharegate.reserve_quota(gen_random_uuid(), 1, '{}', '{}', '{}')",
        "select sharegate.settle_quota('{}', '{}')",
        "select sharegate.sweep_quota()",
    ):
        await ask(log_database.append, statement)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await ask(log_database.read, statement)
