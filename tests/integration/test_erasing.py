"""Details go when the law lets them and an entry says so first; every proof of them stays."""

import json
import time

import pytest

from sharegate.audit.chain import GENESIS, encode_leaf, parse_leaf
from sharegate.cli.main import main
from sharegate.record.entry import read_core
from sharegate.record.migrate import provisioned_erasure
from tests.integration.audit_database import ask, make
from tests.integration.test_audit_reads import ANSWER, SECRET, core_of, entries, office, run
from tests.postgres import on_a_thread

__all__ = ["office"]  # the fixture

BASIS = "个人信息保护法 第四十七条"
DAY = 86_400_000  # milliseconds


@pytest.fixture
def aged(office):
    """The office four years later: by the function's clock, which is all that is changed."""
    dsn = office.server.dsn(office.audit_database)
    body = on_a_thread(
        ask(dsn, "select pg_get_functiondef('sharegate.retained'::regproc) as said")
    )[0]["said"]
    later = body.replace("> now()", "> now() + interval '4 years'")
    assert later != body
    on_a_thread(ask(dsn, later))
    yield office
    on_a_thread(ask(dsn, body))


def erase(site, index, *arguments, person="ma-na", basis=BASIS):
    dsn = provisioned_erasure(site.server.dsn, site.audit_database)
    return run(
        site, "erase", str(index), "--dsn", dsn, "--legal-basis", basis, *arguments, person=person
    )


def refused(capsys):
    return capsys.readouterr().err


def test_a_young_detail_stays_whoever_asks(office, capsys):
    before = len(entries(office))
    assert erase(office, ANSWER, person="ho-us") == 1
    assert "must be kept longer" in refused(capsys)
    assert erase(office, 9999, person="ho-us") == 1
    assert "no such entry" in refused(capsys)
    assert len(entries(office)) == before


def test_only_its_own_department_erases_it(aged, capsys):
    before = len(entries(aged))
    assert erase(aged, ANSWER) == 1  # a manager of civil affairs, which asked
    assert "is about data of housing" in refused(capsys)
    assert erase(aged, 0) == 1  # the rules at the start
    assert "is about data of " in refused(capsys)
    assert erase(aged, ANSWER, person="li-na") == 1
    assert "this is for the role manage" in refused(capsys)
    assert len(entries(aged)) == before


@pytest.mark.parametrize("basis", ["110101199003070019", "x" * 101, "a\nb", ""])
def test_a_legal_basis_has_no_room_for_anybodys_number(office, capsys, basis):
    with pytest.raises(SystemExit):
        erase(office, ANSWER, person="ho-us", basis=basis)
    assert "--legal-basis" in refused(capsys)


def test_what_an_auditor_holds_is_not_erased_until_he_lets_it_go(aged, capsys):
    assert run(aged, "hold", str(ANSWER)) == 0
    said = capsys.readouterr().out
    held = entries(aged)[-1]
    assert f"is held, as entry {held['seq']} says" in said
    assert core_of(held)["kind"] == "hold"
    assert core_of(held)["facts"] == {"entry": ANSWER, "held": True}
    assert SECRET.encode() not in held["leaf"]
    assert erase(aged, ANSWER, person="ho-us") == 1
    assert "an auditor holds" in refused(capsys)
    assert run(aged, "hold", str(ANSWER), person="ma-na") == 1
    assert "this is for the role audit" in refused(capsys)
    assert run(aged, "hold", "9999") == 1
    assert run(aged, "hold", str(ANSWER), "--lift") == 0
    assert core_of(entries(aged)[-1])["facts"] == {"entry": ANSWER, "held": False}


def test_an_erased_detail_is_gone_and_its_proof_is_not(aged, capsys):
    dsn = aged.audit_dsn()
    person = ("search", "--concerned", aged.properties()["where"]["owner_id_number"], "--json")
    assert run(aged, *person) == 0
    assert ANSWER in [row["seq"] for row in json.loads(capsys.readouterr().out)["rows"]]
    assert erase(aged, ANSWER, person="ho-us") == 0
    said = capsys.readouterr().out
    after = entries(aged)
    told = after[-1]
    assert f"as entry {told['seq']} says" in said
    assert core_of(told)["kind"] == "erase"
    assert core_of(told)["by"] == "ho-us"
    assert core_of(told)["facts"] == {"entry": ANSWER, "legal_basis": BASIS}
    assert (after[ANSWER]["wrapped"], after[ANSWER]["blind"]) == (None, None)

    key = aged.place / "keys" / "audit-office.detail.pem"
    assert run(aged, "show", str(ANSWER), "--open", "--office-key", str(key)) == 0
    shown = capsys.readouterr().out
    assert f"its detail is erased by ho-us, as entry {told['seq']} says: {BASIS}" in shown
    assert f"entry {ANSWER} of " in shown  # proven as before
    assert run(aged, "show", str(ANSWER), "--json") == 0
    assert "entry" in json.loads(capsys.readouterr().out)["erased"]

    assert run(aged, *person) == 0
    assert ANSWER not in [row["seq"] for row in json.loads(capsys.readouterr().out)["rows"]]
    rows = on_a_thread(ask(dsn, f"select * from sharegate.search_entry where seq = {ANSWER}"))
    assert (rows[0]["officer"], rows[0]["matter"]) == (None, None)
    assert main(["audit", "verify", "--config", str(aged.gateways[0].config)]) == 0

    assert erase(aged, ANSWER, person="ho-us") == 1
    assert "gone already" in refused(capsys)
    assert run(aged, "hold", str(ANSWER)) == 1
    assert read_core(parse_leaf(after[ANSWER]["leaf"]).core)["kind"] == "release"


