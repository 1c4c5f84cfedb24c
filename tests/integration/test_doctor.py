"""`sharegate doctor` on a whole site: it finds nothing where nothing is wrong, and each fault."""

import re
import shutil
import socket
import subprocess
import sys
import time

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sharegate.app import load_signing_key
from sharegate.audit.note import SignerKey
from sharegate.audit.tree import Frontier
from sharegate.cli.call import prepare, send
from sharegate.cli.demo.stage import ORIGIN
from sharegate.cli.demo.witnesses import build_consortium
from sharegate.cli.doctor.command import examine
from sharegate.cli.doctor.finding import Verdict, address_of
from sharegate.cli.doctor.stored_log import check_stored_log
from sharegate.cli.keys import new_signing_key
from sharegate.consortium.memory import LogState, SignerMemory
from sharegate.settings import load_settings
from tests.integration.audit_database import ask, until
from tests.postgres import on_a_thread, reachable_directory
from tests.site import AT_START, free_port

MEMORY = "signer.memory"
CHECKED = (
    "settings", "settings file", "registry", "policies", "policies and sources", "trust",
    "signed sets", "signing key", "state directory", "time zone",
    "append login", "append role", "read login", "read role", "schema",
    "durability", "appending", "origin", "checkpoint", "signer's memory", "source housing",
    "source housing, role", "resource tax/incomes", "clock of source tax",
    "clock of audit database", "listen.exchange", "listen.admin", "listen.authority",
)  # fmt: skip


@pytest.fixture(scope="module")
def grown_site(module_site):
    """A site whose gateway has answered; `early` keeps the signer's memory from before that."""
    shutil.copytree(module_site.place / "state", module_site.place / "early")
    request = prepare(module_site.caller("civil-affairs"), module_site.properties())
    reply = on_a_thread(send(request))
    assert reply.status == 200, reply.body
    on_a_thread(until(lambda: checkpoint_kept(module_site)))
    return module_site


async def checkpoint_kept(site):
    """Whether what was just answered is under a checkpoint in the database; a second at most."""
    (row,) = await ask(
        site.audit_dsn(),
        "select exists (select from sharegate.checkpoint join sharegate.head using (size))",
    )
    return row[0]


@pytest.fixture
def variant(grown_site):
    """Writes a changed copy of the settings beside them; each change must find its place."""
    original = grown_site.gateways[0].config
    made = []

    def write(*changes):
        text = original.read_text()
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        config = original.with_name(f"variant-{len(made)}.toml")
        config.touch(mode=0o600)
        config.write_text(text)
        made.append(config)
        return config

    yield write
    for config in made:
        config.unlink()


@pytest.fixture
async def login(grown_site):
    """Makes one more login on the audit log's database; gives its DSN."""
    admin = await asyncpg.connect(grown_site.audit_dsn())
    made = []

    async def make(*statements):
        name = f"{grown_site.audit_database}_{len(made)}"
        await admin.execute(f"create role {name} login password 'canary-password'")
        made.append(name)
        for statement in statements:
            await admin.execute(statement.format(name=name))
        return grown_site.server.dsn(grown_site.audit_database, name, "canary-password")

    yield make
    for name in made:
        await admin.execute(f"drop owned by {name}; drop role {name}")
    await admin.close()


def wrongs(found):
    return {finding.what: finding.detail for finding in found if finding.verdict is Verdict.WRONG}


def warnings(found):
    return {finding.what: finding.detail for finding in found if finding.verdict is Verdict.WARN}


