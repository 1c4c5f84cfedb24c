"""The decision point answers what a stock Casbin over all rules answers, only sooner."""

import os
import random
import sys
from collections import Counter
from itertools import combinations, pairwise

import casbin
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharegate.authorize import pdp
from sharegate.authorize.pdp import END_OF_TIME, PolicyDecisionPoint, Question
from sharegate.authorize.rows import rows
from sharegate.authorize.ruleset import RuleSet
from sharegate.model.catalogue import Catalogue, Mode
from sharegate.model.decision import Deny, Reason
from sharegate.model.grant import Effect, Grant
from sharegate.model.party import Department, Level
from tests.unit.authorize.policy_folder import AT, MODEL, grant, load

DEPARTMENTS = {
    each.id: each
    for each in (
        Department("alpha", "甲", "A", None, Level.COUNTY, "330106"),
        Department("beta", "乙", "B", None, Level.COUNTY, "330206"),
        Department("gamma", "丙", "C", None, Level.PROVINCE, "33"),
        Department("delta", "丁", "D", None),
    )
}
CLASSES = {
    "alpha": ("county", "county@33", "county@3301", "county@330106"),
    "beta": ("county", "county@33", "county@3302", "county@330206"),
    "gamma": ("province", "province@33"),
    "delta": (),
}
CONSUMERS = (*CLASSES, "county", "county@33", "county@3301", "province", "city", "*", "*")
INCLUDES = {"clerk": (), "reviewer": ("clerk",), "chief": ("reviewer",), "guest": ()}
POSTS = {
    "clerk": frozenset({"clerk"}),
    "reviewer": frozenset({"clerk", "reviewer"}),
    "chief": frozenset({"clerk", "reviewer", "chief"}),
    "guest": frozenset({"guest"}),
}
THINGS = ("things", "others")
PURPOSES = ("review", "survey", "audit")
FIELDS = ("a", "b", "c")
TIMES = (10, 20, 30, 40)
PAIRS = int(os.environ.get("SHAREGATE_PAIRS", "100000"))


def rules(*grants: Grant) -> RuleSet:
    return RuleSet("00" * 32, MODEL, Catalogue({}, {}), DEPARTMENTS, POSTS, grants)


def some(rng: random.Random, words: tuple[str, ...]) -> tuple[str, ...]:
    return ("*",) if rng.random() < 0.6 else tuple(sorted(rng.sample(words, rng.randint(1, 2))))


def some_grant(rng: random.Random, number: int) -> Grant:
    denies = rng.random() < 0.35
    since = rng.choice((0, 0, *TIMES[:2]))
    return Grant(
        id=f"g{number}",
        effect=Effect.DENY if denies else Effect.ALLOW,
        consumer=rng.choice(CONSUMERS),
        posts=some(rng, tuple(POSTS)),
        provider=rng.choice(("p1", "p1", "p2")),
        resource=rng.choice(THINGS),
        modes=rng.choice(((Mode.QUERY,), ("*",))),
        purposes=some(rng, PURPOSES),
        fields=() if denies else tuple(sorted(rng.sample(FIELDS, rng.randint(1, 3)))),
        row_limit=0 if denies else 5,
        valid_from=since,
        valid_until=rng.choice((since + 15, 1000, 1000)),
    )


def some_question(rng: random.Random, grants: list[Grant]) -> Question:
    """Draw a question, most often one near what some rule is about."""
    near = rng.choice(grants)

    def word(ruled: str, words: tuple[str, ...]) -> str:
        return ruled if ruled in words and rng.random() < 0.85 else rng.choice(words)

    held = [post for post in POSTS if rng.random() < 0.4]
    if rng.random() < 0.8:
        held += [post for post in near.posts if post != "*"]
    return Question(
        consumer=word(near.consumer, (*CLASSES, "stranger")),
        officer=" ".join(sorted(set(held))),
        provider=word(near.provider, ("p1", "p2")),
        resource=word(near.resource, THINGS),
        mode=word(near.modes[0], (Mode.QUERY, Mode.QUERY, Mode.QUERY, "verify")),
        purpose=word(rng.choice(near.purposes), (*PURPOSES, "other")),
        needs=tuple(rng.sample(FIELDS, rng.randint(0, 2))),
        named=rng.choice(grants).id if rng.random() < 0.1 else None,
    )


