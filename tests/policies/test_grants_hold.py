"""What each department expects of its grants holds: policies/<department>/grants_test.csv."""

import json
from pathlib import Path
from uuid import UUID

import pytest

from sharegate.authorize.authorize import Authorize
from sharegate.authorize.ruleset import load_rule_set
from sharegate.authorize.table import read_table
from sharegate.model.decision import Permit, Reason
from sharegate.model.party import Caller, DepartmentId, KeyId, OfficerId
from sharegate.model.passage import Identified

POLICIES = Path(__file__).parents[2] / "policies"
DEPARTMENTS = tuple(DepartmentId(name) for name in ("civil-affairs", "housing", "tax"))
HEADER = (
    "consumer", "resource", "mode", "purpose", "legal_basis", "fields", "expect", "because", "why",
)  # fmt: skip
AT = 1_782_864_000_000  # 2026-07-01
RULES = load_rule_set(POLICIES, DEPARTMENTS)


def cases():
    for path in sorted(POLICIES.glob("*/grants_test.csv")):
        provider = path.parent.name
        for line, values in read_table(str(path), path.read_bytes(), HEADER):
            yield pytest.param(provider, *values, id=f"{provider}:{line}")


CASES = list(cases())


@pytest.fixture(scope="module")
def authorize():
    return Authorize(RULES)


def ask(authorize, provider, consumer, resource, mode, purpose, basis, fields):
    """Ask as this consumer would, by the resource's first key field."""
    listed = RULES.catalogue.resources.get((provider, resource))
    key = next(f.name for f in listed.fields.values() if f.key) if listed else "id_number"
    question = {
        "provider": provider,
        "resource": resource,
        "mode": mode,
        "purpose": purpose,
        "legal_basis": basis,
        "matter": "DB-2026-000123",
        "where": {key: "110101199003070019"},
        **({"fields": fields.split(" ")} if fields else {}),
    }
    caller = Caller(DepartmentId(consumer), OfficerId("o"), KeyId("k"), "https://issuer.example")
    body = json.dumps(question).encode()
    return authorize(Identified(UUID(int=1), AT, caller, AT, b"", body, b"")).decision


@pytest.mark.parametrize(
    ("provider", "consumer", "resource", "mode", "purpose", "basis", "fields", "expect", "because",
     "why"),
    CASES,
)  # fmt: skip
def test_expectation(
    authorize, provider, consumer, resource, mode, purpose, basis, fields, expect, because, why
):
    assert consumer in DEPARTMENTS
    assert why.strip()
    decision = ask(authorize, provider, consumer, resource, mode, purpose, basis, fields)
    if expect == "permit":
        assert isinstance(decision, Permit), decision
        assert decision.grant == because
        assert not fields or decision.fields == tuple(fields.split(" "))
    else:
        assert expect == "deny"
        assert not isinstance(decision, Permit), decision
        assert because in (decision.rule, decision.reason.value), decision
        # A rule that denies is named; `denied-by-rule` alone would not say which.
        assert because != Reason.DENIED.value


def test_every_grant_in_force_is_expected_somewhere():
    named = {case.values[8] for case in CASES}
    for grant in RULES.grants:
        if grant.valid_from <= AT < grant.valid_until:
            assert grant.id in named, f"{grant.id} has no line in grants_test.csv"


def test_every_grant_to_one_department_is_expected_to_refuse_another():
    refused = {
        (provider, *values[1:4], values[0])
        for provider, *values in (case.values for case in CASES)
        if values[6] == "deny"
    }
    for grant in RULES.grants:
        if grant.consumer != "*" and grant.valid_from <= AT < grant.valid_until:
            asked = (grant.provider, grant.resource, grant.mode, grant.purpose)
            others = set(DEPARTMENTS) - {grant.consumer, grant.provider}
            assert any((*asked, other) in refused for other in others), grant.id


def test_every_provider_says_what_it_expects():
    providers = {provider for provider, _ in RULES.catalogue.resources}
    assert providers == {case.values[0] for case in CASES} == set(DEPARTMENTS)
    assert {case.values[7] for case in CASES} == {"permit", "deny"}


def test_sources_are_named_like_their_departments():
    for (provider, _), resource in RULES.catalogue.resources.items():
        assert resource.source == provider


def test_the_readme_gives_the_command_for_the_hash():
    from sharegate.authorize import ruleset

    command = "sha256sum model.conf purposes.csv */resources.toml */grants.csv"
    assert command in (POLICIES / "README.md").read_text(encoding="utf-8")
    assert command in ruleset.__doc__
