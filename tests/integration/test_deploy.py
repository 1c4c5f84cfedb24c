"""What `deploy/` hands to an administrator does what it says."""

import json
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest

from sharegate.cli.demo.stage import ORIGIN
from sharegate.cli.doctor.audit_database import check_audit_database
from sharegate.cli.doctor.finding import Verdict
from sharegate.fetch.postgres import PostgresSource
from sharegate.fetch.source import SourceUnavailable, Trouble
from sharegate.record.migrate import migrate
from sharegate.settings import AuditLogSettings

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = [DEPLOY / "sharegate.service", DEPLOY / "sharegate-project.service"]


async def execute(dsn, *statements):
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_a_role_made_by_the_script_passes_the_gateways_own_check(database):
    role = f"{database.name}_gateway"
    script = (DEPLOY / "sql" / "source_role.sql").read_text().replace("housing_gateway", role)
    await execute(
        database.dsn(),
        "create schema estate",
        "create table estate.property (certificate_no text primary key)",
        "create table estate.transfer (transfer_no text primary key)",
        script,
        f"alter role {role} password 'secret'",
    )
    dsn = database.dsn(role, "secret")
    source = PostgresSource(dsn, connections=1, seconds=5)
    try:
        await source.check()
        connection = await asyncpg.connect(dsn)
        assert await connection.fetch("select * from estate.property") == []
        await connection.execute("set default_transaction_read_only = off")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("insert into estate.property values ('x')")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("create temporary table mine (x int)")
        await connection.close()
        await execute(database.dsn(), f"grant insert on estate.property to {role}")
        with pytest.raises(SourceUnavailable) as refused:
            await source.check()
        assert refused.value.trouble is Trouble.UNSAFE_ROLE
    finally:
        await source.close()
        await execute(database.dsn(), f"drop owned by {role}", f"drop role {role}")


async def test_the_logins_made_by_the_script_are_right_for_the_audit_log(database, tmp_path):
    who = ("appender", "reader", "projector", "auditor", "eraser")
    logins = [f"sharegate_{each}" for each in who]
    names = {old: f"{database.name}_{old}" for old in logins}
    script = (DEPLOY / "sql" / "audit_logins.sql").read_text()
    for old, new in names.items():
        script = script.replace(old, new)
    connection = await asyncpg.connect(database.dsn())
    await migrate(connection, ORIGIN)
    await connection.execute(script)
    for name in names.values():
        await connection.execute(f"alter role {name} password 'secret'")
    await connection.close()
    append_dsn, read_dsn, *_ = (database.dsn(name, "secret") for name in names.values())
    settings = AuditLogSettings(
        origin=ORIGIN,
        append_dsn=append_dsn,
        read_dsn=read_dsn,
        signing_key=tmp_path / "log.pem",
        state=tmp_path,
    )
    try:
        found = await check_audit_database(settings, None, clock=lambda: 0.0)
        bad = {each.what for each in found if each.verdict is not Verdict.OK}
        assert bad == {"clock of audit database"}, found  # the clock given stands at 1970
    finally:
        await execute(database.dsn(), *(f"drop owned by {name}" for name in names.values()),
                      *(f"drop role {name}" for name in names.values()))  # fmt: skip


@pytest.fixture(params=UNITS, ids=lambda unit: unit.name)
def unit(tmp_path, request):
    """A unit as it would be where its program is installed."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here, so the unit was not looked at")
    text = re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={sys.executable}", request.param.read_text())
    path = tmp_path / request.param.name
    path.write_text(text)
    return path


def analyze(*arguments):
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_systemd_understands_every_line_of_the_unit(unit):
    done = analyze("verify", "--man=no", str(unit))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    unit.write_text(unit.read_text().replace("NoNewPrivileges=yes", "NoNewPrivilegs=yes"))
    assert "NoNewPrivilegs" in analyze("verify", "--man=no", str(unit)).stderr


def test_the_unit_is_well_hardened(unit):
    done = analyze("security", "--offline=true", "--threshold=20", "--no-pager", str(unit))
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze cannot judge a unit that is not loaded")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


def test_the_checklist_names_only_what_is_there():
    text = (DEPLOY / "CHECKLIST.md").read_text()
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (DEPLOY / link).exists(), link
    nginx = int(re.search(r"client_max_body_size (\d+)k", text)[1]) * 1024
    example = (DEPLOY / "gateway.example.toml").read_text()
    assert f"body_bytes = {nginx}\n" in example


def test_the_readme_of_grafana_names_only_what_is_there():
    grafana = DEPLOY.with_name("grafana")
    text = (grafana / "README.md").read_text()
    for name in re.findall(r"^\| `([^`]+)`", text, re.MULTILINE):
        assert (grafana / name).exists(), name
    dashboard = json.loads((grafana / "dashboards" / "overview.json").read_text())
    assert dashboard["uid"] == "sharegate-overview"


async def test_a_gateway_tells_its_service_manager_that_it_serves_and_lives(
    site, monkeypatch, tmp_path
):
    place = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(place))
        heard.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(place))
        monkeypatch.setenv("WATCHDOG_USEC", "300000")
        gateway = site.gateway()
        gateway.start()
        said = [heard.recv(100).decode() for _ in range(3)]
        while "READY=1" not in said:
            said.append(heard.recv(100).decode())
        assert heard.recv(100) == b"WATCHDOG=1"
        gateway.stop()
        while "STOPPING=1" not in said:
            said.append(heard.recv(100).decode())
    assert set(said) == {"READY=1", "WATCHDOG=1", "STOPPING=1"}
