"""``sharegate policy`` and ``sharegate catalogue`` as a provider and a consumer type them."""

import json
import shutil
import subprocess
import sys
import urllib.error
import urllib.request

import jsonschema_rs
import pytest

from sharegate.cli.call import prepare, send, signed
from sharegate.model.catalogue import Catalogue
from sharegate.web.openapi import openapi_document
from tests.site import site_on


@pytest.fixture(scope="module")
def site(postgres):
    with site_on(postgres) as made:
        made.gateway().start()
        yield made


def run(*arguments, code=0):
    done = subprocess.run(
        [sys.executable, "-m", "sharegate", *map(str, arguments)],
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.fixture
def proposed(site, tmp_path):
    return shutil.copytree(site.policies, tmp_path / "proposed")


def edit(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_sound_rules_are_checked_and_tested(site, proposed):
    registry = ("--registry", site.place / "registry.toml")
    said = run("policy", "check", proposed, *registry)
    assert "rules of 8 resources, 1 warnings; rule set" in said
    assert "civil-affairs-003: has ended" in said
    said = run("policy", "test", proposed, *registry)
    assert said.endswith("expectations hold, 0 do not\n")
    assert "expectations hold" in run("policy", "test", proposed, *registry, "--provider", "tax")


def test_every_fault_is_named_with_its_line(site, proposed):
    registry = ("--registry", site.place / "registry.toml")
    edit(proposed / "tax" / "grants.csv", "tax-001,allow,housing", "tax-001,Allow,housing")
    edit(
        proposed / "housing" / "grants.csv",
        "housing-001,allow,civil-affairs",
        "housing-001,allow,omega",
    )
    said = run("policy", "check", proposed, *registry, code=1)
    assert "tax/grants.csv:2: effect is exactly allow or deny" in said
    assert "housing/grants.csv:2: consumer is no registered department" in said
    assert "2 errors" in said


def test_a_rule_that_breaks_an_expectation_is_found(site, proposed):
    edit(proposed / "tax" / "grants.csv", "id_number year gross,", "id_number year,")
    said = run("policy", "test", proposed, "--registry", site.place / "registry.toml", code=1)
    assert (
        "tax/grants_test.csv:2: housing asks tax/incomes for public-rental-housing-review" in said
        or "tax/grants_test.csv:3" in said
    )
    assert "but it is deny, field-refused" in said


def test_a_difference_is_said_in_words(site, proposed):
    edit(proposed / "tax" / "grants.csv", "id_number year gross employer,", "id_number year gross,")
    registry = ("--registry", site.place / "registry.toml")
    said = run("policy", "diff", site.policies, proposed, *registry)
    assert "narrowed: tax-002\n  fields loses employer\n" in said
    assert run("policy", "diff", proposed, proposed, *registry) == "nothing changes\n"


def test_a_question_is_explained(site, proposed, tmp_path):
    question = tmp_path / "question.json"
    question.write_text(json.dumps(site.properties(purpose="deed-tax-assessment",
                                                   legal_basis="deed-tax-law-2021")))  # fmt: skip
    registry = ("--registry", site.place / "registry.toml")
    asked = ("policy", "explain", proposed, *registry, "--consumer", "civil-affairs")
    said = run(*asked, "--question", question)
    assert said.startswith("deny, no-grant")
    assert (
        "housing-001 would apply, but it is for the purposes subsistence-allowance-review" in said
    )
    question.write_text("{")
    run(*asked, "--question", question, code=1)


async def test_proposed_rules_are_tried_on_what_was_recorded(site, proposed):
    for changes in ({}, {}, {"purpose": "deed-tax-assessment", "legal_basis": "deed-tax-law-2021"}):
        await send(prepare(site.caller("civil-affairs"), site.properties(**changes)))
    config = site.gateways[0].config
    same = run("policy", "replay", "--config", config, "--since", "2026-01-01", proposed)
    assert "of 3 recorded questions: would have denied 0, permitted 0 new" in same
    edit(proposed / "housing" / "grants.csv", "subsistence-allowance-review", "deed-tax-assessment")
    said = run("policy", "replay", "--config", config, "--since", "2026-01-01", proposed)
    assert "of 3 recorded questions: would have denied 2, permitted 1 new" in said
    assert said.count("was permit housing-001; would be deny") == 2
    assert "was deny no-grant; would be permit by housing-001" in said
    later = run("policy", "replay", "--config", config, "--since", "2099-01-01", proposed)
    assert "of 0 recorded questions" in later


async def test_a_consumer_sees_the_catalogue(site):
    caller = site.caller("civil-affairs")
    reply = await send(signed(caller, "GET", "/v1/catalogue", "", b""))
    assert reply.status == 200
    listed = {(each["provider"], each["id"]): each for each in json.loads(reply.body)["resources"]}
    assert [each["id"] for each in listed["housing", "properties"]["grants"]] == ["housing-001"]
    assert listed["civil-affairs", "marriage-certificates"]["not_shared_reason"]
    assert listed["tax", "companies"]["sharing_class"] == "unconditional"
    path = site.gateways[0].config.parent / "callers" / "civil-affairs.toml"
    said = run("catalogue", "--as", path)
    assert "housing/properties  不动产登记  Property register" in said
    assert "housing-001 lets out" in said
    assert "not shared: " in said


async def test_a_catalogue_fits_its_description_and_is_sent_once(site):
    caller = site.caller("housing")
    document = json.loads(openapi_document(Catalogue({}, {})))
    schema = jsonschema_rs.validator_for({"$ref": "#/components/schemas/Catalogue", **document})
    before = await entries(site)

    def get(request, **more):
        return urllib.request.Request(request.url, headers={**request.headers, **more})

    with urllib.request.urlopen(get(signed(caller, "GET", "/v1/catalogue", "", b""))) as first:
        schema.validate(json.loads(first.read()))
        tag = first.headers["ETag"]
        assert first.headers["Cache-Control"] == "private, no-cache"
    with pytest.raises(urllib.error.HTTPError) as same:
        urllib.request.urlopen(
            get(signed(caller, "GET", "/v1/catalogue", "", b""), **{"If-None-Match": tag})
        )
    assert (same.value.code, same.value.read(), same.value.headers["ETag"]) == (304, b"", tag)
    # Another department is told something else, so it has another tag.
    other = get(
        signed(site.caller("civil-affairs"), "GET", "/v1/catalogue", "", b""),
        **{"If-None-Match": tag},
    )
    with urllib.request.urlopen(other) as answer:
        assert answer.status == 200
        assert answer.headers["ETag"] != tag
    assert await entries(site) == before


async def test_nobody_sees_the_catalogue_by_naming_a_tag(site):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(
            urllib.request.Request(
                f"{site.gateways[0].exchange_url}/v1/catalogue", headers={"If-None-Match": "*"}
            )
        )
    with refused.value as answer:
        assert answer.code == 401


async def entries(site):
    """How many there are, by the newest checkpoint."""
    with urllib.request.urlopen(f"{site.gateways[0].exchange_url}/log/checkpoint") as answer:
        return int(answer.read().split(b"\n")[1])


async def test_a_stranger_sees_no_catalogue(site):
    request = signed(site.caller("tax"), "GET", "/v1/catalogue", "", b"")
    stolen = type(request)(
        request.url, {**request.headers, "Signature": "sharegate=:AAAA:"}, b"", "GET"
    )
    reply = await send(stolen)
    assert reply.status == 401
    assert b"resources" not in reply.body
