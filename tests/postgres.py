"""PostgreSQL for tests: one shared server, a fresh database for each test, or a server to break.

Everything is started and stopped on a thread of its own, so it works whether or not the test that
asks has an event loop running, and whichever loop that is.
"""

import asyncio
import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

import asyncpg
import pytest

from sharegate.embedded import Binaries, EmbeddedPostgres

PREFIX = "sharegate-tests-"
# Where a server is that several runs of the tests share; without it, each starts its own.
SHARED = "SHAREGATE_TESTS_POSTGRES"
NO_OPTIONS: Mapping[str, str] = MappingProxyType({})

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Database:
    """A database of one test's own. Roles belong to the server: name them after the database."""

    server: EmbeddedPostgres
    name: str

    def dsn(self, user: str | None = None, password: str | None = None) -> str:
        return self.server.dsn(self.name, user, password)


class StartPostgres(Protocol):
    """Starts one more server, stopped and removed when the test ends."""

    def __call__(
        self,
        options: Mapping[str, str] = NO_OPTIONS,
        *,
        port: int | None = None,
        name: str = "postgres",
        binaries: Binaries | None = None,
    ) -> EmbeddedPostgres: ...


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """The server every test shares: make a ``database`` in it, and never stop it."""
    with contextlib.ExitStack() as stack:
        if SHARED in os.environ:
            place = Path(os.environ[SHARED])
        else:
            remove_abandoned()
            place = stack.enter_context(reachable_directory()) / "postgres"
        server = EmbeddedPostgres(place)
        stack.enter_context(stopped_at_the_end(server))
        on_a_thread(server.start())
        yield server


@pytest.fixture
def database(postgres: EmbeddedPostgres) -> Iterator[Database]:
    """An empty database with a random name, dropped afterwards whoever is still connected."""
    name = f"test_{secrets.token_hex(6)}"
    on_a_thread(_execute(postgres.dsn(), f"CREATE DATABASE {name} TEMPLATE template0"))
    try:
        yield Database(postgres, name)
    finally:
        on_a_thread(_execute(postgres.dsn(), f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def private_postgres() -> Iterator[StartPostgres]:
    """Starts servers that the test may kill, stop or fill."""
    with contextlib.ExitStack() as stack:

        def start(
            options: Mapping[str, str] = NO_OPTIONS,
            *,
            port: int | None = None,
            name: str = "postgres",
            binaries: Binaries | None = None,
        ) -> EmbeddedPostgres:
            place = stack.enter_context(reachable_directory())
            server = EmbeddedPostgres(place / name, port, options, binaries)
            stack.enter_context(stopped_at_the_end(server))
            on_a_thread(server.start())
            return server

        yield start


def on_a_thread(work: Coroutine[Any, Any, T]) -> T:
    """Run it to its end in an event loop of its own, here and now."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


@contextlib.contextmanager
def reachable_directory() -> Iterator[Path]:
    """A directory that the server's account can enter; pytest's ``tmp_path`` is closed to it."""
    place = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    place.chmod(0o711)
    try:
        yield place
    finally:
        shutil.rmtree(place)


@contextlib.contextmanager
def stopped_at_the_end(server: EmbeddedPostgres) -> Iterator[None]:
    """Stop it however the block ends; at once, as its data is thrown away."""
    try:
        yield
    finally:
        on_a_thread(server.stop("immediate"))


def remove_abandoned() -> None:
    """Stop and remove what earlier runs left behind because they were killed.

    Two signs that a directory is in use: its maker's process lives, or (seen from another process
    namespace) a server in it is locked. One run at a time removes, since several begin at once.
    """
    lock = Path(tempfile.gettempdir()) / f"sharegate-abandoned-{os.geteuid()}"
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for place in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
            with contextlib.suppress(FileNotFoundError):  # its maker ended just now, and removed it
                _remove_if_abandoned(place)


def _remove_if_abandoned(place: Path) -> None:
    maker = place.name.removeprefix(PREFIX).partition("-")[0]
    if place.stat().st_uid != os.geteuid() or not maker.isdecimal() or _lives(int(maker)):
        return
    servers = [owner.parent for owner in place.glob("*/owner")]
    if any(_is_locked(server / "owner") for server in servers):
        return
    for server in servers:
        on_a_thread(EmbeddedPostgres(server).stop("immediate"))
    shutil.rmtree(place)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_locked(path: Path) -> bool:
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
