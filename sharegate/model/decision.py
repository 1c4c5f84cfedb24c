"""What the decision point answers."""

from enum import StrEnum
from typing import NewType

from msgspec import Struct

from sharegate.model.catalogue import FieldName, Resource
from sharegate.model.grant import GrantId

RuleSetHash = NewType("RuleSetHash", str)


class Reason(StrEnum):
    """Why there is no answer. A closed list: it labels a metric and names a problem type."""

    # the request cannot be read
    MALFORMED = "malformed-request"
    # it asks for what is not there
    UNKNOWN_PROVIDER = "unknown-provider"
    UNKNOWN_RESOURCE = "unknown-resource"
    UNKNOWN_MODE = "unknown-mode"
    UNKNOWN_PURPOSE = "unknown-purpose"
    UNKNOWN_FIELD = "unknown-field"
    UNKNOWN_RECEIPT = "unknown-receipt"
    # the rules say no
    LEGAL_BASIS = "legal-basis-refused"
    NO_GRANT = "no-grant"
    DENIED = "denied-by-rule"
    FIELD_REFUSED = "field-refused"
    NOT_SHARED = "not-shared"
    UNDECIDABLE = "undecidable"
    # it was asked before
    REPLAYED = "replayed"
    # it was signed so long ago that whether it was asked before is forgotten
    STALE = "stale-request"
    # the source gave none
    SOURCE_UNAVAILABLE = "source-unavailable"
    SOURCE_TIMEOUT = "source-timeout"


class Permit(Struct, frozen=True, gc=False):
    """The rules let this request through, and what they still demand (the obligations).

    Attributes:
        grant: The one grant that applies; never the union of several.
        fields: What may leave, in the order it will.
        row_limit: The most rows that may leave.
    """

    rule_set: RuleSetHash
    grant: GrantId
    resource: Resource
    fields: tuple[FieldName, ...]
    row_limit: int


class Deny(Struct, frozen=True, gc=False):
    """The request goes no further.

    Attributes:
        rule: The grant that denied it, where one did.
        pointer: The member of the request at fault (RFC 6901), as the consumer spelt it.
        detail: One sentence for the consumer, without any data of the provider.
    """

    rule_set: RuleSetHash
    reason: Reason
    rule: GrantId | None
    pointer: str | None
    detail: str


Decision = Permit | Deny
