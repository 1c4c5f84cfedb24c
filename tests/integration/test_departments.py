"""The three departments' databases on a real PostgreSQL: filled once, readable by one role each."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from decimal import Decimal
from urllib.parse import urlsplit

import asyncpg
import pytest

from sharegate.cli.demo.departments import build_departments
from sharegate.cli.demo.rows import (
    Company,
    Household,
    Income,
    Marriage,
    Person,
    Property,
    Town,
    Transfer,
)
from sharegate.cli.demo.town import invent_town, people_of_the_story
from sharegate.embedded import EmbeddedPostgres
from tests.postgres import on_a_thread, reachable_directory, stopped_at_the_end

Row = Person | Household | Marriage | Property | Transfer | Income | Company

SEED, PERSONS = 31, 1500
TABLES = {
    "civil-affairs": (
        "registry.person",
        "registry.household",
        "registry.marriage",
        "registry.marriage_of",
    ),
    "housing": ("estate.property", "estate.transfer"),
    "tax": ("levy.income", "levy.company"),
}


def password(role: str) -> str:
    """Characters that SQL or a URL would stumble over if they were pasted in."""
    return f"{role} 'says' \"100%\\:@/?#"


async def build(
    server: EmbeddedPostgres, said: list[str], persons: int = PERSONS
) -> dict[str, str]:
    return await build_departments(
        server, passwords=password, seed=SEED, persons=persons, say=said.append
    )


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    with reachable_directory() as place:
        postgres = EmbeddedPostgres(place / "postgres")
        with stopped_at_the_end(postgres):
            on_a_thread(postgres.start())
            yield postgres


@pytest.fixture(scope="module")
def dsns(server: EmbeddedPostgres) -> dict[str, str]:
    return on_a_thread(build(server, []))


@pytest.fixture(scope="module")
def town() -> Town:
    return invent_town(seed=SEED, persons=PERSONS)


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def test_each_source_has_a_url_of_its_own_role(dsns: dict[str, str]) -> None:
    assert list(dsns) == ["civil-affairs", "housing", "tax"]
    for source, dsn in dsns.items():
        database = source.replace("-", "_")
        assert urlsplit(dsn).path == f"/{database}"
        async with connected(dsn) as connection:
            assert await connection.fetchval("SELECT current_user") == f"{database}_gateway"


async def test_the_tables_hold_the_invented_rows(dsns: dict[str, str], town: Town) -> None:
    stored: dict[str, dict[str, tuple[Row, ...]]] = {
        "civil-affairs": {
            "registry.person": town.persons,
            "registry.household": town.households,
            "registry.marriage": town.marriages,
        },
        "housing": {"estate.property": town.properties, "estate.transfer": town.transfers},
        "tax": {"levy.income": town.incomes, "levy.company": town.companies},
    }
    for source, tables in stored.items():
        async with connected(dsns[source]) as connection:
            for table, rows in tables.items():
                columns = ", ".join(rows[0]._fields)
                found = await connection.fetch(f"SELECT {columns} FROM {table}")
                assert sorted(map(repr, map(tuple, found))) == sorted(map(repr, map(tuple, rows)))


async def test_money_arrives_with_two_decimals(dsns: dict[str, str], town: Town) -> None:
    async with connected(dsns["tax"]) as connection:
        capital = await connection.fetchval("SELECT min(capital) FROM levy.company")
    assert capital == min(company.capital for company in town.companies)
    assert capital.as_tuple().exponent == Decimal("0.00").as_tuple().exponent


async def test_a_marriage_is_seen_from_both_sides(dsns: dict[str, str], town: Town) -> None:
    names = {person.id_number: person.name for person in town.persons}
    async with connected(dsns["civil-affairs"]) as connection:
        rows = await connection.fetch("SELECT * FROM registry.marriage_of")
    seen = {(row["id_number"], row["spouse_id_number"], row["registered_on"]): row for row in rows}
    assert len(rows) == len(seen) == 2 * len(town.marriages)
    for (one, other, day), row in seen.items():
        assert row["spouse_name"] == names[other]
        assert seen[other, one, day]["status"] == row["status"]


@pytest.mark.parametrize(
    ("source", "table", "key"),
    [
        ("civil-affairs", "registry.person", "id_number"),
        ("civil-affairs", "registry.household", "household_no"),
        ("civil-affairs", "registry.household", "head_id_number"),
        ("civil-affairs", "registry.marriage_of", "id_number"),
        ("housing", "estate.property", "owner_id_number"),
        ("housing", "estate.property", "certificate_no"),
        ("housing", "estate.transfer", "certificate_no"),
        ("tax", "levy.income", "id_number"),
        ("tax", "levy.company", "credit_code"),
    ],
)
async def test_an_index_serves_each_key(
    dsns: dict[str, str], source: str, table: str, key: str
) -> None:
    async with connected(dsns[source]) as connection:
        # A town this small would rather be read from end to end; we ask what could be used.
        await connection.execute("SET enable_seqscan = off")
        plan = await connection.fetch(f"EXPLAIN SELECT * FROM {table} WHERE {key} = 'x' LIMIT 9")
    text = "\n".join(line[0] for line in plan)
    assert "Index" in text
    assert "Seq Scan" not in text
    assert "Filter" not in text, "an index was walked from end to end"


async def test_the_planner_knows_the_tables(server: EmbeddedPostgres, dsns: dict[str, str]) -> None:
    for source, tables in TABLES.items():
        async with connected(server.dsn(source.replace("-", "_"))) as connection:
            analyzed = {
                row["relation"]
                for row in await connection.fetch(
                    "SELECT schemaname || '.' || relname AS relation FROM pg_stat_user_tables "
                    "WHERE last_analyze IS NOT NULL"
                )
            }
        assert analyzed == set(tables) - {"registry.marriage_of"}


@pytest.mark.parametrize("source", TABLES)
async def test_the_role_reads_its_schema_and_writes_nothing(
    dsns: dict[str, str], source: str
) -> None:
    tables = [table for table in TABLES[source] if not table.endswith("_of")]
    async with connected(dsns[source]) as connection:
        for table in TABLES[source]:
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") > 0
        for table in tables:
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                await connection.execute(f"DELETE FROM {table}")
        # Read-only is only the role's default, which a session may change. The grants hold then.
        await connection.execute("SET default_transaction_read_only = off")
        schema = tables[0].partition(".")[0]
        columns = {"civil-affairs": "district", "housing": "district", "tax": "employer"}
        forbidden = [
            f"UPDATE {tables[0]} SET {columns[source]} = ''",
            *(f"DELETE FROM {table}" for table in tables),
            *(f"INSERT INTO {table} DEFAULT VALUES" for table in tables),
            f"TRUNCATE {tables[0]}",
            f"DROP TABLE {tables[0]}",
            f"CREATE TABLE {schema}.mine (a int)",
            "CREATE TABLE public.mine (a int)",
            "CREATE TEMP TABLE mine (a int)",
            "CREATE SCHEMA mine",
            "CREATE ROLE mine",
            "SELECT pg_read_file('PG_VERSION')",
        ]
        for statement in forbidden:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)


@pytest.mark.parametrize("source", TABLES)
async def test_the_role_cannot_enter_another_department(
    server: EmbeddedPostgres, dsns: dict[str, str], source: str
) -> None:
    role = f"{source.replace('-', '_')}_gateway"
    for other in TABLES.keys() - {source}:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="CONNECT"):
            await asyncpg.connect(server.dsn(other.replace("-", "_"), role, password(role)))
    async with connected(dsns[source]) as connection:
        schemas = await connection.fetch(
            "SELECT DISTINCT table_schema FROM information_schema.tables"
        )
    own = TABLES[source][0].partition(".")[0]
    assert {row[0] for row in schemas} <= {own, "pg_catalog", "information_schema"}


@pytest.mark.parametrize("source", TABLES)
async def test_the_role_has_its_limits(dsns: dict[str, str], source: str) -> None:
    async with connected(dsns[source]) as connection:
        settings = {
            name: await connection.fetchval("SELECT current_setting($1)", name)
            for name in (
                "default_transaction_read_only",
                "statement_timeout",
                "idle_in_transaction_session_timeout",
                "search_path",
            )
        }
        role = await connection.fetchrow(
            "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls "
            "FROM pg_roles WHERE rolname = current_user"
        )
        table = TABLES[source][0].partition(".")[2]
        with pytest.raises(asyncpg.UndefinedTableError):
            await connection.execute(f"SELECT 1 FROM {table}")
    assert settings == {
        "default_transaction_read_only": "on",
        "statement_timeout": "3s",
        "idle_in_transaction_session_timeout": "5s",
        "search_path": '""',
    }
    assert role is not None
    assert not any(role)


async def test_the_password_is_kept_as_scram_and_is_needed(
    server: EmbeddedPostgres, dsns: dict[str, str]
) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(server.dsn("tax", "tax_gateway", "guess"))
    async with connected(server.dsn()) as connection:
        kept = await connection.fetch(
            "SELECT rolpassword FROM pg_authid WHERE rolname LIKE '%_gateway'"
        )
    assert len(kept) == 3
    assert all(row[0].startswith("SCRAM-SHA-256$") for row in kept)


async def test_the_storys_applicant_is_there(dsns: dict[str, str], town: Town) -> None:
    applicant = people_of_the_story(town).applicant
    async with connected(dsns["housing"]) as connection:
        name = await connection.fetchval(
            "SELECT owner_name FROM estate.property WHERE owner_id_number = $1",
            applicant.id_number,
        )
    assert name == applicant.name


async def oids(server: EmbeddedPostgres) -> dict[str, int]:
    async with connected(server.dsn()) as connection:
        rows = await connection.fetch(
            "SELECT datname, oid FROM pg_database WHERE NOT datistemplate"
        )
    return {row["datname"]: row["oid"] for row in rows}


# The last two change the databases; they leave them complete.


async def test_complete_databases_are_left_alone(
    server: EmbeddedPostgres, dsns: dict[str, str]
) -> None:
    before = await oids(server)
    assert set(before) == {"postgres", "civil_affairs", "housing", "tax"}
    said: list[str] = []
    assert await build(server, said, persons=1) == dsns
    assert await oids(server) == before
    assert said == [], "nothing slow, nothing to say"


async def test_a_half_built_database_is_built_anew(
    server: EmbeddedPostgres, dsns: dict[str, str], town: Town
) -> None:
    before = await oids(server)
    async with connected(server.dsn()) as connection:
        # What a build that was killed leaves: the unfinished name, some of the tables, the role.
        await connection.execute("ALTER DATABASE housing RENAME TO housing_unfinished")
    async with connected(server.dsn("housing_unfinished")) as abandoned:
        await abandoned.execute("DROP TABLE estate.transfer")
        said: list[str] = []
        # Two at once: the second waits, and finds all done.
        first, second = await asyncio.gather(build(server, said), build(server, said))
    assert first == second == dsns
    after = await oids(server)
    assert set(after) == set(before)
    assert after["housing"] != before["housing"]
    assert (after["tax"], after["civil_affairs"]) == (before["tax"], before["civil_affairs"])
    assert [line.partition(":")[0] for line in said[1:]] == ["housing", "housing"]
    async with connected(dsns["housing"]) as connection:
        count = await connection.fetchval("SELECT count(*) FROM estate.transfer")
    assert count == len(town.transfers)
