"""Everything that is wrong, or looks wrong, in a policies folder; not only the first thing."""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sharegate.authorize.catalogue import read_purposes, read_resources
from sharegate.authorize.expectations import read_expectations
from sharegate.authorize.grants import GrantReader
from sharegate.authorize.pdp import PolicyDecisionPoint
from sharegate.authorize.posts import read_posts
from sharegate.authorize.ruleset import RuleSet, compose, read_files
from sharegate.errors import Misconfigured
from sharegate.model.catalogue import Purpose, PurposeCode, Sensitivity
from sharegate.model.grant import ANY, Effect, Grant
from sharegate.model.party import Department, DepartmentId, classes_of

_PERSONAL = frozenset({Sensitivity.PERSONAL, Sensitivity.SENSITIVE})


class Weight(StrEnum):
    """Whether a finding keeps the rules from being served."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found.

    Attributes:
        place: The file, and the line or key.
    """

    weight: Weight
    place: str
    reason: str


def examine(
    folder: Path, departments: Mapping[DepartmentId, Department], at: int
) -> tuple[RuleSet | None, list[Finding]]:
    """Look at every file of a policies folder.

    Args:
        folder: The folder.
        departments: The members.
        at: Milliseconds of Unix time; what ended before is said to have.

    Returns:
        The rule set, if it can be served, and all that was found.
    """
    try:
        files = read_files(folder, departments)
    except Misconfigured as error:
        return None, [_error(error)]
    findings = list(_faults(folder, files, departments))
    rule_set = None
    if not findings:
        try:
            rule_set = compose(folder, files, departments)
            PolicyDecisionPoint(rule_set)
        except Misconfigured as error:
            rule_set = None
            findings.append(_error(error))
        else:
            findings += _doubts(rule_set, at)
    return rule_set, findings


def _error(error: Misconfigured) -> Finding:
    return Finding(Weight.ERROR, error.place, error.detail)


def _faults(
    folder: Path, files: Mapping[str, bytes], departments: Mapping[DepartmentId, Department]
) -> Iterator[Finding]:
    """What keeps the folder from being served: every faulty file, every faulty line."""
    purposes: Mapping[PurposeCode, Purpose] = {}
    posts: Mapping[str, frozenset[str]] = {}
    try:
        purposes = read_purposes(str(folder / "purposes.csv"), files["purposes.csv"])
        posts = read_posts(str(folder / "posts.csv"), files["posts.csv"])
    except Misconfigured as error:
        yield _error(error)
        return  # every grant that names one of these would be said to be wrong
    ids: set[str] = set()
    for provider in sorted(departments):
        listed = files.get(f"{provider}/resources.toml")
        if listed is None:
            continue
        try:
            place = str(folder / provider / "resources.toml")
            own = read_resources(place, listed, provider, departments, purposes)
        except Misconfigured as error:
            yield _error(error)
            continue
        place = str(folder / provider / "grants.csv")
        reader = GrantReader(place, own, departments.values(), purposes, posts, ids)
        yield from map(_error, reader.faults(files[f"{provider}/grants.csv"]))
        expected = files.get(f"{provider}/grants_test.csv")
        if expected is not None:
            try:
                place = str(folder / provider / "grants_test.csv")
                list(read_expectations(place, expected, provider))
            except Misconfigured as error:
                yield _error(error)


def _doubts(rule_set: RuleSet, at: int) -> Iterator[Finding]:
    """What is served, and is probably not meant."""
    by_resource: dict[tuple[str, str], list[Grant]] = {}
    for grant in rule_set.grants:
        by_resource.setdefault((grant.provider, grant.resource), []).append(grant)
    for grants in by_resource.values():
        denials = [grant for grant in grants if grant.effect is Effect.DENY]
        said: dict[Hashable, str] = {}
        for grant in sorted(grants, key=lambda each: each.id):
            twin = said.setdefault(_terms(grant), grant.id)
            for reason in _doubts_about(grant, twin, denials, rule_set, at):
                yield Finding(Weight.WARNING, f"{grant.provider}/grants.csv {grant.id}", reason)


def _doubts_about(
    grant: Grant, twin: str, denials: list[Grant], rule_set: RuleSet, at: int
) -> Iterator[str]:
    if grant.valid_until <= at:
        yield "has ended, so it does nothing"
    if grant.effect is Effect.DENY:
        return
    for denial in denials:
        if _covers(denial, grant, rule_set):
            yield f"never applies: {denial.id} denies all of it"
    fields = rule_set.catalogue.resources[grant.provider, grant.resource].fields
    if grant.consumer == ANY and any(
        fields[name].sensitivity in _PERSONAL for name in grant.fields
    ):
        yield "lets every department read a personal field"
    if twin != grant.id:
        yield f"says what {twin} says"


def _covers(denial: Grant, grant: Grant, rule_set: RuleSet) -> bool:
    """Whether a denial takes away everything that a grant gives."""
    called = {ANY, grant.consumer}
    department = rule_set.departments.get(DepartmentId(grant.consumer))
    if department is not None:
        called |= set(classes_of(department))
    return (
        denial.consumer in called
        and ANY in denial.posts
        and (ANY in denial.modes or set(grant.modes) <= set(denial.modes))
        and (ANY in denial.purposes or set(grant.purposes) <= set(denial.purposes))
        and denial.valid_from <= grant.valid_from
        and denial.valid_until >= grant.valid_until
    )


def _terms(grant: Grant) -> Hashable:
    """All that a grant says, but for its id and why it may."""
    return (
        grant.effect, grant.consumer, grant.posts, grant.modes, grant.purposes, grant.fields,
        grant.rows, frozenset(grant.masks.items()), grant.row_limit, grant.quota, grant.assurance,
        grant.refer, grant.consent, grant.matter, grant.valid_from, grant.valid_until,
    )  # fmt: skip
