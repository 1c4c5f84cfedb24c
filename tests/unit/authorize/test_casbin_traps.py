"""Every trap Casbin has set us: that it still is one, and that we do not step into it."""

import ast
import inspect
import logging
import random
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import casbin
import pytest
from casbin import FastEnforcer
from casbin.core_enforcer import CoreEnforcer
from casbin.persist.adapters import FileAdapter
from casbin.util import key_match, key_match2, regex_match

import sharegate
from sharegate.authorize import pdp
from sharegate.authorize.authorize import Authorize
from sharegate.authorize.pdp import SENTINEL, PolicyDecisionPoint, Question
from sharegate.authorize.roles import Classes, Posts
from sharegate.authorize.ruleset import load_rule_set
from sharegate.errors import Misconfigured
from sharegate.model.catalogue import Mode
from sharegate.model.decision import Deny, Reason
from sharegate.model.grant import Grant
from tests.unit.authorize.policy_folder import AT, DEPARTMENTS, MODEL, grant, load, write

ASKED = ("beta", "", "alpha", "things", "query", "review")
RULED = ("beta", "*", *ASKED[2:])
QUESTION = Question("beta", "", "alpha", "things", Mode.QUERY, "review", (), None)


@pytest.fixture(autouse=True)
def read_anew():
    """Each test reads the matcher by itself, whatever others have read."""
    pdp._matcher.cache_clear()


def stock(*rows):
    as_it_comes = casbin.Enforcer(casbin.Enforcer.new_model(text=MODEL))
    as_it_comes.model["p"]["p"].policy = list(rows)
    return as_it_comes


def row(effect, rule="r1", words=RULED):
    return (rule, *words, effect)


def own(*rows):
    return enforcer().over(rows)


def enforcer(model=MODEL):
    return pdp._enforcer(model, Classes(DEPARTMENTS), Posts({"clerk": frozenset({"clerk"})}))


def test_an_empty_rule_set_permits_empty_strings(tmp_path):
    assert stock().enforce(*[""] * 6) is True  # the trap
    assert stock(SENTINEL).enforce(*[""] * 6) is False
    point = PolicyDecisionPoint(load(tmp_path))
    point._index.clear()  # even were every rule lost
    empty = Question("", "", "", "", "", "", (), None)
    assert point.decide(empty, AT).reason is Reason.UNDECIDABLE
    assert point.decide(QUESTION, AT).reason is Reason.NO_GRANT


def test_the_sentinel_is_asked_every_time_and_permits_nobody(tmp_path, monkeypatch):
    seen = []
    over = pdp._Enforcer.over
    monkeypatch.setattr(
        pdp._Enforcer, "over", lambda self, rows: (seen.append(rows), over(self, rows))[1]
    )
    point = PolicyDecisionPoint(load(tmp_path))
    point.decide(QUESTION, AT)
    point.decide(QUESTION._replace(consumer="gamma"), AT)
    assert len(seen) > 2
    assert all(rows[0] == SENTINEL and rows[0][-1] == "deny" for rows in seen)
    assert own(SENTINEL, row("allow")).enforce(*["!nobody"] * 6) is False


@pytest.mark.parametrize("misspelt", ["Deny", "deny ", "DENY", "", "block"])
def test_a_misspelt_denial_is_passed_over(tmp_path, misspelt):
    assert stock(row("allow"), row(misspelt)).enforce(*ASKED) is True  # the trap
    with pytest.raises(Misconfigured, match=r"grants\.csv:3"):
        load(tmp_path, grant(), grant("g2", "deny").replace("deny", misspelt))


def test_a_line_with_an_unknown_key_is_dropped_and_with_a_missing_value_breaks_all(tmp_path):
    policy = tmp_path / "policy.csv"
    policy.write_text(f"p, {', '.join(row('allow'))}\nP, {', '.join(row('deny'))}\n")
    model = casbin.Enforcer.new_model(text=MODEL)
    reading = casbin.Enforcer(model, FileAdapter(str(policy)))
    assert reading.enforce(*ASKED) is True  # the trap: the denial is gone
    with pytest.raises(RuntimeError, match="invalid policy size"):
        stock(row("deny")[1:]).enforce(*ASKED)  # the other trap
    for line in ("P," + grant("g2", "deny"), grant("g2", "deny").replace("query,", "")):
        with pytest.raises(Misconfigured, match=r"grants\.csv:3"):
            load(tmp_path / "policies", grant(), line)


