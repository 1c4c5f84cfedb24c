"""The migrations lead to schema.sql, and to nothing else."""

import asyncio
import secrets

import asyncpg
import pytest

from sharegate.audit.chain import GENESIS
from sharegate.cli.main import main
from sharegate.errors import Misconfigured
from sharegate.record import migrate as migrating
from sharegate.record.migrate import migrate, migrations, provision, schema
from tests.integration.audit_database import ORIGIN, ask
from tests.postgres import on_a_thread
from tests.site import free_port

# Everything of a schema that can differ, one query for each kind of thing.
CATALOGUE = {
    "relations": """
        select relname, relkind, relpersistence, reloptions, relrowsecurity, relreplident,
               pg_get_userbyid(relowner), obj_description(oid, 'pg_class'),
               (select array_agg(a::text order by a::text) from unnest(relacl) a)
          from pg_class where relnamespace = 'sharegate'::regnamespace order by relname""",
    "columns": """
        select c.relname, attnum, attname, format_type(atttypid, atttypmod), attnotnull,
               attstorage, attcompression, attidentity, attgenerated, attoptions, attacl::text,
               pg_get_expr(d.adbin, d.adrelid)
          from pg_attribute a join pg_class c on c.oid = attrelid
          left join pg_attrdef d on d.adrelid = attrelid and d.adnum = attnum
         where c.relnamespace = 'sharegate'::regnamespace and attnum > 0
         order by c.relname, attnum""",
    "constraints": """
        select conrelid::regclass::text, conname, contype, convalidated, pg_get_constraintdef(oid)
          from pg_constraint where connamespace = 'sharegate'::regnamespace
         order by 1, 2""",
    "indexes": """
        select indexrelid::regclass::text, indisunique, indisvalid, pg_get_indexdef(indexrelid)
          from pg_index i join pg_class c on c.oid = i.indrelid
         where c.relnamespace = 'sharegate'::regnamespace order by 1""",
    "functions": """
        select proname, pg_get_functiondef(oid), pg_get_userbyid(proowner),
               (select array_agg(a::text order by a::text) from unnest(proacl) a)
          from pg_proc where pronamespace = 'sharegate'::regnamespace order by proname, 2""",
    "triggers": """
        select tgrelid::regclass::text, tgname, tgenabled, pg_get_triggerdef(t.oid)
          from pg_trigger t join pg_class c on c.oid = tgrelid
         where c.relnamespace = 'sharegate'::regnamespace order by 1, 2""",
    "rest": """
        select 'schema', pg_get_userbyid(nspowner),
               (select array_agg(a::text order by a::text) from unnest(nspacl) a)
          from pg_namespace where nspname = 'sharegate'
        union all select 'policy', polname, null from pg_policy
        union all select 'type', typname, null from pg_type
         where typnamespace = 'sharegate'::regnamespace
        union all select 'default acl', defaclobjtype::text, null from pg_default_acl
        order by 1, 2""",
}

CHANGES = [
    "alter table sharegate.entry alter column leaf set storage extended",
    "alter table sharegate.entry alter column sealed drop not null",
    "alter table sharegate.entry alter column leaf set compression pglz",
    "alter table sharegate.head alter column size type numeric",
    "alter table sharegate.head alter column standby set default true",
    "alter table sharegate.head add column more int",
    "alter table sharegate.head drop constraint head_size_check",
    "alter table sharegate.head rename column last to newest",
    "alter index sharegate.entry_exchange_id set (pages_per_range = 9)",
    "create index on sharegate.replay (seq)",
    "drop index sharegate.replay_signed_at",
    "drop trigger append_only on sharegate.entry",
    "alter table sharegate.entry disable trigger append_only_whole",
    "alter function sharegate.usable() volatile",
    "alter function sharegate.usable() security invoker",
    "alter function sharegate.usable() reset search_path",
    """create or replace function sharegate.durable(standby boolean) returns boolean
       language sql stable as 'select true'""",
    "grant execute on function sharegate.durable to public",
    "revoke execute on function sharegate.usable from sharegate_append",
    "grant insert on sharegate.entry to sharegate_append",
    "revoke select on sharegate.head from sharegate_read",
    "grant create on schema sharegate to sharegate_read",
    "create table sharegate.more ()",
    "create type sharegate.more as enum ('a')",
    "alter default privileges in schema sharegate grant select on tables to public",
]


@pytest.fixture
def second_database(postgres):
    name = f"test_{secrets.token_hex(6)}"
    on_a_thread(ask(postgres.dsn(), f"create database {name} template template0"))
    yield postgres.dsn(name)
    on_a_thread(ask(postgres.dsn(), f"drop database {name} with (force)"))


@pytest.fixture
async def connection(database):
    connection = await asyncpg.connect(database.dsn())
    yield connection
    await connection.close()


async def everything(connection):
    return {
        kind: [tuple(row) for row in await connection.fetch(query)]
        for kind, query in CATALOGUE.items()
    }


async def test_the_migrations_lead_to_the_schema_and_any_difference_is_seen(
    connection, second_database
):
    await migrate(connection, ORIGIN)
    migrated = await everything(connection)
    assert all(migrated.values())

    other = await asyncpg.connect(second_database)
    await other.execute(schema())
    assert await everything(other) == migrated
    for change in CHANGES:
        transaction = other.transaction()
        await transaction.start()
        await other.execute(change)
        assert await everything(other) != migrated, change
        await transaction.rollback()
    assert await everything(other) == migrated
    await other.close()


