"""What a ruling or an opening lets through: exactly what was signed, by whom it must be."""

import hashlib
import json
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from sharegate.authorize.hearing import opening_act, review_act, ruling_act
from sharegate.authorize.rulings import RecordedRulings, Unheard, applies, grant_of, verify
from sharegate.model.act import ActKind
from sharegate.model.decision import Deny, Permit, Reason, Refer
from sharegate.model.grant import Effect as GrantEffect
from sharegate.model.grant import Grant
from sharegate.model.party import Caller, DepartmentId, PersonId
from sharegate.model.passage import Disclosure, Failure, Refusal
from sharegate.model.ruling import (
    DAY_MS,
    REVIEW_WITHIN_MS,
    Effect,
    SignedRuling,
    read_opening,
    read_ruling,
    said,
    same,
    signed_bytes,
    written,
)
from tests.unit.authorize.officers import (
    ASKED,
    AT,
    CALLER,
    NO_GRANT,
    OPENING,
    PERMIT,
    REFER,
    REGISTRY,
    REVIEW,
    RULING,
    decided,
    signature,
    signed_opening,
    signed_review,
    signed_ruling,
)

REFUSED = Refusal(Reason.REFERRED, None, "")


def asked(**changes):
    return structs.replace(ASKED, **changes)


class Kept:
    """A store in memory that notes what it was told."""

    def __init__(self, *signed):
        self.known = {}
        for each in signed:
            self.known[each.statement.id] = each
            if isinstance(each, SignedRuling):
                self.known[each.statement.referral] = each
        self.used = {}
        self.told = []

    async def cited(self, name):
        signed = self.known.get(name)
        return None if signed is None else (signed, signed.statement.id in self.used)

    async def use(self, ruling, exchange_id):
        return self.used.setdefault(ruling, exchange_id) == exchange_id

    def returned(self, exchange_id):
        self.told.append(("returned", exchange_id))

    def referred(self, decided, refer):
        self.told.append(("referred", decided.identified.exchange_id, refer.question))


def under(decided, grant):
    permit = structs.replace(PERMIT, grant=grant.id, fields=grant.fields)
    return structs.replace(decided, decision=permit)


def rulings(*signed, registry=REGISTRY):
    store = Kept(*signed)
    return RecordedRulings(store, lambda: registry, under), store


async def settled(*signed, decision=REFER, request=ASKED, caller=CALLER, at=AT, registry=REGISTRY):
    officers, store = rulings(*signed, registry=registry)
    after = await officers.use(decided(decision, request, caller), at)
    return after.decision, store


# --- what a ruling lets through ---------------------------------------------------------------


async def test_a_ruling_lets_through_what_was_referred_and_is_named_in_the_permit():
    for name in (RULING.id, RULING.referral):
        decision, store = await settled(signed_ruling(), request=asked(ruling=str(name)))
        assert decision == structs.replace(PERMIT, ruling=str(RULING.id))
        assert store.used == {RULING.id: UUID(int=1)}


async def test_what_the_permit_demands_besides_it_still_demands():
    refer = structs.replace(REFER, permit=structs.replace(PERMIT, confirm_matter=True))
    decision, _ = await settled(signed_ruling(), decision=refer)
    assert decision.confirm_matter


OTHERS = {
    "officer": {"caller": Caller(CALLER.consumer, "zhang.wei2", "k", "issuer")},
    "consumer": {"caller": Caller(DepartmentId("tax"), CALLER.officer, "k", "issuer")},
    "provider": {"request": asked(provider="tax")},
    "resource": {"request": asked(resource="transfers")},
    "purpose": {"request": asked(purpose="survey")},
    "matter": {"request": asked(matter="DB-2026-2")},
    "person": {"request": asked(where=ASKED.where | {"owner_id_number": "11010119900307002X"})},
    "fewer": {"request": asked(where={"owner_id_number": ASKED.where["owner_id_number"]})},
    "more": {"request": asked(where=ASKED.where | {"certificate_no": "1"})},
    "type": {"request": asked(where=ASKED.where | {"storeys": True})},
    "full-width": {"request": asked(where=ASKED.where | {"storeys": "\uff11"})},
    "question": {"decision": structs.replace(REFER, question="is-it-so")},
}


