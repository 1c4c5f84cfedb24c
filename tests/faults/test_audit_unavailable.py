"""The audit log's database down, hung, read-only, unsafe or full: a clear refusal, and back (B1).

Every test breaks the database of the same gateway under load, looks at what callers get, repairs
it, and sees answers again; the gateway is never restarted.
"""

import asyncio
import contextlib
import os
import subprocess
import time
from uuid import UUID

import asyncpg
import pytest

from sharegate.errors import AuditLogUnavailable
from sharegate.record.postgres import PostgresAuditLog
from tests.faults.callers import (
    CALLERS,
    PATIENCE_SECONDS,
    asking,
    assert_kept,
    assert_refused,
    canaries_of,
    p99,
    tell,
)
from tests.faults.mutants import start_mutant
from tests.faults.processes import freeze, thaw

BROKEN_SECONDS = 1.5
"""How long each fault lasts once the gateway has noticed it."""
APPENDERS = "select pid from pg_stat_activity where usename = 'sharegate_append_login'"
END_SESSIONS = (
    "select pg_terminate_backend(pid) from pg_stat_activity where usename like 'sharegate%login'"
)


async def sql(server, *statements, database="postgres"):
    """Run statements as the superuser, each a transaction of its own; the last one's rows."""
    connection = await asyncpg.connect(server.dsn(database))
    try:
        for statement in statements[:-1]:
            await connection.execute(statement)
        return await connection.fetch(statements[-1])
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def stopped(site):
    await site.server.stop("immediate")
    yield
    await site.server.start()


@contextlib.asynccontextmanager
async def hung(site):
    await asyncio.to_thread(freeze, site.server)
    try:
        yield
    finally:
        await asyncio.to_thread(thaw, site.server)


def switched(setting, value):
    """A setting of the whole server, changed under the sessions that are there."""

    @contextlib.asynccontextmanager
    async def changed(site):
        reload = "select pg_reload_conf()"
        await sql(site.server, f"alter system set {setting} = {value}", reload)
        yield
        await sql(site.server, f"alter system reset {setting}", reload)

    changed.__name__ = f"{setting}_{value}"
    return changed


def for_new_sessions(whose, setting, value):
    """A setting that only sessions begun from now on have; those that are there are ended."""

    @contextlib.asynccontextmanager
    async def changed(site):
        target = whose.format(site.audit_database)
        await sql(site.server, f"alter {target} set {setting} = {value}", END_SESSIONS)
        yield
        await sql(
            site.server,
            "set default_transaction_read_only = off",
            f"alter {target} reset {setting}",
            END_SESSIONS,
        )

    changed.__name__ = f"{setting}_{value}_for_{whose.split()[0]}"
    return changed


@contextlib.asynccontextmanager
async def warning(site):
    """Each append succeeds, with the warning that a lost standby would cause."""
    await sql(
        site.server,
        "create function sharegate.warn() returns trigger language plpgsql as"
        " $$ begin raise warning 'canceling wait for synchronous replication'; return null; end $$",
        "create trigger warn after insert on sharegate.entry"
        " for each statement execute function sharegate.warn()",
        # Nobody can have the warning kept from the gateway, either.
        "alter role sharegate_append_login set client_min_messages = error",
        END_SESSIONS,
        database=site.audit_database,
    )
    yield
    await sql(
        site.server,
        "alter role sharegate_append_login reset client_min_messages",
        "drop trigger warn on sharegate.entry",
        "drop function sharegate.warn()",
        END_SESSIONS,
        database=site.audit_database,
    )


@contextlib.asynccontextmanager
async def full(site):
    """The entries' disk is a small one, and somebody else fills it."""
    disk = site.place / "small-disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m,mode=777", "tmpfs", disk],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"NOT TESTED: a full disk; no small one can be mounted: {mounted.stderr}")
    owner = (site.server.directory / "data").stat()
    os.chown(disk, owner.st_uid, owner.st_gid)
    try:
        await sql(
            site.server,
            f"create tablespace small location '{disk}'",
            "alter table sharegate.entry set tablespace small",
            database=site.audit_database,
        )
        ballast = disk / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb") as filling:
            while True:
                filling.write(bytes(4096))
                filling.flush()
        yield
        ballast.unlink()
        await sql(
            site.server,
            "alter table sharegate.entry set tablespace pg_default",
            "drop tablespace small",
            database=site.audit_database,
        )
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


FAULTS = [
    (stopped, None),
    (hung, None),
    (switched("default_transaction_read_only", "on"), "read-only"),
    (for_new_sessions("database {}", "default_transaction_read_only", "on"), "read-only"),
    (switched("fsync", "off"), "not-durable"),
    (switched("synchronous_commit", "off"), "not-durable"),
    (switched("full_page_writes", "off"), "not-durable"),
    (
        for_new_sessions("role sharegate_append_login", "synchronous_commit", "off"),
        "not-durable",
    ),
    (warning, "not-durable"),
    (full, None),
]


