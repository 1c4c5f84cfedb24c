"""Checks of each source: reachable, its role safe, and what the catalogue lists is there."""

from collections.abc import Callable, Iterable
from typing import Final

import asyncpg

from sharegate.cli.doctor.clocks import clock_finding
from sharegate.cli.doctor.finding import BROKEN, Finding, address_of, judged, ok, unreachable, wrong
from sharegate.fetch.plan import Column, Shape
from sharegate.fetch.postgres import PostgresSource
from sharegate.fetch.source import SourceUnavailable
from sharegate.fetch.sql import statement
from sharegate.model.catalogue import FieldType, Resource
from sharegate.settings import SourceSettings

_SECONDS: Final = 3
# Types whose values have the form on the wire that the field type promises.
_FITS: Final = {
    FieldType.INTEGER: {"int2", "int4", "int8"},
    FieldType.DECIMAL: {"numeric", "int2", "int4", "int8"},
    FieldType.BOOLEAN: {"bool"},
    FieldType.DATE: {"date"},
    FieldType.TIMESTAMP: {"timestamp", "timestamptz"},
}
_KEY_TEXT: Final = {"text", "varchar", "bpchar", "name"}
_ROLE: Final = """
select current_setting('default_transaction_read_only') = 'on' as read_only,
       (select setting::bigint from pg_catalog.pg_settings
         where name = 'statement_timeout') as milliseconds,
       array(select r.rolname::text from pg_catalog.pg_roles r
              where pg_has_role(r.oid, 'MEMBER')
                and (r.rolsuper or r.rolcreaterole or r.rolcreatedb or r.rolreplication
                     or r.rolbypassrls or r.rolname ~ '^pg_(write|execute|read_server)_'))
           as powers,
       has_database_privilege(current_database(), 'CREATE') as creates_schemas,
       array(select n.nspname::text from pg_catalog.pg_namespace n
              where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
                and has_schema_privilege(n.oid, 'CREATE')) as creates_in,
       array(select c.oid::regclass::text
               from pg_catalog.pg_class c
               join pg_catalog.pg_namespace n on n.oid = c.relnamespace
              where c.relkind in ('r', 'p', 'v', 'm', 'f')
                and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
                and (has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER')
                     or has_any_column_privilege(c.oid, 'INSERT, UPDATE'))
              limit 5) as writes
"""
_COLUMNS: Final = """
select a.attname::text as name, has_schema_privilege(n.oid, 'USAGE') as enters,
       has_column_privilege(c.oid, a.attnum, 'SELECT') as reads
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
 where n.nspname = $1 and c.relname = $2
"""


async def check_source(
    name: str,
    settings: SourceSettings,
    resources: Iterable[Resource],
    clock: Callable[[], float],
) -> list[Finding]:
    """One source, and each resource that lives there."""
    what = f"source {name}"
    try:
        connection = await asyncpg.connect(settings.dsn, timeout=_SECONDS, command_timeout=_SECONDS)
    except BROKEN as error:
        return [wrong(what, unreachable(settings.dsn, error))]
    try:
        found = [
            ok(what, f"{address_of(settings.dsn)} answers"),
            await clock_finding(what, connection, clock),
            await _role(what, settings, connection),
        ]
        return found + [await _resource(one, connection) for one in resources]
    except BROKEN as error:
        return [wrong(what, unreachable(settings.dsn, error))]
    finally:
        connection.terminate()


async def _role(what: str, settings: SourceSettings, connection: asyncpg.Connection) -> Finding:
    """Whether the gateway itself would use this role; if not, why."""
    fine = "cannot write, and its statements end by themselves"
    adapter = PostgresSource(settings.dsn, connections=1, seconds=settings.seconds)
    try:
        await adapter.check()
    except SourceUnavailable as refused:
        why = await _unsafe(connection) or [f"the gateway will not use it ({refused.trouble})"]
        return judged(f"{what}, role", why, fine)
    finally:
        await adapter.close()
    return ok(f"{what}, role", fine)


async def _unsafe(connection: asyncpg.Connection) -> list[str]:
    (row,) = await connection.fetch(_ROLE)
    user = await connection.fetchval("select session_user::text")
    why = [f"has the power of {role}; use a plain login" for role in row["powers"]]
    if not row["read_only"]:
        why.append(f"alter role {user} set default_transaction_read_only = on")
    if not 1000 <= row["milliseconds"] <= 60_000:  # noqa: PLR2004  what fetch/postgres.py demands
        why.append(f"alter role {user} set statement_timeout = '3s' (1 to 60 s)")
    if row["creates_schemas"]:
        why.append("may create in the database; revoke create on database")
    why += [f"may create in schema {one}; revoke that" for one in row["creates_in"]]
    why += [f"may write {one}; revoke that" for one in row["writes"]]
    return why


async def _resource(resource: Resource, connection: asyncpg.Connection) -> Finding:
    """Whether the relation and columns are there, readable, and of types that fit."""
    what = f"resource {resource.provider}/{resource.id}"
    schema, relation = resource.relation
    place = f"{schema}.{relation}"
    columns = {row["name"]: row for row in await connection.fetch(_COLUMNS, schema, relation)}
    if not columns:
        return wrong(what, f"there is no relation {place}; correct resources.toml or create it")
    if not next(iter(columns.values()))["enters"]:
        return wrong(what, f"grant usage on schema {schema} to this role")
    wanted = [field.column for field in resource.fields.values()]
    faults = [f"{place} has no column {name}" for name in wanted if name not in columns]
    faults += [
        f"grant select ({name}) on {place} to this role"
        for name in wanted
        if name in columns and not columns[name]["reads"]
    ]
    if not faults:
        faults = await _misfits(resource, connection)
    return judged(what, faults, f"{place}: {len(wanted)} columns are there, and their types fit")


async def _misfits(resource: Resource, connection: asyncpg.Connection) -> list[str]:
    schema, relation = resource.relation
    fields = list(resource.fields.values())
    # resources.toml holds plain lower-case identifiers only, so that quoting is all they need.
    listed = ", ".join(f'"{field.column}"' for field in fields)
    plain = await connection.prepare(f'select {listed} from "{schema}"."{relation}"')  # noqa: S608
    faults = []
    for field, attribute in zip(fields, plain.get_attributes(), strict=True):
        kind = attribute.type.name
        fits = _FITS.get(field.type, _KEY_TEXT if field.key else {kind})
        if kind not in fits:
            names = "/".join(sorted(fits))
            faults.append(
                f"{field.column} is {kind}, and a field of type {field.type} needs {names}"
            )
    columns = tuple(Column(field.column, field.type) for field in fields)
    keys = tuple(Column(field.column, field.type) for field in fields if field.key)
    if not faults:
        await connection.prepare(statement(Shape(resource.relation, columns, keys)).text)
    return faults
