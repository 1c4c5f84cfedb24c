"""Three departments' databases, as a gateway finds them: filled, in use, and not its own.

Each is built under another name and renamed when it is whole: a database that bears a
department's name is complete, and none that bears one is ever dropped.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Protocol

import asyncpg

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
from sharegate.cli.demo.town import PERSONS, SEED, invent_town

_UNFINISHED = "_unfinished"
_LOCK = 0x5468_7265_6521
"""Key of the advisory lock under which databases are built; any number that is ours alone."""


class DatabaseServer(Protocol):
    """A PostgreSQL server (15 or newer) in which databases and roles may be made."""

    def dsn(self, database: str = ..., user: str | None = ..., password: str | None = ...) -> str:
        """Give the URL of one of its databases; a superuser's where no user is named."""
        ...


@dataclass(frozen=True, slots=True)
class _Table:
    name: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class _Department:
    source: str
    database: str
    schema: str
    tables: Callable[[Town], tuple[_Table, ...]]

    @property
    def role(self) -> str:
        """The role a gateway reads with."""
        return f"{self.database}_gateway"


def _civil_affairs(town: Town) -> tuple[_Table, ...]:
    return (
        _Table("person", Person._fields, town.persons),
        _Table("household", Household._fields, town.households),
        _Table("marriage", Marriage._fields, town.marriages),
    )


def _housing(town: Town) -> tuple[_Table, ...]:
    return (
        _Table("property", Property._fields, town.properties),
        _Table("transfer", Transfer._fields, town.transfers),
    )


def _tax(town: Town) -> tuple[_Table, ...]:
    return (
        _Table("income", Income._fields, town.incomes),
        _Table("company", Company._fields, town.companies),
    )


_DEPARTMENTS = (
    _Department("civil-affairs", "civil_affairs", "registry", _civil_affairs),
    _Department("housing", "housing", "estate", _housing),
    _Department("tax", "tax", "levy", _tax),
)


async def build_departments(
    server: DatabaseServer,
    *,
    passwords: Callable[[str], str],
    seed: int = SEED,
    persons: int = PERSONS,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, str]:
    """Make sure the three departments have their databases, and give the way into each.

    A complete database is left alone, whatever seed it was built from; an unfinished one is
    dropped and built anew. Two callers may do this at once: the second waits for the first.
    About four seconds for 20,000 persons; next to nothing when all is there.

    Args:
        server: Where they live.
        passwords: Gives the password of a role; it is set anew each time, so that the URLs work.
        seed: Another seed, another town.
        persons: How many live in it at least.
        say: Told, in a sentence, before and after each slow step.

    Returns:
        From source name to the URL of its read-only role. The URLs hold the passwords.
    """
    admin = await asyncpg.connect(server.dsn("postgres"))
    try:
        await admin.execute("SELECT pg_advisory_lock($1)", _LOCK)
        present = {row["datname"] for row in await admin.fetch("SELECT datname FROM pg_database")}
        missing = [one for one in _DEPARTMENTS if one.database not in present]
        if missing:
            say(f"inventing a town of {persons:,} persons (seed {seed})")
            town = invent_town(seed=seed, persons=persons)
            for department in missing:
                await _build(admin, server, department, town, say)
        for department in _DEPARTMENTS:
            await _set_password(admin, department.role, passwords(department.role))
    finally:
        await admin.close()  # frees the lock too
    return {
        one.source: server.dsn(one.database, one.role, passwords(one.role)) for one in _DEPARTMENTS
    }


async def _build(
    admin: asyncpg.Connection,
    server: DatabaseServer,
    department: _Department,
    town: Town,
    say: Callable[[str], None],
) -> None:
    """Build one department's database under its unfinished name, and rename it."""
    tables = department.tables(town)
    say(
        f"{department.database}: copying "
        + ", ".join(f"{len(table.rows):,} rows of {table.name}" for table in tables)
    )
    parts = _sql_parts(department.database)
    name = department.database + _UNFINISHED
    await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
    # Everybody may connect to a new database. Another department's role must not even do that.
    await admin.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
    connection = await asyncpg.connect(server.dsn(name))
    try:
        await connection.execute(parts["tables"])
        for table in tables:
            await connection.copy_records_to_table(
                table.name,
                schema_name=department.schema,
                columns=table.columns,
                records=table.rows,
            )
        await connection.execute(parts["indexes"])
        await connection.execute(parts["role"])
        await connection.execute(f"GRANT CONNECT ON DATABASE {name} TO {department.role}")
        await connection.execute("ANALYZE")
    finally:
        await connection.close()
    await admin.execute(f"ALTER DATABASE {name} RENAME TO {department.database}")
    say(f"{department.database}: ready")


async def _set_password(admin: asyncpg.Connection, role: str, password: str) -> None:
    # ALTER ROLE takes no bound values, so the server itself quotes them.
    statement = await admin.fetchval(
        "SELECT format('ALTER ROLE %I PASSWORD %L', $1::text, $2::text)", role, password
    )
    await admin.execute(statement)


def _sql_parts(database: str) -> dict[str, str]:
    """Read a department's SQL file, cut at its ``-- part: <name>`` lines."""
    text = (resources.files(__package__) / "sql" / f"{database}.sql").read_text(encoding="utf-8")
    _, *parts = text.split("\n-- part: ")
    return {name: sql for name, _, sql in (part.partition("\n") for part in parts)}
