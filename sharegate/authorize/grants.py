"""Read grants.csv: one line, one rule of one provider about its own resources."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from itertools import product
from typing import Any, Final, TypeVar

from sharegate.authorize.table import ID, read_table
from sharegate.errors import Misconfigured
from sharegate.model.catalogue import (
    FieldName,
    FieldType,
    MaskRule,
    Mode,
    Purpose,
    PurposeCode,
    Resource,
    ResourceId,
    Sensitivity,
    SharingClass,
)
from sharegate.model.grant import (
    ANY,
    NO_MASKS,
    Assurance,
    Effect,
    Grant,
    GrantId,
    Per,
    Period,
    Quota,
    RowTerm,
)
from sharegate.model.party import Department, Level

GRANTS_HEADER: Final = (
    "id",
    "effect",
    "consumer",
    "posts",
    "resource",
    "modes",
    "purposes",
    "fields",
    "rows",
    "masks",
    "row_limit",
    "quota",
    "assurance",
    "refer",
    "consent",
    "assessment",
    "valid_from",
    "valid_until",
)
MAX_GRANTS: Final = 1_000_000
# So many grants may share consumer, resource, mode and purpose: what one decision may cost is
# bounded by the form of the rules, not by their number.
MAX_GRANTS_PER_KEY: Final = 64
# Before a day anyone lives to see, after one nobody does: "always".
_ALWAYS: Final = (0, 253_402_300_800_000)

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_ROWS = re.compile(r"[1-9][0-9]{0,5}")
_CLASS = re.compile(rf"({'|'.join(Level)})(@[0-9]{{2}}([0-9]{{2}}){{0,2}})?")
_QUOTA = re.compile(r"(officer|department)/(day|month)=([1-9][0-9]{0,8})")
_ASSESSMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
_ROW_VALUE = re.compile(r"[^\s=@*][^\s=]{0,63}")
REGION = "@region"
_ANYTHING: Final = (ANY,)

_Word = TypeVar("_Word", bound=str)
T = TypeVar("T")


def open_grant(resource: Resource) -> Grant:
    """The rule that an unconditionally shared resource makes by itself.

    Its id has dots, which no grant's id has, so no line can be mistaken for it.
    """
    assert resource.open is not None
    return Grant(
        id=GrantId(f"unconditional.{resource.provider}.{resource.id}"),
        effect=Effect.ALLOW,
        consumer=ANY,
        posts=_ANYTHING,
        provider=resource.provider,
        resource=resource.id,
        modes=tuple(sorted(resource.modes)),
        purposes=tuple(sorted(resource.open.purposes)),
        fields=resource.open.fields,
        row_limit=resource.row_limit,
        valid_from=_ALWAYS[0],
        valid_until=_ALWAYS[1],
    )


_AFTER_CONSUMER: Final = Grant.__struct_fields__[3:]


class GrantReader:
    """Reads one provider's grants.csv. It knows no resource but this provider's own."""

    def __init__(
        self,
        place: str,
        resources: Mapping[ResourceId, Resource],
        members: Iterable[Department],
        purposes: Mapping[PurposeCode, Purpose],
        posts: Collection[str],
        ids: set[str],
    ) -> None:
        """Prepare to read one file.

        Args:
            place: Its name, for errors.
            resources: The provider's own.
            members: Who may be a consumer.
            purposes: The closed list.
            posts: The posts that exist.
            ids: The ids used so far by any provider; grows.
        """
        self.place = place
        self._resources = resources
        # One object for each word: 100,000 grants share a few hundred strings.
        self._consumers = {ANY: ANY} | {str(each.id): each.id for each in members}
        self._purposes = {str(code): code for code in purposes}
        self._posts = {post: post for post in posts}
        self._ids = ids
        # What a cell was read as: most lines repeat the cells of others.
        self._cells: dict[tuple[object, ...], object] = {}
        self._lines: dict[tuple[str, ...], tuple[Grant, tuple[Any, ...]]] = {}
        self._keys: dict[tuple[str, str, str, str], int] = {}

    def read(self, content: bytes) -> Iterator[Grant]:
        """Yield a grant for each line.

        Raises:
            Misconfigured: A line cannot be used; names it.
        """
        for line, values in read_table(self.place, content, GRANTS_HEADER):
            try:
                yield self._grant(values)
            except _Wrong as wrong:
                raise Misconfigured(f"{self.place}:{line}", str(wrong)) from None

    def faults(self, content: bytes) -> Iterator[Misconfigured]:
        """Yield what is wrong with each line, or with the table as a whole."""
        try:
            for line, values in read_table(self.place, content, GRANTS_HEADER):
                try:
                    self._grant(values)
                except _Wrong as wrong:
                    yield Misconfigured(f"{self.place}:{line}", str(wrong))
        except Misconfigured as error:
            yield error

    def _grant(self, values: list[str]) -> Grant:
        name, effect, consumer, *rest = values
        # Most lines differ from another one in their id and consumer only.
        line = effect, *rest
        alike = self._lines.get(line)
        if alike is None:
            grant = Grant(id=GrantId(""), consumer=ANY, **self._terms(*line))
            said = tuple(getattr(grant, each) for each in _AFTER_CONSUMER)
            self._lines[line] = alike = grant, said
        grant, said = alike
        consumer = self._consumer(consumer)
        self._count(consumer, rest[1], grant.modes, grant.purposes)
        # By position: by name it takes three times as long, 100,000 times.
        return Grant(self._new_id(name), grant.effect, consumer, *said)

    def _terms(
        self, effect_word: str, posts: str, resource_id: str, modes: str, purposes: str,
        fields: str, rows: str, masks: str, row_limit: str, quota: str, assurance: str,
        refer: str, consent: str, assessment: str, since: str, until: str,
    ) -> dict[str, Any]:  # fmt: skip
        """Read all of a line but whom it is about and its id."""
        effect = _EFFECTS.get(effect_word)
        if effect is None:
            # Casbin would pass over a misspelt effect, and so lose a denial.
            raise _Wrong("effect is exactly allow or deny")
        resource = self._resources.get(ResourceId(resource_id))
        if resource is None:
            raise _Wrong("resource is none of this provider's own")
        valid_from, valid_until = _midnight(since), _midnight(until)
        if valid_from >= valid_until:
            raise _Wrong("valid_until, the first day on which it no longer applies, is not later")
        asked = {
            "posts": self._cell(_words, posts, self._posts, "posts names none of posts.csv"),
            "modes": self._cell(_words, modes, _MODES, "modes names no known mode"),
            "purposes": self._cell(
                _words, purposes, self._purposes, "purposes names none of purposes.csv"
            ),
        }
        if effect is Effect.DENY:
            obliged = (fields, rows, masks, row_limit, quota, assurance, refer, consent, assessment)
            if any(obliged):
                raise _Wrong("a deny leaves everything from fields to assessment empty")
            terms: dict[str, object] = {"fields": (), "row_limit": 0}
        else:
            if resource.sharing_class is SharingClass.NOT_SHARED:
                raise _Wrong("this resource is not shared, so nothing of it can be allowed")
            named = self._cell(_fields, resource, fields)
            terms = {
                "fields": named,
                "rows": self._cell(_row_terms, resource, rows),
                "masks": self._cell(_masks, resource, named, masks),
                "row_limit": _row_limit(resource, row_limit),
                "quota": self._cell(_quotas, quota),
                "assurance": _ASSURANCES.get(assurance) or _wrong(
                    "assurance is exactly channel, signed or cosigned"
                ),
                "refer": _question(resource, refer),
                **_CONSENTS.get(consent, {}),
                "assessment": _assessment(resource, named, assessment),
            }  # fmt: skip
            if consent not in _CONSENTS:
                raise _Wrong("consent is empty, consent, matter, or consent matter")
        return {
            "effect": effect,
            "provider": resource.provider,
            "resource": resource.id,
            "valid_from": valid_from,
            "valid_until": valid_until,
            **asked,
            **terms,
        }

    def _cell(self, read: Callable[..., T], *cell: object) -> T:
        """Read a cell, or give what the same cell was read as before."""
        # By identity of what is not text: a resource or a dictionary is one object here.
        key = (read, *(part if isinstance(part, str | tuple) else id(part) for part in cell))
        found = self._cells.get(key)
        if found is None:
            self._cells[key] = found = read(*cell)
        return found  # type: ignore[return-value]

    def _consumer(self, word: str) -> str:
        found = self._consumers.get(word)
        if found is None:
            if _CLASS.fullmatch(word) is None:
                raise _Wrong("consumer is no registered department, no class of them, nor *")
            self._consumers[word] = found = word
        return found

    def _new_id(self, name: str) -> GrantId:
        if ID.fullmatch(name) is None:
            raise _Wrong("id is a lower-case letter, then letters, digits and hyphens, at most 63")
        if name in self._ids:
            raise _Wrong(f"the id {name} is used above or by another provider")
        self._ids.add(name)
        return GrantId(name)

    def _count(self, consumer: str, resource: str, modes: object, purposes: object) -> None:
        for mode, purpose in product(modes, purposes):  # type: ignore[call-overload]
            key = (consumer, resource, mode, purpose)
            self._keys[key] = count = self._keys.get(key, 0) + 1
            if count > MAX_GRANTS_PER_KEY:
                raise _Wrong(
                    f"is one more than {MAX_GRANTS_PER_KEY} grants for the same consumer, "
                    "resource, mode and purpose"
                )


class _Wrong(Exception):
    """One line cannot be used."""


def _wrong(sentence: str) -> Assurance:
    raise _Wrong(sentence)


_EFFECTS: Final = {effect.value: effect for effect in Effect}
_MODES: Final = {mode.value: mode for mode in Mode}
_ASSURANCES: Final = {assurance.value: assurance for assurance in Assurance}
_CONSENTS: Final[Mapping[str, dict[str, bool]]] = {
    "": {},
    "consent": {"consent": True},
    "matter": {"matter": True},
    "consent matter": {"consent": True, "matter": True},
}


def _words(text: str, known: Mapping[str, _Word], otherwise: str) -> tuple[_Word | str, ...]:
    if text == ANY:
        return _ANYTHING
    found = [known.get(word) for word in text.split(" ")]
    if None in found:
        raise _Wrong(f"{otherwise}, or *")
    if len(set(found)) != len(found):
        raise _Wrong("names one thing twice")
    return tuple(sorted(word for word in found if word is not None))


def _fields(resource: Resource, text: str) -> tuple[FieldName, ...]:
    names = [FieldName(name) for name in text.split(" ")]
    for name in names:
        if name not in resource.fields:
            raise _Wrong("fields names none or one that the resource does not have")
    if len(set(names)) != len(names):
        raise _Wrong("fields names one twice")
    # The resource's own string objects, sorted.
    return tuple(sorted(name for name in resource.fields if name in names))


def _row_terms(resource: Resource, text: str) -> tuple[RowTerm, ...]:
    terms = []
    for word in text.split(" ") if text else ():
        name, equals, value = word.partition("=")
        field = resource.fields.get(FieldName(name))
        if field is None or not equals or field.type is not FieldType.TEXT:
            raise _Wrong("rows has terms like field=value about text fields of the resource")
        if value != REGION and _ROW_VALUE.fullmatch(value) is None:
            raise _Wrong(f"the value of a rows term is {REGION} or 1 to 64 characters, no space")
        terms.append(RowTerm(field.name, None if value == REGION else value))
    if len({term.field for term in terms}) != len(terms):
        raise _Wrong("rows names a field twice")
    return tuple(terms)


def _masks(
    resource: Resource, granted: tuple[FieldName, ...], text: str
) -> Mapping[FieldName, MaskRule]:
    masks: dict[FieldName, MaskRule] = {}
    for word in text.split(" ") if text else ():
        name, _, rule_word = word.partition(":")
        rule = _MASK_RULES.get(rule_word)
        field = resource.fields.get(FieldName(name))
        if field is None or rule is None or field.name not in granted or field.name in masks:
            raise _Wrong("masks has terms like field:mask, one for a field that is granted")
        # Of two masks neither of which hides all, none is stricter than the other.
        if rule is MaskRule.NONE or (
            field.mask not in {MaskRule.NONE, rule} and rule is not MaskRule.REDACT
        ):
            raise _Wrong("a mask of a grant is stricter than the resource's own, or the same")
        masks[field.name] = rule
    return masks or NO_MASKS


def _row_limit(resource: Resource, text: str) -> int:
    if _ROWS.fullmatch(text) is None or int(text) > resource.row_limit:
        raise _Wrong(f"row_limit is 1 to {resource.row_limit}, the resource's own")
    return int(text)


def _quotas(text: str) -> tuple[Quota, ...]:
    quotas = []
    for word in text.split(" ") if text else ():
        found = _QUOTA.fullmatch(word)
        if found is None:
            raise _Wrong("quota has terms like officer/day=50 or department/month=1000")
        quotas.append(Quota(Per(found[1]), Period(found[2]), int(found[3])))
    if len({(quota.per, quota.period) for quota in quotas}) != len(quotas):
        raise _Wrong("quota counts the same twice")
    return tuple(quotas)


def _question(resource: Resource, text: str) -> str | None:
    if text and text not in resource.questions:
        raise _Wrong("refer names no question of the resource")
    return text or None


def _assessment(resource: Resource, granted: tuple[FieldName, ...], text: str) -> str | None:
    personal = {Sensitivity.PERSONAL, Sensitivity.SENSITIVE}
    if not text and any(resource.fields[name].sensitivity in personal for name in granted):
        # PIPL 55: whoever gives personal information to others assesses the impact beforehand.
        raise _Wrong("assessment is missing: a granted field is personal or sensitive")
    if text and _ASSESSMENT.fullmatch(text) is None:
        raise _Wrong("assessment is 1 to 64 ASCII letters, digits and hyphens")
    return text or None


_MASK_RULES: Final = {rule.value: rule for rule in MaskRule}


@lru_cache(maxsize=4096)
def _midnight(day: str) -> int:
    if _DAY.fullmatch(day) is None:
        raise _Wrong("a day is written YYYY-MM-DD")
    try:
        moment = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise _Wrong("there is no such day") from None
    return int(moment.timestamp()) * 1000
