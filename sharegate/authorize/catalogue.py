"""Read what providers list and what it may be asked for."""

import re
import tomllib
from collections.abc import Container, Mapping
from types import MappingProxyType
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from sharegate.authorize.table import ID, read_table, read_text
from sharegate.errors import Misconfigured
from sharegate.model.catalogue import (
    Field,
    FieldName,
    FieldType,
    Listed,
    MaskRule,
    Mode,
    OpenTerms,
    Purpose,
    PurposeCode,
    Resource,
    ResourceId,
    Sensitivity,
    SharingClass,
    SourceName,
)
from sharegate.model.party import DepartmentId

PURPOSES_HEADER = ("code", "name_zh", "name_en", "legal_basis", "norm")
MAX_ROW_LIMIT = 10_000

_Id = Annotated[str, Meta(pattern=rf"\A{ID.pattern}\Z")]
# Plain lower-case SQL identifiers: they never need quoting and cannot carry a statement.
_Name = Annotated[str, Meta(pattern=r"\A[a-z_][a-z0-9_]{0,62}\Z")]
_Relation = Annotated[str, Meta(pattern=r"\A[a-z_][a-z0-9_]{0,62}\.[a-z_][a-z0-9_]{0,62}\Z")]
_Words = Annotated[str, Meta(pattern=r"\A\S", max_length=200)]
_BREAK = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


class _Field(Struct, frozen=True, forbid_unknown_fields=True):
    name: _Name
    name_zh: _Words
    column: _Name
    type: FieldType
    sensitivity: Sensitivity
    mask: MaskRule
    key: bool = False
    person: bool = False


class _Question(Struct, frozen=True, forbid_unknown_fields=True):
    id: _Id
    zh: _Words
    en: _Words


class _Resource(Struct, frozen=True, forbid_unknown_fields=True):
    id: _Id
    version: Annotated[int, Meta(ge=1)]
    name_zh: _Words
    name_en: _Words
    sharing_class: SharingClass
    legal_ground: _Words
    source: _Id
    relation: _Relation
    modes: Annotated[list[Mode], Meta(min_length=1)]
    row_limit: Annotated[int, Meta(ge=1, le=MAX_ROW_LIMIT)]
    field: Annotated[list[_Field], Meta(min_length=1, max_length=64)]
    not_shared_reason: _Words | None = None
    accepted_purposes: Annotated[list[_Id], Meta(min_length=1)] | None = None
    open_fields: Annotated[list[_Name], Meta(min_length=1)] | None = None
    joint_owners: list[_Id] = []
    onward: bool = False
    update_frequency: _Words | None = None
    listed: Listed = Listed.MEMBERS
    question: list[_Question] = []


class _Resources(Struct, frozen=True, forbid_unknown_fields=True):
    resource: Annotated[list[_Resource], Meta(min_length=1)]


def read_resources(
    place: str,
    content: bytes,
    provider: DepartmentId,
    members: Container[DepartmentId],
    purposes: Container[PurposeCode],
) -> Mapping[ResourceId, Resource]:
    """Read one provider's resources.toml.

    Args:
        place: The file's name, for errors.
        content: Its bytes.
        provider: Whose it is.
        members: Who may own a resource jointly.
        purposes: The closed list.

    Raises:
        Misconfigured: Not TOML, a key unknown, missing or wrong, something listed twice, a
            resource without a key field, a key field with a mask (what is masked may not be
            asked by, else the asking undoes the mask), or terms that its sharing class does not
            have or lacks.
    """
    text = read_text(place, content)
    try:
        listed = msgspec.convert(tomllib.loads(text), _Resources)
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(place, f"is not TOML: {error}") from None
    except msgspec.ValidationError as error:
        raise Misconfigured(place, str(error)) from None
    resources: dict[ResourceId, Resource] = {}
    for i, raw in enumerate(listed.resource):
        at = f"{place} resource[{i}] {raw.id}"
        resource = _resource(at, raw, provider, members, purposes)
        if resource.id in resources:
            raise Misconfigured(at, "is listed twice")
        resources[resource.id] = resource
    return resources


