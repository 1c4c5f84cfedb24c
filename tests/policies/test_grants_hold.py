"""What each department expects of its grants holds: policies/<department>/grants_test.csv."""

from functools import partial
from itertools import product
from pathlib import Path

import pytest

from sharegate.authorize.authorize import Authorize
from sharegate.authorize.expectations import decide, met, read_expectations, told
from sharegate.authorize.ruleset import load_rule_set
from sharegate.identify.rehearsal import rehearsed
from sharegate.model.decision import Permit
from sharegate.model.party import Department, DepartmentId

POLICIES = Path(__file__).parents[2] / "policies"
DEPARTMENTS = {
    DepartmentId(name): Department(DepartmentId(name), name, name, None)
    for name in ("civil-affairs", "housing", "tax")
}
AT = 1_782_864_000_000  # 2026-07-01
RULES = load_rule_set(POLICIES, DEPARTMENTS)


def cases():
    for path in sorted(POLICIES.glob("*/grants_test.csv")):
        yield from read_expectations(str(path), path.read_bytes(), DepartmentId(path.parent.name))


CASES = list(cases())


@pytest.fixture(scope="module")
def authorize():
    return Authorize(RULES)


@pytest.mark.parametrize("expected", CASES, ids=lambda one: one.place.rpartition("policies/")[2])
def test_expectation(authorize, expected):
    assert expected.consumer in DEPARTMENTS
    decision = decide(authorize, expected, partial(rehearsed, at=AT))
    assert met(expected, decision), told(decision)
    if isinstance(decision, Permit) and expected.fields:
        assert decision.fields == expected.fields


def test_every_grant_in_force_is_expected_somewhere():
    named = {case.because for case in CASES}
    for grant in RULES.grants:
        if grant.valid_from <= AT < grant.valid_until:
            assert grant.id in named, f"{grant.id} has no line in grants_test.csv"


def test_every_grant_to_one_department_is_expected_to_refuse_another():
    refused = {
        (case.provider, case.resource, case.mode, case.purpose, case.consumer)
        for case in CASES
        if case.expect == "deny"
    }
    for grant in RULES.grants:
        if grant.consumer != "*" and grant.valid_from <= AT < grant.valid_until:
            others = set(DEPARTMENTS) - {grant.consumer, grant.provider}
            for mode, purpose in product(grant.modes, grant.purposes):
                asked = (grant.provider, grant.resource, mode, purpose)
                assert any((*asked, other) in refused for other in others), grant.id


def test_every_provider_says_what_it_expects():
    providers = {provider for provider, _ in RULES.catalogue.resources}
    assert providers == {case.provider for case in CASES} == set(DEPARTMENTS)
    assert {case.expect for case in CASES} == {"permit", "deny"}


def test_sources_are_named_like_their_departments():
    for (provider, _), resource in RULES.catalogue.resources.items():
        assert resource.source == provider


def test_the_readme_gives_the_command_for_the_hash():
    from sharegate.authorize import ruleset

    command = "sha256sum *.conf *.csv */resources.toml */grants.csv"
    assert command in (POLICIES / "README.md").read_text(encoding="utf-8")
    assert command in ruleset.__doc__
