"""Whether the rules do what their owner expects: policies/<provider>/grants_test.csv."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from sharegate.authorize.authorize import Authorize
from sharegate.authorize.table import read_table
from sharegate.errors import Misconfigured
from sharegate.model.catalogue import Field, FieldType, Resource, ResourceId
from sharegate.model.decision import Decision, Permit, Reason, Refer
from sharegate.model.party import DepartmentId
from sharegate.model.passage import Identified

EXPECTATIONS_HEADER: Final = (
    "consumer",
    "posts",
    "resource",
    "mode",
    "purpose",
    "legal_basis",
    "fields",
    "expect",
    "because",
    "why",
)
_EXPECT: Final = ("permit", "deny", "refer")
# A value of each type, to ask by; no row is looked for.
_VALUES: Final[Mapping[FieldType, str | int | bool]] = {
    FieldType.TEXT: "110101199003070019",
    FieldType.INTEGER: 1,
    FieldType.DECIMAL: "1",
    FieldType.BOOLEAN: True,
    FieldType.DATE: "2026-01-01",
    FieldType.TIMESTAMP: "2026-01-01T00:00:00Z",
}


@dataclass(frozen=True, slots=True)
class Expectation:
    """One line: who asks what for which purpose, and what must come of it.

    Attributes:
        place: The file and line.
        expect: ``permit``, ``deny`` or ``refer``.
        because: The rule that decides, or the reason of a denial that no rule names.
        why: The owner's own words.
    """

    place: str
    provider: DepartmentId
    consumer: str
    posts: tuple[str, ...]
    resource: str
    mode: str
    purpose: str
    legal_basis: str
    fields: tuple[str, ...]
    expect: str
    because: str
    why: str


def read_expectations(place: str, content: bytes, provider: DepartmentId) -> Iterator[Expectation]:
    """Read one provider's expectations.

    Raises:
        Misconfigured: Not such a table, or a line does not say what is expected and why.
    """
    for line, values in read_table(place, content, EXPECTATIONS_HEADER):
        consumer, posts, resource, mode, purpose, basis, fields, expect, because, why = values
        if expect not in _EXPECT or not because or not why.strip():
            raise Misconfigured(
                f"{place}:{line}", "expects permit, deny or refer, because of something, and why"
            )
        if because == Reason.DENIED:
            raise Misconfigured(f"{place}:{line}", "because names the rule that denies")
        yield Expectation(
            place=f"{place}:{line}",
            provider=provider,
            consumer=consumer,
            posts=tuple(posts.split(" ")) if posts else (),
            resource=resource,
            mode=mode,
            purpose=purpose,
            legal_basis=basis,
            fields=tuple(fields.split(" ")) if fields else (),
            expect=expect,
            because=because,
            why=why,
        )


class Ask(Protocol):
    """Makes a question of a consumer, the posts of its officer, and the body."""

    def __call__(
        self, consumer: str, posts: tuple[str, ...], question: Mapping[str, object]
    ) -> Identified:
        """Make it."""


def decide(authorize: Authorize, expected: Expectation, ask: Ask) -> Decision:
    """Ask as this consumer would, by the resource's first key field.

    Args:
        authorize: The rules.
        expected: What to ask.
        ask: Makes the question (`identify.rehearsal`).
    """
    asked = (expected.provider, ResourceId(expected.resource))
    question = {
        "provider": expected.provider,
        "resource": expected.resource,
        "mode": expected.mode,
        "purpose": expected.purpose,
        "legal_basis": expected.legal_basis,
        "matter": "EXPECTATION-1",
        "consent": "expectation-1",
        "where": _by_its_first_key(authorize.rule_set.catalogue.resources.get(asked)),
        **({"fields": list(expected.fields)} if expected.fields else {}),
    }
    return authorize(ask(expected.consumer, expected.posts, question)).decision


def met(expected: Expectation, decision: Decision) -> bool:
    """Say whether the decision is the expected one, for the expected reason."""
    match decision:
        case Permit():
            return (expected.expect, expected.because) == ("permit", decision.grant)
        case Refer():
            return (expected.expect, expected.because) == ("refer", decision.permit.grant)
        case _:
            names = {decision.rule, decision.reason.value}
            return expected.expect == "deny" and expected.because in names


def told(decision: Decision) -> str:
    """Say a decision in a few words."""
    match decision:
        case Permit():
            fields = " ".join(decision.fields)
            return f"permit by {decision.grant}: {fields}, at most {decision.row_limit} rows"
        case Refer():
            return f"refer by {decision.permit.grant}: {decision.detail}"
        case _:
            rule = f" by {decision.rule}" if decision.rule is not None else ""
            return f"deny{rule}, {decision.reason.value}: {decision.detail}"


def a_value(field: Field) -> str | int | bool:
    """Some value a field may be asked by, where no row will be looked for."""
    return _VALUES[field.type]


def _by_its_first_key(resource: Resource | None) -> Mapping[str, str | int | bool]:
    if resource is not None:
        for field in resource.fields.values():
            if field.key:
                return {field.name: a_value(field)}
    return {"id_number": "110101199003070019"}
