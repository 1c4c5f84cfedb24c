"""Checks of what auditors search: its two logins, and how far it reaches."""

from typing import Final

import asyncpg

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
from sharegate.settings import ProjectionSettings

_SECONDS: Final = 3
_BEHIND: Final = 100_000
_FILLED: Final = ("search_entry", "search_person", "search_place")
_POWERS: Final = """
select count(*) from pg_catalog.pg_roles r
 where pg_has_role(r.oid, 'MEMBER')
   and (r.rolsuper or r.rolcreaterole or r.rolcreatedb or r.rolreplication or r.rolbypassrls)
"""
_WRITTEN: Final = """
select coalesce(array_agg(c.relname::text order by c.relname), '{}')
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where n.nspname = 'sharegate' and c.relkind in ('r', 'p')
   and (has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
        or has_any_column_privilege(c.oid, 'INSERT, UPDATE'))
"""
_OPENS: Final = """
select has_column_privilege('sharegate.entry', 'sealed', 'SELECT')
    or has_column_privilege('sharegate.entry', 'wrapped', 'SELECT')
"""
_REACH: Final = """
select p.size, coalesce((select max(size) from sharegate.checkpoint), 0) as signed
  from sharegate.search_place p
"""


async def check_projection(settings: ProjectionSettings) -> list[Finding]:
    """Everything about the projection; nothing where there is none by DSN."""
    found: list[Finding] = []
    if settings.dsn is not None:
        found += await _login("projection login", settings.dsn, fills=True)
    if settings.search_dsn is not None:
        found += await _login("auditors' login", settings.search_dsn, fills=False)
    return found


async def _login(what: str, dsn: str, *, fills: bool) -> list[Finding]:
    try:
        connection = await asyncpg.connect(dsn, timeout=_SECONDS, command_timeout=_SECONDS)
    except BROKEN as error:
        return [wrong(what, unreachable(dsn, error))]
    try:
        found = [
            judged(what, await _faults(connection, fills=fills), f"{address_of(dsn)} is right")
        ]
        if fills:
            found.append(await _reach(connection))
    except asyncpg.UndefinedTableError:
        return [wrong(what, "the database has no projection; run sharegate migrate as its owner")]
    except BROKEN as error:
        return [wrong(what, unreachable(dsn, error))]
    else:
        return found
    finally:
        connection.terminate()


async def _faults(connection: asyncpg.Connection, *, fills: bool) -> list[str]:
    faults = []
    if await connection.fetchval(_POWERS):
        faults.append("has the power of another role; use a plain login")
    written = set(await connection.fetchval(_WRITTEN))
    allowed = set(_FILLED) if fills else set()
    if written - allowed:
        faults.append(f"may write {', '.join(sorted(written - allowed))}; revoke that")
    if allowed - written:
        faults.append("may not fill the projection; grant it sharegate_project")
    if fills and await connection.fetchval(_OPENS):
        faults.append("may read sealed details; revoke that")
    if not fills and not await connection.fetchval(_OPENS):
        faults.append("may not read entries; grant it sharegate_audit")
    return faults


async def _reach(connection: asyncpg.Connection) -> Finding:
    (reach,) = await connection.fetch(_REACH)
    behind = reach["signed"] - reach["size"]
    said = f"{reach['size']} of {reach['signed']} signed entries can be searched"
    if behind > _BEHIND:
        return warn("projection", f"{said}; does sharegate project run?")
    return ok("projection", said)
