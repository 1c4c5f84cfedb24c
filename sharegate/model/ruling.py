"""What officers sign: a ruling, an opening past the rules, and the review of one.

Each is a statement, signed by the Ed25519 keys of persons of the registry (RFC 8032) over a label,
a line feed and the statement as RFC 8785 canonicalises it. All text in it is exact: two statements
that look alike and are not the same bytes are two statements.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated, Final, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from sharegate.model.decision import Reason

DAY_MS: Final = 86_400_000
MOST_RULING_MS: Final = 30 * DAY_MS
MOST_OPENING_MS: Final = DAY_MS
REVIEW_WITHIN_MS: Final = 3 * DAY_MS
MAX_STATEMENT: Final = 32_768

_Name = Annotated[str, Meta(pattern=r"^[!-~]{1,128}\Z")]
_Code = Annotated[str, Meta(pattern=r"^[!-~]{1,63}\Z")]
_Fields = Annotated[tuple[_Code, ...], Meta(max_length=64)]
_Words = Annotated[str, Meta(min_length=1, max_length=2_000)]
_Moment = Annotated[int, Meta(ge=0, lt=2**53)]
_encode: Final = msgspec.json.Encoder(order="sorted").encode


class Effect(StrEnum):
    """What an officer says to a referred request."""

    PERMIT = "permit"
    REFUSE = "refuse"


class Ruling(Struct, frozen=True, gc=False, forbid_unknown_fields=True, kw_only=True):
    """An officer's answer to one referral.

    Attributes:
        referral: The exchange that was referred.
        by: The person who rules.
        where: What was asked by, the person concerned among it.
        legal_basis: The norm the ruling rests on.
        fields: What may leave at most; empty for all that the rules would have let out.
        at, expires: Milliseconds of Unix time; from `expires` on it is of no use.
    """

    id: UUID
    referral: UUID
    by: _Code
    provider: _Code
    consumer: _Code
    officer: _Name
    resource: _Code
    purpose: _Code
    matter: _Code
    where: Mapping[str, str | int | bool]
    question: _Code
    effect: Effect
    legal_basis: _Code
    fields: _Fields
    at: _Moment
    expires: _Moment


class Opening(Struct, frozen=True, gc=False, forbid_unknown_fields=True, kw_only=True):
    """Two officers open a way past the rules, for one officer of a consumer and a while.

    Attributes:
        by: The two persons, in order of their ids.
        fields: What may leave.
        reason: Why the rules cannot be waited for.
        at, expires: As for a ruling.
    """

    id: UUID
    by: tuple[_Code, _Code]
    provider: _Code
    consumer: _Code
    officer: _Name
    resource: _Code
    purpose: _Code
    fields: Annotated[tuple[_Code, ...], Meta(min_length=1, max_length=64)]
    row_limit: Annotated[int, Meta(ge=1, le=10_000)]
    reason: _Words
    at: _Moment
    expires: _Moment


class Finding(StrEnum):
    """What a review found."""

    JUSTIFIED = "justified"
    UNJUSTIFIED = "unjustified"


class Review(Struct, frozen=True, gc=False, forbid_unknown_fields=True, kw_only=True):
    """An auditor's judgement of an opening, afterwards."""

    id: UUID
    opening: UUID
    by: _Code
    finding: Finding
    remarks: _Words
    at: _Moment


Statement = Ruling | Opening | Review
_LABELS: Final[Mapping[type[Statement], bytes]] = {
    Ruling: b"sharegate-ruling/v1\n",
    Opening: b"sharegate-break-glass/v1\n",
    Review: b"sharegate-review/v1\n",
}


def said(statement: Statement) -> bytes:
    """The statement's canonical JSON."""
    return _encode(statement)


def signed_bytes(statement: Statement) -> bytes:
    """What is signed."""
    return _LABELS[type(statement)] + said(statement)


def same(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    """Whether two maps say the same; JSON's true is not the integer 1."""
    return _encode(one) == _encode(other)


class SignedRuling(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A ruling as it travels; the signature in standard base64."""

    statement: Ruling
    signatures: Annotated[tuple[str], Meta(description="one")]


class SignedOpening(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """An opening as it travels; a signature of each person, in the order of `by`."""

    statement: Opening
    signatures: tuple[str, str]


class SignedReview(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A review as it travels."""

    statement: Review
    signatures: tuple[str]


class Fate(StrEnum):
    """What became of a statement that was brought."""

    PROPOSED = "proposed"  # it has its place, and no entry yet
    RECORDED = "recorded"  # it was brought before, and is in force
    TAKEN = "ruled"  # another statement has its place
    UNKNOWN = "unknown"  # nothing like this was referred


class Referral(Struct, frozen=True, gc=False):
    """What was referred, as its provider's officer gets to see it.

    Attributes:
        entry: Its place in the audit log.
        leaf, sealed, wrapped: The entry and its sealed detail, which the provider's key opens;
            `wrapped` is None once erased.
        ruling: The ruling on it, or None where there is none yet.
        used: Whether that has let an exchange through.
    """

    exchange_id: UUID
    entry: int
    at: int
    consumer: str
    resource: str
    purpose: str
    question: str
    leaf: bytes
    sealed: bytes
    wrapped: bytes | None
    ruling: UUID | None
    used: bool


class KeptOpening(Struct, frozen=True, gc=False):
    """An opening, and whether it was reviewed.

    Attributes:
        review_due: Milliseconds of Unix time by which it must be.
    """

    statement: Opening
    review_due: int
    reviewed: bool


class Heard(Struct, frozen=True, gc=False):
    """It is recorded and in force.

    Attributes:
        entry: Its place in the audit log; None where it was recorded before.
    """

    id: UUID
    entry: int | None


class NotHeard(Struct, frozen=True, gc=False):
    """It is not accepted, and why."""

    reason: Reason
    detail: str


Signed = TypeVar("Signed", SignedRuling, SignedOpening, SignedReview)


def reader_of(kind: type[Signed]) -> Callable[[bytes], Signed]:
    """Make what reads one kind.

    It raises ValueError, naming the member but no value, for whatever is not exactly of its form.
    """
    decoder = msgspec.json.Decoder(kind, strict=True)

    def read(content: bytes) -> Signed:
        if len(content) > MAX_STATEMENT:
            raise ValueError("is longer than a statement")
        try:
            return decoder.decode(content)
        except msgspec.MsgspecError as error:
            raise ValueError(str(error)) from None
        except RecursionError:
            raise ValueError("is nested too deeply") from None

    return read


read_ruling: Final = reader_of(SignedRuling)
read_opening: Final = reader_of(SignedOpening)
read_review: Final = reader_of(SignedReview)


def written(signed: SignedRuling | SignedOpening | SignedReview) -> bytes:
    """Write it as it travels."""
    return _encode(signed)