def test_whatever_casbin_raises_is_denied(tmp_path, monkeypatch):
    point = PolicyDecisionPoint(load(tmp_path))

    def broken(*_):
        raise RuntimeError("invalid policy size")

    monkeypatch.setattr(pdp._Enforcer, "enforce_ex", broken)
    assert point.decide(QUESTION, AT).reason is Reason.UNDECIDABLE
    monkeypatch.undo()
    assert isinstance(point.decide(QUESTION, AT), Grant)  # the doubt was not remembered


@pytest.mark.parametrize(
    "answer",
    [
        (True, []),
        (True, ["g9"]),
        (True, ["!nobody"]),
        (1, ["g1"]),
        ("True", ["g1"]),
        (None, []),
        (False, ["g1"]),
        (False, ["!nobody"]),
        True,
        (),
    ],
)
def test_an_answer_that_names_no_rule_of_ours_is_denied(tmp_path, monkeypatch, answer):
    point = PolicyDecisionPoint(load(tmp_path))
    monkeypatch.setattr(pdp._Enforcer, "enforce_ex", lambda *_: answer)
    assert point.decide(QUESTION, AT).reason is Reason.UNDECIDABLE
    monkeypatch.undo()
    assert isinstance(point.decide(QUESTION, AT), Grant)  # the doubt was not remembered


def test_a_switched_off_casbin_permits_and_is_found_out(tmp_path):
    off = stock(row("deny"))
    off.enable_enforce(False)
    assert off.enforce(*ASKED) is True  # the trap
    point = PolicyDecisionPoint(load(tmp_path))
    point._casbin.enable_enforce(False)
    assert point.decide(QUESTION, AT).reason is Reason.UNDECIDABLE


def test_pattern_functions_match_too_much_and_are_not_there(tmp_path):
    assert key_match("/dept/tax/secret", "/dept/*/public")  # the trap
    assert key_match2("/a/b", "/a/:c")
    assert regex_match("beta-secret", "beta")
    assert enforcer().fm.get_functions() == {}
    for line in (grant(consumer="be*"), grant(consumer=".*"), grant(thing="thing*")):
        with pytest.raises(Misconfigured):
            load(tmp_path, line)


@pytest.mark.parametrize(
    "matcher",
    [
        "eval(p.rule)",
        "true",
        "1 == 1",
        "r.consumer == p.consumer",
        "keyMatch(r.consumer, p.consumer) && r.mode == p.mode",
        'r.consumer == p.consumer && (r.mode == p.mode || p.purpose == "*")',
        'r.consumer == p.consumer && (r.mode == p.mode || p.mode == "**")',
        "r.consumer == p.consumer && r.mode in (p.mode, p.mode)",
        "r.consumer == p.consumer && r.mode == p.mode == p.mode",
        "r.consumer == p.consumer # && r.mode == p.mode",
        "__import__('os') == p.consumer && r.mode == p.mode",
    ],
)
def test_a_matcher_other_than_the_indexed_comparisons_is_refused(matcher):
    head = MODEL[: MODEL.index("m = ")]
    with pytest.raises(Misconfigured):
        enforcer(f"{head}m = {matcher}\n")


# Roles that tell their arguments apart, whichever way round they are given.
LINKS = {
    "g": lambda one, other: one == other or (one, other) == ("a", "b"),
    "g2": lambda one, other: one == other or (one, other) == ("b", "a"),
}


def test_the_matcher_read_once_equals_casbins_own():
    expression = casbin.Enforcer.new_model(text=MODEL)["m"]["m"].value
    ours, theirs = pdp._matcher(expression), CoreEnforcer._get_expression(expression, dict(LINKS))
    rng = random.Random(7)
    ours = pdp._Bound(ours, LINKS)
    names = [name for asked, ruled, *_ in ours.matcher.comparisons for name in (asked, ruled)]
    matched = 0
    for _ in range(5_000):
        words = {name: rng.choice(("a", "a", "a", "b", "*", "")) for name in names}
        if rng.random() < 0.7:
            words |= {f"p_{name[2:]}": word for name, word in words.items() if name[0] == "r"}
            words["p_post"] = words["r_officer"]
            words[rng.choice(names)] = rng.choice(("*", "b"))
        assert ours.eval(words) == theirs.eval(words), words
        matched += ours.eval(words)
    assert matched > 500


