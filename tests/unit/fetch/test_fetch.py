import pytest

from sharegate.fetch.fetch import Fetch
from sharegate.fetch.source import SourceTimeout, SourceUnavailable, Trouble
from sharegate.model.catalogue import SourceName
from sharegate.model.decision import Deny, Reason
from sharegate.model.passage import Disclosure, Failure, Refusal
from sharegate.observe import SourceFailed
from tests.unit.fetch.estate import EXCHANGE, RULES, decided, permit, request

ROW = ("c1", "张三丰", 3)
FIELDS = ("certificate_no", "owner_name", "storeys")


class Canned:
    """A source that says what it is told to."""

    def __init__(self, *rows, error=None):
        self.found = list(rows)
        self.error = error
        self.asked = []

    async def rows(self, plan, exchange_id):
        self.asked.append((plan, exchange_id))
        if self.error is not None:
            raise self.error
        return self.found


async def walk(source, decision=None, asked=None):
    seen = []
    fetch = Fetch({SourceName("housing"): source} if source else {}, seen.append)
    passed = decided(decision or permit(FIELDS), asked or request(certificate_no="c1"))
    fetched = await fetch(passed)
    assert fetched.decided is passed
    return fetched.outcome, seen


async def test_rows_leave_masked_and_in_the_permits_order():
    source = Canned(ROW, (None, None, None))
    outcome, seen = await walk(source)
    expected = (("c1", "张****", 3), (None, None, None))
    assert outcome == Disclosure(permit(FIELDS), FIELDS, expected, limit_reached=False)
    assert source.asked[0][1] == EXCHANGE
    assert seen == []


@pytest.mark.parametrize(("found", "reached"), [(1, False), (2, True), (3, True), (5000, True)])
async def test_no_more_than_the_limit_leaves_even_if_the_source_gives_more(found, reached):
    outcome, _ = await walk(Canned(*[ROW] * found), permit(FIELDS, row_limit=2))
    assert len(outcome.rows) == min(found, 2)
    assert outcome.limit_reached is reached


async def test_a_refusal_walks_through_and_nobody_is_asked():
    source = Canned(ROW)
    outcome, seen = await walk(source, Deny(RULES, Reason.NO_GRANT, None, "/resource", "No."))
    assert outcome == Refusal(Reason.NO_GRANT, "/resource", "No.")
    assert source.asked == seen == []


async def test_an_unreadable_request_walks_through():
    fetch = Fetch({}, lambda _: None)
    denied = Deny(RULES, Reason.MALFORMED, None, None, "Not JSON.")
    fetched = await fetch(decided(denied, None))
    assert fetched.outcome == Refusal(Reason.MALFORMED, None, "Not JSON.")


async def test_a_masked_field_is_not_asked_by():
    source = Canned(ROW)
    outcome, _ = await walk(source, asked=request(owner_name="张三丰"))
    assert isinstance(outcome, Refusal)
    assert (outcome.reason, outcome.pointer) == (Reason.FIELD_REFUSED, "/where/owner_name")
    assert source.asked == []


async def test_what_no_row_can_match_discloses_no_row():
    source = Canned(ROW)
    outcome, _ = await walk(source, asked=request(certificate_no="c\0"))
    assert outcome == Disclosure(permit(FIELDS), FIELDS, (), limit_reached=False)
    assert source.asked == []


@pytest.mark.parametrize("trouble", Trouble)
async def test_trouble_is_an_outcome_and_is_noticed(trouble):
    late = trouble in {Trouble.BUSY, Trouble.SLOW}
    error = (SourceTimeout if late else SourceUnavailable)(trouble)
    outcome, seen = await walk(Canned(error=error))
    assert isinstance(outcome, Failure)
    assert outcome.reason is (Reason.SOURCE_TIMEOUT if late else Reason.SOURCE_UNAVAILABLE)
    assert outcome.detail.endswith(".")
    assert seen == [SourceFailed(SourceName("housing"), trouble.value)]


@pytest.mark.parametrize("row", [("c1", "张三"), (*ROW, 1), ("c1", "张三", 2**60), (b"", "", 0)])
async def test_what_has_no_form_on_the_wire_is_a_failure(row):
    outcome, seen = await walk(Canned(ROW, row))
    assert isinstance(outcome, Failure)
    assert seen == [SourceFailed(SourceName("housing"), "unrepresentable")]


async def test_a_source_the_settings_do_not_name_is_a_failure():
    outcome, seen = await walk(None)
    assert isinstance(outcome, Failure)
    assert seen == [SourceFailed(SourceName("housing"), "not-configured")]