@pytest.mark.parametrize(("fault", "reason"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
async def test_nothing_leaves_while_nothing_can_be_recorded(running, fault, reason):
    gateway = running.gateways[0]
    process = gateway.process.pid
    async with asking(running.caller("civil-affairs"), running.properties) as load:
        await load.until_answered(5)
        began = time.monotonic()
        async with fault(running):
            await asyncio.to_thread(gateway.wait_for_readiness, 503)
            noticed, lines = time.monotonic(), len(gateway.output.read_text())
            await asyncio.sleep(BROKEN_SECONDS)
            status, said = await asyncio.to_thread(gateway.readiness)
            ended, observed = time.monotonic(), gateway.output.read_text()[lines:]
        repaired = time.monotonic()
        back = await load.until_answered() - repaired
        await asyncio.to_thread(gateway.wait_until_ready)
        await load.until_answered(8)
    assert status == 503, said
    assert "entries can be recorded" not in observed, "it went back and forth"
    during = [one for one in load.since(noticed) if one.ended <= ended]
    canaries = canaries_of(next(iter(load.released().values())).body)
    assert canaries
    assert during
    assert_refused(during, canaries)
    # Ending a session looks like a database that is down, for as long as it takes to connect.
    assert_refused(during[-CALLERS:], canaries, reason)
    # In flight when it broke: answered all the same, with an answer that is recorded or with 503.
    in_flight = [one for one in load.asked if one.began < noticed and one.ended > began]
    assert in_flight
    assert {one.status for one in in_flight} <= {200, 503}
    assert_refused([one for one in in_flight if one.status == 503], canaries)
    await assert_kept(running, load)
    assert gateway.process.pid == process
    assert gateway.process.poll() is None
    told = gateway.output.read_text() + gateway.metrics()
    assert not [canary for canary in canaries if canary in told]
    refused = [one for one in load.asked if one.status == 503]
    tell(
        f"{fault.__name__}: noticed after {noticed - began:.2f} s; {len(refused)} refused, "
        f"p99 {p99(refused):.2f} s; back {back:.2f} s after the repair"
    )


async def test_a_cancelled_append_releases_nothing_it_did_not_record(running):
    """`pg_cancel_backend` at the backend that appends, again and again (A6)."""
    cancelled = 0
    async with asking(running.caller("civil-affairs"), running.properties) as load:
        await load.until_answered()
        superuser = await asyncpg.connect(running.audit_dsn())
        until = time.monotonic() + 3
        while time.monotonic() < until:
            for row in await superuser.fetch(f"{APPENDERS} and state = 'active'"):
                cancelled += await superuser.fetchval("select pg_cancel_backend($1)", row["pid"])
            await asyncio.sleep(0.001)
        await superuser.close()
        await load.until_answered(8)
    assert cancelled
    assert {one.status for one in load.asked} <= {200, 503}
    await assert_kept(running, load)
    tell(f"{cancelled} cancelled, {len(load.released())} released, all of them recorded")


async def test_a_gateway_started_without_its_database_becomes_ready_by_itself(running):
    gateway = running.gateways[0]
    assert gateway.stop() == 0
    async with stopped(running):
        gateway.start(ready=False)
        await asyncio.to_thread(gateway.wait_for_readiness, 503)
        async with asking(running.caller("civil-affairs"), running.properties, callers=1) as load:
            await asyncio.sleep(0.3)
        assert_refused(load.asked, [])
    await asyncio.to_thread(gateway.wait_until_ready, PATIENCE_SECONDS)


async def still_answers(site, fault):
    """Whether answers to new requests arrive while it is broken."""
    async with asking(site.caller("civil-affairs"), site.properties) as load:
        await load.until_answered()
        async with fault(site):
            await asyncio.sleep(1)
            begun = time.monotonic()
            await asyncio.sleep(1)
            ended = time.monotonic()
    return bool([one for one in load.since(begun, 200) if one.ended <= ended])


async def test_a_gateway_deaf_to_warnings_is_found(running):
    gateway = running.gateways[0]
    assert gateway.stop() == 0
    await asyncio.to_thread(start_mutant, gateway, "deaf")
    assert await still_answers(running, warning)
    gateway.kill()


async def test_a_database_that_does_not_check_its_settings_is_found(running):
    owner = {"database": running.audit_database}
    [(good,)] = await sql(
        running.server,
        "select pg_get_functiondef('sharegate.durable'::regproc)",
        **owner,
    )
    careless = good[: good.index("AS $function$")] + "as 'select true'"
    await sql(running.server, careless, "select 1", **owner)
    try:
        assert await still_answers(running, switched("fsync", "off"))
    finally:
        await sql(running.server, good, "select 1", **owner)


@pytest.mark.parametrize("error", [OSError(), TimeoutError(), asyncpg.PostgresError("x")])
async def test_a_receipt_that_cannot_be_looked_up_is_audit_unavailable(error):
    class Unreadable:
        async def find(self, exchange_id):
            raise error

    audit_log = PostgresAuditLog("", Unreadable(), lambda seen: None, seconds=1)
    with pytest.raises(AuditLogUnavailable):
        await audit_log.find(UUID(int=0))
