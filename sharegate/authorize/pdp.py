"""The policy decision point: Casbin decides, over the few rules that can matter.

Casbin alone reads every rule and parses the matcher again for every decision, which takes
hundreds of milliseconds at 100,000 rules. Here an index finds the candidates (the rules whose
consumer, resource, mode and purpose are the asked ones, a class of the consumer, or ``*``) and
Casbin's own `enforce_ex` decides over them: whether, and by which rule. A test holds the answers
to those of a stock Casbin over all rules and role links.

Refused on purpose: `FastEnforcer` (misses denials by ``*``), pattern functions (equality on
registered identifiers is all there is), Casbin's role managers (see `roles`), reloading
in place (a stranger was permitted meanwhile: build a new decision point and swap the reference)
and `enable_enforce(False)` (it answers True; such an answer names no rule and is denied here).
"""

import ast
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import NamedTuple

from casbin.core_enforcer import CoreEnforcer
from casbin.model import FunctionMap

from sharegate.authorize.roles import Classes, Posts
from sharegate.authorize.rows import Row, rank, row
from sharegate.authorize.ruleset import RuleSet
from sharegate.errors import Misconfigured
from sharegate.model.catalogue import FieldName
from sharegate.model.decision import Deny, Reason
from sharegate.model.grant import ANY, Effect, Grant

MEMO_SIZE = 16_384
END_OF_TIME = 2**63 - 1

_REQUEST = ["r_consumer", "r_officer", "r_provider", "r_resource", "r_mode", "r_purpose"]
_POLICY = ["p_rule", "p_consumer", "p_post", *(f"p_{name[2:]}" for name in _REQUEST[2:]), "p_eft"]
_EFFECT = "some(where (p_eft == allow)) && !some(where (p_eft == deny))"
# What the index takes for granted: which comparisons the matcher makes, by equality ("") or by
# which role, and which take `*`.
_INDEXED = (
    ("r_consumer", "p_consumer", "g", True),
    ("r_officer", "p_post", "g2", True),
    ("r_provider", "p_provider", "", False),
    ("r_resource", "p_resource", "", False),
    ("r_mode", "p_mode", "", True),
    ("r_purpose", "p_purpose", "", True),
)
# Over no rules at all Casbin permits a request of empty strings, so there is always this one.
# No identifier contains an exclamation mark.
_NOBODY = "!nobody"
_NOT_ASKED = frozenset(("", ANY, _NOBODY))
SENTINEL: Row = (*(_NOBODY,) * 7, Effect.DENY.value)


class Question(NamedTuple):
    """What the decision depends on, apart from the time.

    Attributes:
        officer: The officer's posts, as `PolicyDecisionPoint.officer` writes them.
        needs: The fields to be read or asked by: they choose among several grants.
        named: The id of the one grant that shall apply, or None.
    """

    consumer: str
    officer: str
    provider: str
    resource: str
    mode: str
    purpose: str
    needs: tuple[FieldName, ...]
    named: str | None


class Ruled(NamedTuple):
    """A ruling, and from when until when (milliseconds of Unix time) the same would be given."""

    ruling: Grant | Deny
    since: int
    until: int


_Comparison = tuple[str, str, str, bool]
_Key = tuple[str, str, str, str]  # provider, resource, mode, purpose
_Link = Callable[[str, str], bool]


class _Matcher:
    """The matcher as a list of comparisons: each asked value, each ruled value, how, `*` or not.

    Casbin hands the same text to its parser for every decision and then walks the tree for every
    rule; this is that tree, read once from Casbin's own parse.
    """

    def __init__(self, expression: str) -> None:
        tree = CoreEnforcer._get_expression(expression, {}).ast_parsed_value  # noqa: SLF001
        match tree:
            case ast.BoolOp(op=ast.And(), values=terms):
                self.comparisons = tuple(_comparison(term) for term in terms)
            case _:
                raise ValueError("the matcher is not a conjunction")


