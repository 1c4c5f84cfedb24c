"""The projection: the same however it was filled, and never of what was not signed."""

import asyncio
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager, suppress
from random import Random

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sharegate.audit.note import SignerKey
from sharegate.errors import LogDiverged
from sharegate.observe import Projected, ProjectionState
from sharegate.record.projected import Turn
from sharegate.record.projection import UNREADABLE
from sharegate.record.reader import Broken
from tests.integration.audit_database import ORIGIN, ask, draft, until
from tests.integration.searchable import invented, searchable


@pytest.fixture
async def place(database):
    return await searchable(database)


async def filled(place, count, *sizes):
    """Entries, and checkpoints of these sizes and of all."""
    chance = Random(count)
    await place.append(*(invented(chance, number) for number in range(count)))
    for size in (*sizes, count):
        await place.sign(size)


@asynccontextmanager
async def follower(place, observe=lambda _: None):
    made = place.follower(observe)
    try:
        yield made
    finally:
        await made._projection.close()


async def test_all_that_is_signed_is_projected_and_nothing_else(place):
    await filled(place, 30, 7)
    await place.append(draft(), draft())
    async with follower(place) as following:
        assert await following.catch_up() == 30
        assert await place.projected() == list(range(30))
        await place.sign()
        assert await following.catch_up() == 32
        assert not await following.step()
    assert await place.projected() == list(range(32))


async def test_an_empty_log_is_projected_as_one(place):
    async with follower(place) as following:
        assert await following.catch_up() == 0


async def test_rebuilt_it_is_what_it_was(place):
    await filled(place, 40)
    async with follower(place) as following:
        await following.catch_up()
        whole = await place.rows()
        await following.rebuild()
        assert await place.projected() == []
        await following.catch_up()
        assert await place.rows() == whole


@pytest.mark.parametrize("before", [0, 100, 256, 300, 400])
async def test_entries_that_left_are_not_found_and_the_rest_is(place, before):
    """However far it was filled by then, and however often it is made anew."""
    await filled(place, 400, 100, 256, 300)
    async with follower(place) as following:
        if before:
            await place.database.ask("delete from sharegate.checkpoint where size > $1", before)
            assert await following.catch_up() == before
        if 0 < before < 400:
            await place.sign(400)
        await place.database.archive(256)
        assert await following.catch_up() == 400
        assert await place.projected() == list(range(256, 400))
        whole = await place.rows()
        await following.rebuild()
        assert await following.catch_up() == 400
        assert await place.rows() == whole
    assert await place.database.ask("select from sharegate.search_person where seq < 256") == []


async def test_filled_bit_by_bit_it_is_what_it_is_at_once(place, monkeypatch):
    await filled(place, 40, 1, 2, 17, 18)
    async with follower(place) as following:
        assert await following.step()  # as far as it reaches at once
        assert not await following.step()
        whole = await place.rows()
        monkeypatch.setattr("sharegate.consortium.projection._REACH", 1)
        monkeypatch.setattr("sharegate.consortium.projection._AT_ONCE", 3)
        await following.rebuild()
        steps = 0
        while await following.step():
            steps += 1
        assert steps == 5
        assert await place.rows() == whole


async def test_what_cannot_be_read_keeps_nothing_else_from_being_found(place):
    cores = [
        b"{}",
        b"[",
        b"\xff",
        b'{"kind":"release","time":-1}',
        b'{"kind":"release","time":' + b"9" * 30 + b"}",
        b'{"kind":"re\\u0000lease","time":1}',
        b'{"kind":"release","time":1,"mode":"\\ud800"}',
        b'{"kind":1,"time":1}',
        b"[" * 60_000,
    ]
    await place.append(*map(draft, cores), draft(b'{"kind":"policy","time":1,"by":"tax"}'))
    await place.sign()
    async with follower(place) as following:
        assert await following.catch_up() == len(cores) + 1
    rows = await place.database.ask("select kind, by from sharegate.search_entry order by seq")
    assert [tuple(row) for row in rows] == [(UNREADABLE, None)] * len(cores) + [("policy", "tax")]


