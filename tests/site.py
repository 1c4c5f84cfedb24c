"""A whole site for tests: three departments' databases, an audit log, keys, and a gateway.

The gateway runs as a process of its own, as it does anywhere else; a test may kill it.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest

from sharegate.audit.note import SignerKey
from sharegate.cli.call import CallerSettings, load_caller
from sharegate.cli.demo.departments import build_departments
from sharegate.cli.demo.stage import (
    DEPARTMENTS,
    ORIGIN,
    copy_policies,
    sign_everything,
    write_caller,
    write_registry,
    write_settings,
)
from sharegate.cli.demo.town import StoryPeople, invent_town, people_of_the_story
from sharegate.cli.keys import new_signing_key
from sharegate.embedded import EmbeddedPostgres
from sharegate.record.migrate import provision
from tests.postgres import on_a_thread

PERSONS = 600
POLICIES = Path(__file__).parents[1] / "policies"
READY_SECONDS = 30
AT_START = 5
"""Entries that a new site's first gateway writes: the registry, the common rules, each provider."""


_PORTS = range(8_000, 15_000)  # below those of embedded servers, and those that systems choose
_RESERVED = Path(tempfile.gettempdir()) / f"sharegate-test-ports-{os.getuid()}"
_reserved: list[IO[bytes]] = []


def free_port() -> int:
    """A port that nobody listens at, and that no other run of tests takes while this one lasts."""
    _RESERVED.mkdir(exist_ok=True)
    while True:
        port = secrets.choice(_PORTS)
        reserved = (_RESERVED / str(port)).open("ab")
        try:
            fcntl.flock(reserved, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.create_server(("127.0.0.1", port)):
                _reserved.append(reserved)
                return port
        except OSError:
            reserved.close()


@dataclass
class GatewayProcess:
    """`sharegate serve` over one settings file."""

    config: Path
    admin_url: str
    exchange_url: str
    output: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self, *, ready: bool = True, more: Sequence[str] = ()) -> None:
        command = [sys.executable, "-m", "sharegate", "serve", "--config", str(self.config)]
        with self.output.open("ab") as output:
            self.process = subprocess.Popen([*command, *more], stdout=output, stderr=output)
        if ready:
            self.wait_until_ready()

    def readiness(self) -> tuple[int, str]:
        """Status and body of /readyz; status 0 while nothing listens."""
        try:
            with urllib.request.urlopen(f"{self.admin_url}/readyz", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def wait_until_ready(self, seconds: float = READY_SECONDS) -> None:
        self.wait_for_readiness(200, seconds)

    def wait_for_readiness(self, status: int, seconds: float = READY_SECONDS) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            assert self.process is not None
            if self.process.poll() is not None:
                break
            if self.readiness()[0] == status:
                return
            time.sleep(0.02)
        said = f"{self.readiness()}\n{self.output.read_text()[-4000:]}"
        raise AssertionError(f"not {status} in {seconds} s: {said}")

    def metrics(self) -> str:
        with urllib.request.urlopen(f"{self.admin_url}/metrics", timeout=5) as answer:
            return answer.read().decode()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)


@dataclass
class Site:
    """Everything on one directory; several gateways may share its audit log and state."""

    place: Path
    server: EmbeddedPostgres
    audit_database: str
    audit_dsns: tuple[str, str]
    sources: dict[str, str]
    people: StoryPeople
    log_key: str
    policies: Path = POLICIES
    gateways: list[GatewayProcess] = field(default_factory=list)

    def gateway(self, state: str = "state") -> GatewayProcess:
        """One more gateway, with settings and callers of its own; not started.

        Gateways with another `state` are as on another host.
        """
        ports = free_port(), free_port()
        home = self.place / f"gateway-{len(self.gateways)}"
        home.mkdir()
        (self.place / state).mkdir(exist_ok=True)
        (home / "state").symlink_to(self.place / state)
        for shared in ("keys", "registry.toml", "registry.note"):
            (home / shared).symlink_to(self.place / shared)
        (home / "callers").mkdir()
        config = write_settings(
            home,
            policies=self.policies,
            ports=ports,
            audit_dsns=self.audit_dsns,
            sources=self.sources,
        )
        for name in DEPARTMENTS:
            write_caller(home, name, ports[0], self.log_key)
        made = GatewayProcess(
            config,
            admin_url=f"http://127.0.0.1:{ports[1]}",
            exchange_url=f"http://127.0.0.1:{ports[0]}",
            output=home / "gateway.log",
        )
        self.gateways.append(made)
        return made

    def caller(self, name: str, gateway: GatewayProcess | None = None) -> CallerSettings:
        home = (gateway or self.gateways[0]).config.parent
        return load_caller(home / "callers" / f"{name}.toml")

    def audit_dsn(self) -> str:
        """The superuser's way into the audit log's database."""
        return self.server.dsn(self.audit_database)

    def properties(self, **changes: Any) -> dict[str, Any]:
        """A question of civil affairs that is permitted and finds at least one row."""
        return {
            "provider": "housing",
            "resource": "properties",
            "mode": "query",
            "purpose": "subsistence-allowance-review",
            "legal_basis": "social-assistance-measures-2014",
            "matter": "DB-2026-000123",
            "where": {"owner_id_number": self.people.applicant.id_number},
        } | changes


@contextlib.contextmanager
def site_on(server: EmbeddedPostgres, sources_on: EmbeddedPostgres | None = None) -> Iterator[Site]:
    """A site whose audit log is on `server`; its sources there too, or on another server."""
    place = Path(tempfile.mkdtemp(prefix="sharegate-site-"))
    place.chmod(0o755)
    database = f"audit_{secrets.token_hex(6)}"
    for folder in ("keys", "state"):
        (place / folder).mkdir()
    log_key = SignerKey(ORIGIN, new_signing_key(place / "keys" / "log.pem")).vkey
    write_registry(place)
    copy_policies(POLICIES, place / "policies")
    sign_everything(place)
    site = Site(
        place=place,
        server=server,
        audit_database=database,
        audit_dsns=on_a_thread(provision(server.dsn, ORIGIN, database)),
        sources=on_a_thread(
            build_departments(
                sources_on or server,
                passwords=lambda role: f"password-of-{role}",
                persons=PERSONS,
            )
        ),
        people=people_of_the_story(invent_town(persons=PERSONS)),
        log_key=log_key,
        policies=place / "policies",
    )
    try:
        yield site
    finally:
        for gateway in site.gateways:
            if gateway.process is not None:
                gateway.process.kill()
                gateway.process.wait()
        shutil.rmtree(place)


@pytest.fixture
def site(postgres: EmbeddedPostgres) -> Iterator[Site]:
    """A site of the test's own, on the shared server; its gateways are not started."""
    with site_on(postgres) as made:
        yield made


@pytest.fixture(scope="module")
def module_site(postgres: EmbeddedPostgres) -> Iterator[Site]:
    """A site shared by a module, with one gateway that runs."""
    with site_on(postgres) as made:
        made.gateway().start()
        yield made
