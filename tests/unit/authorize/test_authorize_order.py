"""Each question that may be refused, in its order, with its reason and its place."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from sharegate.authorize.authorize import Authorize
from sharegate.model.decision import Deny, Permit, Reason
from sharegate.model.party import Known
from tests.unit.authorize.policy_folder import AT, QUESTION, body, grant, identified, load

GRANTS = (
    grant("wide", fields="number year alive born seen gross name", rows="10"),
    grant("narrow", fields="number name", rows="5"),
    grant("no-survey", "deny", "*", "others", "*", "survey"),
    grant("others", thing="others", purpose="*", fields="number"),
    grant("not-key", consumer="gamma", fields="name address", rows="5"),
)


@pytest.fixture(scope="module")
def authorize(tmp_path_factory):
    return Authorize(load(tmp_path_factory.mktemp("policies"), *GRANTS))


def decide(authorize, consumer="beta", at=AT, **changes):
    return authorize(identified(body(**changes), consumer, at)).decision


def test_a_permit_says_what_it_still_demands(authorize):
    asked = identified(body(fields=["year", "name"], limit=7))
    decided = authorize(asked)
    assert decided.identified is asked
    assert decided.request.limit == 7
    assert decided.decision == Permit(
        rule_set=authorize.rule_set.hash,
        grant="wide",
        resource=authorize.rule_set.catalogue.resources["alpha", "things"],
        fields=("year", "name"),
        row_limit=7,
    )


def test_a_grant_of_an_opening_lets_out_no_field_that_the_resource_lacks(authorize):
    (wide,) = (each for each in authorize.rule_set.grants if each.id == "wide")
    decided = authorize(identified(body()))
    assert isinstance(authorize.under(decided, wide).decision, Permit)
    misspelt = structs.replace(wide, fields=("nmae", "number"))
    denied = authorize.under(decided, misspelt).decision
    assert (denied.reason, denied.pointer) == (Reason.FIELD_REFUSED, None)


def test_without_fields_the_grant_says_which_and_without_limit_how_many(authorize):
    permit = decide(authorize, grant="narrow")
    assert (permit.grant, permit.fields, permit.row_limit) == ("narrow", ("name", "number"), 5)
    assert decide(authorize, grant="narrow", limit=9999).row_limit == 5
    assert decide(authorize, grant="narrow", limit=1).row_limit == 1


@pytest.mark.parametrize(
    ("changes", "reason", "pointer"),
    [
        ({"matter": None}, Reason.MALFORMED, "/matter"),
        ({"limits": 1}, Reason.MALFORMED, "/limits"),
        ({"provider": "delta"}, Reason.UNKNOWN_PROVIDER, "/provider"),
        ({"provider": "beta"}, Reason.UNKNOWN_PROVIDER, "/provider"),  # it provides nothing
        ({"resource": "salaries"}, Reason.UNKNOWN_RESOURCE, "/resource"),
        ({"mode": "verify"}, Reason.UNKNOWN_MODE, "/mode"),
        ({"mode": "*"}, Reason.UNKNOWN_MODE, "/mode"),
        ({"purpose": "curiosity"}, Reason.UNKNOWN_PURPOSE, "/purpose"),
        ({"purpose": "*"}, Reason.UNKNOWN_PURPOSE, "/purpose"),
        ({"legal_basis": "norm-three"}, Reason.LEGAL_BASIS, "/legal_basis"),
        ({"purpose": "survey"}, Reason.LEGAL_BASIS, "/legal_basis"),
        ({"fields": ["name", "salary"]}, Reason.UNKNOWN_FIELD, "/fields/1"),
        ({"where": {"salary": 1}}, Reason.UNKNOWN_FIELD, "/where/salary"),
        ({"where": {"a/~b": 1}}, Reason.UNKNOWN_FIELD, "/where/a~1~0b"),
        ({"resource": "closed"}, Reason.NOT_SHARED, "/resource"),
        ({"purpose": "survey", "legal_basis": "norm-two"}, Reason.NO_GRANT, None),
        ({"grant": "others"}, Reason.NO_GRANT, "/grant"),
        ({"grant": "no-survey"}, Reason.NO_GRANT, "/grant"),
        ({"grant": "nothing"}, Reason.NO_GRANT, "/grant"),
        ({"fields": ["number", "address"]}, Reason.FIELD_REFUSED, "/fields/1"),
        ({"grant": "narrow", "fields": ["year"]}, Reason.FIELD_REFUSED, "/fields/0"),
        ({"grant": "narrow", "where": {"year": 2025}}, Reason.FIELD_REFUSED, "/where/year"),
        ({"where": {"address": "x"}}, Reason.FIELD_REFUSED, "/where/address"),
        ({"where": {"number": "1", "name": "x"}}, Reason.FIELD_REFUSED, "/where/name"),
    ],
)
def test_each_denial_says_why_and_where(authorize, changes, reason, pointer):
    asked = identified(body(**changes))
    decided = authorize(asked)
    assert decided.identified is asked
    denied = decided.decision
    assert isinstance(denied, Deny)
    assert (denied.reason, denied.pointer, denied.rule) == (reason, pointer, None)
    assert denied.rule_set == authorize.rule_set.hash
    assert denied.detail.endswith(".") or reason is Reason.MALFORMED


def test_a_mode_the_resource_does_not_offer_is_unknown(authorize):
    key = ("alpha", "things")
    catalogue = authorize.rule_set.catalogue
    silent = replace(catalogue.resources[key], modes=frozenset())
    rules = replace(authorize.rule_set, catalogue=replace(catalogue, resources={key: silent}))
    denied = decide(Authorize(rules))
    assert (denied.reason, denied.pointer) == (Reason.UNKNOWN_MODE, "/mode")


def test_a_denial_by_a_rule_names_it(authorize):
    denied = decide(authorize, resource="others", purpose="survey", legal_basis="norm-two")
    assert (denied.reason, denied.rule, denied.pointer) == (Reason.DENIED, "no-survey", None)
    assert decide(authorize, resource="others").grant == "others"


def test_a_field_may_be_asked_by_only_if_it_is_a_key(authorize):
    # Granted to be read, but no key: by a masked name one could guess what the mask hides.
    for name in ("name", "address"):
        denied = decide(authorize, "gamma", fields=["name"], where={name: "x"})
        assert (denied.reason, denied.pointer) == (Reason.FIELD_REFUSED, f"/where/{name}")


def test_fields_in_another_order_are_decided_alike(authorize):
    assert decide(authorize, fields=["name", "year"]).fields == ("name", "year")
    assert decide(authorize, fields=["year", "name"]).fields == ("year", "name")
    assert decide(authorize, fields=["year", "name", "number"]).grant == "wide"


MEMBERS = {
    "provider": ["alpha", "beta"],
    "resource": ["things", "others", "closed"],
    "mode": ["query", "verify"],
    "purpose": ["review", "survey"],
    "legal_basis": ["norm-one", "norm-two"],
    "fields": [None, ["name"], ["name", "year"], ["year", "name"]],
    "where": [
        {"number": "1"}, {"number": 1}, {"number": True}, {"year": 2025}, {"year": "2025"},
        {"born": "2026-02-28"}, {"born": "2026-02-30"}, {"alive": True}, {"gross": "1.0"},
        {"gross": "1."}, {"seen": "2026-01-01T00:00:00Z"}, {"seen": "2026-01-01"},
        {"number": "1", "year": 2025}, {"year": 2025, "number": "1"}, {"number": "1", "year": "x"},
    ],
    "limit": [None, 3, 9999],
    "grant": [None, "narrow", "wide", "spring"],
    "consent": [None, "C-1"],
}  # fmt: skip
CHANGES = [(name, value) for name, some in MEMBERS.items() for value in some]
BOUNDS = [1_772_323_200_000, 1_780_272_000_000]  # of `spring`


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """Two that decide by the same rules: one will remember, the other not."""
    rules = load(
        tmp_path_factory.mktemp("policies"),
        *GRANTS,
        grant("spring", posts="clerk", since="2026-03-01", until="2026-06-01", rows="3"),
        grant("seen", consumer="gamma", fields="number year", assurance="signed"),
        grant("agreed", thing="others", fields="number", consent="consent"),
    )
    spring = next(each for each in rules.grants if each.id == "spring")
    assert [spring.valid_from, spring.valid_until] == BOUNDS
    return Authorize(rules), Authorize(rules)


@given(
    st.lists(
        st.tuples(
            st.lists(st.sampled_from(CHANGES), max_size=3).map(dict),
            st.sampled_from(["beta", "gamma", "nobody"]),
            st.sampled_from([at + step for at in BOUNDS for step in (-1, 0)]),
            st.sampled_from([(), ("clerk",)]),
            st.sampled_from(Known),
        ),
        min_size=2,
        max_size=20,
    ),
    st.randoms(),
)
@settings(max_examples=150, deadline=None)
def test_what_is_remembered_is_what_would_be_decided(twins, questions, order):
    remembers, forgets = twins
    # Each with one thing changed, too: what is held is then of a near question.
    asked = [*questions]
    for changes, *rest in questions:
        asked.append((changes | dict([order.choice(CHANGES)]), *rest))
    order.shuffle(asked)
    for changes, consumer, at, posts, known in asked:
        each = identified(body(**changes), consumer, at, posts, known)
        forgets._memo.clear()
        assert remembers(each) == forgets(each)


@pytest.mark.parametrize(
    ("permitted", "denied", "changes"),
    [
        (["beta", BOUNDS[0], ("clerk",)], ["beta", BOUNDS[0], ()], {"grant": "spring"}),
        (["gamma", AT, (), Known.SIGNED], ["gamma", AT, (), Known.CHANNEL], {"grant": "seen"}),
        (["beta"], ["beta"], {"grant": "agreed", "resource": "others"}),
    ],
)
def test_what_was_permitted_is_not_so_to_one_who_shows_less(twins, permitted, denied, changes):
    authorize, _ = twins
    assert isinstance(
        authorize(identified(body(**changes, consent="C-1"), *permitted)).decision, Permit
    )
    assert isinstance(authorize(identified(body(**changes), *denied)).decision, Deny)


def test_what_is_remembered_is_found_and_its_values_are_read_anew(authorize):
    authorize._memo.clear()
    first = decide(authorize, where={"born": "2026-02-28"})
    assert decide(authorize, where={"born": "2026-02-27"}) is first
    denied = decide(authorize, where={"born": "2026-02-30"})
    assert (denied.reason, denied.pointer) == (Reason.MALFORMED, "/where/born")
    assert len(authorize._memo) == 1


def test_nothing_of_a_body_is_kept_in_the_memo(authorize):
    authorize._memo.clear()
    permit = decide(authorize, fields=["name", "year"], where={"number": "1"})
    (kind,), (held,) = authorize._memo, authorize._memo.values()
    listed = permit.resource.fields
    names = [*permit.fields, *kind[8], *kind[9], *(name for name, _ in held.asked_by)]
    assert sorted(set(names)) == ["name", "number", "year"]
    assert all(name is listed[name].name for name in names)


def test_the_memo_is_bounded(authorize, monkeypatch):
    monkeypatch.setattr("sharegate.authorize.authorize.MEMO_SIZE", 8)
    for limit in range(1, 100):
        assert decide(authorize, limit=limit).row_limit == min(limit, 5)
        assert len(authorize._memo) <= 8


def test_a_grant_must_cover_what_is_asked_by_to_come_first(authorize):
    # `narrow` is before `wide` by id, and lets out the field, but not what is asked by.
    assert decide(authorize, fields=["name"], where={"number": "1"}).grant == "narrow"
    assert decide(authorize, fields=["name"], where={"year": 2025}).grant == "wide"


def test_nobody_else_is_permitted(authorize):
    for consumer in ("alpha", "gamma", "delta", "", "*", "Beta", "beta ", "ｂeta", "!nobody"):
        assert isinstance(decide(authorize, consumer), Deny), consumer


def test_a_grant_ends_when_it_ends(authorize):
    start, end = 1_767_225_600_000, 1_798_761_600_000
    for at, permitted in ((start - 1, False), (start, True), (end - 1, True), (end, False)):
        assert isinstance(decide(authorize, at=at), Permit) is permitted


@pytest.mark.parametrize(
    ("name", "fits", "misfits"),
    [
        ("number", ["1", "字"], [1, True]),
        ("year", [0, -5, 2025], ["2025", True, False]),
        ("alive", [True, False], [0, 1, "true"]),
        ("born", ["2024-02-29"],
         ["2023-02-29", "20240229", "2024-W01-1", "2024-2-29", "2024-02-29T00:00:00", 20240229,
          "２024-02-29", "2024-02-29 ", "0000-01-01"]),
        ("seen", ["2024-02-29T23:59:59Z", "2024-02-29T23:59:59.5+08:00"],
         ["2024-02-29", "2024-02-29T24:00:00Z", "2024-02-29 23:59:59Z", "2024-02-29T23:59:59",
          "2024-02-30T00:00:00Z", 1]),
        ("gross", ["0", "-1", "12345678901234567890.5", "0.10"],
         ["", "+1", "1.", ".5", "01", "1e5", "NaN", "Infinity", "1_0", "١", "1 ", 1, 1.5,
          "9" * 60]),
    ],
)  # fmt: skip
def test_a_value_must_be_of_its_fields_type(authorize, name, fits, misfits):
    for value in fits:
        assert isinstance(decide(authorize, where={name: value}), Permit), value
    for value in misfits:
        denied = decide(authorize, where={name: value})
        assert (denied.reason, denied.pointer) == (Reason.MALFORMED, f"/where/{name}"), value


def test_a_misfit_is_told_what_fits(authorize):
    assert decide(authorize, where={"year": "1"}).detail == "This value is not of type integer."


LOOKALIKES = str.maketrans("aeiocpxys", "аеіосрхуѕ")


@pytest.mark.parametrize(
    "near",
    [
        str.upper,
        str.title,
        lambda s: s + " ",
        lambda s: " " + s,
        lambda s: s + ".",
        lambda s: s + "/",
        lambda s: "/" + s,
        lambda s: s + "\u0000",
        lambda s: s + "\n",
        lambda s: s + "\u200b",
        lambda s: s + "%20",
        lambda s: s + "*",
        lambda s: s[:-1],
        lambda s: s[:-1] + "*",
        lambda s: s + "," + s,
        lambda s: s.replace("-", "_") if "-" in s else s + "_",
        lambda s: s.replace("-", "\u2010") if "-" in s else s + "\u2010",
        lambda s: "".join(chr(ord(c) + 0xFEE0) for c in s),
        lambda s: s.translate(LOOKALIKES),
        lambda s: s[0] + "\u0301" + s[1:],
        lambda s: s[::-1],
        lambda s: [s],
        lambda s: {"$eq": s},
        lambda s: True,
        lambda s: None,
        lambda s: 0,
        lambda s: "",
        lambda s: "*",
        lambda s: ".*",
    ],
)
@pytest.mark.parametrize(
    "name", ["provider", "resource", "mode", "purpose", "legal_basis", "grant"]
)
def test_near_identical_requests_are_never_permitted(authorize, name, near):
    sound = {**QUESTION, "grant": "narrow"}
    assert isinstance(decide(authorize, **sound), Permit)
    value = near(sound[name])
    assert value != sound[name]
    if name == "grant" and value is None:
        return  # the member left out is another sound question
    assert isinstance(decide(authorize, **{**sound, name: value}), Deny)
    for changed in ({"fields": [near("name")]}, ):  # fmt: skip
        assert isinstance(decide(authorize, **{**sound, **changed}), Deny)
    if isinstance(key := near("number"), str):
        assert isinstance(decide(authorize, **{**sound, "where": {key: "1"}}), Deny)


@given(st.binary(max_size=200), st.integers(-(2**60), 2**60))
def test_no_body_raises_or_is_permitted(authorize, content, at):
    decided = authorize(identified(content, at=at))
    assert decided.decision.reason is Reason.MALFORMED
    assert decided.request is None


WORDS = [
    "alpha", "beta", "things", "others", "closed", "query", "review", "survey", "norm-one",
    "norm-two", "wide", "narrow", "no-survey", "number", "name", "year", "x",
]  # fmt: skip
words = st.sampled_from(WORDS)


def mostly(right):
    return st.sampled_from(15 * [right] + WORDS)


QUESTIONS = st.fixed_dictionaries(
    {
        "provider": mostly("alpha"),
        "resource": mostly("things"),
        "mode": mostly("query"),
        "purpose": mostly("review"),
        "legal_basis": mostly("norm-one"),
        "where": st.just({"number": "1"})
        | st.fixed_dictionaries({"year": st.just(2025)}, optional={"number": words})
        | st.dictionaries(words, st.integers(0, 9) | words, min_size=1, max_size=2),
    },
    optional={
        "fields": st.lists(words, min_size=1, max_size=3, unique=True),
        "limit": st.integers(1, 99),
        "grant": words,
    },
)


def test_a_permit_never_exceeds_its_one_grant(authorize):
    grants = {g.id: g for g in authorize.rule_set.grants}
    permitted = set()

    @settings(max_examples=600, derandomize=True)
    @given(QUESTIONS, st.sampled_from(["beta", "beta", "beta", "alpha", "gamma"]))
    def ask(changes, consumer):
        decided = authorize(identified(body(**changes), consumer))
        if isinstance(permit := decided.decision, Deny):
            return
        given_by, asked = grants[permit.grant], decided.request
        assert given_by.effect == "allow"
        assert given_by.consumer in (consumer, "*")
        assert (given_by.provider, given_by.resource) == (asked.provider, asked.resource)
        assert {asked.purpose, "*"} & set(given_by.purposes)
        assert set(permit.fields) | set(asked.where) <= set(given_by.fields)
        assert all(permit.resource.fields[name].key for name in asked.where)
        assert 1 <= permit.row_limit <= min(given_by.row_limit, asked.limit or 99)
        assert asked.grant in (None, permit.grant)
        purpose = authorize.rule_set.catalogue.purposes[asked.purpose]
        assert asked.legal_basis in purpose.legal_bases
        permitted.add(permit.grant)

    ask()
    assert {"wide", "narrow"} <= permitted
