"""An auditor's reading is an entry before anything appears, and only an auditor's."""

import json
from base64 import b64encode
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from sharegate.audit.chain import parse_leaf
from sharegate.cli.audit.acting import statement
from sharegate.cli.call import prepare, send
from sharegate.cli.demo.stage import sign_everything
from sharegate.cli.keys import new_signing_key
from sharegate.cli.main import main
from sharegate.model.act import ActKind
from sharegate.record.entry import b64, read_core, unb64
from sharegate.record.migrate import provisioned_search
from sharegate.record.opening import open_detail
from tests.integration.audit_database import ask, until
from tests.postgres import on_a_thread
from tests.site import AT_START

# The first answer; before it stand the rules at the start, and the registry that lists the persons.
ANSWER = AT_START + 1
PAIRS = f"(({ANSWER}, {ANSWER + 1}), ({ANSWER + 1}, {ANSWER}))"

PERSON = """
[[person]]
id = "{id}"
department = "{department}"
role = "{role}"
public = "{public}"
not_before = {not_before}
not_after = {not_after}
"""
SECRET = "SECRET-MATTER-7"


@pytest.fixture(scope="module")
def office(module_site):
    """A site whose gateway projects, with one answer and one refusal, and five persons."""
    site = module_site
    keys = site.place / "keys"
    people = {
        "li-na": ("audit", "2020-01-01T00:00:00Z", "2090-01-01T00:00:00Z"),
        "ma-na": ("manage", "2020-01-01T00:00:00Z", "2090-01-01T00:00:00Z"),
        "ho-us": ("manage", "2020-01-01T00:00:00Z", "2090-01-01T00:00:00Z"),
        "op-er": ("operate", "2020-01-01T00:00:00Z", "2090-01-01T00:00:00Z"),
        "ol-da": ("audit", "2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"),
    }
    said = ""
    for name, (role, not_before, not_after) in people.items():
        public = new_signing_key(keys / f"{name}.person.pem").public_key().public_bytes_raw()
        said += PERSON.format(
            id=name,
            department="housing" if name == "ho-us" else "civil-affairs",
            role=role,
            public=b64encode(public).decode(),
            not_before=not_before,
            not_after=not_after,
        )
    registry = site.place / "registry.toml"
    registry.write_text(registry.read_text().replace("version = 1\n", "version = 2\n", 1) + said)
    sign_everything(site.place)
    (keys / "index.key").write_bytes(bytes(range(32)))
    gateway = site.gateways[0]
    assert gateway.stop() == 0
    project, search = provisioned_search(site.server.dsn, site.audit_database)
    config = gateway.config.read_text().replace(
        "[audit_log]\n", '[audit_log]\nindex_key = "keys/index.key"\n'
    )
    gateway.config.write_text(f'{config}\n[projection]\ndsn = "{project}"\nsearch_dsn = "{search}"')
    gateway.start()
    on_a_thread(_ask_two(site))
    return site


async def _ask_two(site):
    caller = site.caller("civil-affairs")
    assert (await send(prepare(caller, site.properties()))).status == 200
    assert (await send(prepare(caller, site.properties(purpose="tax-collection")))).status == 403

    async def projected():
        rows = await ask(site.audit_dsn(), "select size from sharegate.search_place")
        return rows[0]["size"] >= ANSWER + 2

    await until(projected)


def run(site, act, *arguments, person="li-na", key=None, matter=SECRET):
    """One `sharegate audit`, as a shell runs it: its code and what it says."""
    config = site.gateways[0].config
    key = key or site.place / "keys" / f"{person}.person.pem"
    who = ["--config", str(config), "--as", person, "--key", str(key)]
    return main(["audit", act, *who, "--matter", matter, *arguments])


def entries(site):
    return on_a_thread(ask(site.audit_dsn(), "select * from sharegate.entry order by seq"))


def core_of(entry):
    return read_core(parse_leaf(entry["leaf"]).core)


