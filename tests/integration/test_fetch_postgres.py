"""The third room on a real PostgreSQL: what the provider sees, and what breaks around it."""

import asyncio
import os
import signal
from uuid import UUID, uuid4

import asyncpg
import pytest

from sharegate.embedded import EmbeddedPostgres
from sharegate.fetch.fetch import Fetch
from sharegate.fetch.plan import plan
from sharegate.fetch.postgres import PostgresSource
from sharegate.fetch.source import SourceTimeout, SourceUnavailable, Trouble
from sharegate.fetch.sql import statement
from sharegate.model.catalogue import FieldType, SourceName
from sharegate.model.passage import Disclosure, Failure
from sharegate.observe import SourceFailed
from tests.postgres import on_a_thread, reachable_directory, stopped_at_the_end
from tests.unit.fetch.estate import decided, field, permit, request, resource

CANARY = "canary-91c2"
CONNECTIONS = 3
SCHEMA = """
CREATE SCHEMA estate;
CREATE TABLE estate.property (
    certificate_no text PRIMARY KEY, owner_id_number text, address text, area_m2 numeric,
    registered_on date, secret text);
CREATE INDEX ON estate.property (owner_id_number);
INSERT INTO estate.property
SELECT 'c' || n, 'o' || n / 10, 'a' || n, n, date '2020-01-01' + n, 'canary-91c2'
  FROM generate_series(1, 1000) AS n;
INSERT INTO estate.property VALUES ('nan', 'x', 'a', 'NaN', '2020-01-01'),
                                   ('inf', 'x', 'a', '1', 'infinity');
INSERT INTO estate.property VALUES ('wide', 'x', repeat('宽', 16384)),
                                   ('wider', 'x', repeat('宽', 16385)),
                                   ('widest', 'x', repeat('x', 50000000));
CREATE VIEW estate.slow AS SELECT *, pg_sleep(30)::text AS slept FROM estate.property;
CREATE VIEW estate.broken AS
SELECT certificate_no, (secret || owner_id_number)::int::text AS address FROM estate.property;
CREATE TABLE estate.empty (certificate_no text, address text);
CREATE TYPE estate.district AS ENUM ('east', 'west');
CREATE TABLE estate.listed (certificate_no estate.district, address text);
CREATE ROLE gateway LOGIN PASSWORD 'x';
ALTER ROLE gateway SET default_transaction_read_only = on;
ALTER ROLE gateway SET statement_timeout = '3s';
ALTER ROLE gateway SET search_path = '';
GRANT USAGE ON SCHEMA estate TO gateway;
GRANT SELECT ON ALL TABLES IN SCHEMA estate TO gateway;
CREATE EXTENSION pg_stat_statements;
"""
PAYLOADS = [
    "' OR '1'='1",
    "'; DROP TABLE estate.property; --",
    "$1",
    "$$; SELECT 1; $$",
    "\\'; SELECT pg_sleep(9) --",
    "%' UNION SELECT secret FROM estate.property --",
    "\x1b[2J\u202e\r\n",
    "c1\0",
    "E'\\x27'",
    "{1,2}",
    "NULL",
    "不动产'",
    "\ud800",
    "a" * 60_000,
]
OPTIONS = {
    "shared_preload_libraries": "pg_stat_statements",
    "log_line_prefix": "%a|",
    "log_min_duration_statement": "0",
    "fsync": "off",
}


@pytest.fixture(scope="module")
def server():
    """One server for this module; a test that breaks it puts it together again."""
    with reachable_directory() as place:
        started = EmbeddedPostgres(place / "postgres", options=OPTIONS)
        with stopped_at_the_end(started):
            on_a_thread(started.start())
            on_a_thread(execute(started, SCHEMA))
            yield started


@pytest.fixture
def written(server):
    """What the server wrote into its own log since the test began."""
    path = server.directory / "server.log"
    begin = path.stat().st_size
    return lambda: path.read_bytes()[begin:].decode(errors="replace")


@pytest.fixture
async def source(server):
    made = PostgresSource(server.dsn("postgres", "gateway", "x"), CONNECTIONS, 1.5)
    yield made
    await made.close()


async def execute(server, text, *bound):
    owner = await asyncpg.connect(server.dsn())
    try:
        return await (owner.fetch(text, *bound) if bound else owner.execute(text))
    finally:
        await owner.close()


async def fetchval(server, text, *bound):
    owner = await asyncpg.connect(server.dsn())
    try:
        return await owner.fetchval(text, *bound)
    finally:
        await owner.close()


