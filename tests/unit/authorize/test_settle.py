"""What is brought in from outside, in which order, and that whatever goes wrong denies."""

import asyncio
from dataclasses import replace
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from msgspec import structs

from sharegate.authorize.matters import Asks, Trouble, Unanswered, nobody
from sharegate.authorize.quota import QuotaUnavailable, counting_key
from sharegate.authorize.settle import Settle
from sharegate.errors import AuditLogUnavailable, Unavailable
from sharegate.model.catalogue import Catalogue
from sharegate.model.decision import Deny, Permit, Reason, Refer, RuleSetHash
from sharegate.model.grant import GrantId, Per, Period, Quota
from sharegate.model.party import Caller, DepartmentId, KeyId, OfficerId
from sharegate.model.passage import Decided, Disclosure, Failure, Identified, Names, Refusal
from sharegate.model.request import AccessRequest
from sharegate.observe import Settling, SettlingFailed
from tests.unit.authorize.memory_quotas import Counts, MemoryQuotas
from tests.unit.fetch.estate import FIELDS, field, resource

RULES = RuleSetHash("00")
AT = 1_795_190_400_000  # 2026-11-21 00:00 in Shanghai
PERSON = replace(field("owner_id_number", key=True), person=True)
RESOURCE = resource(fields=tuple(PERSON if each.name == PERSON.name else each for each in FIELDS))
PLAIN = Permit(RULES, GrantId("housing-001"), RESOURCE, ("address",), 5)
DAILY = Quota(Per.OFFICER, Period.DAY, 2)
ALL = structs.replace(PLAIN, needs_consent=True, confirm_matter=True, quota=(DAILY,))
ASKED = AccessRequest(
    "housing", "properties", "query", "review", "norm", "DB-2026-1", (),
    {"owner_id_number": "110101199003070019", "storeys": 3}, None, None, None, "c-1",
)  # fmt: skip
CALLER = Caller(DepartmentId("civil-affairs"), OfficerId("zhang-wei"), KeyId("k"), "issuer")
REFERRED = Refer(RULES, ALL, "is-it-so", "Is it so?")
DENIED = Deny(RULES, Reason.NO_GRANT, None, None, "No.")
CANARY = "canary-7f3a"


def decided(decision=ALL, request=ASKED, at=AT, n=1):
    identified = Identified(UUID(int=n), at, CALLER, at - 5, bytes(32), b"{}", bytes(32))
    return Decided(identified, request, decision, Names(Catalogue({}, {}), {}))


class Everything:
    """Settles with stand-ins that note who was asked, in order."""

    def __init__(self, says=True, rulings=None, quotas=None):
        self.asked = []
        self.told = []
        self.seen = []
        self.says = says
        self.counts = Counts()
        self.quotas = quotas or MemoryQuotas(self.counts)
        self.settle = Settle(
            rulings or self,
            self.confirm,
            self.quotas,
            self.seen.append,
            zone=ZoneInfo("Asia/Shanghai"),
            key=counting_key(bytes(32)),
        )

    async def use(self, decided, at):
        assert at == AT
        self.asked.append("ruling")
        return structs.replace(decided, decision=structs.replace(ALL, ruling="r-1"))

    def ended(self, decided, outcome):
        self.told.append((decided, outcome))

    async def confirm(self, inquiry):
        self.asked.append(inquiry)
        answer = self.says.get(inquiry.asks, True) if isinstance(self.says, dict) else self.says
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def what(self):
        return [each if isinstance(each, str) else each.asks.value for each in self.asked]


def reason(settled):
    return settled.decision.reason if isinstance(settled.decision, Deny) else None


# --- what is unsettled ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("decision", "request_", "unsettled"),
    [
        (PLAIN, ASKED, False),
        (PLAIN, structs.replace(ASKED, ruling="r-1"), False),
        (structs.replace(PLAIN, ruling="r-1"), ASKED, True),
        (structs.replace(PLAIN, quota=(DAILY,)), ASKED, True),
        (structs.replace(PLAIN, needs_consent=True), ASKED, True),
        (structs.replace(PLAIN, confirm_matter=True), ASKED, True),
        (REFERRED, ASKED, True),  # it is listed once it is recorded
        (REFERRED, structs.replace(ASKED, ruling="r-1"), True),
        (DENIED, ASKED, False),
        (DENIED, structs.replace(ASKED, ruling="r-1"), True),
        (DENIED, None, False),
    ],
)
def test_only_what_needs_facts_from_outside_is_unsettled(decision, request_, unsettled):
    assert decided(decision, request_).unsettled is unsettled


