"""The table from what went wrong to what goes on the wire."""

import json
from uuid import UUID

import pytest

from sharegate.model.decision import Reason
from sharegate.model.passage import Failure, Refusal, Released
from sharegate.web import problems

ID = UUID("0199d3a2-7c1e-7b60-9f4e-2a6d1c0b8e57")

# What consumers act on. A row may be added; none may change or go.
STABLE = {
    ("malformed-request", 400, True),
    ("unknown-provider", 422, True),
    ("unknown-resource", 422, True),
    ("unknown-mode", 422, True),
    ("unknown-purpose", 422, True),
    ("unknown-field", 422, True),
    ("unknown-receipt", 404, True),
    ("legal-basis-refused", 403, True),
    ("no-grant", 403, True),
    ("denied-by-rule", 403, True),
    ("field-refused", 403, True),
    ("not-shared", 403, True),
    ("undecidable", 403, True),
    ("assurance-too-low", 403, True),
    ("referred", 403, True),
    ("ruling-refused", 403, True),
    ("not-yours-to-rule", 403, True),
    ("consent-missing", 403, True),
    ("matter-unconfirmed", 403, True),
    ("quota-exhausted", 403, True),
    ("replayed", 409, True),
    ("stale-request", 409, True),
    ("source-unavailable", 502, True),
    ("source-timeout", 504, True),
    ("unauthenticated", 401, False),
    ("too-many-requests", 429, False),
    ("audit-unavailable", 503, False),
    ("not-found", 404, False),
    ("method-not-allowed", 405, False),
    ("too-large", 413, False),
    ("too-slow", 408, False),
    ("internal-error", 500, False),
}


def test_types_are_stable():
    assert {(row.name, row.status, row.recorded) for row in problems.EVERY} == STABLE
    assert len(problems.EVERY) == len(STABLE)
    assert problems.TYPE_PREFIX == "urn:sharegate:problem:"
    assert problems.CONTENT_TYPE == "application/problem+json"


def test_every_row_of_the_module_is_in_the_list():
    rows = [row for row in vars(problems).values() if isinstance(row, problems.ProblemType)]
    assert {*rows, *problems.OF_REASON.values()} == set(problems.EVERY)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_its_row(reason):
    row = problems.OF_REASON[reason]
    assert row.name == reason.value
    assert row.recorded
    assert row.title


def test_titles_tell_types_apart():
    assert len({row.title for row in problems.EVERY}) == len(problems.EVERY)


def test_a_problem_document():
    response = problems.problem(
        problems.NOT_ALLOWED, "Use POST.", headers={"Allow": "POST"}, part="x"
    )
    assert response.status == 405
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Allow"] == "POST"
    assert json.loads(response.body) == {
        "type": "urn:sharegate:problem:method-not-allowed",
        "title": "This is not done here",
        "status": 405,
        "detail": "Use POST.",
        "part": "x",
    }


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("pointer", [None, "/where/a~1b"])
def test_a_recorded_refusal_names_its_entry_and_the_member_at_fault(reason, pointer):
    released = Released(ID, Refusal(reason, pointer, "No."), 41, None, None)
    response = problems.refused(released, {"ShareGate-Entry": "41"})
    document = json.loads(response.body)
    assert response.status == document["status"] == problems.OF_REASON[reason].status
    assert document["type"] == problems.TYPE_PREFIX + reason.value
    assert (document["entry"], document["instance"]) == (41, f"urn:uuid:{ID}")
    assert document.get("pointer") == pointer
    assert response.headers["ShareGate-Entry"] == "41"


def test_a_recorded_failure_has_no_pointer():
    released = Released(ID, Failure(Reason.SOURCE_TIMEOUT, "Late."), 3, None, None)
    response = problems.refused(released, {})
    assert response.status == 504
    assert "pointer" not in json.loads(response.body)
