"""How a provider looks after its rules: lint, expectations, differences, explanations, replays."""

import dataclasses
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from sharegate.authorize.authorize import Authorize
from sharegate.authorize.difference import Change, differences
from sharegate.authorize.expectations import decide, met, read_expectations, told
from sharegate.authorize.explanation import explain
from sharegate.authorize.lint import Weight, examine
from sharegate.authorize.ruleset import RuleSet, load_rule_set
from sharegate.errors import Misconfigured
from sharegate.identify.rehearsal import rehearsed
from sharegate.model.catalogue import Catalogue, MaskRule, Mode
from sharegate.model.grant import Assurance, Effect, Grant, Per, Period, Quota, RowTerm
from tests.unit.authorize.policy_folder import (
    AT,
    DEPARTMENTS,
    MODEL,
    POSTS,
    PURPOSES,
    QUESTION,
    RESOURCES,
    grant,
    load,
    resource,
    table,
    write,
)

HEADER = "consumer,posts,resource,mode,purpose,legal_basis,fields,expect,because,why\n"
PLAIN = Grant(
    id="g",
    effect=Effect.ALLOW,
    consumer="beta",
    posts=("reviewer",),
    provider="alpha",
    resource="things",
    modes=(Mode.QUERY,),
    purposes=("review",),
    fields=("name", "number"),
    row_limit=10,
    valid_from=1000,
    valid_until=2000,
    rows=(RowTerm("name", "Wu"),),
    masks={"name": MaskRule.NAME},
    quota=(Quota(Per.OFFICER, Period.DAY, 5),),
    assurance=Assurance.SIGNED,
    refer="question",
    consent=True,
    matter=True,
)
# Each lets through more than PLAIN, and PLAIN less than it.
WIDER = [
    {"consumer": "*"},
    {"posts": ("clerk", "reviewer")},
    {"posts": ("*",)},
    {"modes": ("*",)},
    {"purposes": ("review", "survey")},
    {"purposes": ("*",)},
    {"fields": ("name", "number", "year")},
    {"row_limit": 11},
    {"valid_from": 999},
    {"valid_until": 2001},
    {"rows": ()},
    {"masks": {}},
    {"quota": ()},
    {"quota": (Quota(Per.OFFICER, Period.DAY, 6),)},
    {"assurance": Assurance.CHANNEL},
    {"refer": None},
    {"consent": False},
    {"matter": False},
]


def rules(*grants):
    return RuleSet("0" * 64, MODEL, Catalogue({}, {}), DEPARTMENTS, {}, grants)


# --- check ---------------------------------------------------------------------------------------


def found(folder, files, *lines, weight=Weight.ERROR):
    rule_set, findings = examine(write(folder, files, *lines), DEPARTMENTS, AT)
    assert (rule_set is None) == any(each.weight is Weight.ERROR for each in findings)
    return [f"{each.place}: {each.reason}" for each in findings if each.weight is weight]


def test_sound_rules_have_no_findings(tmp_path):
    rule_set, findings = examine(write(tmp_path), DEPARTMENTS, AT)
    assert findings == []
    assert rule_set == load_rule_set(tmp_path, DEPARTMENTS)


def test_every_faulty_line_is_named_not_only_the_first(tmp_path):
    lines = [grant("a", "Deny"), grant("b"), grant("c", thing="nothing"), grant("b", purpose="x")]
    said = found(tmp_path, None, *lines)
    assert [each.rpartition("grants.csv:")[2].partition(":")[0] for each in said] == ["2", "4", "5"]


