"""Everything the bench measures on: one server, the arms, the load generator."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from msgspec import structs

from sharegate.audit.chain import parse_leaf
from sharegate.cli.demo.stage import ORIGIN, sign_everything
from sharegate.embedded import EmbeddedPostgres
from sharegate.identify.officer import issue_token
from sharegate.record.migrate import provision
from sharegate.settings import load_settings
from tests.load.arms import THUMBPRINT, Order
from tests.load.grants import registered_bureaus, write_policies
from tests.load.parts import BENCH_ORIGIN, Held, Sample
from tests.postgres import on_a_thread, reachable_directory, remove_abandoned, stopped_at_the_end
from tests.site import POLICIES, Site, free_port, site_on

ARMS = ("plain", "best", "channel", "signed", "piece", "naive")
GATEWAYS = frozenset({"channel", "signed"})
_OWN_LOGS = frozenset({"signed", "piece"})  # two over one log would have to wait for each other
_TICKS = os.sysconf("SC_CLK_TCK")
_ONE_PROPERTY = """select owner_id_number from estate.property
    group by owner_id_number having count(*) = 1 order by owner_id_number limit 1"""


@dataclass
class Arm:
    """One running arm, and how to ask it."""

    kind: str
    process: subprocess.Popen[str]
    question: dict[str, Any]

    def cpu(self) -> float:
        """Seconds of processor the process has used, all its threads."""
        text = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii")
        fields = text.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def megabytes(self) -> float:
        """Resident memory."""
        text = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(text.partition("VmRSS:")[2].split()[0]) / 1024

    def stop(self) -> None:
        end(self.process)


@dataclass
class Stand:
    """What runs."""

    server: EmbeddedPostgres
    site: Site
    policies: Path
    asker: subprocess.Popen[str]
    arms: dict[str, Arm] = field(default_factory=dict)
    database: str = "bench"

    def ask(self, kind: str, callers: int, count: int) -> dict[str, float]:
        """Take one sample of an arm.

        Raises:
            RuntimeError: An answer was not the right one.
        """
        arm = self.arms[kind]
        order = arm.question | {"callers": callers, "count": count}
        assert self.asker.stdin is not None
        assert self.asker.stdout is not None
        before = arm.cpu()
        self.asker.stdin.write(json.dumps(order) + "\n")
        self.asker.stdin.flush()
        line = self.asker.stdout.readline()
        if not line:
            raise RuntimeError("the load generator ended")
        said: dict[str, Any] = json.loads(line)
        if said["wrong"] or said["answers"] != count:
            raise RuntimeError(f"{kind} answered {said['answers']} of {count}: {said['wrong']}")
        said["cpu"] = (arm.cpu() - before) / count
        return said

    def dsn(self) -> str:
        return self.server.dsn(self.database)

    def entry_sample(self) -> Sample:
        """The last entry that a gateway wrote."""
        row = on_a_thread(
            _row(
                self.site.audit_dsn(),
                "select leaf, sealed, wrapped from sharegate.entry order by seq desc limit 1",
            )
        )
        return Sample(row["leaf"], parse_leaf(row["leaf"]).core, row["sealed"], row["wrapped"])

    def log_of(self, kind: str) -> str:
        """The database of the audit log that an arm writes."""
        own = f"{self.site.audit_database}_{kind}"
        return own if kind in _OWN_LOGS else self.site.audit_database

    def fresh_log(self, name: str = "bench_log", origin: str = ORIGIN) -> tuple[str, str]:
        """One more audit log's database."""
        return on_a_thread(provision(self.server.dsn, origin, name))

    def held(self) -> Held:
        """Another one, with a signer."""
        state = self.site.place / "held"
        state.mkdir()
        settings = load_settings(self.site.gateways[0].config).audit_log
        own = structs.replace(settings, origin=BENCH_ORIGIN, state=state, quorum=None)
        return Held(own, self.fresh_log("bench_held", BENCH_ORIGIN), self.entry_sample())

    def start(self, kind: str, profile: Path | None = None) -> None:
        """Start an arm and wait until it serves."""
        config, port = self._config(kind)
        order = Order(
            kind=kind,
            port=port,
            source=self.site.sources["housing"],
            entries=self.dsn(),
            settings=str(config),
            grants=str(POLICIES),
            profile=None if profile is None else str(profile),
        )
        output = self.site.place / f"{kind}.log"
        with output.open("ab") as errors:
            process = spawn("tests.load.arms", json.dumps(asdict(order)), errors=errors)
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError(f"{kind} does not start:\n{output.read_text()[-3000:]}")
        self.arms[kind] = Arm(kind, process, self._question(kind, port))

    def _config(self, kind: str) -> tuple[Path, int]:
        """A settings file with an audit log of the arm's own, and the arm's port."""
        site = self.site
        if kind in _OWN_LOGS:
            home = site.place / kind
            home.mkdir(exist_ok=True)
            dsns = on_a_thread(provision(self.server.dsn, ORIGIN, self.log_of(kind)))
            (home / "state").mkdir(exist_ok=True)
            (home / "keys").symlink_to(site.place / "keys")
            site = Site(
                place=home,
                server=self.server,
                audit_database="",
                audit_dsns=dsns,
                sources=site.sources,
                people=site.people,
                log_key=site.log_key,
            )
            for name in ("registry.toml", "registry.note"):
                (home / name).symlink_to(self.site.place / name)
        site.policies = self.policies
        gateway = site.gateway()
        port = int(gateway.exchange_url.rpartition(":")[2])
        return gateway.config, port if kind in GATEWAYS else free_port()

    def _question(self, kind: str, port: int) -> dict[str, Any]:
        owner = on_a_thread(_row(self.server.dsn("housing"), _ONE_PROPERTY))[0]
        signs, proves = kind in {"signed", "naive"}, kind not in {"plain", "best"}
        return question(self.site, port, owner, proves=proves, signs=signs)


