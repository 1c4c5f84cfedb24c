"""What providers list: resources, their fields, and the purposes they may be asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NewType

from sharegate.model.party import DepartmentId

ResourceId = NewType("ResourceId", str)
FieldName = NewType("FieldName", str)
PurposeCode = NewType("PurposeCode", str)
SourceName = NewType("SourceName", str)


MAX_TEXT: Final = 16_384
"""Characters of the longest text that leaves. What is longer is a document, not a field: so wide a
row would be held in memory whole, several times over."""


class Mode(StrEnum):
    """How much an access request asks for. `submit`, `verify` and `evaluate` come later."""

    QUERY = "query"


class SharingClass(StrEnum):
    """How freely a resource is shared (Decree 809: three classes)."""

    UNCONDITIONAL = "unconditional"
    CONDITIONAL = "conditional"
    NOT_SHARED = "not-shared"


class Listed(StrEnum):
    """Who sees a resource in the catalogue."""

    MEMBERS = "members"
    GRANTED = "granted"


class Sensitivity(StrEnum):
    """How much harm a field's disclosure can do (PIPL art. 28 for `sensitive`)."""

    PUBLIC = "public"
    INTERNAL = "internal"
    PERSONAL = "personal"
    SENSITIVE = "sensitive"


class FieldType(StrEnum):
    """The type of a field's values on the wire.

    `decimal`, `date` and `timestamp` travel as strings, so that no reader rounds them.
    """

    TEXT = "text"
    INTEGER = "integer"
    DECIMAL = "decimal"
    BOOLEAN = "boolean"
    DATE = "date"
    TIMESTAMP = "timestamp"


class MaskRule(StrEnum):
    """What replaces a value before it leaves. A mask is not anonymisation."""

    NONE = "none"
    NAME = "name"  # the family name, then asterisks
    ID_NUMBER = "id-number"  # first six and last two characters
    PHONE = "phone"  # first three and last four digits
    TAIL = "tail"  # the last four characters
    YEAR = "year"  # of a date or timestamp
    REDACT = "redact"  # nothing at all


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a resource.

    Attributes:
        column: Its name at the source.
        key: Whether a request may ask by it (equality).
        person: Whether its value identifies the person concerned.
    """

    name: FieldName
    name_zh: str
    column: str
    type: FieldType
    sensitivity: Sensitivity
    mask: MaskRule
    key: bool
    person: bool = False


@dataclass(frozen=True, slots=True)
class OpenTerms:
    """On what terms an unconditionally shared resource is open to every department.

    Attributes:
        purposes: What it may be asked for.
        fields: What may leave, sorted.
    """

    purposes: frozenset[PurposeCode]
    fields: tuple[FieldName, ...]


@dataclass(frozen=True, slots=True)
class Resource:
    """Something a provider lists in its catalogue.

    Attributes:
        relation: Schema and table or view at the source, each a plain SQL identifier.
        row_limit: The most rows any answer may carry; never absent, so an answer fits in memory.
        open: The terms of an unconditionally shared resource; None where a grant is needed.
        not_shared_reason: Why it is not shared; None where it is.
        joint_owners: Other departments whose consent each change of its rules needs.
        onward: Whether a consumer may share on what it was given.
        update_frequency: How often the source is brought up to date, as the provider says.
        listed: Whether every member sees it in the catalogue, or only those with a grant.
        questions: What its rules may refer to an officer, by id.
    """

    provider: DepartmentId
    id: ResourceId
    version: int
    name_zh: str
    name_en: str
    sharing_class: SharingClass
    legal_ground: str
    source: SourceName
    relation: tuple[str, str]
    modes: frozenset[Mode]
    row_limit: int
    fields: Mapping[FieldName, Field]
    open: OpenTerms | None = None
    not_shared_reason: str | None = None
    joint_owners: tuple[DepartmentId, ...] = ()
    onward: bool = False
    update_frequency: str | None = None
    listed: Listed = Listed.MEMBERS
    questions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Purpose:
    """A code from the closed list of purposes.

    Attributes:
        legal_bases: Codes of the norms that allow it; a request names exactly one of them.
    """

    code: PurposeCode
    name_zh: str
    name_en: str
    legal_bases: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Everything that may be asked for, and what for."""

    resources: Mapping[tuple[DepartmentId, ResourceId], Resource]
    purposes: Mapping[PurposeCode, Purpose]
