"""What an agreement between two departments was compiled to."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NewType

from msgspec import Struct

from sharegate.model.catalogue import FieldName, MaskRule, Mode, PurposeCode, ResourceId
from sharegate.model.party import DepartmentId

GrantId = NewType("GrantId", str)
ANY = "*"


class Effect(StrEnum):
    """What a grant does when it applies. The words are Casbin's."""

    ALLOW = "allow"
    DENY = "deny"


class Assurance(StrEnum):
    """How surely a request is the consumer's, least first."""

    CHANNEL = "channel"  # it came over the department's own connection
    SIGNED = "signed"  # the department signed it
    COSIGNED = "cosigned"  # and a quorum of witnesses has seen its entry before it is answered


class Per(StrEnum):
    """Whose answers a quota counts."""

    OFFICER = "officer"
    DEPARTMENT = "department"


class Period(StrEnum):
    """Over how long a quota counts, in the time zone of the settings."""

    DAY = "day"
    MONTH = "month"


class Quota(Struct, frozen=True, gc=False):
    """So many answers under one grant for one officer or department in one period."""

    per: Per
    period: Period
    most: int


class RowTerm(Struct, frozen=True, gc=False):
    """Only rows whose field has this value, or begins with the consumer's own region code.

    Attributes:
        value: What the field equals; None for the consumer's own region.
    """

    field: FieldName
    value: str | None


# One object for all: a rule set has a hundred thousand grants without masks.
NO_MASKS: Final[Mapping[FieldName, MaskRule]] = MappingProxyType({})


class Grant(Struct, frozen=True, gc=False):
    """One rule of a provider about one of its own resources.

    A `Struct`, as there are a hundred thousand and more: it is made four times as fast.

    `provider` and `resource` are never ``"*"``, so nobody grants what is not his.

    Attributes:
        consumer: A department, a class of departments such as ``county`` or ``county@3301``
            (`model.party`), or ``"*"``.
        posts: The posts of which an officer must hold one; ``("*",)`` for any officer.
        modes, purposes: As in requests; ``("*",)`` for all.
        fields: The fields it lets out, sorted; empty for a deny.
        rows: Only rows for which all of these hold.
        masks: By field; each at least as strict as the resource's own.
        row_limit: The most rows of one answer; 0 for a deny.
        quota: How many answers, each counted by itself.
        assurance: The least that is demanded.
        refer: The question an officer must answer first, or None.
        consent: Whether the request must name the consent of the person concerned.
        matter: Whether the consumer's case system must confirm the matter.
        assessment: The id of the impact assessment (PIPL 55), or None.
        valid_from: First millisecond (Unix time) at which it applies.
        valid_until: First millisecond at which it no longer applies.
    """

    id: GrantId
    effect: Effect
    consumer: str
    posts: tuple[str, ...]
    provider: DepartmentId
    resource: ResourceId
    modes: tuple[Mode | str, ...]
    purposes: tuple[PurposeCode, ...]
    fields: tuple[FieldName, ...]
    row_limit: int
    valid_from: int
    valid_until: int
    rows: tuple[RowTerm, ...] = ()
    masks: Mapping[FieldName, MaskRule] = NO_MASKS
    quota: tuple[Quota, ...] = ()
    assurance: Assurance = Assurance.CHANNEL
    refer: str | None = None
    consent: bool = False
    matter: bool = False
    assessment: str | None = None
