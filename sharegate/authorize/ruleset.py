"""Read the policies folder into one immutable rule set, or refuse all of it.

A rule set is never half right: a line that cannot be used may have been a denial, so one fault
anywhere refuses the whole folder and names the line.

The hash of a rule set is what an auditor gets with the usual tools inside the folder::

    sha256sum model.conf purposes.csv */resources.toml */grants.csv | LC_ALL=C sort -k2 | sha256sum

that is: SHA-256, in lower-case hex, over one line for each file that decides (its SHA-256 in
lower-case hex, two spaces, its path inside the folder, a line feed), the lines ordered by path.
"""

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from sharegate.authorize.catalogue import read_purposes, read_resources
from sharegate.authorize.table import ID, read_table, read_text
from sharegate.errors import Misconfigured
from sharegate.model.catalogue import (
    Catalogue,
    FieldName,
    Mode,
    Purpose,
    PurposeCode,
    Resource,
    ResourceId,
    SharingClass,
)
from sharegate.model.decision import RuleSetHash
from sharegate.model.grant import ANY, Effect, Grant, GrantId
from sharegate.model.party import DepartmentId

GRANTS_HEADER = (
    "id",
    "effect",
    "consumer",
    "resource",
    "mode",
    "purpose",
    "fields",
    "row_limit",
    "valid_from",
    "valid_until",
)
MAX_GRANTS = 1_000_000
# So many grants may share consumer, resource, mode and purpose: what one decision may cost is
# bounded by the form of the rules, not by their number.
MAX_GRANTS_PER_KEY = 64

_MODEL = "model.conf"
_PURPOSES = "purposes.csv"
_RESOURCES = "resources.toml"
_GRANTS = "grants.csv"
# Which files there may be, and whether each decides.
_FOLDER = {_MODEL: True, _PURPOSES: True, "README.md": False}
_PROVIDER_FOLDER = {_RESOURCES: True, _GRANTS: True, "grants_test.csv": False}
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_ROWS = re.compile(r"[1-9][0-9]{0,5}")


