"""The dashboard and the alert rules, asked of a real Prometheus that scraped a real gateway.

Prometheus is Debian's package, unpacked and never installed, so that no service of it ever runs.
"""

import contextlib
import json
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from sharegate.audit.note import VerifierKey
from sharegate.cli.call import prepare, send
from sharegate.cli.main import main
from sharegate.consortium.witness_memory import origin_hash
from tests.integration.debian import CACHE, run, unpacked
from tests.integration.test_monitor import serving
from tests.integration.witnessed_site import Witnesses, witnessed
from tests.postgres import on_a_thread
from tests.site import free_port, site_on

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "grafana"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
RULES = GRAFANA / "alerts" / "sharegate.yml"
RULES_TEST = RULES.with_name("sharegate_test.yml")
JOB = "sharegate"
SCRAPED_SECONDS = 30
# Metrics that no panel shows: when a series began, which Prometheus has no use for.
DELIBERATELY_ABSENT = re.compile(r"sharegate_\w+_created")
METRIC = re.compile(r"\b(?:sharegate|process)_[a-z_]+\b")
UNPROVEN_BUDGET = 4


@dataclass(frozen=True)
class Prometheus:
    url: str

    def get(self, path, **parameters):
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self.url}{path}?{query}", timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error

    def ask(self, expression):
        return self.get("/api/v1/query", query=expression)["result"]


@pytest.fixture(scope="module")
def binaries():
    """A directory with prometheus and promtool in it; unpacked once and kept in `.cache`."""
    if shutil.which("prometheus") and shutil.which("promtool"):
        return Path(shutil.which("prometheus")).parent
    what = "no query of the dashboard was tried"
    return unpacked("prometheus", "prometheus", what=what) / "usr" / "bin"


@pytest.fixture(scope="module")
def busy_gateway(postgres, tmp_path_factory):
    """A gateway that has had exchanges of every kind, with four witnesses of which one is dead."""
    with site_on(postgres) as site, contextlib.ExitStack() as stack:
        gateway = site.gateway()
        witnesses = Witnesses(tmp_path_factory.mktemp("witnesses"), site.log_key)
        stack.callback(witnesses.stop)
        witnessed(gateway, witnesses.quorum_file())
        witnesses.start()
        witnesses.members[0].stop()
        config = gateway.config
        text = config.read_text().replace("password-of-tax_gateway", "wrong")
        config.write_text(f"{text}\n[limits]\nunproven_per_minute = {UNPROVEN_BUDGET}\n")
        gateway.start()
        yield site, gateway


@pytest.fixture(scope="module")
def monitor(busy_gateway, tmp_path_factory):
    """The address of a monitor's metrics: it has a copy of the log, and evidence against it."""
    site, gateway = busy_gateway
    place = tmp_path_factory.mktemp("monitor")
    seal = ["seal", "--config", str(gateway.config), "--out", str(place / "sealed"), "--once"]
    assert main(seal) == 0
    key = VerifierKey.parse(site.log_key)
    evidence = place / "watched" / origin_hash(key.name) / "evidence"
    evidence.mkdir(parents=True)
    (evidence / "some.note").touch()
    address = f"127.0.0.1:{free_port()}"
    with serving(place / "sealed") as web:
        (place / "monitor.toml").write_text(
            f'state = "watched"\nadmin = "{address}"\n'
            f'[[logs]]\nkey = "{site.log_key}"\nurl = "{web.url}"\n'
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "sharegate", "monitor", "--config", place / "monitor.toml"],
            stderr=subprocess.PIPE,
        )
        yield address
        process.terminate()
        said = process.communicate(timeout=20)[1].decode()
    assert process.returncode == 0, said
    assert '"alarm":"contradicted"' in said


