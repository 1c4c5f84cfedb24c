"""What an agreement between two departments was compiled to."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

from sharegate.model.catalogue import FieldName, Mode, PurposeCode, ResourceId
from sharegate.model.party import DepartmentId

GrantId = NewType("GrantId", str)
ANY = "*"


class Effect(StrEnum):
    """What a grant does when it applies. The words are Casbin's."""

    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class Grant:
    """One rule of a provider about one of its own resources.

    `consumer`, `mode` and `purpose` may be ``"*"``; `provider` and `resource` never, so nobody
    grants what is not his.

    Attributes:
        fields: The fields it lets out, sorted; empty for a deny.
        row_limit: The most rows of one answer; 0 for a deny.
        valid_from: First millisecond (Unix time) at which it applies.
        valid_until: First millisecond at which it no longer applies.
    """

    id: GrantId
    effect: Effect
    consumer: DepartmentId
    provider: DepartmentId
    resource: ResourceId
    mode: Mode | str
    purpose: PurposeCode
    fields: tuple[FieldName, ...]
    row_limit: int
    valid_from: int
    valid_until: int