def test_the_model_calls_nothing_but_its_two_roles():
    model = casbin.Enforcer.new_model(text=MODEL)
    assert set(model.keys()) == {"r", "p", "g", "e", "m"}
    calls = [
        node.func.id
        for node in ast.walk(
            CoreEnforcer._get_expression(model["m"]["m"].value, {}).ast_parsed_value
        )
        if isinstance(node, ast.Call)
    ]
    assert calls == ["g", "g2"]


def test_casbins_role_manager_stops_at_ten_links_and_ours_never_gets_there(tmp_path):
    as_it_comes = stock()
    for n in range(12):
        as_it_comes.add_named_grouping_policy("g2", f"post-{n}", f"post-{n + 1}")
    roles = as_it_comes.model["g"]["g2"].rm
    assert roles.has_link("post-0", "post-9")
    assert not roles.has_link("post-0", "post-12")  # the trap: cut off without a word
    chain = "".join(f"p{n},岗,P,{f'p{n + 1}' if n < 9 else ''}\n" for n in range(10))
    with pytest.raises(Misconfigured, match=r"posts\.csv:2: .*more than 8"):
        load_rule_set(
            write(tmp_path, {"posts.csv": "post,name_zh,name_en,includes\n" + chain}), DEPARTMENTS
        )


def test_casbins_role_manager_remembers_strangers_and_ours_does_not():
    roles = stock().model["g"]["g"].rm
    before = len(roles.all_roles)
    roles.has_link("never-heard-of", "county")
    assert len(roles.all_roles) >= before  # the trap, where it still is one
    ours = Classes(DEPARTMENTS)
    held = dict(ours._of)
    assert not ours.has_link("never-heard-of", "county")
    assert ours._of == held


def test_a_newline_becomes_a_rule_after_saving(tmp_path):
    path = tmp_path / "policy.csv"
    path.write_text("")
    saving = casbin.Enforcer(casbin.Enforcer.new_model(text=MODEL), FileAdapter(str(path)))
    forged = f"r1\np, {', '.join(row('allow', 'forged'))}"
    saving.add_policy(*row("deny", forged, ("x",) * 6))
    saving.save_policy()
    lines = path.read_text().splitlines()
    assert len(lines) == 2  # the trap: one rule was saved, and there are two
    with pytest.raises(Misconfigured):
        load(tmp_path / "policies", grant("g1\ng2"))
    # Nothing here ever saves or adds: the rules are read once.
    source = inspect.getsource(pdp)
    for word in ("save_policy", "add_policy", "load_policy", "load_filtered_policy"):
        assert word not in source


def test_fast_enforcer_misses_denials_by_wildcard(tmp_path):
    fast = FastEnforcer(_model_file(tmp_path), cache_key_order=[0, 1])
    words = ("beta", *ASKED[2:])
    fast.add_policy(*words, "allow", "r1")
    fast.add_policy("*", *words[1:], "deny", "r2")
    assert fast.enforce(*words) is True  # the trap
    point = PolicyDecisionPoint(load(tmp_path / "p", grant(), grant("g2", "deny", "*")))
    assert point.decide(QUESTION, AT).rule == "g2"


def _model_file(folder):
    path = folder / "fast.conf"
    path.write_text(
        MODEL.replace("p = rule, consumer, post", "p = consumer")
        .replace("eft\n", "eft, rule\n")
        .replace("r = consumer, officer", "r = consumer")
        .replace('(g2(r.officer, p.post) || p.post == "*") && ', "")
        .replace("g(r.consumer, p.consumer)", "r.consumer == p.consumer")
        .replace("[role_definition]\ng = _, _\ng2 = _, _\n", "")
    )
    return str(path)


