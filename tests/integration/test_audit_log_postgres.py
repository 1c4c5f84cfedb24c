"""The audit log in PostgreSQL: what is stored, who may touch it, and when it refuses."""

import asyncio
from uuid import UUID, uuid4

import asyncpg
import pytest

from sharegate.audit.chain import GENESIS, encode_leaf, parse_leaf, verify_chain
from sharegate.audit.tree import Frontier, leaf_hash
from sharegate.errors import AuditLogUnavailable, Unavailable
from sharegate.observe import AuditLogState, Committed
from sharegate.record.audit_log import Appended, Replayed
from sharegate.record.postgres import PostgresAuditLog
from sharegate.record.reader import PostgresReader
from tests.integration.audit_database import ask, draft, make, make_on, until, until_usable

APPEND = "select * from sharegate.append($1, $2, $3, $4, $5, $6, $7, $8)"
TABLES = [
    "head", "entry", "replay", "checkpoint", "subtree", "migration", "signing", "cosigned",
]  # fmt: skip
WRITES = [
    "insert into sharegate.{0} select * from sharegate.{0}",
    "insert into sharegate.{0} default values",
    "delete from sharegate.{0}",
    "truncate sharegate.{0}",
    "drop table sharegate.{0}",
    "alter table sharegate.{0} disable trigger all",
    "create trigger mine before insert on sharegate.{0} execute function sharegate.append_only()",
]


@pytest.fixture
async def log_database(database):
    return await make(database)


def batch(*drafts, announce=False):
    return (
        [each.exchange_id for each in drafts],
        [each.replay_key for each in drafts],
        [each.signed_at for each in drafts],
        [each.core for each in drafts],
        [each.sealed for each in drafts],
        [each.wrapped for each in drafts],
        [each.blind for each in drafts],
        announce,
    )


async def refusal(audit_log):
    """Append until it is refused, and give the reason."""
    with pytest.raises(AuditLogUnavailable) as refused:
        await audit_log.append(draft())
    return refused.value.reason


# --- what is stored is what is hashed ---------------------------------------------------------


async def test_a_stored_leaf_is_the_documented_bytes_and_its_hash_the_next_ones_link(log_database):
    drafts = [draft(bytes([n, 0, 255, n]) * 7) for n in range(20)]
    async with log_database.gateway() as audit_log:
        for each in drafts[:5]:
            await audit_log.append(each)
        await asyncio.gather(*(audit_log.append(each) for each in drafts[5:]))
    prev, expected = GENESIS, []
    for n, each in enumerate(drafts):
        expected.append(encode_leaf(n, prev, each.core))
        prev = leaf_hash(expected[-1])
    assert await log_database.leaves() == expected
    head = (await log_database.ask("select * from sharegate.head"))[0]
    assert (head["size"], head["last"]) == (20, prev)
    assert verify_chain(expected) == Frontier.empty().extend([leaf_hash(e) for e in expected])
    rows = await log_database.ask("select * from sharegate.entry order by seq")
    assert [(row["seq"], row["exchange_id"], row["sealed"], row["wrapped"]) for row in rows] == [
        (n, UUID(bytes=e.exchange_id.bytes), e.sealed, e.wrapped) for n, e in enumerate(drafts)
    ]


async def test_the_largest_leaf_is_stored_whole_and_nothing_is_compressed(log_database):
    largest = b"a" * (65_535 - 44)
    async with log_database.gateway() as audit_log:
        for size in (1, 1000, len(largest)):
            await audit_log.append(draft(largest[:size]))
    rows = await log_database.ask(
        "select length(leaf) as bytes, pg_column_size(leaf) as stored, "
        "pg_column_compression(leaf) as how, length(sealed) as s, pg_column_size(sealed) as ss "
        "from sharegate.entry order by seq"
    )
    assert [row["bytes"] for row in rows] == [45, 1044, 65_535]
    for row in rows:
        assert row["how"] is None
        assert row["bytes"] <= row["stored"] <= row["bytes"] + 4  # a length, and the bytes
        assert row["s"] <= row["ss"] <= row["s"] + 4