@pytest.mark.parametrize("other", OTHERS)
async def test_each_thing_it_is_bound_to_must_be_exactly_that(other):
    decision, store = await settled(signed_ruling(), **OTHERS[other])
    assert decision.reason is Reason.RULING_REFUSED
    assert decision.pointer == "/ruling"
    assert decision.detail == "No ruling of this id permits this request now."
    assert (decision.rule, decision.rule_set) == (PERMIT.grant, PERMIT.rule_set)
    assert store.used == {}


async def test_whom_a_ruling_is_not_about_learns_nothing_of_it():
    strange = signed_ruling(by="wang-fang", expires=AT, effect=Effect.REFUSE)
    for other in OTHERS.values():
        decision, _ = await settled(strange, **other)
        assert decision.detail == "No ruling of this id permits this request now."


async def test_an_expired_ruling_lets_nothing_through():
    last, _ = await settled(signed_ruling(), at=RULING.expires - 1)
    assert isinstance(last, Permit)
    decision, store = await settled(signed_ruling(), at=RULING.expires)
    assert decision.detail == "This ruling has expired."
    assert store.used == {}


async def test_a_refusal_is_told_with_its_legal_basis_and_is_not_used_up():
    signed = signed_ruling(effect=Effect.REFUSE)
    decision, store = await settled(signed)
    assert (decision.reason, store.used) == (Reason.RULING_REFUSED, {})
    assert decision.detail == "An officer of the provider refused this, by norm."


async def test_it_is_used_once():
    officers, store = rulings(signed_ruling())
    first = await officers.use(decided(n=1), AT)
    second = await officers.use(decided(n=2), AT)
    assert isinstance(first.decision, Permit)
    assert second.decision.detail == "This ruling was used before."
    # Two that looked before either used: the store decides.
    officers, store = rulings(signed_ruling())
    store.cited = lambda name: looked(store, name)
    store.used[RULING.id] = UUID(int=9)
    late = await officers.use(decided(n=3), AT)
    assert late.decision.reason is Reason.RULING_REFUSED
    officers.ended(late, Refusal(Reason.RULING_REFUSED, None, ""))
    assert store.told == []  # what it did not get it does not give back


async def test_what_is_known_as_used_is_not_used_again_whatever_the_store_would_let():
    officers, _ = rulings(signed_ruling())
    await officers.use(decided(n=1), AT)
    again = await officers.use(decided(n=1), AT)
    assert again.decision.detail == "This ruling was used before."


async def looked(store, name):
    return store.known[name], False


async def test_it_narrows_the_fields_and_never_widens_them():
    narrow = signed_ruling(fields=("address", "owner_name"))
    decision, _ = await settled(narrow)
    assert decision.fields == ("address",)
    decision, _ = await settled(narrow, request=asked(fields=("address", "owner_name")))
    assert decision.fields == ("address",)
    decision, store = await settled(narrow, request=asked(fields=("address", "area_m2")))
    assert decision.detail == "The ruling does not let all of these fields out."
    decision, _ = await settled(signed_ruling(fields=("owner_name",)))
    assert decision.detail == "The ruling lets out nothing that the rules do."
    assert store.used == {}


@pytest.mark.parametrize(
    "name", ["r-1", "", "{0199d3a2-7c1e-7b60-9f4e-2a6d1c0b8e58}", str(RULING.id).upper(),
             RULING.id.hex, str(UUID(int=5))],
)  # fmt: skip
async def test_a_name_of_nothing_permits_nothing(name):
    decision, _ = await settled(signed_ruling(), request=asked(ruling=name))
    assert decision.reason is Reason.RULING_REFUSED
    assert decision.detail == "No ruling of this id permits this request now."


@pytest.mark.parametrize(
    "reason", [each for each in Reason if each is not Reason.NO_GRANT], ids=lambda each: each.value
)
async def test_what_a_rule_denies_no_officer_opens(reason):
    denied = structs.replace(NO_GRANT, reason=reason)
    for signed in (signed_ruling(), signed_opening()):
        request = asked(ruling=str(signed.statement.id))
        decision, store = await settled(signed, decision=denied, request=request)
        assert decision == denied
        assert store.used == {}