@pytest.fixture(scope="module")
def prometheus(binaries, busy_gateway, monitor, tmp_path_factory):
    """A Prometheus that has scraped the gateway while it answered, refused and failed."""
    site, gateway = busy_gateway
    place = tmp_path_factory.mktemp("prometheus")
    port = free_port()
    target = gateway.admin_url.removeprefix("http://")
    (place / "prometheus.yml").write_text(
        f"global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{RULES}]\n"
        f"scrape_configs: [{{job_name: {JOB}, static_configs: [{{targets: "
        f"['{target}', '{monitor}']}}]}}]\n"
    )
    output = place / "output.txt"
    with output.open("wb") as lines:
        process = subprocess.Popen(
            [
                binaries / "prometheus",
                f"--config.file={place / 'prometheus.yml'}",
                f"--storage.tsdb.path={place / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=lines,
            stderr=lines,
        )
    try:
        server = Prometheus(f"http://127.0.0.1:{port}")
        wait_until(lambda: is_ready(server), output)
        wait_until(lambda: len(server.ask(f'up{{job="{JOB}"}} == 1')) == 2, output)
        on_a_thread(exchange_of_every_kind(site))
        labelled = 'count(sharegate_source_failures_total{source="tax"})'
        wait_until(lambda: server.ask(labelled), output)
        on_a_thread(exchange_of_every_kind(site))
        last = "increase(sharegate_unrecorded_total{reason='down'}[20s]) > 0"
        failed = "increase(sharegate_source_failures_total[20s]) > 0"
        wait_until(lambda: server.ask(last) and server.ask(failed), output)
        yield server
    finally:
        process.terminate()
        process.wait(timeout=20)


def is_ready(server):
    """It listens before it answers, and says 503 meanwhile."""
    with (
        contextlib.suppress(OSError),
        urllib.request.urlopen(f"{server.url}/-/ready", timeout=5) as answer,
    ):
        return answer.status == 200
    return False


def wait_until(condition, output):
    until = time.monotonic() + SCRAPED_SECONDS
    while not condition():
        assert time.monotonic() < until, output.read_text()[-3000:]
        time.sleep(0.1)


async def exchange_of_every_kind(site):
    """Answered, replayed, refused, unreadable, failed; then unproven, throttled, not recorded."""
    caller = site.caller("civil-affairs")
    income = {"provider": "tax", "resource": "incomes", "fields": ["id_number", "year"],
              "where": {"id_number": site.people.applicant.id_number}}  # fmt: skip
    ungranted = {"purpose": "marriage-registration",
                 "legal_basis": "marriage-registration-regulations-2025"}  # fmt: skip
    answered = prepare(caller, site.properties())
    for request, status in (
        (answered, 200),
        (answered, 409),
        (prepare(caller, site.properties(**ungranted)), 403),
        (prepare(caller, {"provider": "housing"}), 400),
        (prepare(caller, site.properties(**income)), 502),
    ):
        assert (await send(request)).status == status
    forged = prepare(caller, site.properties())
    forged.headers["Signature"] = "sharegate=:" + "A" * 86 + "==:"
    said = [(await send(forged)).status for _ in range(UNPROVEN_BUDGET + 1)]
    assert said[-1] == 429
    admin = await asyncpg.connect(site.audit_dsn())
    try:
        await admin.execute("alter function sharegate.usable() rename to unusable")
        site.gateways[0].wait_for_readiness(503)
        assert (await send(prepare(caller, site.properties()))).status == 503
    finally:
        await admin.execute("alter function sharegate.unusable() rename to usable")
        await admin.close()
    site.gateways[0].wait_until_ready()


def panels(dashboard):
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries():
    """Every query of every dashboard: (panel's title, it as Grafana would send it, its legend)."""
    found = []
    for path in DASHBOARDS:
        for panel in panels(json.loads(path.read_text())):
            for target in panel["targets"]:
                query = target["expr"]
                for variable, value in (
                    ("$__rate_interval", "20s"), ("$job", JOB), ("$instance", ".*"),
                ):  # fmt: skip
                    query = query.replace(variable, value)
                assert "$" not in query, query
                found.append((panel["title"], query, target["legendFormat"]))
    return found


def rule_expressions(prometheus):
    (group,) = prometheus.get("/api/v1/rules")["groups"]
    assert all(rule["health"] == "ok" for rule in group["rules"]), group
    return [(rule["name"], rule["query"]) for rule in group["rules"]]


def shown(text):
    """The names of all series in what is scraped."""
    families = text_string_to_metric_families(text)
    return {sample.name for family in families for sample in family.samples}


def test_every_query_of_the_dashboard_gives_something(prometheus):
    empty = [(title, query) for title, query, _ in queries() if not prometheus.ask(query)]
    assert empty == []


def test_every_legend_names_a_label_that_its_series_have(prometheus):
    for title, query, legend in queries():
        for label in re.findall(r"{{(\w+)}}", legend):
            assert all(label in each["metric"] for each in prometheus.ask(query)), (title, label)


def test_the_alert_rules_are_evaluated_and_the_outage_was_seen(prometheus):
    rules = dict(rule_expressions(prometheus))
    assert len(rules) >= 9
    for expression in rules.values():
        prometheus.ask(expression)
    assert prometheus.ask(rules["ShareGateUnrecorded"])
    assert not prometheus.ask(rules["ShareGateDown"])


def test_every_metric_that_is_named_exists_and_every_metric_is_shown(
    prometheus, busy_gateway, monitor
):
    with urllib.request.urlopen(f"http://{monitor}/metrics", timeout=10) as answer:
        monitors = shown(answer.read().decode())
    assert "sharegate_audit_log_usable" not in monitors
    real = shown(busy_gateway[1].metrics()) | monitors
    on_dashboards = {name for _, query, _ in queries() for name in METRIC.findall(query)}
    in_rules = {name for _, query in rule_expressions(prometheus) for name in METRIC.findall(query)}
    tested = {name for name in METRIC.findall(RULES_TEST.read_text()) if "sharegate_" in name}
    assert on_dashboards | in_rules | (tested - {"sharegate_test"}) <= real

    def family(name):
        return re.sub(r"_(bucket|sum|count)$", "", name)

    unseen = {family(name) for name in real} - {family(name) for name in on_dashboards}
    unseen = {name for name in unseen if name.startswith("sharegate_")}
    assert {name for name in unseen if not DELIBERATELY_ABSENT.fullmatch(name)} == set()


def test_the_alert_rules_pass_their_own_tests(binaries):
    checked = run(str(binaries / "promtool"), "check", "rules", str(RULES))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tested = run(str(binaries / "promtool"), "test", "rules", RULES_TEST.name, cwd=RULES.parent)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_a_rule_that_is_wrong_fails_its_test(binaries, tmp_path):
    for file in (RULES, RULES_TEST):
        (tmp_path / file.name).write_text(file.read_text().replace("usable == 0", "usable == 2"))
    tested = run(str(binaries / "promtool"), "test", "rules", RULES_TEST.name, cwd=tmp_path)
    assert tested.returncode != 0


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_whole(path):
    dashboard = json.loads(path.read_text())
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    taken = set()
    for panel in dashboard["panels"]:
        assert re.search(r"[\u4e00-\u9fff]|CPU", panel["title"]), panel["title"]
        assert re.search(r" · .*[A-Za-z]", panel["title"]), panel["title"]
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    for panel in panels(dashboard):
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])


def test_nothing_of_the_package_was_installed(binaries):
    if binaries == CACHE / "prometheus" / "usr" / "bin":
        assert not Path("/lib/systemd/system/prometheus.service").exists()