def test_only_the_parsing_of_the_matcher_is_ours():
    changed = {name for name in vars(pdp._Enforcer) if not name.startswith("__")}
    assert changed == {"_get_expression", "over"}
    assert pdp._Enforcer.__bases__ == (CoreEnforcer,)
    assert pdp._Enforcer.enforce_ex is CoreEnforcer.enforce_ex


def test_only_the_decision_point_imports_casbin():
    package = inspect.getfile(sharegate).removesuffix("__init__.py")
    importing = set()
    for path in sorted(Path(package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] in ("casbin", "simpleeval") for name in names):
                importing.add(path.name)
    assert importing == {"pdp.py"}


def test_versions_have_the_known_fixes():
    def number(name):
        return tuple(int(part) for part in version(name).split(".")[:3])

    assert number("simpleeval") >= (1, 0, 5)  # CVE-2026-32640
    assert number("pycasbin") >= (2, 8)


def test_no_decision_sees_the_rules_of_another():
    shared = enforcer()
    allowing, denying = shared.over([SENTINEL, row("allow")]), shared.over([SENTINEL])
    assert allowing.enforce(*ASKED) is True
    assert denying.enforce(*ASKED) is False
    assert allowing.enforce(*ASKED) is True
    assert "p" not in shared.model  # the shared one has no rules at all


def test_a_new_rule_set_is_a_new_decision_point(tmp_path):
    old = Authorize(load(tmp_path / "old"))
    broken = load(tmp_path / "new", grant("g2", "deny", "*", purpose="*"))
    with pytest.raises(Misconfigured):
        Authorize(replace(broken, model=""))
    assert isinstance(old._pdp.decide(QUESTION, AT), Grant)
    assert isinstance(Authorize(broken)._pdp.decide(QUESTION, AT), Deny)
    assert isinstance(old._pdp.decide(QUESTION, AT), Grant)


@pytest.mark.parametrize(
    "fault",
    [
        lambda self, *_: (True, ["g1"]),
        lambda self, *_: (False, []),
        lambda self, *_: (self.model["p"]["p"].policy[-1][-1] == "allow", ["g1"]),
    ],
)
def test_the_self_test_finds_a_casbin_that_errs(tmp_path, monkeypatch, fault):
    monkeypatch.setattr(pdp._Enforcer, "enforce_ex", fault)
    with pytest.raises(Misconfigured, match="self-test"):
        PolicyDecisionPoint(load(tmp_path))


@pytest.mark.parametrize("number", range(1, 12))
def test_each_answer_of_the_self_test_matters(tmp_path, monkeypatch, number):
    """Casbin is asked eleven times, over the rules that belong to the question, and heard."""
    answers = iter(range(1, 100))
    enforce = pdp._Enforcer.enforce_ex
    seen = []

    def lying(self, *asked):
        permitted, explained = enforce(self, *asked)
        seen.append((asked, len(self.model["p"]["p"].policy)))
        return (not permitted if next(answers) == number else permitted), explained

    monkeypatch.setattr(pdp._Enforcer, "enforce_ex", lying)
    with pytest.raises(Misconfigured, match=f"self-test {number}: ") as refused:
        PolicyDecisionPoint(load(tmp_path))
    assert refused.value.place == "model.conf"
    assert [rules for _, rules in seen] == [1, 1, 1, 2, 3, 3, 2, 2, 2, 2, 2]
    assert {len(asked) for asked, _ in seen} == {6}
    known = [asked[0] in DEPARTMENTS for asked, _ in seen]
    assert known == [False, False, True, True, True, True, True, False, False, False, True]


def test_the_self_test_asks_what_nobody_granted(tmp_path, monkeypatch):
    asked = []

    def generous(self, question, at):
        asked.append((question, at))
        return next(iter(next(iter(self._index.values())).values()))[0]

    monkeypatch.setattr(PolicyDecisionPoint, "decide", generous)
    with pytest.raises(Misconfigured, match="self-test: an unknown request was") as refused:
        PolicyDecisionPoint(load(tmp_path))
    assert refused.value.place == "model.conf"
    ((question, at),) = asked
    assert (question.provider, question.needs, question.named) == ("alpha", (), None)
    assert question.consumer not in DEPARTMENTS
    assert all(isinstance(word, str) for word in question[:6])
    assert at == 1_767_225_600_000  # when the first grant begins