async def test_without_a_grant_a_ruling_is_of_no_use():
    decision, _ = await settled(signed_ruling(), decision=NO_GRANT)
    assert decision == NO_GRANT


async def test_who_cites_nothing_is_referred_still():
    decision, _ = await settled(signed_ruling(), request=asked(ruling=None))
    assert decision == REFER


# --- whose signature --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signed", "why"),
    [
        (signed_ruling(by="wang-fang"), "A person of the provider"),
        (signed_ruling(by="sun-li"), "A person of the provider"),
        (signed_ruling(by="ma-na"), "role `rule`"),
        (signed_ruling(by="li-na"), "role `rule`"),
        (signed_ruling(by="nobody", key="chen-jing"), "not registered"),
        (signed_ruling(key="liu-yang"), "not by the person"),
        (signed_ruling(officer="chen-jing"), "his own case"),
        (signed_ruling(officer="Chen.Jing"), "his own case"),
        (SignedRuling(RULING, ("",)), "not by the person"),
        (SignedRuling(RULING, ("A" * 86 + "==",)), "not by the person"),
        (SignedRuling(RULING, (signature("chen-jing", REVIEW),)), "not by the person"),
        (signed_opening(by=("chen-jing", "chen-jing")), "signs once"),
        (signed_opening(by=("sun-li", "sun-li")), "signs once"),
        (signed_opening(by=("sun-li", "zhang-wei"), officer="x"), "A person of the provider"),
        (signed_opening(by=("chen-jing", "wang-fang")), "A person of the provider"),
        (signed_opening(by=("chen-jing", "ma-na")), "role `rule`"),
        (signed_opening(by=("chen-jing", "zhang-wei")), "his own case"),
        (signed_review(by="chen-jing"), "auditor"),
        (signed_review(by="ma-na"), "auditor"),
    ],
)
def test_only_those_who_may_sign_are_believed(signed, why):
    with pytest.raises(Unheard, match=why):
        verify(signed.statement, signed.signatures, REGISTRY, AT)


@pytest.mark.parametrize(
    "signed",
    [
        signed_ruling(),
        signed_ruling(by="liu-yang"),
        signed_opening(),
        signed_opening(by=("chen-jing", "sun-li")),
        signed_review(),
    ],
)
def test_those_who_may_are(signed):
    verify(signed.statement, signed.signatures, REGISTRY, AT)


def test_a_person_signs_from_the_first_moment_to_the_last_and_not_after():
    person, signed = REGISTRY.persons[PersonId("chen-jing")], signed_ruling()
    for at in (person.not_before, person.not_after - 1):
        verify(RULING, signed.signatures, REGISTRY, at)
    for at in (person.not_before - 1, person.not_after):
        with pytest.raises(Unheard, match="not registered, or not now"):
            verify(RULING, signed.signatures, REGISTRY, at)


def test_one_signature_does_not_stand_for_two():
    signed = signed_opening()
    first, second = signed.signatures
    for signatures in ((first, first), (second, first), (first,), (first, "")):
        with pytest.raises(Unheard):
            verify(OPENING, signatures, REGISTRY, AT)


async def test_a_signature_is_judged_by_the_registry_of_the_moment_it_is_used():
    person = REGISTRY.persons[PersonId("chen-jing")]
    gone = {name: each for name, each in REGISTRY.persons.items() if name != person.id}
    later = gone | {person.id: replace(person, not_after=AT)}
    for persons in (gone, later):
        registry = replace(REGISTRY, persons=persons)
        decision, store = await settled(signed_ruling(), registry=registry)
        assert decision.reason is Reason.RULING_REFUSED
        assert store.used == {}