class _Bound(NamedTuple):
    """A matcher with the roles of one decision."""

    matcher: _Matcher
    links: Mapping[str, _Link]

    def eval(self, names: Mapping[str, str]) -> bool:
        """Say whether the rule is about the request."""
        for asked, ruled, role, wild in self.matcher.comparisons:
            value = names[ruled]
            if wild and value == ANY:
                continue
            if role:
                if not self.links[role](names[asked], value):
                    return False
            elif value != names[asked]:
                return False
        return True


def _comparison(term: ast.expr) -> _Comparison:
    match term:
        case ast.Compare(left=ast.Name(id=asked), ops=[ast.Eq()], comparators=[ast.Name(id=ruled)]):
            return asked, ruled, "", False
        case ast.Call(
            func=ast.Name(id=role), args=[ast.Name(id=asked), ast.Name(id=ruled)], keywords=[]
        ):
            return asked, ruled, role, False
        case ast.BoolOp(
            op=ast.Or(),
            values=[
                first,
                ast.Compare(
                    left=ast.Name(id=wild), ops=[ast.Eq()], comparators=[ast.Constant(value="*")]
                ),
            ],
        ):
            asked, ruled, role, again = _comparison(first)
            if ruled == wild and not again:
                return asked, ruled, role, True
    raise ValueError("the matcher compares otherwise than by equality and roles")


_matcher = lru_cache(maxsize=8)(_Matcher)


@dataclass(frozen=True, slots=True)
class _Rules:
    """The part of Casbin's assertion that `enforce_ex` reads."""

    policy: Sequence[Row]
    tokens: Sequence[str] = tuple(_POLICY)


class _Enforcer(CoreEnforcer):  # type: ignore[misc]  # casbin has no types
    """Casbin's own enforcer; only how the matcher's text is parsed is ours."""

    @staticmethod
    def _get_expression(expr: str, functions: Mapping[str, _Link]) -> _Bound:
        return _Bound(_matcher(expr), functions)

    def over(self, rows: Sequence[Row]) -> "_Enforcer":
        """Make an enforcer over these rules.

        Each decision has its own, so no decision can see another's rules and nothing that is
        shared ever changes.
        """
        fresh = _Enforcer.__new__(_Enforcer)
        fresh.__dict__ = {**self.__dict__, "model": {**self.model, "p": {"p": _Rules(rows)}}}
        return fresh


@dataclass(frozen=True, slots=True)
class _Roles:
    """The part of Casbin's role definition that `enforce_ex` reads."""

    rm: Classes | Posts