def run(config):
    done = subprocess.run(
        [sys.executable, "-m", "sharegate", "doctor", "--config", str(config)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    return done


def test_nothing_is_wrong_while_the_gateway_runs_and_no_password_is_shown(grown_site):
    done = run(grown_site.gateways[0].config)
    assert done.returncode == 0, done.stdout
    *lines, summary = done.stdout.splitlines()
    assert all(line.startswith("ok ") for line in lines), done.stdout
    assert summary == f"nothing wrong, nothing to look at, {len(lines)} checks"
    for what in CHECKED:
        assert any(line.startswith(f"ok     {what}:") for line in lines), what
    for dsn in (*grown_site.audit_dsns, *grown_site.sources.values()):
        secret = dsn.partition("@")[0].rpartition(":")[2]
        assert len(secret) > 8
        assert secret not in done.stdout
    assert "PRIVATE" not in done.stdout


async def test_nothing_is_wrong_before_the_first_start(site):
    found = await examine(site.gateway().config)
    assert wrongs(found) == {}


async def test_several_faults_are_all_found_at_once(variant, grown_site):
    config = variant(
        ("[listen]", "[listen]\ntypo = 1"),
        ("password-of-tax_gateway", "canary-password"),
        ('signing_key = "keys/log.pem"', 'signing_key = "keys/none.pem"'),
    )
    config.chmod(0o644)
    done = run(config)
    assert done.returncode == 1
    assert "WRONG  settings:" in done.stdout
    assert "`typo` is not a setting" in done.stdout
    assert "WRONG  settings file: mode 0644" in done.stdout
    assert "WRONG  signing key:" in done.stdout
    assert "WRONG  source tax: tax_gateway@127.0.0.1" in done.stdout
    assert "ok     source housing:" in done.stdout
    assert "canary" not in done.stdout


def test_a_file_that_is_no_settings_file_is_one_fault(tmp_path):
    done = run(tmp_path / "none.toml")
    assert done.returncode == 1
    assert done.stdout.startswith("WRONG  settings:")


@pytest.mark.parametrize(
    ("old", "new", "what", "says"),
    [
        ('origin = "', 'origin = "other-', "origin", "the database holds the log"),
        ('"state"', '"early"', "signer's memory", "rolled back"),
        ('"state"', '"registry.toml"', "state directory", "is not a directory"),
        ('"registry.toml"', '"keys"', "registry", "keys"),
        ('authority = "', 'authority = "https://', "listen.authority", "without scheme"),
        ("[sources.tax]", "[sources.taxes]", "policies and sources", "[sources.tax]"),
        (
            "[trust]",
            '[quotas]\ntime_zone = "Asia/Nowhere"\n[trust]',
            "time zone",
            "quotas.time_zone",
        ),
        ("threshold = 2", "threshold = 4", "trust", "more than the 3 administrators"),
        ("administrator-one+", "administrator-1+", "trust", "is no verifier key"),
    ],
)
async def test_a_wrong_setting_is_named(variant, grown_site, old, new, what, says):
    config = variant((old, new))
    early = config.parent / "early"
    if not early.exists():
        early.symlink_to(grown_site.place / "early")
    found = wrongs(await examine(config))
    assert says in found[what], found


@pytest.mark.parametrize(
    ("what", "old", "new", "setting"),
    [
        ("audit_log.quorum", "[audit_log]", '[audit_log]\nquorum = "FILE"', "audit_log.quorum"),
        ("index key", "[audit_log]", '[audit_log]\nindex_key = "FILE"', "audit_log.index_key"),
        ("confirm key", "[trust]", '[confirm]\nsigning_key = "FILE"\n[trust]',
         "confirm.signing_key"),
        ("TLS", "[trust]", '[listen.tls]\ncertificate = "FILE"\nkey = "none"\n[trust]',
         "listen.tls.certificate"),
    ],
)  # fmt: skip
async def test_a_file_that_serve_would_not_start_with_is_named(variant, what, old, new, setting):
    for file in ("keys/none", "registry.toml"):  # missing, and of another kind
        found = wrongs(await examine(variant((old, new.replace("FILE", file)))))
        assert list(found) == [what], found
        assert file in found[what]
        assert ("No such file" in found[what]) is (file == "keys/none")
        assert setting in f"{what}: {found[what]}"


async def test_the_files_that_the_settings_name_are_found_right(variant, grown_site):
    (grown_site.place / "keys" / "index.key").write_bytes(bytes(32))
    new_signing_key(grown_site.place / "keys" / "confirm.pem")
    quorum = grown_site.place / "keys" / "quorum"
    build_consortium(grown_site.place, grown_site.log_key).quorum.rename(quorum)
    config = variant(
        ("[audit_log]", '[audit_log]\nindex_key = "keys/index.key"\nquorum = "keys/quorum"'),
        ("[trust]", '[confirm]\nsigning_key = "keys/confirm.pem"\n[trust]'),
    )
    found = await examine(config)
    assert wrongs(found) == {}
    assert {"audit_log.quorum", "index key", "confirm key"} <= {each.what for each in found}
    quorum.write_text(
        quorum.read_text().replace(
            grown_site.log_key, SignerKey(ORIGIN, Ed25519PrivateKey.generate()).vkey
        )
    )
    found = wrongs(await examine(config))
    assert "does not list the key of" in found["audit_log.quorum"]


async def test_addresses_that_cannot_be_had(variant, grown_site):
    gateway = grown_site.gateways[0]
    exchange = gateway.exchange_url.removeprefix("http://")
    admin = gateway.admin_url.removeprefix("http://")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        config = variant(
            (f'exchange = "{exchange}"', f'exchange = "{taken}"'),
            (f'admin = "{admin}"', 'admin = "192.0.2.1:9000"'),
        )
        found = wrongs(await examine(config))
    assert found == {
        "listen.exchange": f"{taken} is taken by something else; stop it or choose another",
        "listen.admin": "192.0.2.1:9000 is no address of this machine",
    }
    everywhere = variant((f'admin = "{admin}"', f'admin = "0.0.0.0:{free_port()}"'))
    assert "trusted network" in warnings(await examine(everywhere))["listen.admin"]


async def test_a_signing_key_that_others_may_read_or_that_is_another(variant, grown_site):
    keys = grown_site.place / "keys"
    new_signing_key(keys / "another.pem")
    found = wrongs(await examine(variant(("keys/log.pem", "keys/another.pem"))))
    assert list(found) == ["checkpoint"]
    assert "not signed by this signing key" in found["checkpoint"]
    (keys / "log.pem").chmod(0o640)
    try:
        found = wrongs(await examine(grown_site.gateways[0].config))
    finally:
        (keys / "log.pem").chmod(0o600)
    assert list(found) == ["signing key"]
    assert "0640 is wider than 0600" in found["signing key"]


async def test_rules_that_nobody_signed_or_that_are_older(variant, grown_site):
    grants = grown_site.policies / "tax" / "grants.csv"
    before = grants.read_bytes()
    grants.write_bytes(before + b"\n")
    try:
        found = wrongs(await examine(grown_site.gateways[0].config))
    finally:
        grants.write_bytes(before)
    assert "was signed over another grants.csv" in found["signed sets"]
    versions = grown_site.place / "state" / "versions.toml"
    known = versions.read_text()
    versions.write_text(known.replace("version = 1", "version = 2"))
    try:
        found = wrongs(await examine(grown_site.gateways[0].config))
    finally:
        versions.write_text(known)
    assert list(found) == ["signed sets"]
    assert "is version 1, and 2 was in force" in found["signed sets"]


async def test_files_that_decide_and_that_others_may_write(variant, grown_site):
    registry = grown_site.place / "registry.toml"
    registry.chmod(0o666)
    try:
        found = wrongs(await examine(grown_site.gateways[0].config))
    finally:
        registry.chmod(0o644)
    assert list(found) == ["registry file"]


@pytest.mark.parametrize(
    ("size", "says"),
    [(0, "rolled back"), (1000, "1000 entries were signed")],
)
async def test_a_signers_memory_that_is_not_the_logs(variant, grown_site, size, says):
    state = grown_site.place / f"state-{size}"
    state.mkdir(exist_ok=True)
    own, memory = (
        SignerMemory(place / MEMORY, ORIGIN) for place in (grown_site.place / "state", state)
    )
    own.recall()
    memory.holder = own.holder
    assert memory.seize()
    memory.remember(LogState(Frontier.empty().extend([bytes(32)] * size), bytes(32)))
    memory.release()
    found = wrongs(await examine(variant(('state = "state"', f'state = "{state}"'))))
    assert list(found) == ["signer's memory"]
    assert says in found["signer's memory"]


async def test_the_memory_of_another_host_may_be_behind_and_may_not_exist_yet(variant, grown_site):
    state = grown_site.place / "elsewhere"
    state.mkdir()
    config = variant(('state = "state"', f'state = "{state}"'))
    found = await examine(config)
    assert wrongs(found) == {}
    assert "while the other host's one signs" in warnings(found)["signer's memory"]
    memory = SignerMemory(state / MEMORY, ORIGIN)
    assert memory.seize()
    memory.remember(LogState.empty())
    memory.release()
    found = await examine(config)
    assert wrongs(found) == {}
    assert "signer's memory" not in warnings(found)


async def test_a_memory_that_is_missing_while_nobody_signs(site):
    gateway = site.gateway()
    gateway.start()
    assert gateway.stop() == 0
    (site.place / "state" / MEMORY).unlink()
    found = wrongs(await examine(gateway.config))
    assert "the file is missing" in found["signer's memory"]


async def test_a_damaged_signers_memory(variant, grown_site):
    state = grown_site.place / "state-damaged"
    state.mkdir()
    (state / MEMORY).write_bytes(b"x" * 8192)
    damaged = 'state = "state"', f'state = "{state}"'
    found = wrongs(await examine(variant(damaged)))
    assert "damaged" in found["signer's memory"]
    elsewhere = f"127.0.0.1:{grown_site.server.port}/audit", f"127.0.0.1:{free_port()}/audit"
    found = wrongs(await examine(variant(damaged, elsewhere)))
    assert set(found) == {"append login", "read login", "signer's memory"}


async def test_an_entry_altered_under_the_signature(variant, site):
    gateway = site.gateway()
    gateway.start()
    reply = await send(prepare(site.caller("civil-affairs"), site.properties()))
    assert reply.status == 200
    assert gateway.stop() == 0
    admin = await asyncpg.connect(site.audit_dsn())
    await admin.execute("alter table sharegate.entry disable trigger user")
    await admin.execute("update sharegate.entry set leaf = leaf || 'x'")
    await admin.close()
    found = wrongs(await examine(gateway.config))
    assert f"entry {AT_START} is not the one that was signed" in found["signer's memory"]


@pytest.mark.parametrize(
    ("statements", "what", "says"),
    [
        (["grant sharegate_append, sharegate_read to {name}"], "append role", "may read or write"),
        (
            ["grant sharegate_append to {name}", "grant select (size) on sharegate.head to {name}"],
            "append role",
            "sharegate.head",
        ),
        (
            ["grant sharegate_append to {name}", "alter role {name} createdb"],
            "append role",
            "power",
        ),
        ([], "append role", "may not call append"),
        (
            [
                "grant sharegate_append to {name}",
                "alter role {name} set synchronous_commit = off",
            ],
            "durability",
            "synchronous_commit is off",
        ),
        (
            [
                "grant sharegate_append to {name}",
                "alter role {name} set default_transaction_read_only = on",
            ],
            "appending",
            "read-only",
        ),
    ],
)
async def test_an_append_login_that_will_not_do(variant, grown_site, login, statements, what, says):
    dsn = await login(*statements)
    found = wrongs(await examine(variant((grown_site.audit_dsns[0], dsn))))
    assert says in found[what], found


@pytest.mark.parametrize(
    ("statements", "says"),
    [
        (["grant sharegate_read, sharegate_append to {name}"], "may append"),
        (
            ["grant sharegate_read to {name}", "grant delete on sharegate.replay to {name}"],
            "may write sharegate.replay",
        ),
        ([], "may not read checkpoint, cosigned, entry"),
    ],
)
async def test_a_read_login_that_will_not_do(variant, grown_site, login, statements, says):
    dsn = await login(*statements)
    found = wrongs(await examine(variant((grown_site.audit_dsns[1], dsn))))
    assert says in found["read role"], found


async def test_two_logins_of_two_databases(variant, grown_site):
    elsewhere = grown_site.server.dsn("postgres")
    found = wrongs(await examine(variant((grown_site.audit_dsns[1], elsewhere))))
    assert "not the same database" in found["audit database"]
    assert "has the power of" in found["read role"]


async def test_a_schema_of_another_version(grown_site):
    admin = await asyncpg.connect(grown_site.audit_dsn())
    await admin.execute("insert into sharegate.migration (name) values ('9999_later')")
    try:
        found = wrongs(await examine(grown_site.gateways[0].config))
    finally:
        await admin.execute("delete from sharegate.migration where name = '9999_later'")
        await admin.close()
    assert found == {"schema": "has 9999_later, of a newer version"}


@pytest.mark.parametrize(
    ("do", "undo", "what", "says"),
    [
        (
            "alter role housing_gateway reset default_transaction_read_only",
            "alter role housing_gateway set default_transaction_read_only = on",
            "source housing, role",
            "set default_transaction_read_only = on",
        ),
        (
            "grant insert on estate.transfer to housing_gateway",
            "revoke insert on estate.transfer from housing_gateway",
            "source housing, role",
            "may write estate.transfer",
        ),
        (
            "alter table estate.property rename column area_m2 to area",
            "alter table estate.property rename column area to area_m2",
            "resource housing/properties",
            "estate.property has no column area_m2",
        ),
        (
            "alter table estate.property alter column mortgaged type text",
            "alter table estate.property alter column mortgaged type boolean using mortgaged::bool",
            "resource housing/properties",
            "mortgaged is text, and a field of type boolean needs bool",
        ),
        (
            "revoke select on estate.transfer from housing_gateway",
            "grant select on estate.transfer to housing_gateway",
            "resource housing/transfers",
            "grant select (transfer_no) on estate.transfer",
        ),
        (
            "alter schema estate rename to estates",
            "alter schema estates rename to estate",
            "resource housing/transfers",
            "there is no relation estate.transfer",
        ),
    ],
)
async def test_a_source_that_will_not_do(grown_site, do, undo, what, says):
    admin = await asyncpg.connect(grown_site.server.dsn("housing"))
    await admin.execute(do)
    try:
        found = wrongs(await examine(grown_site.gateways[0].config))
    finally:
        await admin.execute(undo)
        await admin.close()
    assert says in found[what], found
    assert all("housing" in each for each in found)


async def test_databases_that_are_not_there(variant, grown_site):
    host = f"127.0.0.1:{grown_site.server.port}"
    everything = await examine(variant((host, f"127.0.0.1:{free_port()}")))
    found = wrongs(everything)
    assert set(found) == {
        "append login", "read login", "source civil-affairs", "source housing", "source tax"
    }  # fmt: skip
    assert all("cannot be reached" in detail for detail in found.values())
    assert "not compared" in warnings(everything)["signer's memory"]


@pytest.mark.parametrize(("shift", "verdict"), [(2.5, Verdict.WARN), (-9.0, Verdict.WRONG)])
async def test_clocks_apart(grown_site, shift, verdict):
    config = grown_site.gateways[0].config
    found = await examine(config, clock=lambda: time.time() + shift)
    clocks = {finding.what: finding for finding in found if finding.what.startswith("clock of")}
    assert len(clocks) == 4
    assert {finding.verdict for finding in clocks.values()} == {verdict}
    said = "behind" if shift > 0 else "ahead of"
    assert all(said in finding.detail for finding in clocks.values())


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        ("postgresql://u:canary@h:5432/d", "u@h:5432/d"),
        ("postgresql://u:canary@h/d?sslmode=require&password=canary", "u@h/d"),
        ("postgres://u@[::1]:5/d", "u@[::1]:5/d"),
        ("postgresql:///d?password=canary", None),
        ("postgresql://u:can@canary/x@h/d", None),
        ("postgresql://u:canary/canary@h/d", None),
        ("postgresql://u:?canary@h/d", None),
        ("postgresql://u:#canary@h/d", None),
    ],
)
def test_a_dsn_is_shown_without_its_password(dsn, shown):
    assert "canary" not in address_of(dsn)
    if shown is not None:
        assert address_of(dsn) == shown


