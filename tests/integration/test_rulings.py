"""What the rules refer, an officer rules on, and one exchange goes through: on real gateways."""

import asyncio
import json
import re
import time
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from sharegate.audit.chain import parse_leaf
from sharegate.cli.call import load_caller, prepare, send, signed
from sharegate.cli.main import main
from sharegate.record.entry import read_core
from sharegate.record.opening import open_detail
from tests.integration.audit_database import ask, until
from tests.integration.ruled_site import caller_as, listed, prepare_site
from tests.postgres import on_a_thread
from tests.site import site_on


@pytest.fixture(scope="module")
def site(postgres):
    with site_on(postgres) as made:
        prepare_site(made)
        for gateway in (made.gateway(), made.gateway()):
            gateway.start()
            caller_as(made, gateway, "housing", "chen-jing")
        yield made


def key(site, name):
    return str(site.place / "keys" / f"{name}.pem")


def officer(site, name="chen-jing"):
    return str(site.gateways[0].config.parent / "callers" / f"{name}.toml")


def asks(site, department="civil-affairs", gateway=None, caller=None, **changes):
    """Ask; give the status and the document that came."""
    caller = caller or site.caller(department, gateway)
    reply = on_a_thread(send(prepare(caller, site.properties(**changes))))
    return reply.status, json.loads(reply.body)


def referred(site, **changes):
    """Ask what is referred, wait until it is listed, and give the exchange's id."""
    status, problem = asks(site, **changes)
    assert (status, problem["type"]) == (403, "urn:sharegate:problem:referred"), problem
    exchange_id = problem["instance"].removeprefix("urn:uuid:")
    listed(site, exchange_id)
    return exchange_id


def rule(site, effect, exchange_id, *more, by="chen-jing", person_key=None):
    return main(
        ["ruling", effect, exchange_id, "--as", officer(site), "--detail-key",
         key(site, "housing.detail"), "--by", by, "--key",
         person_key or key(site, f"{by}.person"), "--legal-basis", "property-register-rules", *more]
    )  # fmt: skip


def entries(site):
    return on_a_thread(ask(site.audit_dsn(), "select * from sharegate.entry order by seq"))


def core(entry):
    return read_core(parse_leaf(entry["leaf"]).core)


def entry_of(site, number):
    return core(entries(site)[number])