class PolicyDecisionPoint:
    """Decides over one rule set; it never changes, a new rule set gets a new one.

    Raises:
        Misconfigured: The model compares otherwise than the index does, or the self-test failed.
    """

    def __init__(self, rule_set: RuleSet) -> None:
        self._hash = rule_set.hash
        self._classes, self._posts = Classes(rule_set.departments), Posts(rule_set.posts)
        self._casbin = _enforcer(rule_set.model, self._classes, self._posts)
        collected: dict[str, dict[_Key, list[Grant]]] = {}
        for grant in rule_set.grants:
            granted = collected.setdefault(grant.consumer, {})
            for mode, purpose in product(grant.modes, grant.purposes):
                key = (grant.provider, grant.resource, mode, purpose)
                granted.setdefault(key, []).append(grant)
        # By consumer first: what one decision looks up of it then lies close together.
        self._index = {
            consumer: {key: tuple(grants) for key, grants in granted.items()}
            for consumer, granted in collected.items()
        }
        # What each department may be called by, as far as any rule does.
        called = {grant.consumer for grant in rule_set.grants}
        self._names = {
            str(each): (ANY, *sorted(self._classes.of(each) & called))
            for each in rule_set.departments
        }
        self._memo: dict[Question, Ruled] = {}
        self._self_test(rule_set)

    def officer(self, posts: Iterable[str]) -> str:
        """Write an officer as `Question` wants it, from the posts the token names."""
        return self._posts.officer(posts)

    def decide(self, question: Question, at: int) -> Grant | Deny:
        """Say which one grant applies, or why none does.

        Deny overrides. Where several grants permit, the one that applies is: the named one, if
        one is named; else first those that let out all the fields needed, then those that name
        the consumer before those that name its class (the narrower first) or ``*``, then those
        that name a post, then those that name the purpose, before ``*``, then by id.
        Never the union of several. Whatever cannot be evaluated is denied as undecidable.

        Args:
            question: What is asked; no part is empty or ``*``.
            at: Milliseconds of Unix time; only grants valid then count.
        """
        return self.rule(question, at).ruling

    def rule(self, question: Question, at: int) -> Ruled:
        """As :meth:`decide`; says too how long that holds, which is never where it is undecidable.

        It holds until a rule that could matter begins or ceases to be valid.
        """
        try:
            held = self._memo.get(question)
            if held is not None and held.since <= at < held.until:
                return held
            ruled = self._rule(question, at)
        except Exception:  # noqa: BLE001  whatever went wrong, nobody is permitted by it
            return self._undecidable()
        if len(self._memo) >= MEMO_SIZE:
            self._memo.clear()
        self._memo[question] = ruled
        return ruled

    def _rule(self, question: Question, at: int) -> Ruled:
        asked = question[:6]
        for word in (question.consumer, *question[2:6]):  # an officer may hold no post
            if word in _NOT_ASKED:
                return self._undecidable()
        since, until = -END_OF_TIME, END_OF_TIME
        denying: list[Grant] = []
        allowing: list[Grant] = []
        for grant in self._candidates(question):
            if at < grant.valid_from:
                until = min(until, grant.valid_from)
            elif at >= grant.valid_until:
                since = max(since, grant.valid_until)
            else:
                since, until = max(since, grant.valid_from), min(until, grant.valid_until)
                if grant.effect is not Effect.ALLOW:
                    denying.append(grant)
                elif question.named is None or grant.id == question.named:
                    allowing.append(grant)
        denying.sort(key=lambda grant: grant.id)
        allowing.sort(key=lambda grant: rank(grant, question.needs), reverse=True)
        # Casbin names the first denial, or else the last rule that permits: the preferred one.
        ruled = [SENTINEL]
        for grant in (*denying, *allowing):
            mode = question.mode if question.mode in grant.modes else ANY
            purpose = question.purpose if question.purpose in grant.purposes else ANY
            ruled += [row(grant, post, mode, purpose) for post in grant.posts]
        permitted, explained = self._casbin.over(ruled).enforce_ex(*asked)
        ruling = self._ruling(permitted, explained, denying, allowing)
        return self._undecidable() if ruling is None else Ruled(ruling, since, until)

    def _candidates(self, question: Question) -> list[Grant]:
        _, _, provider, resource, mode, purpose, _, _ = question
        keys = (
            (provider, resource, mode, purpose),
            (provider, resource, mode, ANY),
            (provider, resource, ANY, purpose),
            (provider, resource, ANY, ANY),
        )
        found: list[Grant] = []
        for consumer in self._names.get(question.consumer, ()):
            granted = self._index.get(consumer)
            if granted is not None:
                for key in keys:
                    found += granted.get(key, ())
        return found

    def _ruling(
        self,
        permitted: object,
        explained: Sequence[str],
        denying: list[Grant],
        allowing: list[Grant],
    ) -> Grant | Deny | None:
        """What Casbin's answer means; None where it means nothing."""
        rule = explained[0] if explained else None
        if permitted is True:
            for grant in allowing:
                if grant.id == rule:
                    return grant
        elif permitted is False:
            if rule is None:
                return self._deny(Reason.NO_GRANT)
            for grant in denying:
                if grant.id == rule:
                    return self._deny(Reason.DENIED, grant)
        return None

    def _undecidable(self) -> Ruled:
        return Ruled(self._deny(Reason.UNDECIDABLE), 0, 0)

    def _deny(self, reason: Reason, rule: Grant | None = None) -> Deny:
        return Deny(self._hash, reason, None if rule is None else rule.id, None, _DETAILS[reason])

    def _self_test(self, rule_set: RuleSet) -> None:
        """Ask what must be known beforehand; a decision point that errs here never serves."""

        def answer(asked: Sequence[str], *rows: Row) -> tuple[object, str | None]:
            permitted, explained = self._casbin.over([SENTINEL, *rows]).enforce_ex(*asked)
            return permitted, explained[0] if explained else None

        member = next(iter(rule_set.departments))
        rest = ("self-test-a", "self-test-b", "self-test-c", "self-test-d")
        words = (member, "", *rest)
        allow: Row = ("allowed", member, ANY, *rest, Effect.ALLOW.value)
        deny: Row = ("denied", member, ANY, *rest, Effect.DENY.value)
        misspelt: Row = ("misspelt", member, ANY, *rest, "Allow")
        anyone: Row = ("anyone", ANY, ANY, rest[0], rest[1], ANY, ANY, Effect.ALLOW.value)
        posted: Row = ("posted", member, _NOBODY, *rest, Effect.ALLOW.value)
        stranger = ("self-test-x", *words[1:])
        empty = ("",) * 6
        expected = [
            (answer(empty), (False, None)),
            (answer((_NOBODY,) * 6), (False, _NOBODY)),
            (answer(words), (False, None)),
            (answer(words, allow), (True, "allowed")),
            (answer(words, allow, deny), (False, "denied")),
            (answer(words, deny, allow), (False, "denied")),
            (answer(words, misspelt), (False, "misspelt")),
            (answer(stranger, allow), (False, None)),
            (answer(stranger, anyone), (True, "anyone")),
            (answer((ANY,) * 6, allow), (False, None)),
            (answer(words, posted), (False, None)),
        ]
        for number, (got, wanted) in enumerate(expected, start=1):
            if got != wanted:
                raise Misconfigured("model.conf", f"self-test {number}: {got}, not {wanted}")
        # Of a provider and at a moment that a grant is for, if there is any.
        granted = ((each.provider, each.valid_from) for each in rule_set.grants)
        provider, at = next(granted, (rest[0], 0))
        stranger_asks = Question("self-test-x", "", provider, *rest[1:], (), None)
        if isinstance(self.decide(stranger_asks, at), Grant):
            raise Misconfigured("model.conf", "self-test: an unknown request was permitted")


