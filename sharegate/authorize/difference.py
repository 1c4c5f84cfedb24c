"""What a new rule set changes, in words a department can read. Pure.

Each change of a grant is said to widen it (somebody gets more), to narrow it, or to change it,
where neither is certain. A denial works the other way round.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from sharegate.authorize.grants import REGION
from sharegate.authorize.ruleset import RuleSet
from sharegate.model.catalogue import FieldName, MaskRule
from sharegate.model.grant import ANY, Assurance, Effect, Grant, RowTerm


class Change(StrEnum):
    """What happened to a rule."""

    ADDED = "added"
    REMOVED = "removed"
    WIDENED = "widened"
    NARROWED = "narrowed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Difference:
    """One rule, and what happened to it.

    Attributes:
        rule: The grant's id, or what else it is.
        words: One sentence for each thing that changed.
    """

    change: Change
    rule: str
    words: tuple[str, ...]


_ASSURANCES: Final = list(Assurance)


def differences(old: RuleSet, new: RuleSet) -> list[Difference]:
    """Say what `new` changes, rule by rule, then what it changes besides."""
    before = {grant.id: grant for grant in old.grants}
    after = {grant.id: grant for grant in new.grants}
    found = []
    for name in sorted(before.keys() | after.keys()):
        was, becomes = before.get(name), after.get(name)
        if was is None and becomes is not None:
            found.append(Difference(Change.ADDED, name, (_summary(becomes),)))
        elif becomes is None and was is not None:
            found.append(Difference(Change.REMOVED, name, (_summary(was),)))
        elif was is not None and becomes is not None and was != becomes:
            found.append(_changed(was, becomes))
    return [*found, *_besides(old, new)]


def _summary(grant: Grant) -> str:
    what = f"{grant.provider}/{grant.resource} for {' '.join(grant.purposes)}"
    if grant.effect is Effect.DENY:
        return f"denies {grant.consumer} {what}"
    return f"lets {grant.consumer} read {' '.join(grant.fields)} of {what}"


def _changed(was: Grant, becomes: Grant) -> Difference:
    said = list(_terms(was, becomes))
    directions = {direction for direction, _ in said}
    words = tuple(sentence for _, sentence in said)
    if was.assessment != becomes.assessment:  # it says why, and lets nobody do more or less
        old, new = was.assessment or "none", becomes.assessment or "none"
        words = (*words, f"assessment {old} becomes {new}")
    if was.effect is not becomes.effect:
        change = Change.WIDENED if becomes.effect is Effect.ALLOW else Change.NARROWED
        return Difference(change, was.id, (f"{was.effect} becomes {becomes.effect}", *words))
    if directions == {1}:
        change = Change.WIDENED if was.effect is Effect.ALLOW else Change.NARROWED
    elif directions == {-1}:
        change = Change.NARROWED if was.effect is Effect.ALLOW else Change.WIDENED
    else:
        change = Change.CHANGED
    return Difference(change, was.id, words)


def _terms(was: Grant, becomes: Grant) -> Iterator[tuple[int, str]]:
    """Each term that differs: 1 where it lets through more, -1 less, 0 where that is open."""
    if (was.provider, was.resource) != (becomes.provider, becomes.resource):
        yield 0, f"resource {was.resource} becomes {becomes.resource}"
    if was.consumer != becomes.consumer:
        direction = _within(was.consumer, becomes.consumer)
        yield direction, f"consumer {was.consumer} becomes {becomes.consumer}"
    for name in ("posts", "modes", "purposes", "fields"):
        yield from _sets(name, getattr(was, name), getattr(becomes, name))
    if was.row_limit != becomes.row_limit:
        direction = _more(becomes.row_limit > was.row_limit)
        yield direction, f"row_limit {was.row_limit} becomes {becomes.row_limit}"
    yield from _validity(was, becomes)
    yield from _demands("rows", set(map(_row, was.rows)), set(map(_row, becomes.rows)))
    yield from _masks(was.masks, becomes.masks)
    yield from _quotas(was, becomes)
    if was.assurance is not becomes.assurance:
        less = _ASSURANCES.index(becomes.assurance) < _ASSURANCES.index(was.assurance)
        yield _more(less), f"assurance {was.assurance} becomes {becomes.assurance}"
    if was.refer != becomes.refer:
        direction = 0 if was.refer and becomes.refer else _more(becomes.refer is None)
        yield direction, f"refer {was.refer or 'nothing'} becomes {becomes.refer or 'nothing'}"
    for needed, old, new in (
        ("the consent of the person concerned", was.consent, becomes.consent),
        ("the matter confirmed by the consumer's case system", was.matter, becomes.matter),
    ):
        if old != new:
            yield _more(old), f"{'no longer needs' if old else 'now needs'} {needed}"


def _within(old: str, new: str) -> int:
    """1 where the new name certainly stands for all the old one did, -1 the other way round."""
    if _includes(new, old):
        return 1
    return -1 if _includes(old, new) else 0


def _includes(wide: str, narrow: str) -> bool:
    """Whether all departments, a level, or a level in a region surely has all of another one."""
    level, _, region = narrow.partition("@")
    if wide == ANY or not region:
        return wide == ANY
    return wide == level or ("@" in wide and narrow.startswith(wide))


def _sets(name: str, old: tuple[str, ...], new: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    if old == new:
        return
    if ANY in (*old, *new):
        yield (1 if ANY in new else -1), f"{name} {' '.join(old)} becomes {' '.join(new)}"
        return
    for more in sorted(set(new) - set(old)):
        yield 1, f"{name} gains {more}"
    for less in sorted(set(old) - set(new)):
        yield -1, f"{name} loses {less}"


def _more(more: bool) -> int:  # noqa: FBT001  the one thing there is to say
    return 1 if more else -1


def _validity(was: Grant, becomes: Grant) -> Iterator[tuple[int, str]]:
    for name, old, new, later in (
        ("valid_from", was.valid_from, becomes.valid_from, -1),
        ("valid_until", was.valid_until, becomes.valid_until, 1),
    ):
        if old != new:
            direction = later if new > old else -later
            yield direction, f"{name} {day(old)} becomes {day(new)}"


def day(at: int) -> str:
    """The day of a moment in milliseconds of Unix time, as a grant has it."""
    return datetime.fromtimestamp(at / 1000, UTC).date().isoformat()


def _row(term: RowTerm) -> str:
    """A term as a grant has it."""
    return f"{term.field}={REGION if term.value is None else term.value}"


def _demands(name: str, old: set[str], new: set[str]) -> Iterator[tuple[int, str]]:
    for more in sorted(new - old):
        yield -1, f"{name} gains {more}"
    for less in sorted(old - new):
        yield 1, f"{name} loses {less}"


def _masks(
    old: Mapping[FieldName, MaskRule], new: Mapping[FieldName, MaskRule]
) -> Iterator[tuple[int, str]]:
    for field in sorted(old.keys() | new.keys()):
        was, becomes = old.get(field), new.get(field)
        if was == becomes:
            continue
        if was is None or becomes is MaskRule.REDACT:
            direction = -1
        elif becomes is None or was is MaskRule.REDACT:
            direction = 1
        else:
            direction = 0
        yield direction, f"mask of {field}: {was or 'none'} becomes {becomes or 'none'}"


def _quotas(was: Grant, becomes: Grant) -> Iterator[tuple[int, str]]:
    old = {(each.per, each.period): each.most for each in was.quota}
    new = {(each.per, each.period): each.most for each in becomes.quota}
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if before != after:
            more = after is None or (before is not None and after > before)
            words = f"{before or 'none'} becomes {after or 'none'}"
            yield _more(more), f"quota {key[0]}/{key[1]}: {words}"


def _besides(old: RuleSet, new: RuleSet) -> Iterator[Difference]:
    """What changed of resources, purposes, posts and the model."""
    parts = (
        ("resource", old.catalogue.resources, new.catalogue.resources),
        ("purpose", old.catalogue.purposes, new.catalogue.purposes),
        ("post", old.posts, new.posts),
    )
    for what, before, after in parts:
        listed_before = {_name(key): value for key, value in before.items()}
        listed_after = {_name(key): value for key, value in after.items()}
        for name in sorted(listed_before.keys() | listed_after.keys()):
            if name not in listed_before:
                yield Difference(Change.ADDED, f"{what} {name}", ())
            elif name not in listed_after:
                yield Difference(Change.REMOVED, f"{what} {name}", ())
            elif listed_before[name] != listed_after[name]:
                yield Difference(Change.CHANGED, f"{what} {name}", ())
    if old.model != new.model:
        yield Difference(Change.CHANGED, "model.conf", ())


def _name(key: object) -> str:
    return "/".join(key) if isinstance(key, tuple) else str(key)