# --- the order --------------------------------------------------------------------------------


async def test_a_permit_is_asked_for_exactly_what_it_demands_in_order():
    outside = Everything()
    settled = await outside.settle(decided())
    assert settled == decided()
    assert outside.what() == ["consent", "matter"]
    assert len(outside.counts.held) == 1

    for permit, asked, counted in (
        (structs.replace(PLAIN, needs_consent=True), ["consent"], 0),
        (structs.replace(PLAIN, confirm_matter=True), ["matter"], 0),
        (structs.replace(PLAIN, quota=(DAILY,)), [], 1),
    ):
        outside = Everything()
        assert (await outside.settle(decided(permit))).decision is permit
        assert outside.what() == asked
        assert len(outside.counts.held) == counted


@pytest.mark.parametrize("decision", [REFERRED, DENIED])
async def test_a_ruling_speaks_first_and_what_it_permits_is_settled_too(decision):
    outside = Everything()
    asked = structs.replace(ASKED, ruling="r-1")
    settled = await outside.settle(decided(decision, asked))
    assert settled.decision.ruling == "r-1"
    assert outside.what() == ["ruling", "consent", "matter"]
    assert len(outside.counts.held) == 1


async def test_who_is_asked_is_told_what_the_question_is_about_and_of_whom():
    outside = Everything()
    await outside.settle(decided())
    consent, matter = outside.asked
    assert consent.keeper == "housing"
    assert matter.keeper == "civil-affairs"
    for inquiry in (consent, matter):
        assert inquiry.persons == {"owner_id_number": "110101199003070019"}
        assert (inquiry.caller, inquiry.request, inquiry.at) == (CALLER, ASKED, AT)
        assert inquiry.exchange_id == UUID(int=1)


# --- what denies ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asks", "reason_", "pointer", "after"),
    [
        (Asks.CONSENT, Reason.CONSENT, "/consent", ["consent"]),
        (Asks.MATTER, Reason.MATTER, "/matter", ["consent", "matter"]),
    ],
)
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (False, None),
        (Unanswered(Trouble.SLOW), "slow"),
        (TimeoutError(), "TimeoutError"),
        (RuntimeError(CANARY), "RuntimeError"),
        (ValueError(CANARY), "ValueError"),
    ],
    ids=repr,
)
async def test_what_is_not_confirmed_is_denied_and_nothing_is_counted(
    asks, reason_, pointer, after, answer, kind
):
    outside = Everything({asks: answer})
    settled = await outside.settle(decided())
    denied = settled.decision
    assert denied == Deny(RULES, reason_, ALL.grant, pointer, denied.detail)
    assert denied.detail.endswith(".")
    assert settled == decided(denied)
    assert outside.what() == after
    assert outside.counts.held == {}
    assert outside.seen == ([] if kind is None else [SettlingFailed(Settling(asks.value), kind)])
    assert CANARY not in f"{outside.seen}{denied}"


async def test_a_consent_without_a_name_or_about_nobody_is_none():
    outside = Everything()
    unnamed = structs.replace(ASKED, consent=None)
    nobody_ = structs.replace(ASKED, where={"storeys": 3})
    for request, pointer in ((unnamed, "/consent"), (nobody_, "/where")):
        settled = await outside.settle(decided(request=request))
        denied = settled.decision
        assert denied == Deny(RULES, Reason.CONSENT, ALL.grant, pointer, denied.detail)
        assert "consent" in denied.detail
        assert settled == decided(denied, request)
    assert outside.asked == []
    assert outside.seen == []


async def test_nobody_confirms_what_was_never_read():
    outside = Everything()
    settled = await outside.settle(decided(request=None))
    assert reason(settled) is Reason.CONSENT
    assert outside.seen == [SettlingFailed(Settling.CONSENT, "unreadable")]
    assert outside.asked == []


async def test_where_nobody_is_configured_nothing_is_confirmed():
    with pytest.raises(Unanswered):
        await nobody(None)


