"""Starting and stopping one server, and knowing whose it is."""

import asyncio
import fcntl
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Literal, Self
from urllib.parse import quote

from sharegate.embedded.account import Account, account_for, barrier_to, give, spawn
from sharegate.embedded.binaries import Binaries, find_binaries, readable_bin
from sharegate.embedded.cluster import (
    SUPERUSER,
    Postmaster,
    cluster_version,
    forget_dead_postmaster,
    is_postmaster,
    make_cluster,
    read_postmaster,
)
from sharegate.embedded.ports import HOST, answers, choose_port
from sharegate.errors import PostgresUnavailable

_START_SECONDS = 120.0  # recovery after a crash replays the write-ahead log first
_STOP_SECONDS = 60.0
_ORPHAN_SECONDS = 10.0  # backends of a killed postmaster notice within milliseconds when idle
_POLL_SECONDS = 0.01
_SOCKET_PATH_BYTES = 103  # sun_path on macOS; Linux has 107
_SIGNALS = MappingProxyType({"fast": signal.SIGINT, "immediate": signal.SIGQUIT})


class _ServerDied(PostgresUnavailable):
    """The postmaster ended before it was ready; the message ends with what it logged."""


class EmbeddedPostgres:
    """One PostgreSQL server over one data directory.

    Whoever starts the server owns it, by a lock that the kernel frees when the owner dies.
    Starting a second time, here or in another process, while it has an owner makes a *guest*: the
    running server is used, and a guest's stop leaves it running. A server that outlived its owner
    (``kill -9``) is taken over as it runs; ``options`` then wait for the next start.

    A cluster is made on first use, in about a second, and is moved into place only when whole: a
    start killed half-way leaves nothing to repair. Afterwards the same directory always needs the
    same major version, which is looked for.

    Args:
        directory: This server's own; made if absent.
        port: On 127.0.0.1; None keeps the last one, or chooses.
        options: Server settings by name, passed on the command line, so that ``ALTER SYSTEM``
            cannot change them. ``{"fsync": "off"}`` is obeyed.
        binaries: For a caller who has chosen; None finds them.
    """

    def __init__(
        self,
        directory: Path,
        port: int | None = None,
        options: Mapping[str, str] = MappingProxyType({}),
        binaries: Binaries | None = None,
    ) -> None:
        self.directory = directory.resolve()
        self._data = self.directory / "data"
        self._wanted_port = port
        self._port = port
        self._options = dict(options)
        self._binaries = binaries
        self._process: subprocess.Popen[bytes] | None = None
        self._ownership: int | None = None
        self._turn = threading.Lock()

    async def start(self) -> None:
        """Return when the server accepts connections; at once if it already does.

        Cancelled, it waits for the start to end, stops the server again, and is then cancelled.

        Raises:
            PostgresUnavailable: No binaries, a parent directory the server's account cannot enter,
                a taken port, or a server that will not start (with the end of its log).
        """
        starting = asyncio.create_task(asyncio.to_thread(self._start))
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            await asyncio.wait([starting])
            if starting.exception() is None:
                await asyncio.to_thread(self._stop, "immediate")
            raise

    async def stop(self, how: Literal["fast", "immediate"] = "fast") -> None:
        """Return when the server's processes have ended; a guest only lets go.

        Args:
            how: ``fast`` ends sessions and writes a checkpoint; ``immediate`` is a crash that the
                next start recovers from, losing no commit.

        Raises:
            PostgresUnavailable: It still runs after 60 s.
        """
        await asyncio.to_thread(self._stop, how)

    async def keep_running(self, seconds: float = 1.0) -> None:
        """Start it again whenever it has ended: killed, or stopped by its owner under a guest.

        Args:
            seconds: Between two looks. Ends only when cancelled.
        """
        while True:
            await asyncio.sleep(seconds)
            with suppress(PostgresUnavailable, OSError):  # as a full disk: it is tried again
                if not self.running:
                    await self.start()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    def dsn(
        self, database: str = "postgres", user: str | None = None, password: str | None = None
    ) -> str:
        """The address of a database in this server, as a superuser unless ``user`` is named.

        It contains the password: never print it where others read.
        """
        if user is None:
            try:
                user, password = SUPERUSER, (self.directory / "password").read_text().strip()
            except OSError as error:
                raise PostgresUnavailable(f"its superuser's password: {error}") from error
        secret = "" if password is None else f":{quote(password, safe='')}"
        name = quote(database, safe="")
        return f"postgresql://{quote(user, safe='')}{secret}@{HOST}:{self.port}/{name}"

    @property
    def running(self) -> bool:
        """Whether the server's first process lives, ready or not."""
        return self._server() is not None

    @property
    def owned(self) -> bool:
        """Whether this object started (or took over) the server, and its stop will stop it."""
        return self._ownership is not None

    @property
    def pid(self) -> int:
        """The process id of the postmaster, the server's first process."""
        server = self._server()
        if server is None:
            raise PostgresUnavailable(f"no PostgreSQL is running over {self._data}")
        return server.pid

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1."""
        if self._port is None:
            raise PostgresUnavailable(f"the PostgreSQL over {self._data} was not started yet")
        return self._port

    @property
    def socket_directory(self) -> Path | None:
        """Where the Unix socket is; None if the path is too long for one."""
        place = self.directory / "socket"
        longest = len(os.fsencode(place)) + len("/.s.PGSQL.65535.lock")
        return place if longest <= _SOCKET_PATH_BYTES else None

    def _start(self) -> None:
        with self._turn:
            try:
                self._enter_directory()
                running = self._own_or_find()
                if running is None or not self._use_running(running):
                    self._start_own()
            except OSError as error:
                self._let_go()
                raise PostgresUnavailable(f"cannot start PostgreSQL: {error}") from error
            except BaseException:
                self._let_go()
                raise

    def _enter_directory(self) -> None:
        # A foreign directory keeps its permissions; only one of our making is opened to the account
        # that is to live below it.
        ours = not self.directory.exists() or not any(self.directory.iterdir())
        self.directory.mkdir(parents=True, exist_ok=True)
        if ours:
            self.directory.chmod(0o711 if os.geteuid() == 0 else 0o700)
        if self._data.exists() and os.geteuid() not in (0, self._data.stat().st_uid):
            raise PostgresUnavailable(
                f"{self._data} belongs to user {self._data.stat().st_uid}; start it as that user"
            )

    def _own(self) -> bool:
        """Take the ownership lock if it is free."""
        if self._ownership is not None:
            return True
        descriptor = os.open(
            self.directory / "owner", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._ownership = descriptor
        return True

    def _let_go(self) -> None:
        if self._ownership is not None:
            os.close(self._ownership)
            self._ownership = None

    def _own_or_find(self) -> Postmaster | None:
        """Own the directory, or wait for the server of whoever does; the server running there."""
        deadline = time.monotonic() + _START_SECONDS
        while not self._own():
            server = self._server()
            if server is not None and server.ready and answers(server.port):
                return server
            if time.monotonic() > deadline:
                raise PostgresUnavailable(
                    f"another process owns {self.directory}, but no server gets ready there"
                )
            time.sleep(_POLL_SECONDS)
        return self._server()

    def _use_running(self, server: Postmaster) -> bool:
        """Use the server found running; False if it turns out to be dying."""
        deadline = time.monotonic() + _START_SECONDS
        while not (self._is_ready() and answers(server.port)):
            if not self.running and self._own():
                return False
            if time.monotonic() > deadline:
                raise PostgresUnavailable(f"the server {server.pid} over {self._data} is not ready")
            time.sleep(_POLL_SECONDS)
        if self._wanted_port not in (None, server.port):
            raise PostgresUnavailable(
                f"a server over {self._data} already runs on port {server.port}, "
                f"not on {self._wanted_port}; stop it first"
            )
        self._port = server.port
        return True

    def _start_own(self) -> None:
        account = account_for(self._data)
        if account is not None:
            barrier = barrier_to(self.directory, account)
            if barrier is not None:
                raise PostgresUnavailable(
                    f"PostgreSQL does not run as root, and the account {account.name} that it runs "
                    f"as cannot enter {barrier}; keep {self.directory} elsewhere, for example "
                    f"under /var/lib/sharegate"
                )
        binaries = self._binaries or find_binaries(cluster_version(self._data))
        bin_directory = readable_bin(binaries, account, self.directory)
        if not self._data.exists():
            make_cluster(self.directory, bin_directory, binaries.version, account)
        self._bury()
        forget_dead_postmaster(self._data)
        self._launch_patiently(bin_directory, account)
        (self.directory / "port").write_text(f"{self._port}\n")

    def _launch_patiently(self, bin_directory: Path, account: Account | None) -> None:
        """Launch, and wait out what passes by itself: dying orphans, a port lost in a race."""
        deadline = time.monotonic() + _ORPHAN_SECONDS
        while True:
            self._port = choose_port(self._wanted_port, self._remembered_port())
            try:
                return self._launch(bin_directory, account)
            except _ServerDied as death:
                orphans = "shared memory block" in str(death)
                lost_port = "Address already in use" in str(death) and self._wanted_port is None
                if not (orphans or lost_port) or time.monotonic() > deadline:
                    raise
            time.sleep(5 * _POLL_SECONDS)

    def _remembered_port(self) -> int | None:
        try:
            return int((self.directory / "port").read_text())
        except (FileNotFoundError, ValueError):
            return None

    def _launch(self, bin_directory: Path, account: Account | None) -> None:
        settings = {
            "listen_addresses": HOST,
            "port": str(self._port),
            "unix_socket_directories": _make_socket_directory(self.socket_directory, account),
            "unix_socket_permissions": "0700",
            "logging_collector": "off",
            **self._options,
        }
        command: list[str | Path] = [bin_directory / "postgres", "-D", self._data]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        descriptor = os.open(self.directory / "server.log", flags, 0o600)
        with os.fdopen(descriptor, "rb+", buffering=0) as server_output:
            begin = server_output.seek(0, os.SEEK_END)
            self._process = spawn(command, account, server_output.fileno())
            deadline = time.monotonic() + _START_SECONDS
            while self._process.poll() is None:
                if self._is_ready():
                    return
                if time.monotonic() > deadline:
                    self._process.kill()
                    self._process.wait()
                time.sleep(_POLL_SECONDS)
            said = os.pread(descriptor, 1 << 20, begin).decode(errors="replace").strip()
        self._process = None
        raise _ServerDied(f"PostgreSQL over {self._data} did not start. It said: {said[-2000:]}")

    def _stop(self, how: Literal["fast", "immediate"]) -> None:
        with self._turn:
            if not self.directory.exists() or not self._own():
                return
            server = self._server()
            if server is not None:
                # A stopped (SIGSTOP) postmaster would never hear the request.
                for number in (_SIGNALS[how], signal.SIGCONT):
                    _signal(server.pid, number)
            deadline = time.monotonic() + _STOP_SECONDS
            while server is not None and self._is_alive(server.pid):
                if time.monotonic() > deadline:
                    raise PostgresUnavailable(
                        f"PostgreSQL over {self._data} still runs {_STOP_SECONDS:.0f} s after "
                        f"a {how} stop was asked of it"
                    )
                time.sleep(_POLL_SECONDS)
            self._bury()
            self._let_go()

    def _bury(self) -> None:
        """Take the exit status of a child that is ending; till then its number counts as alive."""
        if self._process is None:
            return
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise PostgresUnavailable(
                f"process {self._process.pid} neither serves {self._data} nor ends"
            ) from error
        self._process = None

    def _is_ready(self) -> bool:
        server = self._server()
        return server is not None and server.ready

    def _server(self) -> Postmaster | None:
        """The living server over this directory, whoever started it."""
        server = read_postmaster(self._data)
        return server if server is not None and self._is_alive(server.pid) else None

    def _is_alive(self, pid: int) -> bool:
        if self._process is not None and self._process.pid == pid:
            return self._process.poll() is None  # also ends a dead child's life as a zombie
        return is_postmaster(pid, self._data)


def _make_socket_directory(place: Path | None, account: Account | None) -> str:
    """The value of ``unix_socket_directories``: quoted, as a comma separates its list."""
    if place is None:
        return ""
    place.mkdir(mode=0o700, exist_ok=True)
    for left_by_a_killed_server in place.iterdir():
        left_by_a_killed_server.unlink()
    give([place], account)
    return '"{}"'.format(str(place).replace('"', '""'))


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it ended by itself meanwhile