def test_the_self_test_asks_as_much_where_there_is_no_grant(tmp_path, monkeypatch):
    rules = load(tmp_path)
    asked = []
    enforce = pdp._Enforcer.enforce_ex

    def heard(self, *words):
        asked.append(words)
        return enforce(self, *words)

    monkeypatch.setattr(pdp._Enforcer, "enforce_ex", heard)
    PolicyDecisionPoint(rules)
    with_grants = list(asked)
    asked.clear()
    PolicyDecisionPoint(replace(rules, grants=()))
    assert len(asked) == 12
    assert asked[:-1] == with_grants[:-1]
    monkeypatch.setattr(PolicyDecisionPoint, "decide", lambda *_: rules.grants[0])
    with pytest.raises(Misconfigured, match="self-test: an unknown request was"):
        PolicyDecisionPoint(replace(rules, grants=()))


def test_casbin_is_given_the_rules_as_they_are_written(tmp_path, monkeypatch):
    """Not as the index found them: what it is asked to compare, it has to compare."""
    given = []
    over = pdp._Enforcer.over

    def noted(self, rows):
        given.append(rows)
        return over(self, rows)

    point = PolicyDecisionPoint(
        load(
            tmp_path,
            grant("a", mode="*", purpose="survey review", posts="clerk chief"),
            grant("b", purpose="*"),
            grant("c", "deny", "county", posts="chief"),
        )
    )
    monkeypatch.setattr(pdp._Enforcer, "over", noted)
    assert point.decide(QUESTION, AT).id == "b"
    asked = ("alpha", "things")
    assert given == [
        [
            SENTINEL,
            ("c", "county", "chief", *asked, "query", "review", "deny"),
            ("b", "beta", "*", *asked, "query", "*", "allow"),
            ("a", "beta", "chief", *asked, "*", "review", "allow"),
            ("a", "beta", "clerk", *asked, "*", "review", "allow"),
        ]
    ]


def test_a_denial_names_its_reason_in_words_and_the_rule_set(tmp_path):
    rules = load(tmp_path, grant(), grant("no", "deny", "gamma"))
    point = PolicyDecisionPoint(rules)
    for question, denied in (
        (QUESTION._replace(purpose="survey"), Deny(rules.hash, Reason.NO_GRANT, None, None,
            "No grant lets this department ask this for this purpose.")),
        (QUESTION._replace(consumer="gamma"), Deny(rules.hash, Reason.DENIED, "no", None,
            "A rule of the provider forbids this.")),
        (QUESTION._replace(mode="*"), Deny(rules.hash, Reason.UNDECIDABLE, None, None,
            "The rules could not be evaluated, so the request is denied.")),
    ):  # fmt: skip
        assert point.decide(question, AT) == denied
    point._casbin = None
    assert point.decide(QUESTION, AT).reason is Reason.UNDECIDABLE


def test_an_answer_of_casbin_that_names_no_rule_is_no_answer(tmp_path, monkeypatch):
    point = PolicyDecisionPoint(load(tmp_path))
    for answer in ((True, []), (True, ["g2"]), (None, ["g1"]), (False, ["g1"]), (1, ["g1"])):
        monkeypatch.setattr(pdp._Enforcer, "enforce_ex", lambda *_, said=answer: said)
        assert point.decide(QUESTION, AT).reason is Reason.UNDECIDABLE
        ruled = point.rule(QUESTION, AT)
        assert not ruled.since <= AT < ruled.until


def test_a_lost_sentinel_is_found_by_the_self_test(tmp_path, monkeypatch):
    over = pdp._Enforcer.over
    monkeypatch.setattr(pdp._Enforcer, "over", lambda self, rows: over(self, rows[1:]))
    with pytest.raises(Misconfigured, match="self-test 1"):
        PolicyDecisionPoint(load(tmp_path))


def test_casbin_writes_down_no_request(tmp_path, caplog, capfd):
    point = PolicyDecisionPoint(load(tmp_path))
    with caplog.at_level(logging.DEBUG):
        point.decide(QUESTION, AT)
        point.decide(QUESTION._replace(consumer="gamma"), AT)
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")