def oracle(grants: list[Grant], asked: Question, at: int) -> tuple[str, set[str]]:
    """What the rules say, by the plainest reading: the verdict and the rules it may name."""
    held = {post for one in asked.officer.split() for post in POSTS[one]}
    known = asked.consumer in CLASSES
    called = {asked.consumer, *CLASSES.get(asked.consumer, ()), *(["*"] if known else [])}
    about = [
        g
        for g in grants
        if g.valid_from <= at < g.valid_until
        and (g.provider, g.resource) == (asked.provider, asked.resource)
        and g.consumer in called
        and ("*" in g.posts or held & set(g.posts))
        and {asked.mode, "*"} & set(g.modes)
        and {asked.purpose, "*"} & set(g.purposes)
    ]
    denials = {g.id for g in about if g.effect == "deny"}
    if denials:
        return "deny", denials
    allows = [g for g in about if asked.named in (None, g.id)]
    if not allows:
        return "none", set()
    own = CLASSES.get(asked.consumer, ())
    for wanted in (
        lambda g: set(asked.needs) <= set(g.fields),
        *((lambda g, n=name: g.consumer == n) for name in (asked.consumer, *own[::-1])),
        lambda g: "*" not in g.posts,
        lambda g: "*" not in g.purposes,
    ):
        allows = [g for g in allows if wanted(g)] or allows
    return "permit", {min(g.id for g in allows)}


def verdict(ruled: Grant | Deny) -> tuple[str, str | None]:
    if isinstance(ruled, Grant):
        return "permit", ruled.id
    return {Reason.DENIED: "deny", Reason.NO_GRANT: "none"}[ruled.reason], ruled.rule


def agrees(ruled: Grant | Deny, expected: tuple[str, set[str]]) -> bool:
    word, rule = verdict(ruled)
    return word == expected[0] and (rule in expected[1] or (rule is None and not expected[1]))


def stock() -> casbin.Enforcer:
    """Casbin as it comes, with its own role managers and a link for each class and post."""
    enforcer = casbin.Enforcer(casbin.Enforcer.new_model(text=MODEL))
    for name, classes in CLASSES.items():
        for each in classes:
            enforcer.add_named_grouping_policy("g", name, each)
    for post, below in INCLUDES.items():
        for each in below:
            enforcer.add_named_grouping_policy("g2", post, each)
    for count in range(len(POSTS) + 1):
        for held in combinations(sorted(POSTS), count):
            for post in held if count > 1 else ():
                enforcer.add_named_grouping_policy("g2", " ".join(held), post)
    return enforcer


def scan(enforcer: casbin.Enforcer, grants: list[Grant], asked: Question, at: int) -> bool:
    """A stock Casbin reads every rule that is valid (and, where one is named, that allow only)."""
    enforcer.model["p"]["p"].policy = [pdp.SENTINEL] + [
        row
        for g in grants
        for row in rows(g)
        if g.valid_from <= at < g.valid_until
        and (g.effect is Effect.DENY or asked.named in (None, g.id))
    ]
    known = asked.consumer in CLASSES  # `*` in a rule is every member, not every name
    return known and enforcer.enforce(*(str(word) for word in asked[:6]))