async def test_an_entry_of_ordinary_size_is_on_the_page_it_was_written_to(log_database):
    async def elsewhere():
        (row,) = await log_database.ask(
            "select reltoastrelid::regclass::text as name from pg_class "
            "where oid = 'sharegate.entry'::regclass"
        )
        return (await log_database.ask(f"select count(*) from {row['name']}"))[0][0]

    async with log_database.gateway() as audit_log:
        await asyncio.gather(*(audit_log.append(draft(b"x" * 800)) for _ in range(30)))
        assert await elsewhere() == 0
        await audit_log.append(draft(b"x" * 9000))
        assert await elsewhere() > 0
    (row,) = await log_database.ask(
        "select string_agg(attstorage::text, '') from pg_attribute "
        "where attrelid = 'sharegate.entry'::regclass and attname in ('leaf', 'sealed', 'wrapped')"
    )
    assert row[0] == "eee"


@pytest.mark.parametrize("order", ["arsb", "rasb", "srab", "rsab", "absr", "brsa"])
async def test_a_batch_names_the_fate_of_each_in_order(log_database, order):
    known = draft(b"known")
    await ask(log_database.append, APPEND, *batch(known))
    drafts = {"a": draft(b"one"), "b": draft(b"two"), "r": known, "s": draft(signed_at=1)}
    await log_database.ask("select sharegate.forget_replays(60000)")
    (row,) = await ask(log_database.append, APPEND, *batch(*(drafts[each] for each in order)))
    places = iter((1, 2))
    assert row["fates"] == ["a" if each in "ab" else each for each in order]
    expected = [next(places) if each in "ab" else {"r": 0, "s": -1}[each] for each in order]
    assert row["seqs"] == expected
    # Each leaf stands with its own id, detail and key, whatever stood between them in the batch.
    kept = [known, *(drafts[each] for each in order if each in "ab")]
    rows = await log_database.ask("select * from sharegate.entry order by seq")
    assert [
        (r["exchange_id"], parse_leaf(r["leaf"]).core, r["sealed"], r["wrapped"], r["blind"])
        for r in rows
    ] == [(each.exchange_id, each.core, each.sealed, each.wrapped, each.blind) for each in kept]
    assert isinstance(verify_chain([r["leaf"] for r in rows]), Frontier)


async def test_a_batch_with_one_key_twice_raises_and_leaves_nothing(log_database):
    twin = draft()
    with pytest.raises(asyncpg.UniqueViolationError):
        await ask(log_database.append, APPEND, *batch(draft(), twin, draft(key=twin.replay_key)))
    assert await log_database.leaves() == []
    assert await log_database.size() == 0
    assert await log_database.ask("select from sharegate.replay") == []
    assert (await ask(log_database.append, APPEND, *batch(twin)))[0]["seqs"] == [0]


async def test_without_a_log_there_is_nothing_to_append_to(log_database):
    await log_database.ask("delete from sharegate.head")
    with pytest.raises(asyncpg.PostgresError) as refused:
        await ask(log_database.append, APPEND, *batch(draft()))
    assert refused.value.sqlstate == "SG002"
    assert (await ask(log_database.append, "select sharegate.usable()"))[0][0] == "no-log"


# --- roles and triggers -----------------------------------------------------------------------


async def test_neither_login_can_write_a_table(log_database):
    await ask(log_database.append, APPEND, *batch(draft()))
    updates = {"head": "size = 0", "entry": "leaf = ''", "checkpoint": "note = ''"}
    statements = [
        *(write.format(table) for write in WRITES for table in TABLES),
        *(f"update sharegate.{table} set {change}" for table, change in updates.items()),
        "create table sharegate.mine ()",
        "create function sharegate.mine() returns int language sql as 'select 1'",
    ]
    for dsn in (log_database.append, log_database.read):
        connection = await asyncpg.connect(dsn)
        for statement in statements:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
        await connection.close()