POISONED = {
    "a newline in a field": grant().replace("number", "number\n"),
    "a quotation mark": grant().replace("g1", '"g1"'),
    "Deny": grant("g1", "Deny"),
    "DENY": grant("g1", "DENY"),
    "a trailing space after deny": grant("g1", "deny").replace("deny", "deny "),
    "a missing column": grant().rpartition(",")[0],
    "one column more": grant() + ",",
    "an unknown consumer": grant(consumer="omega"),
    "a pattern for a consumer": grant(consumer="be*"),
    "a regular expression bomb": grant(consumer="(a+)+$"),
    "another provider's resource": grant(thing="salaries"),
    "10^6 rows": grant(rows="1000000"),
    "a negative row limit": grant(rows="-1"),
    "an id in full-width letters": grant("ｇ１"),
    "a homoglyph in a purpose": grant(purpose="rеview"),
    "a purpose with a trailing dot": grant(purpose="review."),
    "a purpose in capitals": grant(purpose="Review"),
    "a zero-width space": grant(consumer="be\u200bta"),
    "a day that is none": grant(until="2027-02-30"),
    "an end before the beginning": grant(since="2027-01-01", until="2026-01-01"),
    "a field that is none": grant(fields="number salary"),
    "a field twice": grant(fields="number number"),
    "a post that is none": grant(posts="king"),
    "an empty line": grant() + "\n",
}


@pytest.mark.parametrize("name", POISONED)
def test_a_poisoned_grant_is_refused_and_its_line_named(tmp_path, name):
    said = found(tmp_path, None, POISONED[name])
    assert said
    assert all("grants.csv:" in each for each in said)
    with pytest.raises(Misconfigured):
        load_rule_set(tmp_path, DEPARTMENTS)


@pytest.mark.parametrize(
    ("file", "content", "word"),
    [
        ("posts.csv", POSTS + "a,甲,A,b\nb,乙,B,a\n", "includes itself"),
        ("posts.csv", POSTS.replace("post,name_zh", "post,name"), "header"),
        ("purposes.csv", PURPOSES.rstrip("\n"), "cut off"),
        ("purposes.csv", "\ufeff" + PURPOSES, "byte order mark"),
        ("purposes.csv", PURPOSES.replace("\n", "\r\n"), "carriage return"),
        ("model.conf", MODEL.replace("!some", "some"), "model"),
        ("alpha/resources.toml", RESOURCES.replace("row_limit = 50", "row_limit = 50\nx = 1"), "x"),
        ("alpha/resources.toml", RESOURCES + "[[resource]]\nid = 'things'\n", "resource"),
        ("alpha/grant.csv", "x", "misspelt"),
        ("omega/grants.csv", "x", "no registered department"),
        (
            "alpha/grants_test.csv",
            HEADER + "beta,,things,query,review,norm-one,,yes,g1,why\n",
            "expects",
        ),
    ],
)
def test_a_poisoned_file_is_refused_and_named(tmp_path, file, content, word):
    said = found(tmp_path, {file: content})
    assert len(said) == 1
    assert word in said[0]
    if word not in {"misspelt", "no registered department"}:  # those say the folder, and its name
        assert str(tmp_path / file).endswith(said[0].partition(":")[0])


def test_what_is_probably_not_meant_is_a_warning(tmp_path):
    lines = [
        grant("ended", since="2025-01-01", until="2026-01-01"),
        grant("covered", purpose="survey"),
        grant("no-survey", "deny", "county@33", purpose="survey"),
        grant("one"),
        grant("two"),
        grant("for-all", consumer="*"),
    ]
    said = found(tmp_path, None, *lines, weight=Weight.WARNING)
    for words in (
        "ended: has ended",
        "covered: never applies: no-survey",
        "two: says what one says",
    ):
        assert any(words in each for each in said), words
    assert any("for-all: lets every department read a personal field" in each for each in said)
    assert not any(" one: " in each for each in said)


def doubted(folder, *lines, at=AT):
    _, findings = examine(write(folder, None, *lines), DEPARTMENTS, at)
    return [each.reason for each in findings]


def test_a_rule_has_ended_from_its_last_moment_on(tmp_path):
    last = 1_780_272_000_000
    assert doubted(tmp_path, grant(until="2026-06-01"), at=last - 1) == []
    assert doubted(tmp_path, grant(until="2026-06-01"), at=last) == [
        "has ended, so it does nothing"
    ]