@pytest.mark.parametrize("member", [each for each in RULING.__struct_fields__ if each != "by"])
async def test_an_altered_statement_is_not_believed(member):
    """Whoever writes to the database changes nothing that was signed."""
    others = {
        str: "other", int: AT + 1, UUID: UUID(int=3), dict: {"x": 1}, tuple: ("address",),
        Effect: Effect.REFUSE,
    }  # fmt: skip
    value = others[type(getattr(RULING, member))]
    altered = SignedRuling(
        structs.replace(RULING, **{member: value}), (signature("chen-jing", RULING),)
    )
    officers, store = rulings(signed_ruling())
    store.known = {RULING.referral: altered}
    after = await officers.use(decided(), AT)
    assert after.decision.reason is Reason.RULING_REFUSED
    assert after.decision.detail in {
        "A signature is not by the person named.",
        "No ruling of this id permits this request now.",
    }


# --- openings ---------------------------------------------------------------------------------


async def test_an_opening_stands_in_for_a_grant_or_an_answer_until_it_expires():
    request = asked(ruling=str(OPENING.id))
    for decision in (NO_GRANT, REFER):
        for n in (1, 2, 3):  # as often as it is cited
            officers, store = rulings(signed_opening())
            after = await officers.use(decided(decision, request, n=n), AT)
            assert after.decision.ruling == str(OPENING.id)
            assert after.decision.grant == f"break-glass.{OPENING.id}"
            assert store.used == {}
    for at in (AT - 1, OPENING.expires):
        with pytest.raises(Unheard, match="expired"):
            grant_of(OPENING, decided(), at)
    over, _ = await settled(signed_opening(), request=request, at=OPENING.expires)
    assert over.reason is Reason.RULING_REFUSED
    over, _ = await settled(
        signed_opening(), request=request, at=OPENING.expires, decision=NO_GRANT
    )
    assert over == NO_GRANT


@pytest.mark.parametrize("other", ["officer", "consumer", "provider", "resource", "purpose"])
async def test_an_opening_is_for_one_officer_resource_and_purpose(other):
    changed = dict(OTHERS[other])
    request = structs.replace(changed.pop("request", ASKED), ruling=str(OPENING.id))
    decision, _ = await settled(signed_opening(), decision=NO_GRANT, request=request, **changed)
    assert decision == NO_GRANT


def test_the_grant_of_an_opening_lets_out_what_was_signed_and_no_more():
    assert grant_of(OPENING, decided(NO_GRANT), AT) == Grant(
        id=f"break-glass.{OPENING.id}",
        effect=GrantEffect.ALLOW,
        consumer="civil-affairs",
        posts=("*",),
        provider="housing",
        resource="properties",
        modes=("query",),
        purposes=("review",),
        fields=("address", "owner_id_number"),
        row_limit=3,
        valid_from=OPENING.at,
        valid_until=OPENING.expires,
    )


# --- afterwards -------------------------------------------------------------------------------


async def test_a_use_whose_answer_was_lost_is_given_back_too():
    officers, store = rulings(signed_ruling())

    async def late(ruling, exchange_id):
        store.used[ruling] = exchange_id
        raise TimeoutError

    store.use = late
    with pytest.raises(TimeoutError):
        await officers.use(decided(), AT)
    officers.ended(decided(), Refusal(Reason.UNDECIDABLE, None, ""))
    assert store.told == [("returned", UUID(int=1))]


async def test_only_what_an_entry_says_was_not_answered_gives_a_ruling_back():
    for outcome, told in (
        (Disclosure(PERMIT, (), (), False), []),
        (Failure(Reason.SOURCE_TIMEOUT, ""), [("returned", UUID(int=1))]),
        (Refusal(Reason.QUOTA, None, ""), [("returned", UUID(int=1))]),
    ):
        officers, store = rulings(signed_ruling())
        officers.ended(await officers.use(decided(), AT), outcome)
        assert store.told == told
        officers.ended(decided(), REFUSED)  # a second time there is nothing to give back
        assert store.told == [*told, ("referred", UUID(int=1), "is-it-needed")]


def test_a_referral_is_listed_once_it_is_recorded_and_a_copy_is_not():
    officers, store = rulings()
    officers.ended(decided(), Refusal(Reason.REPLAYED, None, ""))
    officers.ended(decided(NO_GRANT), Refusal(Reason.NO_GRANT, None, ""))
    assert store.told == []
    officers.ended(decided(), REFUSED)
    assert store.told == [("referred", UUID(int=1), "is-it-needed")]


