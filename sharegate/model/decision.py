"""What the decision point answers."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NewType

from msgspec import Struct

from sharegate.model.catalogue import FieldName, MaskRule, Resource
from sharegate.model.grant import NO_MASKS, GrantId, Quota

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
    ASSURANCE = "assurance-too-low"
    # the rules leave it to an officer
    REFERRED = "referred"
    RULING_REFUSED = "ruling-refused"
    # it is not the asker's to answer what was referred
    NOT_RULING = "not-yours-to-rule"
    # what the permit demands besides is not there
    CONSENT = "consent-missing"
    MATTER = "matter-unconfirmed"
    QUOTA = "quota-exhausted"
    # it was asked before
    REPLAYED = "replayed"
    # it was signed so long ago that whether it was asked before is forgotten
    STALE = "stale-request"
    # the source gave none
    SOURCE_UNAVAILABLE = "source-unavailable"
    SOURCE_TIMEOUT = "source-timeout"


# No grant in a file has a dot in its id.
BREAK_GLASS: Final = "break-glass."


class Permit(Struct, frozen=True, gc=False):
    """The rules let this request through, and what they still demand (the obligations).

    Attributes:
        grant: The one grant that applies; never the union of several.
        fields: What may leave, in the order it will.
        row_limit: The most rows that may leave.
        rows: Only rows in which each of these fields has this value, or begins with it where
            the flag says so.
        masks: By field, where stricter than the resource's own.
        quota: What still has to be counted.
        needs_consent: Whether the consent the request names must be confirmed.
        confirm_matter: Whether its matter must be.
        ruling: The ruling or opening that let it through where the rules alone did not.
        cosigned: Whether the answer waits until a quorum of witnesses has cosigned its entry.
    """

    rule_set: RuleSetHash
    grant: GrantId
    resource: Resource
    fields: tuple[FieldName, ...]
    row_limit: int
    rows: tuple[tuple[FieldName, str, bool], ...] = ()
    masks: Mapping[FieldName, MaskRule] = NO_MASKS
    quota: tuple[Quota, ...] = ()
    needs_consent: bool = False
    confirm_matter: bool = False
    ruling: str | None = None
    cosigned: bool = False

    @property
    def breaks_glass(self) -> bool:
        """Whether two officers opened a way past the rules for it."""
        return self.grant.startswith(BREAK_GLASS)

    @property
    def unsettled(self) -> bool:
        """Whether facts from outside are needed, or one was used that may be given back."""
        used = self.ruling is not None
        return used or bool(self.quota) or self.needs_consent or self.confirm_matter


class Refer(Struct, frozen=True, gc=False):
    """The rules leave this case to an officer of the provider.

    Attributes:
        permit: What a ruling may let through.
        question: The id of what the officer must answer.
        detail: The question, in words.
    """

    rule_set: RuleSetHash
    permit: Permit
    question: str
    detail: str


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


Decision = Permit | Deny | Refer