_DETAILS = {
    Reason.NO_GRANT: "No grant lets this department ask this for this purpose.",
    Reason.DENIED: "A rule of the provider forbids this.",
    Reason.UNDECIDABLE: "The rules could not be evaluated, so the request is denied.",
}


def _enforcer(text: str, classes: Classes, posts: Posts) -> _Enforcer:
    """Build Casbin from model.conf, refusing any model the index was not written for."""
    try:
        enforcer = _Enforcer(CoreEnforcer.new_model(text=text))
        model = enforcer.model
        comparisons = _matcher(model["m"]["m"].value).comparisons
        sections = {section: set(model[section]) for section in model.keys()}  # noqa: SIM118
        # A looser model would have denials the index does not find.
        same = (
            sections == {section: {section} for section in "rpem"} | {"g": {"g", "g2"}}
            and model["r"]["r"].tokens == _REQUEST
            and model["p"]["p"].tokens == _POLICY
            and model["e"]["e"].value == _EFFECT
            and comparisons == _INDEXED
        )
    except Exception as error:
        raise Misconfigured("model.conf", f"Casbin cannot use it: {error}") from error
    if not same:
        raise Misconfigured("model.conf", "is not the model that the index was written for")
    roles = {"g": {"g": _Roles(classes), "g2": _Roles(posts)}}
    enforcer.model = {section: model[section] for section in "rem"} | roles
    enforcer.fm = FunctionMap()  # no keyMatch, no regexMatch: nothing a rule could call
    return enforcer
