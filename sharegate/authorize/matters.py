"""Ask who keeps matters or consents whether there is such a one; what is said, byte for byte. Pure.

A matter is confirmed by the case system of the consumer, which has the case; a consent by the
consent register of the provider, which answers for the data, and so never by whoever asks for them.
Both speak one protocol. A question is a POST whose body is JSON as RFC 8785 canonicalises it; the
answer to it is JSON with two members, ``answer`` (``confirmed`` or ``refused``) and ``question``,
the SHA-256 of the question's body in lower-case hexadecimal. The question holds 32 random bytes, so
no answer fits another one. Each is signed by a header of its own, `HEADER`: standard base64 of an
Ed25519 signature (RFC 8032) over the label (`QUESTION` or `ANSWER`) and the body as it was sent.
"""

from base64 import urlsafe_b64encode
from collections.abc import Mapping
from enum import StrEnum
from hashlib import sha256
from typing import Final, Protocol
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Struct

from sharegate.audit.text import read_base64, write_base64
from sharegate.audit.verdict import Malformed
from sharegate.errors import ShareGateError
from sharegate.model.catalogue import FieldName
from sharegate.model.party import Caller, DepartmentId
from sharegate.model.request import AccessRequest, Scalar

HEADER: Final = "Sharegate-Signature"
QUESTION: Final = b"sharegate-question/v1\n"
ANSWER: Final = b"sharegate-answer/v1\n"
NONCE_BYTES: Final = 32
MOST_BYTES: Final = 1024
_encode = msgspec.json.Encoder(order="sorted").encode


class Asks(StrEnum):
    """What a question is about."""

    CONSENT = "consent"
    MATTER = "matter"


class Said(StrEnum):
    """What the answer is."""

    CONFIRMED = "confirmed"
    REFUSED = "refused"


class Trouble(StrEnum):
    """Why there is no answer to be believed. A closed list, for a line to the operator."""

    NOT_CONFIGURED = "not-configured"
    DOWN = "down"
    SLOW = "slow"
    UNREADABLE = "unreadable"
    UNSIGNED = "unsigned"
    FOREIGN = "foreign"


class Unanswered(ShareGateError):
    """Nobody who may said whether there is such a matter or consent."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.value)
        self.trouble = trouble


class Keeper(Struct, frozen=True):
    """Who is asked, and whose answer is believed.

    Attributes:
        public: The raw Ed25519 public key that signs its answers.
    """

    url: str
    public: bytes


class Inquiry(Struct, frozen=True, gc=False):
    """What has to be confirmed, and for whom.

    Attributes:
        at: Milliseconds of Unix time at which the access request arrived.
        persons: By field: whom the request names as the person concerned.
    """

    asks: Asks
    exchange_id: UUID
    at: int
    caller: Caller
    request: AccessRequest
    persons: Mapping[FieldName, Scalar]

    @property
    def keeper(self) -> DepartmentId:
        """Whose case system, or whose consent register, is asked."""
        if self.asks is Asks.MATTER:
            return self.caller.consumer
        return DepartmentId(self.request.provider)


class Confirm(Protocol):
    """Asks a case system or a consent register."""

    async def __call__(self, inquiry: Inquiry, /) -> bool:
        """Say whether it is confirmed. Answers within a bounded time, and asks once.

        Raises:
            Unanswered: There is no answer, or none that is proven to be one to this question.
        """


async def nobody(_: Inquiry) -> bool:
    """Confirm nothing: where no case system and no consent register is configured."""
    raise Unanswered(Trouble.NOT_CONFIGURED)


def question(inquiry: Inquiry, nonce: bytes) -> bytes:
    """Write the body of a question.

    Args:
        inquiry: What is asked.
        nonce: 32 random bytes, never used before.
    """
    request, caller = inquiry.request, inquiry.caller
    asked: dict[str, object] = {
        "asks": inquiry.asks,
        "at": inquiry.at,
        "consumer": caller.consumer,
        "exchange": str(inquiry.exchange_id),
        "legal_basis": request.legal_basis,
        "matter": request.matter,
        "mode": request.mode,
        "nonce": urlsafe_b64encode(nonce).rstrip(b"=").decode(),
        "officer": caller.officer,
        "persons": inquiry.persons,
        "provider": request.provider,
        "purpose": request.purpose,
        "resource": request.resource,
    }
    if request.consent is not None:
        asked["consent"] = request.consent
    return _encode(asked)


def signature(label: bytes, body: bytes, key: Ed25519PrivateKey) -> str:
    """Sign a body as the header carries it."""
    return write_base64(key.sign(label + body))


class _Answer(Struct, frozen=True, forbid_unknown_fields=True):
    answer: Said
    question: str


_decode = msgspec.json.Decoder(_Answer).decode


def confirmed(keeper: Keeper, asked: bytes, body: bytes, signed: str | None) -> bool:
    """Read an answer, believing nothing of it that is not proven.

    Args:
        keeper: Whose answer it has to be.
        asked: The body of the question.
        body: Of the answer, as it came.
        signed: The header's value, or None where there is none.

    Raises:
        Unanswered: It is not signed by the keeper, cannot be read, or answers another question.
    """
    if signed is None:
        raise Unanswered(Trouble.UNSIGNED)
    try:
        public = Ed25519PublicKey.from_public_bytes(keeper.public)
        public.verify(read_base64(signed), ANSWER + body)
    except (InvalidSignature, Malformed, ValueError):
        raise Unanswered(Trouble.UNSIGNED) from None
    try:
        answer = _decode(body)
    except (msgspec.DecodeError, ValueError):  # ValueError: not UTF-8
        raise Unanswered(Trouble.UNREADABLE) from None
    if answer.question != sha256(asked).hexdigest():
        raise Unanswered(Trouble.FOREIGN)
    return answer.answer is Said.CONFIRMED
