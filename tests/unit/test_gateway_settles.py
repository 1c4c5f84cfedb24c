"""The walk goes by way of `settle` exactly where the decision needs it, and says how it ended."""

from types import SimpleNamespace

import pytest
from msgspec import structs

from sharegate.errors import AuditLogUnavailable, Unavailable
from sharegate.gateway import Gateway
from sharegate.model.decision import Reason
from sharegate.model.passage import Disclosure, Refusal
from tests.unit.authorize.test_settle import ALL, ASKED, DENIED, PLAIN, REFERRED, decided

DISCLOSED = Disclosure(PLAIN, (), (), limit_reached=False)
REPLAYED = Refusal(Reason.REPLAYED, None, "")


class Walked:
    """A gateway whose rooms note who came by."""

    def __init__(self, decided, outcome=DISCLOSED, settled=None):
        self.steps = []
        self.unwitnessed = False
        self.decided = decided
        self.settled = settled or decided
        self.outcome = outcome
        self.gateway = Gateway(
            identify=lambda arrived: arrived,
            authorize=lambda identified: decided,
            settle=self,
            fetch=self.fetch,
            recorder=self,
            release=lambda recorded, *, receipt: SimpleNamespace(outcome=recorded),
            hearing=None,  # for rulings; no exchange comes by
            observe=lambda seen: None,
        )

    def require_usable(self):
        pass

    def require_witnessed(self, *, detail):
        assert detail
        if self.unwitnessed:
            raise AuditLogUnavailable(Unavailable.UNWITNESSED, "too far")

    async def __call__(self, decided):
        assert decided is self.decided
        self.steps.append("settle")
        return self.settled

    async def fetch(self, decided):
        assert decided is self.settled
        self.steps.append("fetch")
        return decided

    async def record(self, fetched):
        self.steps.append("record")
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    def ended(self, decided, outcome):
        assert decided is self.settled
        self.steps.append(("ended", outcome))

    async def exchange(self):
        await self.gateway.exchange(None, receipt=False)
        return self.steps


@pytest.mark.parametrize("decision", [PLAIN, DENIED])
async def test_what_needs_nothing_from_outside_never_gets_there(decision):
    assert await Walked(decided(decision)).exchange() == ["fetch", "record"]


@pytest.mark.parametrize("outcome", [DISCLOSED, REPLAYED])
@pytest.mark.parametrize("decision", [ALL, REFERRED])
async def test_what_needs_something_is_settled_first_and_ended_once_recorded(decision, outcome):
    walked = Walked(decided(decision), outcome)
    assert await walked.exchange() == ["settle", "fetch", "record", ("ended", outcome)]


async def test_a_ruling_that_made_a_plain_permit_is_told_how_it_ended():
    cited = decided(REFERRED, structs.replace(ASKED, ruling="r-1"))
    walked = Walked(cited, settled=decided(structs.replace(PLAIN, ruling="r-1")))
    assert await walked.exchange() == ["settle", "fetch", "record", ("ended", DISCLOSED)]


async def test_where_nothing_is_known_to_be_recorded_nothing_is_given_back():
    unknown = AuditLogUnavailable(Unavailable.TIMEOUT, "late")
    walked = Walked(decided(ALL), unknown)
    with pytest.raises(AuditLogUnavailable):
        await walked.exchange()
    assert walked.steps == ["settle", "fetch", "record"]


@pytest.mark.parametrize("decision", [PLAIN, ALL, DENIED, REFERRED])
async def test_without_witnesses_nothing_is_read_and_what_was_reserved_is_given_back(decision):
    walked = Walked(decided(decision))
    walked.unwitnessed = True
    with pytest.raises(AuditLogUnavailable, match="too far"):
        await walked.exchange()
    ended = [step for step in walked.steps if step != "settle"]
    assert [step[0] for step in ended] == (["ended"] if decided(decision).unsettled else [])
    assert not any(isinstance(step[1], Disclosure) for step in ended)


async def test_what_two_officers_opened_is_answered_all_the_same():
    opened = structs.replace(PLAIN, grant="break-glass.1", ruling="1")
    walked = Walked(decided(opened))
    walked.unwitnessed = True
    await walked.exchange()
    assert walked.steps[:3] == ["settle", "fetch", "record"]