async def test_a_site_with_the_embedded_postgresql(site):
    gateway = site.gateway()
    append_dsn, read_dsn = site.audit_dsns
    text = gateway.config.read_text()
    for line in (f'append_dsn = "{append_dsn}"\n', f'read_dsn = "{read_dsn}"\n'):
        assert line in text
        text = text.replace(line, "")
    with reachable_directory() as place:
        gateway.config.write_text(text.replace('"state"', f'"{place / "state"}"'))
        before = await examine(gateway.config)
        assert wrongs(before) == {}
        assert set(warnings(before)) == {"state directory", "audit database"}
        assert "does not run" in warnings(before)["audit database"]
        gateway.start()
        during = await examine(gateway.config)
        assert wrongs(during) == {}
        assert warnings(during) == {}
        assert "appending" in {finding.what for finding in during}
        reply = await send(prepare(site.caller("civil-affairs"), site.properties()))
        assert reply.status == 200, "the look must leave the server running"
        (place / "state" / "postgres" / "password").rename(place / "password")
        assert "audit database" in warnings(await examine(gateway.config))
        assert gateway.stop() == 0
        version = place / "state" / "postgres" / "data" / "PG_VERSION"
        version.write_text("9\n")
        assert "embedded PostgreSQL" in wrongs(await examine(gateway.config))


async def test_a_log_that_grows_under_the_look_is_not_taken_for_a_broken_one(
    grown_site, monkeypatch
):
    recall = SignerMemory.recall
    caller = grown_site.caller("civil-affairs")

    def grow():
        reply = on_a_thread(send(prepare(caller, grown_site.properties())))
        assert reply.status == 200
        time.sleep(1.5)  # by now the new checkpoint is kept in the database

    def recall_while_it_grows(memory):
        grow()
        remembered = recall(memory)
        grow()
        return remembered

    monkeypatch.setattr(SignerMemory, "recall", recall_while_it_grows)
    settings = load_settings(grown_site.gateways[0].config).audit_log
    # Alone: what else the doctor asks meanwhile would time out while this one sleeps.
    found = await check_stored_log(settings, load_signing_key(settings), settings.read_dsn)
    assert wrongs(found) == {}
    (memory,) = [each.detail for each in found if each.what == "signer's memory"]
    signed, entries = re.findall(r"\d+", memory)
    assert int(signed) == int(entries) - 1