async def test_who_appends_can_call_and_not_look(log_database):
    await ask(log_database.append, APPEND, *batch(draft()))
    await ask(
        log_database.append, "select sharegate.take_signing(decode(repeat('a', 32), 'hex'), 9)"
    )
    await ask(log_database.append, "select sharegate.renew_signing(1, 9)")
    await ask(
        log_database.append, "select sharegate.keep_checkpoint(1, 1, 'n', '{}', '{}', '{}', false)"
    )
    await ask(log_database.append, "select sharegate.keep_cosigned(1, 'n')")
    await ask(log_database.append, "select sharegate.forget_replays(60000)")
    assert (await ask(log_database.append, "select sharegate.usable()"))[0][0] == "usable"
    for table in TABLES:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await ask(log_database.append, f"select from sharegate.{table}")


@pytest.mark.parametrize(
    "table", ["quota_count", "quota_hold", "referral", "ruling", "break_glass"]
)
async def test_what_stands_beside_the_log_is_touched_through_its_functions_only(
    log_database, table
):
    for dsn in (log_database.append, log_database.read):
        for statement in (
            f"select * from sharegate.{table}",
            f"delete from sharegate.{table}",
            f"insert into sharegate.{table} default values",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await ask(dsn, statement, settings={"default_transaction_read_only": "off"})


async def test_who_reads_can_look_and_not_call(log_database):
    for table in TABLES:
        await ask(log_database.read, f"select from sharegate.{table}")
    for call in (
        "append('{}', '{}', '{}', '{}', '{}', '{}', '{}', false)",
        "keep_checkpoint(1, 1, 'n', '{}', '{}', '{}', false)",
        "keep_cosigned(1, 'n')",
        "take_signing('n', 1)",
        "renew_signing(1, 1)",
        "require_signing(1)",
        "forget_replays(0)",
        "usable()",
        "durable(false)",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await ask(log_database.read, f"select sharegate.{call}")


async def test_even_the_owner_does_not_change_entries_by_accident(log_database):
    await ask(log_database.append, APPEND, *batch(draft()))
    before = await log_database.leaves()
    for statement in (
        "update sharegate.entry set leaf = leaf",
        "update sharegate.entry set wrapped = null",
        "delete from sharegate.entry",
        "truncate sharegate.entry",
        "truncate sharegate.entry cascade",
    ):
        with pytest.raises(asyncpg.PostgresError) as refused:
            await log_database.ask(statement)
        assert refused.value.sqlstate == "SG009"
        assert await log_database.leaves() == before


# --- durability -------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["off", "local", "remote_write"])
async def test_a_session_whose_commits_are_not_durable_appends_nothing(log_database, level):
    settings = {"synchronous_commit": level}
    with pytest.raises(asyncpg.PostgresError) as refused:
        await ask(log_database.append, APPEND, *batch(draft()), settings=settings)
    assert refused.value.sqlstate == "SG001"
    state = await ask(log_database.append, "select sharegate.usable()", settings=settings)
    assert state[0][0] == "not-durable"
    assert await log_database.leaves() == []
    lossy = f"{log_database.append}?synchronous_commit={level}"
    async with log_database.gateway(lossy, usable=False) as gateway:
        assert await refusal(gateway) is Unavailable.NOT_DURABLE


async def test_a_session_whose_commits_are_durable_appends(log_database):
    for level in ("on", "remote_apply"):
        settings = {"synchronous_commit": level}
        await ask(log_database.append, APPEND, *batch(draft()), settings=settings)


async def test_a_log_that_needs_a_standby_takes_nothing_while_none_is_demanded(log_database):
    async with log_database.gateway() as gateway:
        await gateway.append(draft())
        await log_database.ask("update sharegate.head set standby = true")
        assert await refusal(gateway) is Unavailable.NOT_DURABLE
        await log_database.ask("update sharegate.head set standby = false")
        await until_usable(gateway)
        assert await gateway.append(draft()) == Appended(1)


async def test_a_server_that_would_lose_commits_is_noticed_refused_and_taken_back(private_postgres):
    server = private_postgres()
    log_database = await make_on(server)

    async def configure(statement):
        await ask(server.dsn(), f"alter system {statement}")
        await ask(server.dsn(), "select pg_reload_conf()")

    for name in ("fsync", "full_page_writes"):
        async with log_database.gateway() as gateway:
            await gateway.append(draft())
            size = await log_database.size()
            await configure(f"set {name} = off")

            async def noticed(gateway=gateway):
                try:
                    gateway.require_usable()
                except AuditLogUnavailable as refused:
                    return refused.reason is Unavailable.NOT_DURABLE
                return False

            await until(noticed)  # without being asked to append anything
            with pytest.raises(asyncpg.PostgresError) as refused:
                await ask(log_database.append, APPEND, *batch(draft()))
            assert refused.value.sqlstate == "SG001"
            await configure(f"reset {name}")
            await until_usable(gateway)
            assert await gateway.append(draft()) == Appended(size)
    await configure("set synchronous_standby_names = 'nobody'")

    async def demanded():
        durable = await ask(log_database.owner, "select sharegate.durable(true)")
        return durable[0][0]

    await until(demanded)


async def test_a_warning_about_a_commit_means_it_is_not_durable(log_database, database):
    # What PostgreSQL says when a wait for a standby is cancelled; nothing may hide it.
    await log_database.ask(f"alter database {database.name} set client_min_messages = error")
    await log_database.ask(
        "create function public.warn() returns trigger language plpgsql as "
        "$$ begin raise warning 'not replicated'; return new; end $$"
    )
    warns = (
        "create trigger warn before insert on sharegate.replay "
        "for each row execute function public.warn()"
    )
    await log_database.ask(warns)
    async with log_database.gateway(usable=False) as gateway:
        assert await refusal(gateway) is Unavailable.NOT_DURABLE
        await log_database.ask("drop trigger warn on sharegate.replay")
        await until_usable(gateway)
        assert not gateway.doubtful  # what was tried was taken back
        await log_database.ask(warns)
        assert await refusal(gateway) is Unavailable.NOT_DURABLE
        assert gateway.doubtful
        await log_database.ask("drop trigger warn on sharegate.replay")
        await until_usable(gateway)
        assert gateway.doubtful
        await gateway.append(draft())
        assert not gateway.doubtful


# --- a database in trouble --------------------------------------------------------------------


async def test_a_read_only_database_is_refused_and_taken_back(log_database, database):
    await log_database.ask(f"alter database {database.name} set default_transaction_read_only = on")
    async with log_database.gateway(usable=False) as gateway:
        assert await refusal(gateway) is Unavailable.READ_ONLY
        connection = await asyncpg.connect(log_database.owner)
        await connection.execute("set default_transaction_read_only = off")
        await connection.execute(
            f"alter database {database.name} reset default_transaction_read_only"
        )
        await connection.close()
        await until_usable(gateway)
        assert await gateway.append(draft()) == Appended(0)


async def test_a_database_that_hangs_is_given_up_and_what_was_given_up_is_not_written_later(
    log_database,
):
    async with log_database.gateway(seconds=1.0) as gateway:
        blocker = await asyncpg.connect(log_database.owner)
        transaction = blocker.transaction()
        await transaction.start()
        await blocker.execute("select from sharegate.head for update")
        given_up = draft()
        with pytest.raises(AuditLogUnavailable):
            await gateway.append(given_up)

        waiting = await log_database.ask(
            "select pid from pg_stat_activity "
            "where wait_event_type = 'Lock' and datname = current_database()"
        )

        async def given_up_there_too():
            return not await log_database.ask(
                "select from pg_stat_activity where pid = any ($1)", [row["pid"] for row in waiting]
            )

        await until(given_up_there_too)
        await transaction.rollback()
        await blocker.close()
        await until_usable(gateway)
        assert await gateway.append(draft()) == Appended(0)
        assert await gateway.append(given_up) == Appended(1)


async def test_the_next_batch_waits_until_a_checkpoint_covers_the_last(log_database):
    asked, signed = [], asyncio.Event()

    async def covered(index):
        asked.append(index)
        await signed.wait()

    async def appended(size):
        return await log_database.size() == size

    seen = []
    async with log_database.gateway(observe=seen.append) as gateway:
        gateway.until_signed = covered
        first = asyncio.create_task(gateway.append(draft()))
        await until(lambda: appended(1))
        late = [asyncio.create_task(gateway.append(draft())) for _ in range(3)]
        await asyncio.sleep(0.05)
        assert asked == [0]
        assert await log_database.size() == 1
        assert not first.done()
        signed.set()
        assert await first == Appended(0)
        assert await asyncio.gather(*late) == [Appended(1), Appended(2), Appended(3)]
    assert asked == [0, 3]
    assert [each.entries for each in seen if isinstance(each, Committed)] == [1, 3]


async def test_a_batch_that_nobody_signs_is_refused_and_the_next_is_not(log_database):
    unsigned = [AuditLogUnavailable(Unavailable.UNSIGNED, "the log cannot be signed now")]

    async def covered(_):
        if unsigned:
            raise unsigned.pop()

    async with log_database.gateway() as gateway:
        gateway.until_signed = covered
        used = draft()
        with pytest.raises(AuditLogUnavailable) as refused:
            await gateway.append(used)
        assert refused.value.reason is Unavailable.UNSIGNED
        # It is in the log all the same; a replay waits for nobody.
        assert await gateway.append(draft(key=used.replay_key)) == Replayed(0)
        assert await gateway.append(draft()) == Appended(1)


async def test_a_signer_that_hangs_does_not_hold_up_what_waits_behind_for_ever(log_database):
    hangs = asyncio.Event()

    async def covered(index):
        if index == 0:
            hangs.set()
            await asyncio.Event().wait()

    async with log_database.gateway(seconds=1) as gateway:
        gateway.until_signed = covered
        first = asyncio.create_task(gateway.append(draft()))
        await hangs.wait()
        late = asyncio.create_task(gateway.append(draft()))
        with pytest.raises(AuditLogUnavailable) as refused:
            await first
        assert refused.value.reason is Unavailable.TIMEOUT
        assert await late == Appended(1)


async def test_a_lost_connection_is_refused_and_made_again(log_database):
    seen = []
    async with log_database.gateway(observe=seen.append) as gateway:
        await gateway.append(draft())
        await log_database.ask(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where usename = 'sharegate_append_login' and datname = current_database()"
        )

        async def noticed():
            return any(isinstance(s, AuditLogState) and not s.usable for s in seen)

        await until(noticed)
        await until_usable(gateway)
        assert await gateway.append(draft()) == Appended(1)
    states = [each.usable for each in seen if isinstance(each, AuditLogState)]
    assert states[:3] == [True, False, True]
    assert sum(each.entries for each in seen if isinstance(each, Committed)) == 2


async def test_who_is_cut_off_in_the_middle_does_not_hold_up_the_others(log_database):
    async with log_database.gateway() as audit_log:
        for connection in (audit_log._appender, audit_log._watcher):
            held = await connection.fetchval("show idle_in_transaction_session_timeout")
            assert held == "5s"


async def test_a_drivers_slip_does_not_end_the_watch(log_database, monkeypatch):
    async with log_database.gateway() as audit_log:
        connect = asyncpg.connect

        async def trips(*_, **__):
            raise AttributeError("server_version")

        monkeypatch.setattr(asyncpg, "connect", trips)
        audit_log._watcher.terminate()
        await until(lambda: answered(audit_log, usable=False))
        await asyncio.sleep(0.6)
        monkeypatch.setattr(asyncpg, "connect", connect)
        await until_usable(audit_log)
        assert isinstance(await audit_log.append(draft()), Appended)


async def answered(audit_log, *, usable):
    try:
        audit_log.require_usable()
    except AuditLogUnavailable:
        return not usable
    return usable


async def test_without_a_database_it_starts_and_says_so(log_database):
    nowhere = "postgresql://nobody@127.0.0.1:1/nowhere"
    reader = PostgresReader(nowhere)
    gateway = PostgresAuditLog(nowhere, reader, lambda _: None, seconds=1)
    await gateway.start()
    assert await refusal(gateway) is Unavailable.DOWN
    with pytest.raises(AuditLogUnavailable):
        await gateway.find(uuid4())
    await gateway.stop()


# --- what stands beside the entries -----------------------------------------------------------


async def test_the_moment_from_which_replays_are_remembered_never_goes_back(log_database):
    async def remembers_from():
        return (await log_database.ask("select remembers_from from sharegate.head"))[0][0]

    await ask(log_database.append, "select sharegate.forget_replays(1000)")
    late = await remembers_from()
    await ask(log_database.append, "select sharegate.forget_replays(600000)")
    assert await remembers_from() == late
    await log_database.ask("update sharegate.head set remembers_from = $1", late * 2)
    await ask(log_database.append, "select sharegate.forget_replays(0)")
    assert await remembers_from() == late * 2


async def test_one_clock_that_is_ahead_ends_no_log(log_database):
    async def remembers_from():
        return (await log_database.ask("select remembers_from from sharegate.head"))[0][0]

    now = (await log_database.ask("select (extract(epoch from now()) * 1000)::bigint"))[0][0]
    # The database's is ahead of the gateway's, or behind it; and somebody makes one up.
    day = 24 * 60 * 60 * 1000
    await ask(log_database.append, "select sharegate.forget_replays(600000, $1)", now - day)
    assert await remembers_from() == now - day - 600_000
    for age, clock in ((600_000, now + day), (-day, None), (-day, now + day)):
        await ask(log_database.append, "select sharegate.forget_replays($1, $2)", age, clock)
        assert await remembers_from() <= now + 10_000
    async with log_database.gateway() as audit_log:
        assert isinstance(await audit_log.append(draft()), Appended)


async def test_a_log_that_would_refuse_all_that_is_signed_now_says_so(log_database):
    await log_database.ask("update sharegate.head set remembers_from = $1", 2**52)
    (row,) = await ask(log_database.append, "select sharegate.usable()")
    assert row[0] == "set-back"
    reader = PostgresReader(log_database.read)
    audit_log = PostgresAuditLog(log_database.append, reader, lambda _: None, seconds=1)
    await audit_log.start()
    assert await refusal(audit_log) is Unavailable.DOWN
    await audit_log.stop()
    await reader.close()


OWN_TYPES = """
create function pg_temp.evil(anyelement) returns boolean language plpgsql as $$
begin
    raise notice 'ran as %', current_user;
    return true;
end $$;
create domain pg_temp.bytea as pg_catalog.bytea check (pg_temp.evil(value));
create domain pg_temp.jsonb as pg_catalog.jsonb check (pg_temp.evil(value));
create domain pg_temp.text as pg_catalog.text check (pg_temp.evil(value));
create domain pg_temp.int8 as pg_catalog.int8 check (pg_temp.evil(value));
"""


async def test_nobody_has_the_owner_run_what_he_made(log_database):
    """PostgreSQL looks for types in the temporary schema first, unless it is named and last."""
    async with log_database.gateway() as audit_log:
        await audit_log.append(draft())
    logins = await log_database.ask(
        "select rolname::text as name from pg_roles where rolname like 'sharegate%login'"
    )
    for row in logins:
        await log_database.ask(
            f"do $$ begin execute format('grant temporary on database %I to {row['name']}', "
            "current_database()); end $$"
        )
    nothing = ", ".join(["'{}'"] * 7)
    calls = (
        (log_database.append, f"select * from sharegate.append({nothing}, false)"),
        (log_database.append, "select sharegate.usable()"),
        (log_database.append, "select sharegate.take_signing('0123456789abcdef', 1)"),
        (log_database.read, "select * from sharegate.vanished(0, 10)"),
    )
    for dsn, call in calls:
        ran = []
        writes = {"default_transaction_read_only": "off"}
        connection = await asyncpg.connect(dsn, server_settings=writes)
        connection.add_log_listener(lambda _, message, ran=ran: ran.append(str(message)))
        await connection.execute(OWN_TYPES)
        await connection.execute(call)
        await connection.close()
        assert ran == [], call


async def test_only_keys_of_before_that_moment_are_forgotten(log_database):
    now = (await log_database.ask("select (extract(epoch from now()) * 1000)::bigint"))[0][0]
    ages = [0, 30_000, 90_000, 500_000]
    drafts = [draft(signed_at=now - age) for age in ages]
    await ask(log_database.append, APPEND, *batch(*drafts))
    await ask(log_database.append, "select sharegate.forget_replays(60000)")
    kept = await log_database.ask("select signed_at from sharegate.replay order by 1 desc")
    assert [row["signed_at"] for row in kept] == [now, now - 30_000]


async def test_keeping_a_checkpoint_twice_is_keeping_it_once(log_database):
    async with log_database.gateway() as gateway:
        subtrees = [(8, 0, b"a" * 32), (8, 1, b"b" * 32)]
        fence = (await gateway.take_signing(b"h" * 16, 60)).fence
        await gateway.keep_checkpoint(fence, 512, b"note", subtrees)
        await gateway.keep_checkpoint(fence, 512, b"note", subtrees)
        await gateway.keep_checkpoint(
            fence, 512, b"note again", [(8, 1, b"other" * 6), (16, 0, b"c" * 32)]
        )
    assert [tuple(r) for r in await log_database.ask("select * from sharegate.checkpoint")] == [
        (512, b"note again", b"h" * 16)
    ]
    rows = await log_database.ask("select * from sharegate.subtree order by level, n")
    assert [tuple(row) for row in rows] == [*subtrees, (16, 0, b"c" * 32)]


async def test_subtrees_count_only_up_to_the_first_that_is_missing(log_database):
    reader = PostgresReader(log_database.read)
    for level, (stored, count) in enumerate(
        [((), 0), ((0, 1, 2), 3), ((0, 1, 3), 2), ((0, 2, 3), 1), ((1, 2), 0)], start=8
    ):
        for n in stored:
            await log_database.ask("insert into sharegate.subtree values ($1, $2, 'x')", level, n)
        assert await reader.stored_subtrees(level) == count
    await reader.close()


async def test_a_gateway_that_announces_is_heard(log_database):
    heard = {"sharegate_entries": asyncio.Event(), "sharegate_checkpoint": asyncio.Event()}
    reader = PostgresReader(log_database.read)
    await reader.head()
    for channel, event in heard.items():
        await reader.listen(channel, event.set)
    async with log_database.gateway() as gateway:
        fence = (await gateway.take_signing(b"h" * 16, 60)).fence
        await gateway.append(draft())
        await gateway.keep_checkpoint(fence, 1, b"note", [])
        assert not any(event.is_set() for event in heard.values())
        gateway.announce = True
        await gateway.append(draft())
        await gateway.keep_checkpoint(fence, 2, b"note", [])
        async with asyncio.timeout(10):
            for event in heard.values():
                await event.wait()
    await reader.close()


async def test_a_replayed_batch_grows_nothing(log_database):
    async with log_database.gateway() as gateway:
        used = draft()
        await gateway.append(used)
        for _ in range(3):
            assert await gateway.append(used) == Replayed(0)
        assert await log_database.size() == 1
        assert len(await log_database.ask("select from sharegate.replay")) == 1