KEYS = [
    field("certificate_no", key=True),
    field("owner_id_number", key=True),
    field("address", key=True),
    field("area_m2", FieldType.DECIMAL, key=True),
    field("registered_on", FieldType.DATE, key=True),
]


def question(where=None, fields=("address",), limit=10, relation="property", extra=()):
    listed = resource(("estate", relation), [*KEYS, *extra])
    return permit(fields, limit, listed), request(**(where or {"certificate_no": "c1"}))


def ask(source, *, exchange_id: UUID | None = None, **how):
    return source.rows(plan(*question(**how)), exchange_id or uuid4())


async def walk(source, **how):
    seen = []
    fetch = Fetch({SourceName("housing"): source}, seen.append)
    return (await fetch(decided(*question(**how)))).outcome, seen


async def fingerprints(server):
    rows = await execute(
        server,
        "SELECT query FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid "
        "WHERE rolname = $1",
        "gateway",
    )
    return {row["query"] for row in rows}


async def backends(server):
    return await fetchval(
        server, "SELECT count(*) FROM pg_stat_activity WHERE usename = $1", "gateway"
    )


async def test_the_provider_sees_who_asked_even_when_no_row_matches(server, source, written):
    for number in range(8):  # past the fifth, PostgreSQL may plan it for any value
        for key in (f"c{number}", "nobody"):
            exchange_id = uuid4()
            await ask(source, exchange_id=exchange_id, where={"certificate_no": key})
            there = await fetchval(
                server,
                "SELECT query FROM pg_stat_activity WHERE application_name = $1",
                str(exchange_id),
            )
            assert "property" in there
            assert f"{exchange_id}|LOG:  duration" in written()
    exchange_id = uuid4()
    assert list(await ask(source, exchange_id=exchange_id, relation="empty")) == []
    assert f"{exchange_id}|LOG:  duration" in written()


async def test_the_exchange_id_is_set_once_before_the_scan(server):
    text = statement(plan(*question()).shape).text
    owner = await asyncpg.connect(server.dsn())
    await owner.execute(f"PREPARE asked (varchar, text, bigint) AS {text}")
    for mode in ("force_generic_plan", "force_custom_plan"):
        await owner.execute(f"SET plan_cache_mode = {mode}")
        lines = await owner.fetch("EXPLAIN (ANALYZE) EXECUTE asked('x', 'nobody', 10)")
        explained = "\n".join(line[0] for line in lines)
        assert "One-Time Filter: ((InitPlan 1).col1 IS NOT NULL)" in explained
        assert "Index Scan using property_pkey" in explained
        initplan = explained.partition("InitPlan 1\n")[2].partition("\n")[0]
        assert "loops=1" in initplan
    await owner.close()


async def test_no_value_becomes_part_of_a_statement(server, source, written):
    await execute(server, "SELECT pg_stat_statements_reset()")
    for key in ("certificate_no", "owner_id_number"):
        await ask(source, where={key: "c1"})
    before = await fingerprints(server)
    for payload in PAYLOADS:
        for key in ("certificate_no", "owner_id_number"):
            outcome, seen = await walk(source, where={key: payload})
            assert isinstance(outcome, Disclosure)
            assert outcome.rows == ()
            assert seen == []
    after = await fingerprints(server)
    assert after == before
    asked = [text for text in after if "estate" in text]
    assert len(asked) == 2
    assert not any("secret" in text or "*" in text or "owner_name" in text for text in asked)
    assert "ERROR" not in written()


@pytest.mark.parametrize("limit", [1, 9, 10, 11])
async def test_the_row_limit_is_exact(source, limit):
    outcome, _ = await walk(source, where={"owner_id_number": "o5"}, limit=limit)
    assert len(outcome.rows) == min(limit, 10)
    assert outcome.limit_reached is (limit <= 10)


async def test_the_longest_text_leaves_and_a_longer_one_is_not_even_carried(source):
    outcome, _ = await walk(source, where={"certificate_no": "wide"}, fields=["address"])
    assert outcome.rows == (("宽" * 16_384,),)
    ((carried,),) = await ask(source, where={"certificate_no": "widest"})
    assert len(carried) == 65_537


