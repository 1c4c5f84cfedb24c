"""Checks of the audit log's database: its logins, its schema, its durability."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import asyncpg

from sharegate.audit.note import SignerKey
from sharegate.cli.doctor.clocks import clock_finding
from sharegate.cli.doctor.finding import (
    BROKEN,
    Finding,
    address_of,
    judged,
    ok,
    unreachable,
    warn,
    wrong,
)
from sharegate.cli.doctor.stored_log import check_memory_alone, check_stored_log
from sharegate.embedded import EmbeddedPostgres, cluster_version, find_binaries
from sharegate.errors import PostgresUnavailable
from sharegate.record.migrate import migrations, provisioned
from sharegate.settings import AuditLogSettings

_SECONDS: Final = 3
_CALLED: Final = (
    "append", "forget_replays", "keep_checkpoint", "keep_cosigned", "renew_signing",
    "take_signing", "usable",
)  # fmt: skip
_READ: Final = ("checkpoint", "cosigned", "entry", "head", "migration", "signing", "subtree")
_MIGRATE: Final = "run sharegate migrate as its owner"
_UNUSABLE: Final = {
    "read-only": "the database or this login is read-only; is it a standby?",
    "not-durable": "a commit now would not survive a power cut; see durability",
    "set-back": "it remembers requests only from a moment after its own clock's; see the clocks",
    "no-log": f"there is no log in this database; {_MIGRATE}",
}
_POWERS: Final = """
select coalesce(array_agg(r.rolname::text order by r.rolname), '{}')
  from pg_catalog.pg_roles r
 where pg_has_role(r.oid, 'MEMBER')
   and (r.rolsuper or r.rolcreaterole or r.rolcreatedb or r.rolreplication or r.rolbypassrls
        or r.rolname in ('pg_write_all_data', 'pg_read_all_data', 'pg_write_server_files',
                         'pg_read_server_files', 'pg_execute_server_program'))
"""
_TABLES: Final = """
select c.relname::text as name, pg_has_role(c.relowner, 'MEMBER') as owns,
       has_table_privilege(c.oid, 'SELECT') or has_any_column_privilege(c.oid, 'SELECT') as reads,
       has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
       or has_any_column_privilege(c.oid, 'INSERT, UPDATE, REFERENCES') as writes
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where n.nspname = 'sharegate' and c.relkind in ('r', 'p', 'v', 'm')
 order by c.relname
"""
_FUNCTIONS: Final = """
select p.proname::text as name
  from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
 where n.nspname = 'sharegate' and has_schema_privilege(n.oid, 'USAGE')
   and has_function_privilege(p.oid, 'EXECUTE')
"""
_SETTINGS: Final = """
select current_setting('fsync') as fsync,
       current_setting('full_page_writes') as full_page_writes,
       current_setting('synchronous_commit') as synchronous_commit,
       current_setting('data_checksums') as data_checksums