def test_the_same_about_another_resource_is_another_rule(tmp_path):
    assert doubted(tmp_path, grant("one"), grant("two", thing="others")) == []


@pytest.mark.parametrize(
    ("denial", "covers"),
    [
        ({}, True),
        ({"consumer": "*"}, True),
        ({"consumer": "county"}, True),
        ({"consumer": "county@33"}, True),
        ({"consumer": "gamma"}, False),
        ({"consumer": "city"}, False),
        ({"mode": "*"}, True),
        ({"purpose": "*"}, True),
        ({"purpose": "review survey"}, True),
        ({"purpose": "survey"}, False),
        ({"posts": "clerk"}, False),
        ({"since": "2026-01-02"}, False),
        ({"until": "2026-12-31"}, False),
        ({"since": "2025-12-31", "until": "2027-01-02"}, True),
        ({"thing": "others"}, False),
    ],
)
def test_a_grant_never_applies_where_a_denial_takes_all_of_it(tmp_path, denial, covers):
    reasons = doubted(tmp_path, grant(), grant("no", "deny", **denial))
    assert reasons == (["never applies: no denies all of it"] if covers else [])


def test_faults_of_every_provider_are_found(tmp_path):
    faulty = RESOURCES.replace("row_limit = 50", "row_limit = 50\nx = 1")
    files = {
        "alpha/resources.toml": faulty,
        "gamma/resources.toml": RESOURCES.replace("alpha", "gamma"),
        "gamma/grants.csv": table([grant("g2", "Deny")]),
        "gamma/grants_test.csv": HEADER + "beta,,things,query,review,norm-one,,yes,g1,why\n",
    }
    said = found(tmp_path, files)
    assert [each.removeprefix(f"{tmp_path}/").partition(":")[0] for each in said] == [
        "alpha/resources.toml",
        "gamma/grants.csv",
        "gamma/grants_test.csv",
    ]


# --- test ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "holds"),
    [
        ("beta,,things,query,review,norm-one,,permit,g1,为何", True),
        ("beta,,things,query,review,norm-one,,permit,g2,为何", False),
        ("beta,,things,query,review,norm-one,address,deny,field-refused,为何", True),
        ("beta,,things,query,review,norm-one,address,deny,no-grant,为何", False),
        ("gamma,,things,query,review,norm-one,,deny,no-grant,为何", True),
        ("beta,,others,query,review,norm-one,,deny,no-grant,为何", False),
        ("beta,reviewer,others,query,review,norm-one,,permit,g2,为何", True),
        ("beta,,things,query,survey,norm-two,,deny,g3,为何", True),
        ("beta,,things,query,survey,norm-two,,permit,g3,为何", False),
    ],
)
def test_an_expectation_holds_or_does_not(tmp_path, line, holds):
    authorize = Authorize(
        load(
            tmp_path,
            grant(),
            grant("g2", thing="others", posts="clerk"),
            grant("g3", "deny", "*", purpose="survey"),
        )
    )
    (expected,) = read_expectations("t.csv", (HEADER + line + "\n").encode(), "alpha")
    assert (expected.place, expected.why) == ("t.csv:2", "为何")
    if line.startswith("beta,,others"):
        assert "no-grant" in told(decide(authorize, expected, partial(rehearsed, at=AT)))
        holds = True
    assert met(expected, decide(authorize, expected, partial(rehearsed, at=AT))) is holds


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ("permit,,why", "because of something"),
        ("permit,g1, ", "and why"),
        ("Permit,g1,why", "expects permit, deny or refer"),
        ("deny,denied-by-rule,why", "because names the rule that denies"),
    ],
)
def test_an_expectation_says_what_and_why(values, words):
    line = f"beta,,things,query,review,norm-one,,{values}\n"
    with pytest.raises(Misconfigured, match=r"t\.csv:2") as refused:
        list(read_expectations("t.csv", (HEADER + line).encode(), "alpha"))
    assert words in refused.value.detail
    with pytest.raises(Misconfigured, match=r"t\.csv:1: the header"):
        list(read_expectations("t.csv", line.encode(), "alpha"))