def _resource(
    at: str,
    raw: _Resource,
    provider: DepartmentId,
    members: Container[DepartmentId],
    purposes: Container[PurposeCode],
) -> Resource:
    for key in ("name_zh", "name_en", "legal_ground", "not_shared_reason", "update_frequency"):
        _require_one_line(f"{at} {key}", getattr(raw, key) or "")
    owners = tuple(DepartmentId(owner) for owner in raw.joint_owners)
    if len({provider, *owners}) != 1 + len(owners) or any(one not in members for one in owners):
        raise Misconfigured(f"{at} joint_owners", "names no member, or one twice")
    fields: dict[FieldName, Field] = {}
    for listed in raw.field:
        name = FieldName(listed.name)
        if name in fields:
            raise Misconfigured(f"{at} field {name}", "is listed twice")
        if listed.key and listed.mask is not MaskRule.NONE:
            raise Misconfigured(f"{at} field {name}", "a key field cannot have a mask")
        _require_one_line(f"{at} field {name} name_zh", listed.name_zh)
        fields[name] = Field(
            name=name,
            name_zh=listed.name_zh,
            column=listed.column,
            type=listed.type,
            sensitivity=listed.sensitivity,
            mask=listed.mask,
            key=listed.key,
            person=listed.person,
        )
    if not any(field.key for field in fields.values()):
        raise Misconfigured(at, "has no key field, so nobody could ask for it")
    columns = [field.column for field in fields.values()]
    for column in columns:
        # A masked field and an unmasked one over the same column would undo the mask.
        if columns.count(column) > 1:
            raise Misconfigured(at, f"lists the column {column} twice")
    schema, _, relation = raw.relation.partition(".")
    return Resource(
        provider=provider,
        id=ResourceId(raw.id),
        version=raw.version,
        name_zh=raw.name_zh,
        name_en=raw.name_en,
        sharing_class=raw.sharing_class,
        legal_ground=raw.legal_ground,
        source=SourceName(raw.source),
        relation=(schema, relation),
        modes=frozenset(raw.modes),
        row_limit=raw.row_limit,
        fields=MappingProxyType(fields),
        open=_open_terms(at, raw, fields, purposes),
        not_shared_reason=raw.not_shared_reason,
        joint_owners=owners,
        onward=raw.onward,
        update_frequency=raw.update_frequency,
        listed=raw.listed,
        questions=_questions(at, raw),
    )


def _open_terms(
    at: str,
    raw: _Resource,
    fields: Mapping[FieldName, Field],
    purposes: Container[PurposeCode],
) -> OpenTerms | None:
    """The terms that the sharing class demands and allows, no others."""
    terms = raw.accepted_purposes, raw.open_fields
    if (raw.sharing_class is SharingClass.NOT_SHARED) != (raw.not_shared_reason is not None):
        raise Misconfigured(
            f"{at} not_shared_reason", "belongs to what is not shared, and only there"
        )
    if raw.sharing_class is not SharingClass.UNCONDITIONAL:
        if terms != (None, None):
            raise Misconfigured(
                f"{at} accepted_purposes", "belongs to what is unconditionally shared"
            )
        return None
    if raw.accepted_purposes is None or raw.open_fields is None:
        raise Misconfigured(
            at, "is unconditionally shared and needs both accepted_purposes and open_fields"
        )
    codes = frozenset(PurposeCode(code) for code in raw.accepted_purposes)
    if any(code not in purposes for code in codes):
        raise Misconfigured(f"{at} accepted_purposes", "names one that is not in purposes.csv")
    names = frozenset(FieldName(name) for name in raw.open_fields)
    if not names <= fields.keys():
        raise Misconfigured(f"{at} open_fields", "names one that the resource does not have")
    return OpenTerms(codes, tuple(sorted(name for name in fields if name in names)))


def _questions(at: str, raw: _Resource) -> Mapping[str, str]:
    questions: dict[str, str] = {}
    for asked in raw.question:
        if asked.id in questions:
            raise Misconfigured(f"{at} question {asked.id}", "is listed twice")
        _require_one_line(f"{at} question {asked.id}", asked.zh + asked.en)
        questions[asked.id] = f"{asked.zh} / {asked.en}"
    return MappingProxyType(questions)


def _require_one_line(at: str, words: str) -> None:
    if _BREAK.search(words) is not None:
        raise Misconfigured(at, "contains a line break or an invisible character")


def read_purposes(place: str, content: bytes) -> Mapping[PurposeCode, Purpose]:
    """Read purposes.csv: one line for each purpose and each norm that allows it.

    A purpose that is withdrawn keeps one line, without legal basis and norm: grants may still name
    it, and no request is allowed by it.

    Raises:
        Misconfigured: Not such a table, a code is not an identifier, a line says the same twice,
            or two lines name one purpose differently; names the line.
    """
    bases: dict[tuple[PurposeCode, str, str], dict[str, str]] = {}
    names: dict[str, tuple[PurposeCode, str, str]] = {}
    for line, values in read_table(place, content, PURPOSES_HEADER):
        code, name_zh, name_en, basis, norm = values
        at = f"{place}:{line}"
        withdrawn = not basis and not norm
        if ID.fullmatch(code) is None or not (withdrawn or ID.fullmatch(basis)):
            raise Misconfigured(at, "code and legal_basis are lower-case letters, digits, hyphens")
        if not (name_zh.strip() and name_en.strip() and (withdrawn or norm.strip())):
            raise Misconfigured(at, "a name is empty")
        key = (PurposeCode(code), name_zh, name_en)
        if names.setdefault(code, key) != key:
            raise Misconfigured(at, f"names {code} differently from a line above")
        norms = bases.setdefault(key, {})
        if withdrawn and norms:
            raise Misconfigured(at, f"withdraws {code}, which a line above allows")
        if basis in norms or "" in norms:
            raise Misconfigured(at, f"lists {basis or code} twice for {code}")
        norms[basis] = norm
    if not names:
        raise Misconfigured(place, "lists no purpose")
    return {
        code: Purpose(code, name_zh, name_en, MappingProxyType({} if "" in norms else norms))
        for (code, name_zh, name_en), norms in bases.items()
    }
