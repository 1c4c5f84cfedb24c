"""How a provider looks after its rules: lint, expectations, differences, explanations, replays."""

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
    assert file.rpartition("/")[2].partition(".")[0] in said[0] or "omega" in said[0]


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
    if line.startswith("beta,,others"):
        assert "no-grant" in told(decide(authorize, expected, partial(rehearsed, at=AT)))
        holds = True
    assert met(expected, decide(authorize, expected, partial(rehearsed, at=AT))) is holds


@pytest.mark.parametrize(
    "values", ["permit,,why", "permit,g1, ", "Permit,g1,why", "deny,denied-by-rule,why"]
)
def test_an_expectation_says_what_and_why(values):
    line = f"beta,,things,query,review,norm-one,,{values}\n"
    with pytest.raises(Misconfigured, match=r"t\.csv:2"):
        list(read_expectations("t.csv", (HEADER + line).encode(), "alpha"))


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
    said = {(each.change, each.rule) for each in differences(old, new)}
    assert said == {
        (Change.REMOVED, "a"),
        (Change.NARROWED, "b"),
        (Change.ADDED, "c"),
        (Change.ADDED, "purpose audit"),
        (Change.CHANGED, "resource alpha/things"),
    }


def test_a_change_is_told_in_the_words_of_the_files():
    day = 86_400_000
    was = replace(PLAIN, valid_until=day, rows=(), masks={}, quota=(), refer=None,
                          assurance=Assurance.CHANNEL, consent=False, matter=False)  # fmt: skip
    becomes = replace(
        PLAIN, valid_until=2 * day, rows=(RowTerm("name", None), RowTerm("number", "7"))
    )
    ((change, words),) = [
        (each.change, each.words) for each in differences(rules(was), rules(becomes))
    ]
    assert change is Change.CHANGED
    assert words == (
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


# --- explain -------------------------------------------------------------------------------------


def why(folder, *lines, consumer="beta", posts=(), **changes):
    question = {k: v for k, v in {**QUESTION, **changes}.items() if v is not None}
    return explain(load(folder, *lines), rehearsed(consumer, posts, question, AT))


def test_a_permit_is_explained_by_its_rule(tmp_path):
    said = why(tmp_path, grant(quota="officer/day=5"), grant("g2", consumer="gamma"))
    assert said.told.startswith("permit by g1")
    assert said.considered == ("g1 (allow) applies", "g2 (allow) does not apply: it is for gamma")
    assert any("once 5 answers a day" in each for each in said.changes)


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


def test_the_nearest_grant_is_named_and_no_other(tmp_path):
    said = why(
        tmp_path, grant("near", purpose="survey"), grant("far", consumer="gamma", posts="chief")
    )
    assert [each.partition(" ")[0] for each in said.changes] == ["near"]


def test_an_unreadable_question_is_explained_too(tmp_path):
    assert "malformed-request" in why(tmp_path, grant(), matter=None).told