def test_a_detail_that_went_without_a_word_is_not_called_erased(aged, capsys):
    lost = ANSWER + 1
    wipe = f"update sharegate.entry set wrapped = null, blind = null where seq = {lost}"
    on_a_thread(ask(aged.server.dsn(aged.audit_database), wipe))
    assert run(aged, "show", str(lost)) == 0
    assert "its detail is gone, and no entry says why" in capsys.readouterr().out
    verify = ["audit", "verify", "--config", str(aged.gateways[0].config)]
    assert main(verify) == 1
    assert f"detail of entry {lost} is gone, and no entry says why" in capsys.readouterr().err
    # A row that names an entry which says something else proves nothing.
    on_a_thread(
        ask(
            aged.server.dsn(aged.audit_database),
            f"insert into sharegate.erasure (seq, told) values ({lost}, {ANSWER})",
        )
    )
    assert run(aged, "show", str(lost)) == 0
    assert "and no entry says why" in capsys.readouterr().out
    assert main(verify) == 1
    capsys.readouterr()


MAY = {
    "erasable(bigint)": {"sharegate_audit", "sharegate_erase"},
    "erase(bigint, bigint)": {"sharegate_erase"},
    "hold(bigint, bigint, boolean)": {"sharegate_audit"},
    "says(bigint, text, bigint)": set(),
    "vanished(bigint, bigint)": {"sharegate_read"},
}


@pytest.mark.parametrize("function", MAY)
def test_each_login_may_do_its_own_part_alone(office, function):
    asked = (
        "select rolname from pg_roles where rolname like 'sharegate%' and rolname not like '%login'"
        " and rolname <> 'sharegate_migrate'"
        f" and has_function_privilege(oid, 'sharegate.{function}', 'execute')"
    )
    rows = on_a_thread(ask(office.server.dsn(office.audit_database), asked))
    assert {row["rolname"] for row in rows} == MAY[function]


def test_nothing_is_erased_that_no_entry_said(aged):
    dsn = aged.server.dsn(aged.audit_database)
    for told in (0, ANSWER, 9999):
        for asked in (f"erase(1, {told})", f"hold(1, {told}, true)"):
            state = on_a_thread(ask(dsn, f"select sharegate.{asked} as state"))[0]["state"]
            assert state == "untold"


CHANGES = [
    "update sharegate.entry set leaf = '' where seq = 0",
    "update sharegate.entry set wrapped = '' where seq = 0",
    "update sharegate.entry set wrapped = null, blind = null, sealed = '' where seq = 0",
    "update sharegate.entry set wrapped = null, blind = null, seq = 70 where seq = 0",
    "delete from sharegate.entry where seq = 0",
    "truncate sharegate.entry",
]


@pytest.mark.parametrize("change", CHANGES)
def test_an_entry_changes_in_no_other_way(office, change):
    with pytest.raises(Exception, match="only grows"):
        on_a_thread(ask(office.server.dsn(office.audit_database), change))


KEPT = [
    ("personal-3y", 3 * 365 - 1, "retained"),
    ("personal-3y", 3 * 366 + 1, "erasable"),
    ("ordinary-184d", 183, "retained"),
    ("ordinary-184d", 185, "erasable"),
    ("unheard-of", 3 * 365 - 1, "retained"),
]


@pytest.mark.parametrize(("retention", "days", "state"), KEPT)
async def test_how_long_a_detail_is_kept_is_what_its_entry_says(database, retention, days, state):
    audit_database = await make(database)
    core = {"time": time.time_ns() // 1_000_000 - days * DAY, "detail": {"retention": retention}}
    leaf = encode_leaf(0, GENESIS, json.dumps(core).encode())
    await audit_database.ask(
        "insert into sharegate.entry (seq, exchange_id, leaf, sealed, wrapped)"
        " values (0, gen_random_uuid(), $1, '', '')",
        leaf,
    )
    rows = await audit_database.ask("select sharegate.erasable(0), sharegate.erasable(1)")
    assert tuple(rows[0]) == (state, "unknown")


def test_an_auditors_login_that_only_reads_can_hold_all_the_same(office, capsys):
    dsn = office.server.dsn(office.audit_database)
    role = "alter role sharegate_audit_login"
    on_a_thread(ask(dsn, f"{role} set default_transaction_read_only = on"))
    try:
        assert run(office, "hold", "1") == 0
        assert run(office, "hold", "1", "--lift") == 0
    finally:
        on_a_thread(ask(dsn, f"{role} reset default_transaction_read_only"))
    capsys.readouterr()