async def test_a_quota_used_up_denies_and_begins_again_at_midnight_in_shanghai():
    outside = Everything()
    last = AT + 24 * 3600 * 1000 - 1
    given = [reason(await outside.settle(decided(at=at, n=n))) for n, at in enumerate((AT, last))]
    assert given == [None, None]
    settled = await outside.settle(decided(at=last, n=3))
    assert settled.decision.reason is Reason.QUOTA
    assert settled.decision.rule == ALL.grant
    assert "2026-11-22T00:00:00+08:00" in settled.decision.detail
    assert reason(await outside.settle(decided(at=last + 1, n=4))) is None
    assert reason(await outside.settle(decided(at=AT - 1, n=5))) is None
    assert outside.seen == []


async def test_a_place_is_claimed_for_the_exchange_and_the_moment_it_was_signed():
    class Noted:
        async def reserve(self, claim):
            self.claim = claim

    quotas = Noted()
    await Everything(quotas=quotas).settle(decided())
    assert (quotas.claim.exchange_id, quotas.claim.signed_at) == (UUID(int=1), AT - 5)
    assert [term.most for term in quotas.claim.terms] == [DAILY.most]


async def test_it_names_the_quota_that_is_used_up():
    quotas = (Quota(Per.DEPARTMENT, Period.MONTH, 9), Quota(Per.OFFICER, Period.DAY, 0))
    outside = Everything()
    settled = await outside.settle(decided(structs.replace(ALL, quota=quotas)))
    assert "one officer 0 answers a day" in settled.decision.detail


@pytest.mark.parametrize("error", [QuotaUnavailable("down"), TimeoutError(), KeyError(CANARY)])
async def test_a_count_nobody_knows_is_undecidable(error):
    class Broken:
        async def reserve(self, claim):
            raise error

    outside = Everything(quotas=Broken())
    settled = await outside.settle(decided())
    assert settled.decision.reason is Reason.UNDECIDABLE
    assert [seen.step for seen in outside.seen] == [Settling.QUOTA]
    assert CANARY not in f"{outside.seen}{settled.decision}"


async def test_a_ruling_that_cannot_be_looked_up_denies_and_one_that_cannot_be_recorded_ends_all():
    class Rulings:
        async def use(self, decided, at):
            raise self.error

    rulings = Rulings()
    outside = Everything(rulings=rulings)
    cited = decided(REFERRED, structs.replace(ASKED, ruling="r-1"))
    rulings.error = OSError(CANARY)
    settled = await outside.settle(cited)
    assert (settled.decision.reason, settled.decision.rule) == (Reason.UNDECIDABLE, ALL.grant)
    assert CANARY not in f"{outside.seen}{settled.decision}"
    ruled = structs.replace(DENIED, rule=GrantId("housing-002"))
    settled = await outside.settle(decided(ruled, structs.replace(ASKED, ruling="r-1")))
    assert (settled.decision.reason, settled.decision.rule) == (Reason.UNDECIDABLE, "housing-002")
    rulings.error = AuditLogUnavailable(Unavailable.DOWN, "down")
    with pytest.raises(AuditLogUnavailable):
        await outside.settle(cited)


async def test_being_cancelled_is_no_denial():
    outside = Everything({Asks.CONSENT: asyncio.CancelledError()})
    with pytest.raises(asyncio.CancelledError):
        await outside.settle(decided())


# --- what is counted --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "left"),
    [
        (Disclosure(ALL, (), (), limit_reached=False), 1),
        (Refusal(Reason.REPLAYED, None, ""), 2),
        (Failure(Reason.SOURCE_TIMEOUT, ""), 2),
    ],
)
async def test_only_answers_are_counted(outcome, left):
    outside = Everything()
    settled = await outside.settle(decided())
    outside.settle.ended(settled, outcome)
    assert outside.counts.held == {}
    given = [reason(await outside.settle(decided(n=n))) for n in range(2, 5)]
    assert given.count(None) == left


async def test_rulings_are_told_of_every_end_with_the_decision_as_it_was_settled():
    outside = Everything({Asks.MATTER: False})
    settled = await outside.settle(decided(REFERRED, structs.replace(ASKED, ruling="r-1")))
    refusal = Refusal(Reason.MATTER, "/matter", "")
    outside.settle.ended(settled, refusal)
    assert outside.told == [(settled, refusal)]
    assert settled.decision.reason is Reason.MATTER
    assert settled.unsettled


async def test_what_was_never_counted_is_not_given_back():
    outside = Everything()
    for decision in (PLAIN, REFERRED, DENIED):
        outside.settle.ended(decided(decision), Refusal(Reason.NO_GRANT, None, ""))
    assert +outside.counts.used == outside.counts.used == {}