_Word = TypeVar("_Word", bound=str)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Everything that decides, read once.

    Attributes:
        model: The text of model.conf.
        departments: Who may be a consumer.
        grants: In the order of their providers, then of their lines.
    """

    hash: RuleSetHash
    model: str
    catalogue: Catalogue
    departments: frozenset[DepartmentId]
    grants: tuple[Grant, ...]


def load_rule_set(folder: Path, departments: Collection[DepartmentId]) -> RuleSet:
    """Read the policies folder.

    Args:
        folder: model.conf, purposes.csv and one folder for each provider.
        departments: The members, from the registry: nobody else is a provider or a consumer.

    Raises:
        Misconfigured: A file is missing, unreadable, unknown or wrong, or there is no grant at
            all. Names the file and the line or key.
    """
    members = frozenset(departments)
    files = _read_files(folder, members)
    purposes = read_purposes(str(folder / _PURPOSES), files[_PURPOSES])
    resources: dict[tuple[DepartmentId, ResourceId], Resource] = {}
    grants: list[Grant] = []
    ids: set[str] = set()
    for provider in sorted(members):
        if f"{provider}/{_RESOURCES}" not in files:
            continue  # it provides nothing
        own = read_resources(
            str(folder / provider / _RESOURCES), files[f"{provider}/{_RESOURCES}"], provider
        )
        resources |= {(provider, name): resource for name, resource in own.items()}
        reader = _GrantReader(str(folder / provider / _GRANTS), own, members, purposes, ids)
        grants.extend(reader.read(files[f"{provider}/{_GRANTS}"]))
        if len(grants) > MAX_GRANTS:
            raise Misconfigured(reader.place, f"makes more than {MAX_GRANTS} grants in all")
    if not grants:
        raise Misconfigured(str(folder), "contains no grant: an empty rule set is not served")
    return RuleSet(
        hash=_hash(files),
        model=read_text(str(folder / _MODEL), files[_MODEL]),
        catalogue=Catalogue(MappingProxyType(resources), MappingProxyType(dict(purposes))),
        departments=members,
        grants=tuple(grants),
    )


def _read_files(folder: Path, members: Collection[str]) -> dict[str, bytes]:
    """Read each file that decides, once, so that what is hashed is what is used."""
    files: dict[str, bytes] = {}
    for entry in _entries(folder):
        if not entry.is_dir():
            _read_into(files, entry, entry.name, _FOLDER)
        elif entry.name not in members:
            raise Misconfigured(str(entry), "is a folder of no registered department")
        else:
            for inner in _entries(entry):
                _read_into(files, inner, f"{entry.name}/{inner.name}", _PROVIDER_FOLDER)
            _require(files, folder, [f"{entry.name}/{name}" for name in (_RESOURCES, _GRANTS)])
    _require(files, folder, [_MODEL, _PURPOSES])
    return files


def _read_into(files: dict[str, bytes], path: Path, name: str, known: Mapping[str, bool]) -> None:
    decides = known.get(path.name)
    if decides is None:
        # A misspelt grants.csv passed over would be every denial in it lost.
        raise Misconfigured(str(path), "is no policy file, perhaps a misspelt one")
    if decides:
        files[name] = _bytes(path)


def _require(files: Collection[str], folder: Path, names: list[str]) -> None:
    for name in names:
        if name not in files:
            raise Misconfigured(str(folder / name), "is missing")


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise Misconfigured(str(folder), error.strerror or "cannot be read") from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Misconfigured(str(path), error.strerror or "cannot be read") from error


def _hash(files: Mapping[str, bytes]) -> RuleSetHash:
    lines = (
        f"{hashlib.sha256(files[path]).hexdigest()}  {path}\n"
        for path in sorted(files, key=str.encode)
    )
    return RuleSetHash(hashlib.sha256("".join(lines).encode()).hexdigest())


class _GrantReader:
    """Reads one provider's grants.csv. It knows no resource but this provider's own."""

    def __init__(
        self,
        place: str,
        resources: Mapping[ResourceId, Resource],
        members: Collection[DepartmentId],
        purposes: Mapping[PurposeCode, Purpose],
        ids: set[str],
    ) -> None:
        self.place = place
        self._resources = resources
        # One object for each word: 100,000 grants share a few hundred strings.
        self._consumers: dict[str, DepartmentId] = {d: d for d in (DepartmentId(ANY), *members)}
        self._purposes: dict[str, PurposeCode] = {c: c for c in (PurposeCode(ANY), *purposes)}
        self._modes: dict[str, Mode | str] = {ANY: ANY, **{mode.value: mode for mode in Mode}}
        self._ids = ids
        self._lists: dict[tuple[str, str], tuple[FieldName, ...]] = {}
        self._keys: dict[tuple[str, str, str, str], int] = {}

    def read(self, content: bytes) -> Iterator[Grant]:
        """Yield a grant for each line, or raise Misconfigured naming the line."""
        for line, values in read_table(self.place, content, GRANTS_HEADER):
            try:
                yield self._grant(values)
            except _Wrong as wrong:
                raise Misconfigured(f"{self.place}:{line}", str(wrong)) from None

    def _grant(self, values: list[str]) -> Grant:
        name, effect_word, consumer, resource_id, mode, purpose, fields, rows, since, until = values
        effect = _EFFECTS.get(effect_word)
        if effect is None:
            # Casbin would pass over a misspelt effect, and so lose a denial.
            raise _Wrong("effect is exactly allow or deny")
        resource = self._resources.get(ResourceId(resource_id))
        if resource is None:
            raise _Wrong("resource is none of this provider's own")
        self._count((consumer, resource_id, mode, purpose))
        valid_from, valid_until = _midnight(since), _midnight(until)
        if valid_from >= valid_until:
            raise _Wrong("valid_until, the first day on which it no longer applies, is not later")
        allowed = effect is Effect.ALLOW
        return Grant(
            id=self._new_id(name),
            effect=effect,
            consumer=_one_of(self._consumers, consumer, "consumer is no registered department"),
            provider=resource.provider,
            resource=resource.id,
            mode=_one_of(self._modes, mode, "mode is no known mode"),
            purpose=_one_of(self._purposes, purpose, "purpose is not in purposes.csv"),
            fields=self._allowed_fields(resource, fields) if allowed else _nothing(fields),
            row_limit=_row_limit(resource, rows) if allowed else len(_nothing(rows)),
            valid_from=valid_from,
            valid_until=valid_until,
        )

    def _new_id(self, name: str) -> GrantId:
        if ID.fullmatch(name) is None:
            raise _Wrong("id is a lower-case letter, then letters, digits and hyphens, at most 63")
        if name in self._ids:
            raise _Wrong(f"the id {name} is used above or by another provider")
        self._ids.add(name)
        return GrantId(name)

    def _count(self, key: tuple[str, str, str, str]) -> None:
        self._keys[key] = count = self._keys.get(key, 0) + 1
        if count > MAX_GRANTS_PER_KEY:
            raise _Wrong(
                f"is one more than {MAX_GRANTS_PER_KEY} grants for the same consumer, resource, "
                "mode and purpose"
            )

    def _allowed_fields(self, resource: Resource, text: str) -> tuple[FieldName, ...]:
        if resource.sharing_class is SharingClass.NOT_SHARED:
            raise _Wrong("this resource is not shared, so nothing of it can be allowed")
        found = self._lists.get((resource.id, text))
        if found is not None:
            return found
        names = [FieldName(name) for name in text.split(" ")]
        for name in names:
            if name not in resource.fields:
                raise _Wrong("fields names none or one that the resource does not have")
        if len(set(names)) != len(names):
            raise _Wrong("fields names one twice")
        # The resource's own string objects, sorted.
        fields = tuple(sorted(name for name in resource.fields if name in names))
        self._lists[resource.id, text] = fields
        return fields


class _Wrong(Exception):
    """One line cannot be used."""


_EFFECTS: dict[str, Effect] = {effect.value: effect for effect in Effect}


def _one_of(known: Mapping[str, _Word], word: str, otherwise: str) -> _Word:
    found = known.get(word)
    if found is None:
        raise _Wrong(f"{otherwise}, nor *")
    return found


def _nothing(text: str) -> tuple[FieldName, ...]:
    if text:
        raise _Wrong("a deny has neither fields nor row_limit")
    return ()


def _row_limit(resource: Resource, text: str) -> int:
    if _ROWS.fullmatch(text) is None or int(text) > resource.row_limit:
        raise _Wrong(f"row_limit is 1 to {resource.row_limit}, the resource's own")
    return int(text)


@lru_cache(maxsize=4096)
def _midnight(day: str) -> int:
    if _DAY.fullmatch(day) is None:
        raise _Wrong("a day is written YYYY-MM-DD")
    try:
        moment = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise _Wrong("there is no such day") from None
    return int(moment.timestamp()) * 1000