def test_an_expectation_names_posts_and_fields_by_single_spaces():
    def read(posts, fields):
        line = f"beta,{posts},things,query,review,norm-one,{fields},permit,g1,why\n"
        (one,) = read_expectations("t.csv", (HEADER + line).encode(), "alpha")
        return one.posts, one.fields

    assert read("", "") == ((), ())
    assert read("clerk chief", "name year") == (("clerk", "chief"), ("name", "year"))
    assert read("clerk  chief", "name  year") == (("clerk", "", "chief"), ("name", "", "year"))


def test_what_an_expectation_asks_is_sound_whatever_the_grants_demand(tmp_path):
    """It names a matter and a consent, and asks by the first key field there is."""
    (expected,) = read_expectations(
        "t.csv",
        (HEADER + "beta,,things,query,review,norm-one,,refer,g1,why\n").encode(),
        "alpha",
    )
    seen = []

    def ask(consumer, posts, question):
        seen.append(question)
        return rehearsed(consumer, posts, question, AT)

    refer = grant(consent="consent matter", refer="is-it-so")
    question = '\n[[resource.question]]\nid = "is-it-so"\nzh = "是否"\nen = "Is it?"\n'
    files = {"alpha/resources.toml": resource("things") + question + resource("others")}
    authorize = Authorize(load_rule_set(write(tmp_path, files, refer), DEPARTMENTS))
    decision = decide(authorize, expected, ask)
    assert met(expected, decision)
    assert told(decision) == "refer by g1: 是否 / Is it?"
    assert seen == [
        {
            "provider": "alpha", "resource": "things", "mode": "query", "purpose": "review",
            "legal_basis": "norm-one", "matter": "EXPECTATION-1", "consent": "expectation-1",
            "where": {"number": "110101199003070019"},
        }
    ]  # fmt: skip
    for changed in ({"expect": "permit"}, {"expect": "deny"}, {"because": "g2"}):
        assert not met(dataclasses.replace(expected, **changed), decision)
    elsewhere = dataclasses.replace(expected, resource="nothing")
    assert "unknown-resource" in told(decide(authorize, elsewhere, ask))
    assert seen[-1]["where"] == {"id_number": "110101199003070019"}


def test_a_decision_is_told_in_few_words(tmp_path):
    authorize = Authorize(load(tmp_path, grant(), grant("g3", "deny", "*", purpose="survey")))

    def said(**changes):
        question = {**QUESTION, **changes}
        return told(authorize(rehearsed("beta", (), question, AT)).decision)

    assert said() == "permit by g1: name number year, at most 10 rows"
    assert said(purpose="survey", legal_basis="norm-two").startswith("deny by g3, denied-by-rule: ")
    assert said(resource="others") == (
        "deny, no-grant: No grant lets this department ask this for this purpose."
    )


# --- diff ----------------------------------------------------------------------------------------


def test_nothing_differs_from_itself(tmp_path):
    rule_set = load(tmp_path)
    assert differences(rule_set, rule_set) == []


@pytest.mark.parametrize("change", WIDER, ids=lambda change: next(iter(change)))
def test_what_lets_more_through_is_widened_and_back_is_narrowed(change):
    wide = replace(PLAIN, **change)
    for effect, there, back in (
        (Effect.ALLOW, Change.WIDENED, Change.NARROWED),
        (Effect.DENY, Change.NARROWED, Change.WIDENED),
    ):
        one, other = rules(replace(PLAIN, effect=effect)), rules(replace(wide, effect=effect))
        (said,) = differences(one, other)
        assert (said.change, said.rule) == (there, "g")
        assert said.words
        assert [each.change for each in differences(other, one)] == [back]


