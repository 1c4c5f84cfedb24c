"""Why a question was decided as it was, and what would change that. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from sharegate.authorize.authorize import Authorize
from sharegate.authorize.difference import day
from sharegate.authorize.expectations import told
from sharegate.authorize.roles import Classes, Posts
from sharegate.authorize.ruleset import RuleSet
from sharegate.model.decision import Decision, Deny, Permit, Reason, Refer
from sharegate.model.grant import ANY, Effect, Grant
from sharegate.model.passage import Identified
from sharegate.model.request import AccessRequest


@dataclass(frozen=True, slots=True)
class Explanation:
    """What was decided, by what, and what would change it.

    Attributes:
        considered: Each rule of the resource, and why it did or did not apply.
        changes: What would turn the decision, in words.
    """

    decision: Decision
    told: str
    considered: tuple[str, ...]
    changes: tuple[str, ...]


def explain(rule_set: RuleSet, identified: Identified) -> Explanation:
    """Decide a question, and say why so and not otherwise."""
    decided = Authorize(rule_set)(identified)
    request = decided.request
    considered: list[str] = []
    near: list[tuple[Grant, list[str]]] = []
    roles = Classes(rule_set.departments), Posts(rule_set.posts)
    if request is not None:
        for grant in rule_set.grants:
            if (grant.provider, grant.resource) == (request.provider, request.resource):
                missing = list(_misses(roles, grant, identified, request))
                applies = "applies" if not missing else "does not apply: " + "; ".join(missing)
                considered.append(f"{grant.id} ({grant.effect}) {applies}")
                if missing and grant.effect is Effect.ALLOW:
                    near.append((grant, missing))
    decision = decided.decision
    return Explanation(decision, told(decision), tuple(considered), tuple(_changes(decision, near)))


def _misses(
    roles: tuple[Classes, Posts], grant: Grant, identified: Identified, request: AccessRequest
) -> Iterator[str]:
    """Each thing about a question that keeps a rule from applying."""
    caller, at = identified.caller, identified.at
    classes, posts = roles
    if grant.consumer != ANY and not classes.has_link(caller.consumer, grant.consumer):
        yield f"it is for {grant.consumer}"
    officer = posts.officer(caller.posts)
    if ANY not in grant.posts and not any(posts.has_link(officer, post) for post in grant.posts):
        yield f"it is for the posts {' '.join(grant.posts)}"
    if ANY not in grant.modes and request.mode not in grant.modes:
        yield f"it is for the modes {' '.join(grant.modes)}"
    if ANY not in grant.purposes and request.purpose not in grant.purposes:
        yield f"it is for the purposes {' '.join(grant.purposes)}"
    if at < grant.valid_from:
        yield f"it begins on {day(grant.valid_from)}"
    if at >= grant.valid_until:
        yield f"it ended on {day(grant.valid_until)}"
    if grant.effect is Effect.ALLOW:
        if request.grant not in {None, grant.id}:
            yield f"the request names {request.grant}"
        for name in sorted({*request.fields, *request.where} - set(grant.fields)):
            yield f"it does not let out {name}"


def _changes(decision: Decision, near: list[tuple[Grant, list[str]]]) -> Iterator[str]:
    match decision:
        case Permit():
            yield f"without {decision.grant}, or with a denial, it would be denied"
            yield from _demands(decision)
        case Refer():
            yield "an officer's ruling, cited in the request, would settle it"
        case Deny(rule=rule) if rule is not None:
            yield f"without {rule} the other rules would decide"
        case Deny(reason=Reason.NO_GRANT | Reason.FIELD_REFUSED):
            yield from _nearest(near)
        case Deny(reason=reason) if reason in _REMEDIES:
            yield _REMEDIES[reason]


_REMEDIES = {
    Reason.LEGAL_BASIS: "a legal basis that purposes.csv lists for this purpose",
    Reason.ASSURANCE: "the department's own signature on the request",
    Reason.CONSENT: "a reference to the consent of the person concerned",
}


def _nearest(near: list[tuple[Grant, list[str]]]) -> Iterator[str]:
    """The grants that miss the question by the fewest things."""
    fewest = min((len(missing) for _, missing in near), default=0)
    for grant, missing in near:
        if len(missing) == fewest:
            yield f"{grant.id} would apply, but {'; '.join(missing)}"
    if not near:
        yield "a grant of the provider: it has none for this resource"


def _demands(permit: Permit) -> Iterator[str]:
    for quota in permit.quota:
        yield f"once {quota.most} answers a {quota.period} are given to the {quota.per}: denied"
    if permit.needs_consent:
        yield "a consent that is not confirmed: denied"
    if permit.confirm_matter:
        yield "a matter that is not confirmed: denied"