@pytest.mark.parametrize(
    ("text", "leaves"),
    [
        ("ab" + "宽" * 16_382, True),  # 49,148 bytes
        ("ab" + "宽" * 21_845, False),  # cut after a character
        ("宽" * 30_000, False),  # cut within one
    ],
)
async def test_a_text_is_not_cut_where_a_database_counts_bytes(server, text, leaves):
    await execute(server, "CREATE DATABASE bytes ENCODING SQL_ASCII LOCALE 'C' TEMPLATE template0")
    try:
        owner = await asyncpg.connect(server.dsn("bytes"))
        await owner.execute(
            "CREATE SCHEMA estate;"
            "CREATE TABLE estate.property (certificate_no text, address text);"
            "GRANT USAGE ON SCHEMA estate TO gateway; GRANT SELECT ON estate.property TO gateway;"
        )
        await owner.execute("INSERT INTO estate.property VALUES ('c1', $1)", text)
        await owner.close()
        source = PostgresSource(server.dsn("bytes", "gateway", "x"), 1, 3)
        outcome, _ = await walk(source)
        await source.close()
    finally:
        await execute(server, "DROP DATABASE bytes")
    assert isinstance(outcome, Disclosure) is leaves
    if leaves:
        assert outcome.rows == ((text,),)


@pytest.mark.parametrize(
    ("key", "fields"),
    [
        ("nan", ["area_m2"]),
        ("inf", ["registered_on"]),
        ("wider", ["address"]),
        ("widest", ["address"]),
    ],
)
async def test_a_value_without_a_form_on_the_wire_is_a_failure(source, key, fields):
    outcome, seen = await walk(source, where={"certificate_no": key}, fields=fields)
    assert isinstance(outcome, Failure)
    assert seen == [SourceFailed(SourceName("housing"), "unrepresentable")]


@pytest.mark.parametrize("relation", ["broken", "absent", "listed"])
async def test_the_sources_own_error_is_not_passed_on(server, source, relation):
    with pytest.raises(SourceUnavailable) as said:
        await ask(source, relation=relation)
    assert said.value.trouble is Trouble.REJECTED
    assert CANARY not in repr(said.value)
    assert said.value.__cause__ is said.value.__context__ is None
    before = await backends(server)
    for _ in range(5):
        with pytest.raises(SourceUnavailable):
            await ask(source, relation=relation)
    assert len(await ask(source)) == 1
    assert await backends(server) == before == 1


TIMEOUT = "ALTER ROLE gateway SET statement_timeout = "
READ_ONLY = "ALTER ROLE gateway SET default_transaction_read_only = "


@pytest.mark.parametrize(
    ("weakness", "cure"),
    [
        (READ_ONLY + "off", READ_ONLY + "on"),
        (TIMEOUT + "0", TIMEOUT + "'3s'"),
        (TIMEOUT + "'999ms'", TIMEOUT + "'3s'"),
        (TIMEOUT + "'61s'", TIMEOUT + "'3s'"),
        ("ALTER ROLE gateway SUPERUSER", "ALTER ROLE gateway NOSUPERUSER"),
        ("ALTER ROLE gateway CREATEROLE", "ALTER ROLE gateway NOCREATEROLE"),
        ("ALTER ROLE gateway BYPASSRLS", "ALTER ROLE gateway NOBYPASSRLS"),
        ("GRANT pg_write_all_data TO gateway", "REVOKE pg_write_all_data FROM gateway"),
        (
            "GRANT pg_execute_server_program TO gateway",
            "REVOKE pg_execute_server_program FROM gateway",
        ),
        (
            "GRANT INSERT ON estate.property TO gateway",
            "REVOKE INSERT ON estate.property FROM gateway",
        ),
        (
            "GRANT UPDATE (address) ON estate.property TO gateway",
            "REVOKE UPDATE (address) ON estate.property FROM gateway",
        ),
        (
            "GRANT TRUNCATE ON estate.property TO PUBLIC",
            "REVOKE TRUNCATE ON estate.property FROM PUBLIC",
        ),
        ("GRANT CREATE ON SCHEMA estate TO gateway", "REVOKE CREATE ON SCHEMA estate FROM gateway"),
        (
            "GRANT CREATE ON DATABASE postgres TO gateway",
            "REVOKE CREATE ON DATABASE postgres FROM gateway",
        ),
        ("ALTER TABLE estate.empty OWNER TO gateway", "ALTER TABLE estate.empty OWNER TO postgres"),
    ],
)
async def test_a_role_that_could_write_or_run_for_ever_is_not_used(server, source, weakness, cure):
    await source.check()
    await execute(server, weakness)
    try:
        with pytest.raises(SourceUnavailable) as said:
            await source.check()
        assert said.value.trouble is Trouble.UNSAFE_ROLE
        outcome, seen = await walk(source)
    finally:
        await execute(server, cure)
    assert isinstance(outcome, Failure)
    assert seen == [SourceFailed(SourceName("housing"), "unsafe-role")]
    await source.check()