@settings(max_examples=200)
@given(st.lists(st.sampled_from(WIDER), min_size=1, max_size=5))
def test_several_widenings_are_a_widening(changes):
    wide = PLAIN
    for change in changes:
        wide = replace(wide, **change)
    assert [each.change for each in differences(rules(PLAIN), rules(wide))] == [Change.WIDENED]


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        ("beta", "county", Change.CHANGED),  # it is not said here which departments there are
        ("county", "city", Change.CHANGED),
        ("county@3301", "county@33", Change.WIDENED),
        ("county@33", "county@3301", Change.NARROWED),
        ("county@33", "county", Change.WIDENED),
        ("county", "county@33", Change.NARROWED),
        ("county@33", "city@33", Change.CHANGED),
        ("county@33", "county@34", Change.CHANGED),
        ("county@33", "count", Change.CHANGED),
        ("count", "county@33", Change.CHANGED),
        ("county@33", "*", Change.WIDENED),
        ("*", "beta", Change.NARROWED),
    ],
)
def test_a_class_has_the_classes_of_its_regions(old, new, change):
    one, other = rules(replace(PLAIN, consumer=old)), rules(replace(PLAIN, consumer=new))
    (said,) = differences(one, other)
    assert (said.change, said.words) == (change, (f"consumer {old} becomes {new}",))


def test_one_mask_instead_of_another_is_stricter_only_where_nothing_is_left():
    def change(was, becomes):
        masked = [rules(replace(PLAIN, masks={"name": each})) for each in (was, becomes)]
        ((said),) = differences(*masked)
        return said.change

    assert change(MaskRule.NAME, MaskRule.REDACT) is Change.NARROWED
    assert change(MaskRule.REDACT, MaskRule.NAME) is Change.WIDENED
    assert change(MaskRule.NAME, MaskRule.TAIL) is Change.CHANGED


def test_every_mask_that_differs_is_said():
    was = replace(PLAIN, masks={"a": MaskRule.NAME, "b": MaskRule.REDACT})
    becomes = replace(PLAIN, masks={"a": MaskRule.NAME})
    (said,) = differences(rules(was), rules(becomes))
    assert said.words == ("mask of b: redact becomes none",)


def test_another_question_is_neither_more_nor_less():
    (said,) = differences(rules(PLAIN), rules(replace(PLAIN, refer="another")))
    assert (said.change, said.words) == (Change.CHANGED, ("refer question becomes another",))


def test_another_effect_is_said_first_and_decides():
    denies = replace(PLAIN, effect=Effect.DENY, row_limit=11)
    (said,) = differences(rules(PLAIN), rules(denies))
    assert said.change is Change.NARROWED
    assert said.words == ("allow becomes deny", "row_limit 10 becomes 11")
    (said,) = differences(rules(denies), rules(PLAIN))
    assert said.change is Change.WIDENED
    assert said.words == ("deny becomes allow", "row_limit 11 becomes 10")


def test_a_rule_about_another_resource_is_another_rule():
    (said,) = differences(rules(PLAIN), rules(replace(PLAIN, resource="others", row_limit=11)))
    assert said.change is Change.CHANGED
    assert said.words == ("resource things becomes others", "row_limit 10 becomes 11")


def test_more_of_one_and_less_of_another_is_a_change():
    other = replace(PLAIN, row_limit=11, fields=("number",))
    assert [each.change for each in differences(rules(PLAIN), rules(other))] == [Change.CHANGED]