TAMPERED = {
    "a leaf altered": ("update sharegate.entry set leaf = leaf || 'x' where seq = 12", "entry 12"),
    "a leaf altered that ends the stretch": (
        "update sharegate.entry set leaf = leaf || 'x' where seq = 19", "entries 0 to 19"),
    "two leaves exchanged": (
        """update sharegate.entry a set leaf = b.leaf from sharegate.entry b
            where (a.seq, b.seq) in ((4, 5), (5, 4))""", "entry 4"),
    "an entry gone": ("delete from sharegate.entry where seq = 8", "entry 8"),
    "the last gone": ("delete from sharegate.entry where seq = 19", "entry 19"),
    "bytes that are no leaf": (
        "update sharegate.entry set leaf = 'SGL1' where seq = 3", "entry 3"),
}  # fmt: skip


@pytest.mark.parametrize("how", TAMPERED)
async def test_what_was_tampered_with_is_noticed_and_not_projected(place, how):
    statement, named = TAMPERED[how]
    await filled(place, 20)
    await place.alter(statement)
    async with follower(place) as following:
        with pytest.raises(LogDiverged, match=named):
            await following.catch_up()
    assert await place.projected() == []


async def test_what_was_projected_before_stays_and_the_fault_is_found_after_it(place):
    await filled(place, 20)
    async with follower(place) as following:
        await following.catch_up()
        await place.append(draft(), draft(), draft())
        await place.sign()
        await place.alter("update sharegate.entry set leaf = leaf || 'x' where seq = 21")
        with pytest.raises(LogDiverged, match="entry 21"):
            await following.catch_up()
    assert await place.projected() == list(range(20))


@pytest.mark.parametrize("name", [ORIGIN, "other.example"])
async def test_a_checkpoint_that_this_log_did_not_sign_is_refused(place, name):
    await place.append(*map(draft, [b"{}"] * 3))
    await place.sign(key=SignerKey(name, Ed25519PrivateKey.from_private_bytes(b"\x08" * 32)))
    async with follower(place) as following:
        with pytest.raises(LogDiverged, match="not this log's"):
            await following.catch_up()
    assert await place.projected() == []


async def test_a_log_that_lost_what_was_projected_is_noticed(place):
    await filled(place, 9, 4)
    async with follower(place) as following:
        await following.catch_up()
        await place.alter("delete from sharegate.checkpoint where size = 9")
        with pytest.raises(LogDiverged, match="fewer are signed"):
            await following.catch_up()


PLACES = {
    "last = sha256('')": "entry 3",
    "frontier = frontier || sha256('')": "place is not of this log",
    "frontier = ''": "place is not of this log",
    "size = 4": "place is not of this log",
    "frontier = sha256('') || sha256('')": "place is not of this log",
    "note = 'x'": "not this log's",
}


@pytest.mark.parametrize("change", PLACES)
async def test_a_place_that_was_altered_is_not_gone_on_from(place, change):
    await filled(place, 3)
    async with follower(place) as following:
        await following.catch_up()
        await place.alter(f"update sharegate.search_place set {change}")
        await place.append(draft(), draft(), draft())
        await place.sign()
        with pytest.raises(LogDiverged, match=PLACES[change]):
            await following.catch_up()
    assert await place.projected() == [0, 1, 2]


@pytest.mark.parametrize("after", ["add", "move"])
async def test_whoever_dies_within_a_stretch_leaves_nothing_of_it(place, after, monkeypatch):
    await filled(place, 30, 10, 20)
    monkeypatch.setattr("sharegate.consortium.projection._REACH", 10)
    async with follower(place) as following:
        await following.step()
        before, real = await place.rows(), getattr(Turn, after)

        async def killed(turn, *given):
            await real(turn, *given)
            turn._connection.terminate()
            raise ConnectionResetError

        monkeypatch.setattr(Turn, after, killed)
        with pytest.raises(ConnectionResetError):
            await following.step()
        assert await place.rows() == before
        monkeypatch.setattr(Turn, after, real)
        assert await following.catch_up() == 30
    assert await place.projected() == list(range(30))


async def test_however_often_its_connection_is_cut_each_entry_is_projected_once(place, monkeypatch):
    await filled(place, 60, *range(3, 60, 3))
    monkeypatch.setattr("sharegate.consortium.projection._REACH", 3)
    monkeypatch.setattr("sharegate.consortium.projection._AT_ONCE", 1)
    chance = Random(5)
    async with follower(place) as following:
        for _ in range(12):
            task = asyncio.create_task(following.catch_up())
            await asyncio.sleep(chance.random() * 0.03)
            if chance.random() < 0.5:
                task.cancel()
            else:
                await place.database.ask(
                    "select pg_terminate_backend(pid) from pg_stat_activity "
                    "where usename = 'sharegate_project_login' and datname = current_database()"
                )
            with suppress(*Broken, asyncio.CancelledError):
                await task
        await until(lambda: _reaches(following, 60))
        whole = await place.rows()
        await following.rebuild()
        await following.catch_up()
        assert await place.rows() == whole