def test_indexed_equals_a_stock_full_scan_for_as_long_as_it_says(capsys):
    rng = random.Random(20260101)
    enforcer = stock()
    pairs, verdicts, wild, roles = 0, Counter(), 0, 0
    for _ in range(-(-PAIRS // 30)):
        grants = [some_grant(rng, n) for n in range(rng.randint(1, 7))]
        point = PolicyDecisionPoint(rules(*grants))
        for _ in range(15):
            asked = some_question(rng, grants)
            for at in rng.sample(TIMES, 2):
                expected = oracle(grants, asked, at)
                first, since, until = point.rule(asked, at)
                assert since <= at < until
                for other in TIMES:
                    if since <= other < until:
                        assert point.decide(asked, other) == first
                assert agrees(first, expected), (grants, asked, at, first, expected)
                assert isinstance(first, Grant) == scan(enforcer, grants, asked, at)
                pairs += 1
                verdicts[expected[0]] += 1
                if isinstance(first, Grant):
                    wild += "*" in (first.consumer, *first.purposes)
                    roles += first.consumer in CLASSES["alpha"] or "*" not in first.posts
    with capsys.disabled():
        shares = {word: f"{count / pairs:.0%}" for word, count in sorted(verdicts.items())}
        sys.stdout.write(
            f"\n{pairs} decisions equal to a stock full scan: {shares}, "
            f"by a wildcard {wild}, by a role {roles}\n"
        )
    assert pairs >= PAIRS
    assert min(verdicts["permit"], verdicts["deny"], verdicts["none"]) > pairs / 8
    assert wild > pairs / 20
    assert roles > pairs / 20


@given(st.randoms(use_true_random=False))
def test_the_oracle_agrees_on_whatever_is_drawn(rng):
    grants = [some_grant(rng, n) for n in range(rng.randint(1, 12))]
    point = PolicyDecisionPoint(rules(*grants))
    for _ in range(10):
        asked, at = some_question(rng, grants), rng.randint(0, 60)
        assert agrees(point.decide(asked, at), oracle(grants, asked, at))


def question(**changes) -> Question:
    usual = Question("beta", "", "alpha", "things", Mode.QUERY, "review", (), None)
    return usual._replace(**changes)


def test_one_grant_applies_in_the_documented_order(tmp_path):
    point = PolicyDecisionPoint(
        load(
            tmp_path,
            grant("a-anyone", consumer="*", purpose="*", fields="number"),
            grant("b-exact-purpose", consumer="*", fields="number"),
            grant("c-exact-consumer", purpose="*", fields="number"),
            grant("d-exact", fields="number"),
            grant("e-exact", fields="number"),
            grant("f-wide", consumer="*", purpose="*", fields="number name address"),
        )
    )
    assert point.decide(question(), AT).id == "d-exact"
    assert point.decide(question(consumer="gamma"), AT).id == "b-exact-purpose"
    assert point.decide(question(purpose="survey"), AT).id == "c-exact-consumer"
    assert point.decide(question(consumer="gamma", purpose="survey"), AT).id == "a-anyone"
    assert point.decide(question(needs=("name",)), AT).id == "f-wide"
    assert point.decide(question(needs=("name", "year")), AT).id == "d-exact"
    assert point.decide(question(named="a-anyone"), AT).id == "a-anyone"
    for_posts = PolicyDecisionPoint(
        load(
            tmp_path,
            grant("a-any-post"),
            grant("b-clerks", posts="clerk"),
            grant("c", "allow", "*"),
        )
    )
    assert for_posts.decide(question(officer="clerk"), AT).id == "b-clerks"
    assert for_posts.decide(question(), AT).id == "a-any-post"
    assert point.decide(question(named="nothing"), AT).reason is Reason.NO_GRANT


def test_a_named_grant_does_not_lift_a_denial(tmp_path):
    point = PolicyDecisionPoint(load(tmp_path, grant(), grant("no", "deny", "*", purpose="*")))
    for named in (None, "g1", "no"):
        ruled = point.decide(question(named=named), AT)
        assert (ruled.reason, ruled.rule) == (Reason.DENIED, "no")


def test_a_ruling_says_between_which_moments_it_holds(tmp_path):
    rules_of_the_year = load(
        tmp_path,
        grant("spring", since="2026-03-01", until="2026-06-01"),
        grant("always", purpose="*", since="2026-01-01", until="2027-01-01"),
        grant("no-may", "deny", "*", purpose="*", since="2026-05-01", until="2026-06-01"),
    )
    point = PolicyDecisionPoint(rules_of_the_year)
    spring, always, no_may = rules_of_the_year.grants
    moments = sorted({g.valid_from for g in rules_of_the_year.grants}
                     | {g.valid_until for g in rules_of_the_year.grants})  # fmt: skip
    expected = ["none", "always", "always", "spring", "spring", "no-may", "no-may", "always"]
    expected += ["always", "none"]
    around = [at + step for at in moments for step in (-1, 0)]
    for order in (around, around[::-1], around):
        for at in order:
            ruled = point.decide(question(), at)
            word = ruled.id if isinstance(ruled, Grant) else ruled.rule or "none"
            assert word == expected[around.index(at)], at
    bounds = [-END_OF_TIME, *moments, END_OF_TIME]
    for at in around:
        (expected_since,) = [since for since, until in pairwise(bounds) if since <= at < until]
        held = point.rule(question(), at)
        assert (held.since, held.until) == (expected_since, bounds[bounds.index(held.since) + 1])
    assert (spring.id, always.id, no_may.id) == ("spring", "always", "no-may")


def test_what_was_ruled_is_remembered_and_not_without_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(pdp, "MEMO_SIZE", 8)
    point = PolicyDecisionPoint(load(tmp_path))
    assert point.rule(question(), AT) is point.rule(question(), AT)
    for i in range(100):
        assert isinstance(point.decide(question(purpose=f"p{i}"), AT), Deny)
        assert len(point._memo) <= 8
    assert isinstance(point.decide(question(), AT), Grant)


@pytest.mark.parametrize("position", [0, 2, 3, 4, 5])
@pytest.mark.parametrize("word", ["", "*", "!nobody"])
def test_what_no_identifier_can_be_is_undecidable(tmp_path, position, word):
    point = PolicyDecisionPoint(load(tmp_path, grant(consumer="*", mode="*", purpose="*")))
    asked = list(question())
    assert isinstance(point.decide(Question(*asked), AT), Grant)
    asked[position] = word
    assert point.decide(Question(*asked), AT).reason is Reason.UNDECIDABLE


@pytest.mark.parametrize("word", [None, 0, True, [], {}, b"beta", ("beta",)])
def test_what_is_no_text_is_denied(tmp_path, word):
    point = PolicyDecisionPoint(load(tmp_path, grant(consumer="*", mode="*", purpose="*")))
    for position in range(2, 4):  # provider and resource; `*` stands for any word elsewhere
        asked = list(question())
        asked[position] = word
        assert isinstance(point.decide(Question(*asked), AT), Deny)


def test_the_cost_does_not_grow_with_the_rules(tmp_path, monkeypatch):
    """However many rules there are, Casbin is asked over the few that can matter."""
    asked_over = []
    over = pdp._Enforcer.over

    def counted(self, rows):
        asked_over.append(len(rows))
        return over(self, rows)

    few = PolicyDecisionPoint(rules(*(_spread(n) for n in range(10))))
    many = PolicyDecisionPoint(rules(*(_spread(n) for n in range(5_000))))
    monkeypatch.setattr(pdp._Enforcer, "over", counted)
    for point in (few, many):
        assert isinstance(point.decide(question(resource="r7", purpose="review"), AT), Grant)
    assert asked_over == [2, 2]  # the sentinel and the one that matters


def _spread(number: int) -> Grant:
    return Grant(
        id=f"g{number}",
        effect=Effect.ALLOW,
        consumer="beta",
        posts=("*",),
        provider="alpha",
        resource=f"r{number}",
        modes=(Mode.QUERY,),
        purposes=("review",),
        fields=("a",),
        row_limit=1,
        valid_from=0,
        valid_until=2 * AT,
    )