def test_what_comes_and_goes_is_said(tmp_path):
    old = load(tmp_path / "old", grant("a"), grant("b"))
    new = load_rule_set(
        write(
            tmp_path / "new",
            {
                "purposes.csv": PURPOSES + "audit,审计,Audit,norm-one,《办法一》\n",
                "alpha/resources.toml": RESOURCES.replace("row_limit = 50", "row_limit = 40", 1),
            },
            grant("b", "deny"),
            grant("c"),
        ),
        DEPARTMENTS,
    )
    there = differences(old, new)
    assert [(each.change, each.rule) for each in there] == [
        (Change.REMOVED, "a"),
        (Change.NARROWED, "b"),
        (Change.ADDED, "c"),
        (Change.CHANGED, "resource alpha/things"),
        (Change.ADDED, "purpose audit"),
    ]
    assert there[0].words == ("lets beta read name number year of alpha/things for review",)
    assert there[2].words == there[0].words
    assert [each.words for each in there[3:]] == [(), ()]
    back = [(each.change, each.rule) for each in differences(new, old)]
    assert back[3:] == [
        (Change.CHANGED, "resource alpha/things"),
        (Change.REMOVED, "purpose audit"),
    ]
    assert {each.words for each in differences(new, old)[3:]} == {()}


def test_a_denial_that_comes_is_said_to_deny():
    (said,) = differences(rules(), rules(replace(PLAIN, effect=Effect.DENY)))
    assert said.words == ("denies beta alpha/things for review",)


def test_posts_and_the_model_differ_too():
    one = rules()
    other = dataclasses.replace(one, posts={"clerk": frozenset({"clerk"})}, model="another")
    assert [(each.change, each.rule, each.words) for each in differences(one, other)] == [
        (Change.ADDED, "post clerk", ()),
        (Change.CHANGED, "model.conf", ()),
    ]


def test_a_change_is_told_in_the_words_of_the_files():
    day = 86_400_000
    was = replace(PLAIN, valid_until=day, rows=(), masks={}, quota=(), refer=None,
                          assurance=Assurance.CHANNEL, consent=False, matter=False)  # fmt: skip
    becomes = replace(
        PLAIN,
        valid_from=day,
        valid_until=2 * day,
        rows=(RowTerm("name", None), RowTerm("number", "7")),
    )
    ((change, words),) = [
        (each.change, each.words) for each in differences(rules(was), rules(becomes))
    ]
    assert change is Change.CHANGED
    assert words == (
        "valid_from 1970-01-01 becomes 1970-01-02",
        "valid_until 1970-01-02 becomes 1970-01-03",
        "rows gains name=@region",
        "rows gains number=7",
        "mask of name: none becomes name",
        "quota officer/day: none becomes 5",
        "assurance channel becomes signed",
        "refer nothing becomes question",
        "now needs the consent of the person concerned",
        "now needs the matter confirmed by the consumer's case system",
    )


def test_another_assessment_neither_widens_nor_narrows():
    renewed = replace(PLAIN, row_limit=9, assessment="PIA-2")
    (found,) = differences(rules(PLAIN), rules(renewed))
    assert found.change is Change.NARROWED
    assert found.words == ("row_limit 10 becomes 9", "assessment none becomes PIA-2")
    (found,) = differences(rules(renewed), rules(replace(renewed, assessment="PIA-3")))
    assert found.change is Change.CHANGED
    (found,) = differences(rules(renewed), rules(replace(renewed, assessment=None)))
    assert found.words == ("assessment PIA-2 becomes none",)


def test_what_is_no_longer_demanded_is_told_in_the_same_words():
    less = replace(PLAIN, quota=(), refer=None, consent=False, matter=False, masks={})
    (found,) = differences(rules(PLAIN), rules(less))
    assert found.words == (
        "mask of name: name becomes none",
        "quota officer/day: 5 becomes none",
        "refer question becomes nothing",
        "no longer needs the consent of the person concerned",
        "no longer needs the matter confirmed by the consumer's case system",
    )


# --- explain -------------------------------------------------------------------------------------


def why(folder, *lines, consumer="beta", posts=(), at=AT, **changes):
    question = {k: v for k, v in {**QUESTION, **changes}.items() if v is not None}
    return explain(load(folder, *lines), rehearsed(consumer, posts, question, at))


