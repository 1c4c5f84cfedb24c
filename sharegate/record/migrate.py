"""Bring a database to the schema of this version, and begin an audit log in it.

Run by whoever owns the schema (the role ``sharegate_migrate`` or a superuser), never by the
gateway, which has no right to.
"""

import hmac
from collections.abc import Callable
from importlib.resources import files
from typing import Final

import asyncpg

from sharegate.audit.chain import GENESIS
from sharegate.errors import Misconfigured

ROLES: Final = (
    "sharegate_append",
    "sharegate_read",
    "sharegate_project",
    "sharegate_audit",
    "sharegate_erase",
    "sharegate_migrate",
)
_LOGINS: Final = ROLES[:-1]  # nobody logs in as the owner
DATABASE: Final = "sharegate"
_SQL = files("sharegate.record") / "sql"
_ONE_AT_A_TIME: Final = "select pg_advisory_xact_lock(hashtext('sharegate.migrate'))"


def migrations() -> list[tuple[str, str]]:
    """The migrations in order: (name, SQL)."""
    found = [
        (item.name.removesuffix(".sql"), item.read_text(encoding="utf-8"))
        for item in (_SQL / "migrations").iterdir()
        if item.name.endswith(".sql")
    ]
    return sorted(found)


def schema() -> str:
    """The whole schema of this version, as one script; the migrations lead to it."""
    return (_SQL / "schema.sql").read_text(encoding="utf-8")


async def migrate(connection: asyncpg.Connection, origin: str) -> list[str]:
    """Apply what is missing, in one transaction, and begin the log if there is none.

    Args:
        connection: May create roles and schemas in the log's database.
        origin: The log's name; must be the one it already has, if it has one.

    Returns:
        The names of the migrations applied now.

    Raises:
        Misconfigured: The database holds the log of another origin.
    """
    async with connection.transaction():
        await connection.execute(_ONE_AT_A_TIME)
        for role in ROLES:
            if not await connection.fetchval("select 1 from pg_roles where rolname = $1", role):
                await connection.execute(f"create role {role} nologin")
        # Everything belongs to a role that is no superuser: the functions run with its rights.
        await connection.execute(
            "grant sharegate_migrate to current_user;"
            "create schema if not exists sharegate authorization sharegate_migrate;"
            "set local role sharegate_migrate;"
            "create table if not exists sharegate.migration ("
            "name text primary key, applied_at timestamptz not null default now())"
        )
        applied = {
            row["name"] for row in await connection.fetch("select name from sharegate.migration")
        }
        fresh = [(name, sql) for name, sql in migrations() if name not in applied]
        for name, sql in fresh:
            await connection.execute(sql)
            await connection.execute("insert into sharegate.migration (name) values ($1)", name)
        held = await connection.fetchval("select origin from sharegate.head")
        if held is None:
            await connection.execute(
                "insert into sharegate.head (origin, size, last) values ($1, 0, $2)",
                origin,
                GENESIS,
            )
        elif held != origin:
            raise Misconfigured("audit_log.origin", f"the database holds the log {held!r}")
    return [name for name, _ in fresh]


async def provision(
    dsn: Callable[..., str], origin: str, database: str = DATABASE
) -> tuple[str, str]:
    """Make the audit log's database and logins on a server of our own (the embedded one).

    Args:
        dsn: Gives the superuser's DSN for a database, and another login's for a login.
        origin: The log's name.
        database: Made if it is not there.

    Returns:
        The DSNs of a login that appends and of one that reads.
    """
    connection = await asyncpg.connect(dsn())
    try:
        if not await connection.fetchval("select 1 from pg_database where datname = $1", database):
            await connection.execute(f"create database {database}")
    finally:
        await connection.close()
    connection = await asyncpg.connect(dsn(database))
    try:
        await migrate(connection, origin)
        # What runs with the owner's rights must not meet types that a login made.
        await connection.execute(f"revoke temporary on database {database} from public")
        for role, login, password in _logins(dsn()):
            if not await connection.fetchval("select 1 from pg_roles where rolname = $1", login):
                await connection.execute(f"create role {login} login in role {role}")
            await connection.execute(f"alter role {login} password '{password}'")
    finally:
        await connection.close()
    return provisioned(dsn, database)


def provisioned(dsn: Callable[..., str], database: str = DATABASE) -> tuple[str, str]:
    """The DSNs of the logins that :func:`provision` made: one appends, one reads."""
    append_dsn, read_dsn, *_ = _dsns(dsn, database)
    return append_dsn, read_dsn


def provisioned_search(dsn: Callable[..., str], database: str = DATABASE) -> tuple[str, str]:
    """The DSNs of two more: one fills the projection, one searches it."""
    _, _, project_dsn, search_dsn, _ = _dsns(dsn, database)
    return project_dsn, search_dsn


def provisioned_erasure(dsn: Callable[..., str], database: str = DATABASE) -> str:
    """The DSN of the last: it erases details."""
    return _dsns(dsn, database)[-1]


def _dsns(dsn: Callable[..., str], database: str) -> list[str]:
    return [dsn(database, login, password) for _, login, password in _logins(dsn())]


def _logins(superuser: str) -> list[tuple[str, str, str]]:
    """Role, login and password of each login.

    The passwords are derived from the superuser's DSN, so that a restart finds the same ones and
    nothing else needs to be kept.
    """
    logins = [(role, f"{role}_login") for role in _LOGINS]
    return [
        (role, login, hmac.digest(superuser.encode(), login.encode(), "sha256").hex())
        for role, login in logins
    ]