def opened(site, entry):
    pem = (site.place / "keys" / "audit-office.detail.pem").read_bytes()
    return open_detail(
        core_of(entry),
        load_pem_private_key(pem, None),
        entry_id=entry["exchange_id"].bytes,
        sealed=entry["sealed"],
        wrapped=entry["wrapped"],
    )


def test_a_search_is_an_entry_and_then_finds(office, capsys):
    before = len(entries(office))
    assert run(office, "search", "--consumer", "civil-affairs", "--decision", "deny", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert [(row["seq"], row["effect"]) for row in said["rows"]] == [(ANSWER + 1, "deny")]
    written = entries(office)[before:]
    assert [core_of(each)["kind"] for each in written] == ["audit-read"]
    core = core_of(written[0])
    assert said["entry"] == written[0]["seq"]
    assert core["by"] == "li-na"
    assert core["facts"] == {
        "reads": "search", "criteria": ["consumer", "decision"], "limit": 100,
    }  # fmt: skip
    assert SECRET.encode() not in written[0]["leaf"]
    act = opened(office, written[0])["act"]
    assert act["matter"] == SECRET
    assert act["criteria"] == {"consumer": "civil-affairs", "decision": "deny"}


def test_the_auditor_signed_what_he_read(office, capsys):
    assert run(office, "search", "--since", "2020-01-01T00:00Z") == 0
    written = entries(office)[-1]
    core, act = core_of(written), dict(opened(office, written)["act"])
    signature = unb64(act.pop("signature"))
    signed = statement(
        ActKind.AUDIT_READ, core["by"], core["time"], written["exchange_id"], core["facts"], act
    )
    key = load_pem_private_key((office.place / "keys" / "li-na.person.pem").read_bytes(), None)
    key.public_key().verify(signature, signed)
    assert b64(written["exchange_id"].bytes) == core["id"]
    assert "found" in capsys.readouterr().out


def test_officer_matter_and_person_are_found_by_their_tokens(office, capsys):
    asked = office.properties()
    for arguments in (
        ("--consumer", "civil-affairs", "--officer", "zhang.wei"),
        ("--matter-of", asked["matter"]),
        ("--concerned", asked["where"]["owner_id_number"]),
    ):
        assert run(office, "search", *arguments, "--kind", "release", "--json") == 0
        assert [row["seq"] for row in json.loads(capsys.readouterr().out)["rows"]] == [ANSWER]
        leaf = entries(office)[-1]["leaf"]
        assert arguments[-1].encode() not in leaf
    assert run(office, "search", "--concerned", "nobody", "--json") == 0
    assert json.loads(capsys.readouterr().out)["rows"] == []


def test_a_value_in_full_width_letters_is_searched_as_written_and_said_so(office, capsys):
    assert run(office, "search", "--concerned", "\uff11\uff11", "--json") == 0
    said = capsys.readouterr()
    assert "full-width" in said.err
    assert "\uff11" not in said.out + said.err


@pytest.mark.parametrize(
    ("person", "key", "why"),
    [
        ("ma-na", None, "role manage"),
        ("op-er", None, "role operate"),
        ("ol-da", None, "not valid now"),
        ("nobody", "li-na", "no such person"),
        ("li-na", "ma-na", "not that person's"),
        ("li-na", "missing", "No such file"),
        ("li-na", "audit-office.detail", "not an Ed25519 key"),
    ],
)
@pytest.mark.parametrize("act", [("search",), ("show", str(ANSWER))])
def test_whoever_is_no_auditor_sees_nothing_and_writes_nothing(
    office, capsys, act, person, key, why
):
    before = len(entries(office))
    keys = office.place / "keys"
    file = keys / (f"{key}.pem" if "." in (key or "") else f"{key or person}.person.pem")
    assert run(office, *act, person=person, key=file) == 1
    said = capsys.readouterr()
    assert why in said.err
    assert said.out == ""
    assert len(entries(office)) == before


def test_without_a_matter_nothing_is_read(office, capsys):
    config = str(office.gateways[0].config)
    key = str(office.place / "keys" / "li-na.person.pem")
    for act in (["search"], ["show", str(ANSWER)]):
        with pytest.raises(SystemExit) as left:
            main(["audit", *act, "--config", config, "--as", "li-na", "--key", key])
        assert left.value.code == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("act", [("search",), ("show", str(ANSWER))])
def test_what_cannot_be_written_down_is_not_read(office, capsys, act):
    before = len(entries(office))
    login = "sharegate_append_login"
    on_a_thread(ask(office.audit_dsn(), f"revoke sharegate_append from {login}"))
    try:
        assert run(office, *act) == 1
    finally:
        on_a_thread(ask(office.audit_dsn(), f"grant sharegate_append to {login}"))
    assert capsys.readouterr().out == ""
    assert len(entries(office)) == before
    office.gateways[0].wait_until_ready()


@pytest.mark.parametrize("act", [("search",), ("show", str(ANSWER))])
def test_the_entry_is_there_before_anything_is_read(office, capsys, monkeypatch, act):
    """Whatever breaks the reading itself, the entry says that it was tried."""
    before = len(entries(office))

    async def broken(*_):
        assert len(await ask(office.audit_dsn(), "select from sharegate.entry")) == before + 1
        raise ConnectionResetError

    monkeypatch.setattr("sharegate.record.search.PostgresSearch.find", broken)
    monkeypatch.setattr("sharegate.record.search.PostgresSearch.entry", broken)
    assert run(office, *act) == 1
    assert capsys.readouterr().out == ""
    assert core_of(entries(office)[-1])["kind"] == "audit-read"


def test_an_entry_is_shown_proven_and_opened(office, capsys):
    office_key = str(office.place / "keys" / "audit-office.detail.pem")
    assert run(office, "show", str(ANSWER), "--json") == 0
    shut = json.loads(capsys.readouterr().out)
    assert shut["core"] == core_of(entries(office)[ANSWER])
    assert "detail" not in shut
    assert run(office, "show", str(ANSWER), "--open", "--office-key", office_key, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    asked = office.properties()
    assert said["detail"]["officer"] == "zhang.wei"
    assert said["detail"]["body"]["where"] == asked["where"]
    assert core_of(entries(office)[-1])["facts"] == {
        "reads": "entry",
        "entry": ANSWER,
        "opens": True,
    }
    assert run(office, "show", str(ANSWER), "--open", "--office-key", office_key) == 0
    text = capsys.readouterr().out
    assert text.isascii()
    assert f"detail.readers: {', '.join(said['core']['detail']['readers'])}" in text
    assert f"body.matter: {asked['matter']}" in text


def test_an_entry_that_is_not_there_is_not_shown(office, capsys):
    assert run(office, "show", "99999") == 1
    assert run(office, "show", str(ANSWER), "--open") == 1
    with pytest.raises(SystemExit):
        run(office, "show", "-1")
    assert capsys.readouterr().out == ""


def test_a_detail_does_not_open_with_another_key_or_once_exchanged(office, capsys):
    keys = office.place / "keys"
    tax = str(keys / "tax.detail.pem")
    assert run(office, "show", str(ANSWER), "--open", "--office-key", tax) == 1
    assert "not sealed to this key" in capsys.readouterr().err
    with_trigger_off = "set session_replication_role = replica; "
    swap = (
        "update sharegate.entry a set sealed = b.sealed, wrapped = b.wrapped "
        f"from sharegate.entry b where (a.seq, b.seq) in {PAIRS}"
    )

    async def exchange():
        import asyncpg

        connection = await asyncpg.connect(office.audit_dsn())
        await connection.execute(with_trigger_off + swap)
        await connection.close()

    on_a_thread(exchange())
    try:
        right = str(keys / "audit-office.detail.pem")
        assert run(office, "show", str(ANSWER), "--open", "--office-key", right) == 1
        assert "not the entry's" in capsys.readouterr().err
    finally:
        on_a_thread(exchange())


def test_an_altered_entry_is_not_shown(office, capsys):
    async def alter(statement):
        import asyncpg

        connection = await asyncpg.connect(office.audit_dsn())
        await connection.execute(f"set session_replication_role = replica; {statement}")
        await connection.close()

    on_a_thread(
        alter("update sharegate.entry set leaf = leaf || 'x' where seq = " + str(ANSWER + 1))
    )
    try:
        assert run(office, "show", str(ANSWER)) == 1  # its own bytes are right, its proof is not
        assert run(office, "show", str(ANSWER + 1)) == 1
        said = capsys.readouterr()
        assert "not what was signed" in said.err
        assert said.out == ""
    finally:
        on_a_thread(
            alter(
                "update sharegate.entry set leaf = substring(leaf for length(leaf) - 1) "
                f"where seq = {ANSWER + 1}"
            )
        )
    assert run(office, "show", str(ANSWER + 1)) == 0


def test_it_works_without_a_gateway_too(office, capsys):
    """Whoever searches then signs for himself; last, since it stops the gateway."""
    gateway = office.gateways[0]
    assert gateway.stop() == 0
    assert run(office, "search", "--kind", "release", "--json") == 0
    assert [row["seq"] for row in json.loads(capsys.readouterr().out)["rows"]] == [ANSWER]
    assert main(["project", "--config", str(gateway.config), "--once"]) == 0
    size = len(entries(office))
    assert f"{size} entries" in capsys.readouterr().out
    assert main(["project", "--config", str(gateway.config), "--rebuild", "--once"]) == 0
    assert f"{size} entries" in capsys.readouterr().out


def test_what_was_answered_on_a_keys_word_is_listed_from_the_log(office, capsys):
    key = core_of(entries(office)[ANSWER])["caller"]["key"]
    issuer = core_of(entries(office)[ANSWER])["caller"]["issuer"]
    at = core_of(entries(office)[ANSWER])["time"]
    before = datetime.fromtimestamp((at - 1) / 1000, UTC).isoformat()
    for which in (("--member-key", key), ("--issuer", issuer)):
        assert run(office, "relied", *which, "--since", before, "--json") == 0
        said = json.loads(capsys.readouterr().out)
        assert [row["index"] for row in said["rows"]] == [ANSWER]  # the refusal after it is none
        written = entries(office)[said["entry"]]
        what = "key" if which[1] == key else "issuer"
        assert core_of(written)["facts"] == {"reads": "relied", "criteria": [what, "since"]}
        assert which[1].encode() not in written["leaf"]
        assert opened(office, written)["act"]["criteria"] == {what: which[1], "since": at - 1}
    later = datetime.fromtimestamp((at + 1) / 1000, UTC).isoformat()
    assert run(office, "relied", "--member-key", key, "--since", later) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("0 answered on the word of")
    assert run(office, "relied", "--member-key", "nobody's", "--since", before) == 0
    assert run(office, "relied", "--member-key", key, "--since", before, person="op-er") == 1
    with pytest.raises(SystemExit):
        run(office, "relied", "--since", before)
    capsys.readouterr()


def test_details_sealed_with_sm4_open_and_so_do_the_ones_before(office, capsys):
    (gateway,) = office.gateways
    assert gateway.stop() == 0
    config = gateway.config.read_text().replace(
        "[audit_log]\n", '[audit_log]\ndetails = "SM4GCM-SM3"\n'
    )
    gateway.config.write_text(config)
    gateway.start()
    reply = on_a_thread(send(prepare(office.caller("civil-affairs"), office.properties())))
    assert reply.status == 200
    index = len(entries(office)) - 1
    office_key = str(office.place / "keys" / "audit-office.detail.pem")
    for which, algorithm in ((index, "SM4GCM-SM3"), (ANSWER, "A256GCM")):
        shown = ["show", str(which), "--open", "--office-key", office_key, "--json"]
        assert run(office, *shown) == 0
        said = json.loads(capsys.readouterr().out)
        assert said["core"]["detail"]["algorithm"] == algorithm
        assert said["detail"]["officer"] == "zhang.wei"
    # The command's own entry is sealed as the settings say, too.
    assert core_of(entries(office)[-1])["detail"]["algorithm"] == "SM4GCM-SM3"
    opened(office, entries(office)[-1])
    assert main(["audit", "verify", "--config", str(gateway.config)]) == 0