def test_a_permit_is_explained_by_its_rule(tmp_path):
    said = why(tmp_path, grant(quota="officer/day=5"), grant("g2", consumer="gamma"))
    assert said.told.startswith("permit by g1")
    assert said.considered == ("g1 (allow) applies", "g2 (allow) does not apply: it is for gamma")
    assert any("once 5 answers a day" in each for each in said.changes)
    assert said.decision.grant == "g1"


@pytest.mark.parametrize(
    ("line", "asked", "said"),
    [
        (grant(consumer="gamma"), {}, "it is for gamma"),
        (grant(posts="chief"), {}, "it is for the posts chief"),
        (grant(purpose="survey"), {}, "it is for the purposes survey"),
        (grant(until="2026-02-01"), {}, "it ended on 2026-02-01"),
        (grant(since="2026-12-01"), {}, "it begins on 2026-12-01"),
        (grant(), {"fields": ["address"]}, "it does not let out address"),
        (grant(), {"grant": "g7"}, "the request names g7"),
        (grant(), {"legal_basis": "norm-nine"}, "a legal basis that purposes.csv lists"),
        (grant(consent="consent"), {}, "the consent of the person concerned"),
        (grant("no", "deny", "*"), {}, "without no the other rules would decide"),
        (grant(thing="others"), {}, "it has none for this resource"),
    ],
)
def test_a_denial_says_what_would_change_it(tmp_path, line, asked, said):
    explained = why(tmp_path, line, **asked)
    assert explained.told.startswith("deny")
    assert any(said in each for each in explained.changes), explained


def test_a_rule_is_said_to_apply_exactly_as_long_as_it_does(tmp_path):
    line = grant(since="2026-05-01", until="2026-06-01")
    begins, ends = 1_777_593_600_000, 1_780_272_000_000
    for at, applies in ((begins - 1, False), (begins, True), (ends - 1, True), (ends, False)):
        said = why(tmp_path, line, at=at)
        assert said.considered[0].endswith("applies") is applies, at
        assert said.told.startswith("permit") is applies


def test_a_denial_and_posts_are_considered_as_they_are(tmp_path):
    lines = [
        grant("chiefs", posts="chief"),
        grant("no", "deny", "*", posts="chief"),
        grant("not-yet", "deny", "*", since="2026-12-01"),
    ]
    said = why(tmp_path, *lines, posts=("clerk",), mode="verify")
    assert said.considered == (
        "chiefs (allow) does not apply: it is for the posts chief; it is for the modes query",
        "no (deny) does not apply: it is for the posts chief; it is for the modes query",
        "not-yet (deny) does not apply: it is for the modes query; it begins on 2026-12-01",
    )
    assert said.changes == ()  # no resource is asked in this mode, whatever is granted
    said = why(tmp_path, *lines, posts=("clerk",))
    assert said.changes == ("chiefs would apply, but it is for the posts chief",)
    said = why(tmp_path, *lines, posts=("chief",))
    assert said.considered[:2] == ("chiefs (allow) applies", "no (deny) applies")
    assert said.changes == ("without no the other rules would decide",)


def test_what_an_officer_would_settle_is_said(tmp_path):
    question = '\n[[resource.question]]\nid = "is-it-so"\nzh = "是否"\nen = "Is it?"\n'
    files = {"alpha/resources.toml": resource("things") + question}
    rule_set = load_rule_set(write(tmp_path, files, grant(refer="is-it-so")), DEPARTMENTS)
    said = explain(rule_set, rehearsed("beta", (), QUESTION, AT))
    assert said.changes == ("an officer's ruling, cited in the request, would settle it",)


def test_the_nearest_grant_is_named_and_no_other(tmp_path):
    said = why(
        tmp_path, grant("near", purpose="survey"), grant("far", consumer="gamma", posts="chief")
    )
    assert [each.partition(" ")[0] for each in said.changes] == ["near"]


def test_an_unreadable_question_is_explained_too(tmp_path):
    assert "malformed-request" in why(tmp_path, grant(), matter=None).told