"""
_PLACE: Final = """
select (select system_identifier from pg_control_system()) as server, current_database() as name
"""
_USABLE: Final = "select sharegate.usable()"
_APPLIED: Final = "select name from sharegate.migration"

Place = tuple[object, ...]


async def check_audit_database(
    settings: AuditLogSettings, key: SignerKey | None, clock: Callable[[], float]
) -> list[Finding]:
    """Everything about where entries are kept."""
    found: list[Finding] = []
    dsns = settings.append_dsn, settings.read_dsn
    if settings.append_dsn is None:
        found += _embedded_binaries(settings.state / "postgres" / "data")
        dsns = _embedded_logins(settings.state / "postgres")
    append_dsn, read_dsn = dsns
    if append_dsn is None or read_dsn is None:
        found += check_memory_alone(settings)
        advice = "the embedded PostgreSQL does not run; run this again while the gateway does"
        return [*found, warn("audit database", f"not checked: {advice}")]
    appends, place = await _connected("append login", append_dsn, lambda c: _append_login(c, clock))
    reads, other = await _connected("read login", read_dsn, _read_login)
    found += appends + reads
    if place is not None and other is not None and place != other:
        found.append(wrong("audit database", "append_dsn and read_dsn are not the same database"))
    if other is None:
        return found + check_memory_alone(settings)
    return found + await check_stored_log(settings, key, read_dsn)


def _embedded_binaries(data: Path) -> list[Finding]:
    try:
        binaries = find_binaries(cluster_version(data))
    except (PostgresUnavailable, OSError) as error:
        return [wrong("embedded PostgreSQL", str(error))]
    return [ok("embedded PostgreSQL", f"version {binaries.version} in {binaries.bin}")]


def _embedded_logins(directory: Path) -> tuple[str, str] | tuple[None, None]:
    """The logins on the embedded server, if it runs; it is never started for a look."""
    try:
        server = EmbeddedPostgres(directory, port=int((directory / "port").read_text()))
        return provisioned(server.dsn) if server.running else (None, None)
    except (PostgresUnavailable, OSError, ValueError):
        return None, None


async def _connected(
    what: str, dsn: str, look: Callable[[asyncpg.Connection], Awaitable[list[Finding]]]
) -> tuple[list[Finding], Place | None]:
    """Connect as a login and look; give what was found and which database that was."""
    try:
        connection = await asyncpg.connect(dsn, timeout=_SECONDS, command_timeout=_SECONDS)
    except BROKEN as error:
        return [wrong(what, unreachable(dsn, error))], None
    try:
        found = [ok(what, f"{address_of(dsn)} answers"), *await look(connection)]
        return found, tuple((await connection.fetch(_PLACE))[0])
    except BROKEN as error:
        return [wrong(what, unreachable(dsn, error))], None
    finally:
        connection.terminate()


async def _append_login(
    connection: asyncpg.Connection, clock: Callable[[], float]
) -> list[Finding]:
    found = [await clock_finding("audit database", connection, clock)]
    may = {row["name"] for row in await connection.fetch(_FUNCTIONS)}
    faults = await _powers(connection)
    missing = [name for name in _CALLED if name not in may]
    if missing:
        faults.append(f"may not call {', '.join(missing)}; {_MIGRATE}, grant it sharegate_append")
    tables = await connection.fetch(_TABLES)
    open_to_it = [one["name"] for one in tables if one["owns"] or one["reads"] or one["writes"]]
    if open_to_it:
        faults.append(f"may read or write {_tables(open_to_it)}; revoke that")
    found.append(judged("append role", faults, "may append, and neither read nor write a table"))
    (settings,) = await connection.fetch(_SETTINGS)
    weak = [
        f"{name} is {settings[name]}; set it to on"
        for name in ("fsync", "full_page_writes", "synchronous_commit")
        if settings[name] not in ("on", "remote_apply")
    ]
    found.append(judged("durability", weak, "fsync, full_page_writes, synchronous_commit are on"))
    if settings["data_checksums"] != "on":
        found.append(warn("data checksums", "off: a failing disk may go unnoticed; initdb -k"))
    if "usable" in may:
        usable = await connection.fetchval(_USABLE)
        faults = [] if usable == "usable" else [_UNUSABLE.get(usable, f"it says {usable}")]
        found.append(judged("appending", faults, "an entry could be appended now"))
    return found


async def _read_login(connection: asyncpg.Connection) -> list[Finding]:
    faults = await _powers(connection)
    tables = {row["name"]: row for row in await connection.fetch(_TABLES)}
    unread = [name for name in _READ if name not in tables or not tables[name]["reads"]]
    if unread:
        faults.append(f"may not read {', '.join(unread)}; {_MIGRATE}, grant it sharegate_read")
    written = [name for name, row in tables.items() if row["owns"] or row["writes"]]
    if written:
        faults.append(f"may write {_tables(written)}; revoke that")
    may = {row["name"] for row in await connection.fetch(_FUNCTIONS)}
    if "append" in may:
        faults.append("may append; revoke that")
    found = [judged("read role", faults, "may read the audit log and nothing else")]
    if "migration" in unread:
        return [*found, wrong("schema", f"cannot be read here; {_MIGRATE}")]
    applied = {row["name"] for row in await connection.fetch(_APPLIED)}
    known = {name for name, _ in migrations()}
    gaps = [f"lacks {name}; {_MIGRATE}" for name in sorted(known - applied)]
    gaps += [f"has {name}, of a newer version" for name in sorted(applied - known)]
    return [*found, judged("schema", gaps, f"at this version ({max(known)})")]


def _tables(names: list[str]) -> str:
    return ", ".join(f"sharegate.{name}" for name in names)


async def _powers(connection: asyncpg.Connection) -> list[str]:
    roles = await connection.fetchval(_POWERS)
    return [f"has the power of {role}; use a plain login" for role in roles]