# --- the bytes --------------------------------------------------------------------------------


def test_what_is_signed_is_canonical_json_under_a_label():
    text = said(RULING).decode()
    parsed = json.loads(text)
    assert text == json.dumps(parsed, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert parsed["where"] == {"owner_id_number": "110101199003070019", "storeys": 1}


def test_what_travels_is_read_back_and_nothing_else_is():
    signed = signed_ruling()
    assert read_ruling(written(signed)) == signed
    assert read_opening(written(signed_opening())) == signed_opening()
    parsed = json.loads(written(signed))
    for wrong in (
        b"", b"[]", b"{}", b"\xff", b"[" * 100_000, written(signed) + b" " * 40_000,
        json.dumps(parsed | {"more": 1}).encode(),
        json.dumps(parsed | {"signatures": []}).encode(),
        json.dumps(parsed | {"signatures": parsed["signatures"] * 2}).encode(),
        *(json.dumps(parsed | {"statement": parsed["statement"] | changed}).encode()
          for changed in ({"more": 1}, {"by": "a\nb"}, {"by": ""}, {"by": "\uff41"},
                          {"effect": "Permit"}, {"expires": 2**53}, {"expires": -1},
                          {"at": 1.5}, {"at": True}, {"where": {"a": None}},
                          {"where": {"a": [1]}}, {"fields": ["a"] * 65}, {"id": "x"})),
    ):  # fmt: skip
        with pytest.raises(ValueError):
            read_ruling(wrong)


@given(
    st.dictionaries(st.text(max_size=3), st.booleans() | st.integers(0, 2) | st.text(max_size=2)),
    st.dictionaries(st.text(max_size=3), st.booleans() | st.integers(0, 2) | st.text(max_size=2)),
)
def test_two_maps_are_the_same_only_in_value_and_type(one, other):
    typed = [{k: (type(v), v) for k, v in each.items()} for each in (one, other)]
    assert same(one, other) is (typed[0] == typed[1])
    assert same(one, dict(reversed(one.items())))


def test_only_a_referral_can_be_ruled_on():
    for unruled in (decided(NO_GRANT), decided(REFER, None)):
        with pytest.raises(Unheard, match="No ruling of this id"):
            applies(RULING, unruled, AT)
    assert isinstance(REFER, Refer)
    assert isinstance(NO_GRANT, Deny)
    assert RULING.expires - RULING.at == DAY_MS


# --- the entries ------------------------------------------------------------------------------


def test_the_entry_of_each_statement_names_whom_it_concerns_and_seals_the_rest():
    review, opening = signed_review(), signed_opening()
    acts = {
        ActKind.RULING: (ruling_act(signed_ruling(), AT), "chen-jing", signed_ruling()),
        ActKind.BREAK_GLASS: (opening_act(opening, AT), "chen-jing", opening),
        ActKind.REVIEW: (review_act(review, "housing", AT), "li-na", review),
    }
    for kind, (act, by, signed) in acts.items():
        assert (act.kind, act.at, act.by, act.provider) == (kind, AT, by, "housing")
        assert act.detail == {"statement": signed.statement, "signatures": signed.signatures}
        label = b"sharegate-once\0" + signed_bytes(signed.statement)
        assert act.once == hashlib.sha256(label).digest()
    assert acts[ActKind.RULING][0].facts == {
        "ruling": str(RULING.id), "referral": str(RULING.referral), "effect": "permit",
        "provider": "housing", "consumer": "civil-affairs", "resource": "properties",
        "purpose": "review", "expires": RULING.expires,
    }  # fmt: skip
    assert acts[ActKind.BREAK_GLASS][0].facts == {
        "break_glass": str(OPENING.id), "by": OPENING.by, "provider": "housing",
        "consumer": "civil-affairs", "expires": OPENING.expires,
        "review_due": OPENING.expires + REVIEW_WITHIN_MS,
    }  # fmt: skip
    assert acts[ActKind.REVIEW][0].facts == {
        "break_glass": str(OPENING.id), "review": str(REVIEW.id), "finding": "justified",
    }  # fmt: skip