async def test_a_good_guess_at_a_type_text_cannot_hold_looks_like_a_bad_one(source):
    for guess in ("east", "north"):
        with pytest.raises(SourceUnavailable) as said:
            await ask(source, relation="listed", where={"certificate_no": guess})
        assert said.value.trouble is Trouble.REJECTED


async def test_slow_statements_are_stopped_and_connections_stay_bounded(server, source, written):
    slow = {"relation": "slow", "extra": [field("slept")], "fields": ("slept",)}
    most = 0
    for _ in range(3):
        callers = [asyncio.create_task(ask(source, **slow)) for _ in range(8)]
        await asyncio.sleep(0.2)
        most = max(most, await backends(server))
        for caller in callers[:4]:
            caller.cancel()
        told = await asyncio.gather(*callers, return_exceptions=True)
        assert {type(each) for each in told} <= {asyncio.CancelledError, SourceTimeout}
        most = max(most, await backends(server))
    assert most <= CONNECTIONS
    assert len(await ask(source)) == 1
    running = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'gateway' AND state = 'active'"
    while await fetchval(server, running):  # cancelled: it is being stopped, not yet stopped
        await asyncio.sleep(0.01)
    assert "due to user request" in written()
    assert "due to statement timeout" not in written()


async def test_a_connection_on_which_a_statement_was_cut_short_is_not_lent_again(server, source):
    await ask(source)
    (before,) = await _backend_pids(server)
    slow = asyncio.create_task(
        ask(source, relation="slow", extra=[field("slept")], fields=("slept",))
    )
    await asyncio.sleep(0.1)
    slow.cancel()
    await asyncio.gather(slow, return_exceptions=True)
    await ask(source)
    while before in await _backend_pids(server):
        await asyncio.sleep(0.01)


async def test_a_stopped_source_hurts_only_itself_and_comes_back(server, source, database):
    role = f"{database.name}_gateway"
    other_schema = SCHEMA.replace("gateway", role).partition("CREATE EXTENSION")[0]
    owner = await asyncpg.connect(database.dsn())
    await owner.execute(other_schema)
    other = PostgresSource(database.dsn(role, "x"), CONNECTIONS, 1.5)
    await asyncio.gather(*(ask(source) for _ in range(10)))
    processes = [server.pid, *await _backend_pids(server)]
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    try:
        stuck = [asyncio.create_task(ask(source)) for _ in range(10)]
        for _ in range(50):
            assert len(await ask(other)) == 1
        told = await asyncio.gather(*stuck, return_exceptions=True)
        assert {type(each) for each in told} <= {SourceTimeout, SourceUnavailable}
    finally:
        for pid in processes:
            os.kill(pid, signal.SIGCONT)
    await recovered(source)
    assert await backends(server) <= CONNECTIONS
    await other.close()
    await owner.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    await owner.close()


async def test_a_killed_source_is_told_at_once_and_used_again_when_it_is_back(server, source):
    await asyncio.gather(*(ask(source) for _ in range(10)))
    await server.stop("immediate")
    told = await asyncio.gather(*(ask(source) for _ in range(50)), return_exceptions=True)
    assert {type(each) for each in told} == {SourceUnavailable}
    assert {each.trouble for each in told} == {Trouble.DOWN}
    await server.start()
    await recovered(source)


async def test_backends_ended_by_the_provider_are_replaced(server, source):
    await asyncio.gather(*(ask(source) for _ in range(10)))
    await execute(
        server, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'gateway'"
    )
    await recovered(source)
    await asyncio.gather(*(ask(source) for _ in range(10)))


async def test_statements_are_prepared_once_a_connection_and_run_in_one_round_trip(source, written):
    for number in range(100):
        await ask(source, where={"certificate_no": f"c{number}"})
    asked = [line for line in written().splitlines() if '"estate"."property"."address"' in line]
    assert sum(" parse " in line for line in asked) <= 1
    assert sum(" execute " in line for line in asked) == 100


async def recovered(source):
    """Until it answers again; the caller's own timeout is the bound."""
    while True:
        try:
            assert len(await ask(source)) == 1
        except (SourceTimeout, SourceUnavailable):
            await asyncio.sleep(0.05)
        else:
            return


async def _backend_pids(server):
    rows = await execute(
        server,
        "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = $1",
        "gateway",
    )
    return [row["pid"] for row in rows]