def test_a_referral_is_ruled_on_and_lets_one_exchange_through(site, capsys):
    exchange_id = referred(site)
    refusal = next(core(e) for e in entries(site) if str(e["exchange_id"]) == exchange_id)
    assert refusal["decision"]["effect"] == "refer"
    assert refusal["decision"]["question"] == "is-it-needed"
    assert refusal["decision"]["reason"] == "referred"

    assert main(["ruling", "list", "--as", officer(site), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert exchange_id in [each["exchange_id"] for each in found]
    assert "110101" not in json.dumps(found)
    show = ["ruling", "show", exchange_id, "--as", officer(site), "--detail-key"]
    assert main([*show, key(site, "housing.detail"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["officer"] == "zhang.wei"
    assert shown["asked"]["where"] == site.properties()["where"]
    assert main([*show, key(site, "tax.detail")]) == 1
    assert capsys.readouterr().out == ""

    assert rule(site, "permit", exchange_id) == 0
    said = json.loads(capsys.readouterr().out)
    ruling = entry_of(site, said["entry"])
    assert (ruling["kind"], ruling["by"]) == ("ruling", "chen-jing")
    assert ruling["facts"]["referral"] == exchange_id
    assert ruling["facts"]["ruling"] == said["ruling"]
    assert ruling["facts"]["effect"] == "permit"

    status, answer = asks(site, ruling=said["ruling"])
    assert status == 200
    assert answer["rows"]
    release = next(core(e) for e in entries(site) if str(e["exchange_id"]) == answer["exchange_id"])
    assert release["kind"] == "release"
    assert release["decision"]["ruling"] == said["ruling"]
    assert release["decision"]["rule"] == "housing-001"

    for name in (said["ruling"], exchange_id):
        status, problem = asks(site, ruling=name)
        assert (status, problem["type"]) == (403, "urn:sharegate:problem:ruling-refused")
        assert problem["detail"] == "This ruling was used before."
    assert asks(site)[1]["type"] == "urn:sharegate:problem:referred"


def test_the_entry_of_a_ruling_opens_for_provider_and_audit_office(site, capsys):
    exchange_id = referred(site)
    assert rule(site, "permit", exchange_id) == 0
    entry = entries(site)[json.loads(capsys.readouterr().out)["entry"]]
    for reader in ("housing.detail", "audit-office.detail"):
        pem = (site.place / "keys" / f"{reader}.pem").read_bytes()
        opened = open_detail(
            core(entry),
            load_pem_private_key(pem, None),
            entry_id=entry["exchange_id"].bytes,
            sealed=entry["sealed"],
            wrapped=entry["wrapped"],
        )
        statement = opened["act"]["statement"]
        assert statement["officer"] == "zhang.wei"
        assert statement["where"] == site.properties()["where"]
        assert len(opened["act"]["signatures"]) == 1
    for secret in (b"zhang.wei", b"DB-2026-000123", *map(str.encode, statement["where"].values())):
        assert secret not in entry["leaf"]


def test_two_gateways_that_race_let_one_exchange_through(site, capsys):
    exchange_id = referred(site)
    assert rule(site, "permit", exchange_id) == 0
    capsys.readouterr()
    callers = [site.caller("civil-affairs", gateway) for gateway in site.gateways] * 6

    async def race():
        requests = [prepare(caller, site.properties(ruling=exchange_id)) for caller in callers]
        return [reply.status for reply in await asyncio.gather(*map(send, requests))]

    assert sorted(on_a_thread(race())) == [200] + [403] * 11
    released = [
        each for each in map(core, entries(site))
        if each["kind"] == "release" and each["time"] > time.time() * 1000 - 60_000
    ]  # fmt: skip
    named = [each["decision"]["ruling"] for each in released]
    assert len(set(named)) == len(named)


@pytest.mark.parametrize(
    "changes",
    [
        {"matter": "DB-2026-000124"},
        {"where": {"certificate_no": "x"}},
        {"where": {"owner_id_number": "110101190001010000"}},
    ],
)
def test_a_ruling_is_about_one_matter_and_one_person(site, capsys, changes):
    exchange_id = referred(site)
    assert rule(site, "permit", exchange_id) == 0
    capsys.readouterr()
    status, problem = asks(site, ruling=exchange_id, **changes)
    assert (status, problem["type"]) == (403, "urn:sharegate:problem:ruling-refused")
    assert asks(site, ruling=exchange_id)[0] == 200


def test_a_ruling_is_about_one_officer(site, capsys):
    exchange_id = referred(site)
    assert rule(site, "permit", exchange_id) == 0
    capsys.readouterr()
    other = load_caller(caller_as(site, site.gateways[0], "civil-affairs", "zhang.wei2"))
    status, problem = asks(site, caller=other, ruling=exchange_id)
    assert (status, problem["type"]) == (403, "urn:sharegate:problem:ruling-refused")
    # Another department has not even a grant, and that is what it is told.
    status, problem = asks(site, "tax", ruling=exchange_id)
    assert (status, problem["type"]) == (403, "urn:sharegate:problem:no-grant")


def test_a_refusal_is_final_for_that_referral(site, capsys):
    exchange_id = referred(site)
    assert rule(site, "refuse", exchange_id) == 0
    capsys.readouterr()
    for _ in range(2):
        status, problem = asks(site, ruling=exchange_id)
        assert status == 403
        assert problem["detail"] == (
            "An officer of the provider refused this, by property-register-rules."
        )
    assert rule(site, "permit", exchange_id) == 1
    assert "Another statement is in its place" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("by", "person_key", "why"),
    [
        ("sun-li", None, "A person of the provider"),
        ("ma-na", None, "role `rule`"),
        ("li-na", None, "role `rule`"),
        ("liu-yang", "chen-jing.person", "not by the person named"),
        ("nobody", "chen-jing.person", "not registered"),
    ],
)
def test_who_may_not_rule_is_refused_and_the_refusal_is_an_entry(site, capsys, by, person_key, why):
    exchange_id = referred(site)
    before = len(entries(site))
    signed_by = person_key and key(site, person_key)
    assert rule(site, "permit", exchange_id, by=by, person_key=signed_by) == 1
    assert why in capsys.readouterr().err
    (written,) = entries(site)[before:]
    assert core(written)["kind"] == "refusal"
    assert core(written)["decision"]["reason"] == "not-yours-to-rule"
    assert asks(site, ruling=exchange_id)[1]["type"] == "urn:sharegate:problem:ruling-refused"


def test_referrals_are_shown_to_those_who_rule(site):
    for caller in (site.caller("housing"), site.caller("civil-affairs"), site.caller("tax")):
        before = len(entries(site))
        reply = on_a_thread(send(signed(caller, "GET", "/v1/referrals", "", b"")))
        assert reply.status == 403
        assert json.loads(reply.body)["type"] == "urn:sharegate:problem:not-yours-to-rule"
        assert len(entries(site)) == before + 1
    before = len(entries(site))
    caller = load_caller(caller_as(site, site.gateways[0], "housing", "chen-jing"))
    reply = on_a_thread(send(signed(caller, "GET", "/v1/referrals", "", b"")))
    assert reply.status == 200
    assert len(entries(site)) == before
    assert re.search(
        r"^sharegate_referrals_listed_total [1-9]", site.gateways[0].metrics(), re.MULTILINE
    )
    unsigned = send(signed(caller, "GET", "/v1/referrals", "", b""))
    assert on_a_thread(unsigned).status == 200


def test_what_is_no_ruling_is_refused(site):
    caller = load_caller(caller_as(site, site.gateways[0], "housing", "chen-jing"))
    for body in (b"", b"{}", b"\xff"):
        reply = on_a_thread(send(signed(caller, "POST", "/v1/rulings", "", body)))
        assert reply.status == 400
        assert json.loads(reply.body)["type"] == "urn:sharegate:problem:malformed-request"


def test_a_source_that_fails_gives_the_ruling_back(site, capsys):
    exchange_id = referred(site)
    assert rule(site, "permit", exchange_id) == 0
    capsys.readouterr()
    housing = "alter table estate.property rename to away"
    back = "alter table estate.away rename to property"
    owner = site.server.dsn(site.sources["housing"].rpartition("/")[2].partition("?")[0])
    on_a_thread(ask(owner, housing))
    try:
        status, _ = asks(site, ruling=exchange_id)
        assert status == 502
    finally:
        on_a_thread(ask(owner, back))

    async def given_back():
        statement = "select used_by from sharegate.ruling where referral::text = $1"
        return (await ask(site.audit_dsn(), statement, exchange_id))[0]["used_by"] is None

    on_a_thread(until(given_back))
    assert asks(site, ruling=exchange_id)[0] == 200


# --- break-glass ------------------------------------------------------------------------------


def draft(site, file, *more, by=("chen-jing", "liu-yang")):
    signers = [word for name in by for word in ("--by", name)]
    return main(
        ["break-glass", "draft", str(file), *signers, "--provider", "housing", "--consumer",
         "civil-affairs", "--officer", "zhang.wei", "--resource", "transfers", "--purpose",
         "subsistence-allowance-review", "--fields", "transfer_no,certificate_no,price",
         "--row-limit", "2", "--reason", "flood", *more]
    )  # fmt: skip


def sign(site, file, name):
    return main(["break-glass", "sign", str(file), "--by", name, "--key",
                 key(site, f"{name}.person")])  # fmt: skip


def test_two_officers_open_a_way_past_the_rules_and_an_auditor_reviews_it(site, capsys, tmp_path):
    config = ["--config", str(site.gateways[0].config)]
    file = tmp_path / "opening.json"
    question = {"resource": "transfers", "where": {"certificate_no": "no-such"}}
    assert asks(site, **question)[1]["type"] == "urn:sharegate:problem:no-grant"

    assert draft(site, file) == 0
    assert sign(site, file, "chen-jing") == 0
    assert main(["break-glass", "open", str(file), *config]) == 1
    assert "not by the person named" in capsys.readouterr().err
    assert sign(site, file, "liu-yang") == 0
    assert sign(site, file, "sun-li") == 1
    assert main(["break-glass", "open", str(file), *config]) == 0
    opening = json.loads(file.read_text())["statement"]["id"]
    opened = core(entries(site)[-1])
    assert (opened["kind"], opened["facts"]["break_glass"]) == ("break-glass", opening)
    assert opened["facts"]["by"] == ["chen-jing", "liu-yang"]

    for _ in range(2):
        status, answer = asks(site, ruling=opening, **question)
        assert (status, answer["grant"]) == (200, f"break-glass.{opening}")
        release = core(entries(site)[-1])
        assert release["decision"]["ruling"] == opening
        assert release["decision"]["row_limit"] == 2
    other = asks(site, "tax", ruling=opening, **question)
    assert other[1]["type"] == "urn:sharegate:problem:no-grant"
    status, problem = asks(site, ruling=opening, **question | {"fields": ["seller_id_number"]})
    assert (status, problem["type"]) == (403, "urn:sharegate:problem:field-refused")

    assert main(["break-glass", "list", *config, "--json"]) == 0
    (kept,) = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (kept["statement"]["id"], kept["reviewed"]) == (opening, False)
    review = ["break-glass", "review", opening, *config, "--as", "li-na", "--key",
              key(site, "li-na.person"), "--finding", "justified", "--remarks", "ok"]  # fmt: skip
    assert main(review) == 1
    assert "once it is over" in capsys.readouterr().err


def test_an_overdue_review_shows_on_the_metrics_until_it_is_made(site):
    gateway = site.gateways[0]
    on_a_thread(ask(site.audit_dsn(), "update sharegate.break_glass set review_due = 1"))
    rows = on_a_thread(ask(site.audit_dsn(), "select from sharegate.break_glass"))
    assert rows
    listed_one = referred(site)  # whatever is told to the store makes it look again
    assert listed_one

    async def overdue():
        return f"sharegate_break_glass_overdue {len(rows)}.0" in gateway.metrics()

    on_a_thread(until(overdue))


def test_an_opening_needs_two_and_at_most_a_day(site, capsys, tmp_path):
    config = ["--config", str(site.gateways[0].config)]
    file = tmp_path / "opening.json"
    assert draft(site, file, by=("chen-jing",)) == 1
    assert draft(site, file, "--hours", "25") == 0
    for name in ("chen-jing", "liu-yang"):
        assert sign(site, file, name) == 0
    assert main(["break-glass", "open", str(file), *config]) == 1
    assert "expires too late" in capsys.readouterr().err
    assert draft(site, file, by=("chen-jing", "sun-li")) == 0
    for name in ("chen-jing", "sun-li"):
        assert sign(site, file, name) == 0
    text = json.loads(file.read_text())
    text["statement"]["row_limit"] = 50
    file.write_text(json.dumps(text))
    assert main(["break-glass", "open", str(file), *config]) == 1
    text["statement"]["row_limit"] = 2
    file.write_text(json.dumps(text))
    assert main(["break-glass", "open", str(file), *config]) == 0
    review = ["break-glass", "review", str(uuid4()), *config, "--as", "li-na", "--key",
              key(site, "li-na.person"), "--finding", "justified", "--remarks", "ok"]  # fmt: skip
    assert main(review) == 1
    assert "no such opening" in capsys.readouterr().err