async def _reaches(following, size):
    return await following.catch_up() == size


@contextmanager
def process(config, *arguments):
    """`sharegate project`, for as long as the block lasts."""
    command = [sys.executable, "-m", "sharegate", "project", "--config", str(config), *arguments]
    started = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


async def test_a_process_killed_in_the_middle_of_a_stretch_leaves_nothing_of_it(place, tmp_path):
    await filled(place, 30)
    config = place.settings(tmp_path)
    holding = await asyncpg.connect(place.database.owner)
    locked = holding.transaction()
    await locked.start()
    await holding.execute("lock table sharegate.search_person in share mode")
    waiting = """select from pg_stat_activity where wait_event_type = 'Lock'
                    and usename = 'sharegate_project_login' and datname = current_database()"""
    with process(config) as killed:
        await until(lambda: place.database.ask(waiting))
        killed.kill()
        killed.wait()
    await locked.rollback()
    await holding.close()
    assert await place.projected() == []
    with process(config) as following:
        await until(place.projected)
        following.terminate()
        _, said = following.communicate(timeout=30)
        assert (following.returncode, said) == (0, "")
    assert await place.projected() == list(range(30))


async def test_the_process_ends_with_1_where_the_log_is_not_what_was_signed(place, tmp_path):
    await filled(place, 5)
    await place.alter("update sharegate.entry set leaf = leaf || 'x' where seq = 2")
    for arguments in ([], ["--once"]):
        with process(place.settings(tmp_path), *arguments) as ended:
            _, said = await asyncio.to_thread(ended.communicate, timeout=60)
        assert ended.returncode == 1
        assert "sharegate: entry 2" in said
    assert await place.projected() == []


async def test_two_followers_project_each_entry_once(place, monkeypatch):
    await filled(place, 60, *range(3, 60, 3))
    monkeypatch.setattr("sharegate.consortium.projection._REACH", 3)
    async with follower(place) as one, follower(place) as other:
        await asyncio.gather(one.catch_up(), other.catch_up())
        await one.catch_up()
    assert await place.projected() == list(range(60))


async def test_it_follows_and_says_how_far_and_outlives_a_database_that_was_away(
    place, monkeypatch
):
    monkeypatch.setattr("sharegate.consortium.projection._IDLE_SECONDS", 0.02)
    seen = []
    async with follower(place, seen.append) as following:
        running = asyncio.create_task(following.run(rest=0))
        await filled(place, 5)
        await until(lambda: _seen(seen, Projected(5)))
        await place.database.ask("alter role sharegate_project_login nologin")
        try:
            await place.database.ask(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where usename = 'sharegate_project_login' and datname = current_database()"
            )
            await until(lambda: _seen(seen, ProjectionState, usable=False))
        finally:
            await place.database.ask("alter role sharegate_project_login login")
        await until(lambda: _seen(seen, ProjectionState, usable=True))
        await place.append(draft())
        await place.sign()
        await until(lambda: _seen(seen, Projected(6)))
        await place.alter("delete from sharegate.checkpoint where size > 3")
        with pytest.raises(LogDiverged):
            await running
        assert isinstance(seen[-1], ProjectionState)
        assert not seen[-1].usable


async def _seen(seen, what, usable=None):
    if usable is None:
        return what in seen
    return any(isinstance(each, what) and each.usable is usable for each in seen)


MAY_NOT = {
    "project": [
        "select sealed from sharegate.entry",
        "select wrapped from sharegate.entry",
        "select * from sharegate.head",
        "update sharegate.search_entry set kind = ''",
        "delete from sharegate.search_entry",
        "insert into sharegate.checkpoint values (1, '')",
        "insert into sharegate.entry values (9, gen_random_uuid(), '', '', '', null)",
        "delete from sharegate.entry",
        "select sharegate.usable()",
    ],
    "search": [
        "insert into sharegate.search_entry (seq, time, kind) values (1, 1, '')",
        "truncate sharegate.search_entry",
        "update sharegate.search_place set size = 0",
        "delete from sharegate.entry",
        "select * from sharegate.replay",
        "select sharegate.usable()",
    ],
}


@pytest.mark.parametrize("who", MAY_NOT)
async def test_neither_login_may_more_than_it_needs(place, who):
    for statement in MAY_NOT[who]:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await ask(getattr(place, who), statement)