def question(
    site: Site, port: int, owner: str, *, proves: bool = True, signs: bool = True
) -> dict[str, Any]:
    """What the load generator asks of whatever listens at this port: the estate of one person."""
    keys = site.place / "keys"
    token = issue_token(
        load_pem_private_key((keys / "civil-affairs.issuer.pem").read_bytes(), None),
        issuer="https://officers.civil-affairs.example",
        officer="zhang.wei",
        department="civil-affairs",
        audience=f"127.0.0.1:{port}",
        now=int(time.time()),
        lifetime_s=3600,
    )
    return {
        "host": f"127.0.0.1:{port}",
        "body": json.dumps(site.properties(where={"owner_id_number": owner}), ensure_ascii=False),
        "token": token if proves else None,
        "key": str(keys / "civil-affairs.pem") if signs else None,
        "key_id": "civil-affairs-demo",
        "expect": owner,
    }


_NEXT = '\n[[department]]\nid = "housing"'
_CERTIFICATE = f"""
[[department.certificate]]
key_id = "civil-affairs-channel"
thumbprint = "{THUMBPRINT}"
not_before = 2025-01-01T00:00:00Z
not_after = 2035-01-01T00:00:00Z
"""


@contextlib.contextmanager
def standing(grants: int) -> Iterator[Stand]:
    """Build it all; leave nothing behind, neither processes nor files."""
    remove_abandoned()
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(reachable_directory())
        server = EmbeddedPostgres(place / "postgres")
        stack.enter_context(stopped_at_the_end(server))
        on_a_thread(server.start())
        site = stack.enter_context(site_on(server))
        registry = site.place / "registry.toml"
        text = registry.read_text(encoding="utf-8") + registered_bureaus()
        text = text.replace(_NEXT, _CERTIFICATE + _NEXT)
        registry.write_text(text, encoding="utf-8")
        policies = write_policies(POLICIES, place / "policies", grants)
        sign_everything(site.place, policies)
        on_a_thread(_run(server.dsn(), "create database bench"))
        stand = Stand(server, site, policies, spawn("tests.load.asker"))
        try:
            yield stand
        finally:
            for arm in stand.arms.values():
                arm.stop()
            end(stand.asker)


def spawn(module: str, *arguments: str, errors: Any = None) -> subprocess.Popen[str]:
    """Start a module that listens to its input and ends with it."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> None:
    """Let it end by itself, as its input ends; not for ever."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    try:
        process.wait(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()


async def _row(dsn: str, query: str) -> asyncpg.Record:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchrow(query)
    finally:
        await connection.close()


async def _run(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