async def test_migrating_begins_an_empty_log_of_its_origin(connection):
    assert await migrate(connection, ORIGIN) == [name for name, _ in migrations()]
    head = await connection.fetch(
        "select origin, size, last, remembers_from, standby from sharegate.head"
    )
    assert [tuple(row) for row in head] == [(ORIGIN, 0, GENESIS, 0, False)]


async def test_migrating_twice_changes_nothing(connection):
    await migrate(connection, ORIGIN)
    await connection.execute("update sharegate.head set size = 7, remembers_from = 7")
    before = await everything(connection), await connection.fetch("select * from sharegate.head")
    applied = await connection.fetch("select * from sharegate.migration")
    assert await migrate(connection, ORIGIN) == []
    assert (
        await everything(connection),
        await connection.fetch("select * from sharegate.head"),
    ) == before
    assert await connection.fetch("select * from sharegate.migration") == applied


async def test_the_log_of_another_origin_is_left_alone(connection):
    await migrate(connection, ORIGIN)
    with pytest.raises(Misconfigured) as refused:
        await migrate(connection, "other.example")
    assert ORIGIN in str(refused.value)
    assert await connection.fetchval("select origin from sharegate.head") == ORIGIN


async def test_two_who_migrate_at_once_migrate_once(connection, database):
    other = await asyncpg.connect(database.dsn())
    applied = await asyncio.gather(migrate(connection, ORIGIN), migrate(other, ORIGIN))
    assert sorted(applied, key=len) == [[], [name for name, _ in migrations()]]
    await other.close()


async def test_a_migration_that_fails_leaves_everything_as_it_was(connection, monkeypatch):
    broken = [*migrations(), ("9999_broken", "create table sharegate.half (); select 1 / 0")]
    monkeypatch.setattr(migrating, "migrations", lambda: broken)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(connection, ORIGIN)
    assert await connection.fetchval("select to_regnamespace('sharegate')") is None
    monkeypatch.undo()
    await migrate(connection, ORIGIN)
    monkeypatch.setattr(migrating, "migrations", lambda: broken)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(connection, ORIGIN)
    assert await connection.fetchval("select to_regclass('sharegate.half')") is None


def test_migrations_are_in_order_and_schema_sql_is_not_one_of_them():
    names = [name for name, _ in migrations()]
    assert names == sorted(names)
    assert [name[:4] for name in names] == [f"{n:04d}" for n in range(1, len(names) + 1)]


async def test_the_roles_cannot_log_in_and_hold_no_power(connection):
    await migrate(connection, ORIGIN)
    roles = await connection.fetch(
        "select rolname from pg_roles where rolname like 'sharegate!_%' escape '!' "
        "and (rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls "
        "or (rolcanlogin and rolname not like '%!_login' escape '!'))"
    )
    assert roles == []


async def test_provisioning_again_gives_the_same_logins(postgres, database):
    first = await provision(postgres.dsn, ORIGIN, database.name)
    assert await provision(postgres.dsn, ORIGIN, database.name) == first
    append, read = first
    assert (await ask(append, "select current_user"))[0][0] == "sharegate_append_login"
    assert (await ask(read, "select origin from sharegate.head"))[0][0] == ORIGIN


async def test_an_owner_who_is_no_superuser_can_migrate(private_postgres):
    server = private_postgres()
    superuser = await asyncpg.connect(server.dsn())
    await superuser.execute("create role owner login createrole password 'p'")
    await superuser.execute("create database theirs owner owner")
    await superuser.close()
    owner = await asyncpg.connect(server.dsn("theirs", "owner", "p"))
    assert await migrate(owner, ORIGIN) == [name for name, _ in migrations()]
    assert await migrate(owner, ORIGIN) == []
    owners = await owner.fetch(
        "select distinct proowner::regrole::text from pg_proc "
        "where pronamespace = 'sharegate'::regnamespace"
    )
    assert [row[0] for row in owners] == ["sharegate_migrate"]
    await owner.close()


@pytest.mark.parametrize(
    ("mistake", "says"),
    [
        ("canary", "is not a DSN a connection can be made with"),
        ("postgresql://u:canary@h:port/d", "is not a DSN a connection can be made with"),
        ("another port", "cannot be reached"),
        ("another password", "refuses this login"),
        ("another database", "has no such database"),
        ("a weak role", "does not give this role the right"),
    ],
)
def test_a_dsn_that_will_not_do_is_said_without_its_password(site, capsys, mistake, says):
    host, role = f"127.0.0.1:{site.server.port}", f"weak_{secrets.token_hex(6)}"
    database = site.audit_database
    on_a_thread(ask(site.server.dsn(), f"create role {role} login password 'canary'"))
    dsn = {
        "another port": f"postgresql://{role}:canary@127.0.0.1:{free_port()}/{database}",
        "another password": f"postgresql://{role}:canary-2@{host}/{database}",
        "another database": f"postgresql://{role}:canary@{host}/none",
        "a weak role": f"postgresql://{role}:canary@{host}/{database}",
    }.get(mistake, mistake)
    try:
        assert main(["migrate", "--config", str(site.gateway().config), "--dsn", dsn]) == 1
    finally:
        on_a_thread(ask(site.server.dsn(), f"drop role {role}"))
    said = capsys.readouterr().err
    assert said.startswith("sharegate: --dsn: ")
    assert says in said
    assert "canary" not in said
