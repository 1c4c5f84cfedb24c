"""What each stage of the walk hands to the next.

Every stage's type is made in exactly one place, the room whose work it witnesses (a test holds
the call sites to that), and each stage takes only what the stage before it makes: so the wrong
order does not type-check.
"""

from collections.abc import Mapping
from typing import Protocol
from uuid import UUID

from msgspec import Struct

from sharegate.model.catalogue import Catalogue, FieldName
from sharegate.model.decision import Decision, Permit, Reason, Refer
from sharegate.model.party import Caller, Department, DepartmentId
from sharegate.model.request import AccessRequest


class Arrived(Struct, frozen=True, gc=False):
    """Bytes from the network; nothing about them is proven.

    Attributes:
        at: Milliseconds of Unix time at which they were read.
        path: As received, undecoded; `query` likewise, without the question mark.
        headers: By lower-case name; several fields of one name joined by ``", "`` (RFC 9110 5.3).
        peer: What the client certificate of its connection is called by: its thumbprint, then its
            SPIFFE id if it has one; empty where the connection shows no certificate.
    """

    exchange_id: UUID
    at: int
    method: str
    authority: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    peer: tuple[str, ...] = ()


class Identified(Struct, frozen=True, gc=False):
    """Made by `identify`: the caller is proven, and every byte of the question is his.

    Attributes:
        signed_at: Milliseconds of Unix time at which the consumer says it signed.
        replay_key: 32 bytes that no other signed request has.
        body_digest: SHA-256 of the body, which the signature covers.
    """

    exchange_id: UUID
    at: int
    caller: Caller
    signed_at: int
    replay_key: bytes
    body: bytes
    body_digest: bytes


class Names(Struct, frozen=True, gc=False):
    """What there was when it was decided, whatever is in force once it is recorded.

    No other name stands in its entry.
    """

    catalogue: Catalogue
    departments: Mapping[DepartmentId, Department]


class Decided(Struct, frozen=True, gc=False):
    """Made by `authorize`: the rules have spoken.

    Attributes:
        request: None where the body could not be read.
    """

    identified: Identified
    request: AccessRequest | None
    decision: Decision
    names: Names

    @property
    def unsettled(self) -> bool:
        """Whether it needs, or used, facts from outside, is a referral, or cites a ruling."""
        if isinstance(self.decision, Permit):
            return self.decision.unsettled
        if isinstance(self.decision, Refer):
            return True
        return self.request is not None and self.request.ruling is not None


Value = str | int | bool | None


class Disclosure(Struct, frozen=True, gc=False):
    """The rows that will leave, masked and within the permit.

    Attributes:
        limit_reached: Whether there are as many rows as the limit lets out (there may be more).
    """

    permit: Permit
    fields: tuple[FieldName, ...]
    rows: tuple[tuple[Value, ...], ...]
    limit_reached: bool


class Refusal(Struct, frozen=True, gc=False):
    """The request was refused: by the rules, as unreadable, or as asked before."""

    reason: Reason
    pointer: str | None
    detail: str


class Failure(Struct, frozen=True, gc=False):
    """It was permitted, but the source gave no answer. Nothing of the source's error is kept."""

    reason: Reason
    detail: str


Outcome = Disclosure | Refusal | Failure


class Fetched(Struct, frozen=True, gc=False):
    """Made by `fetch`: what there is to record, and perhaps to release."""

    decided: Decided
    outcome: Outcome


class Paths(Protocol):
    """Knows the inclusion paths of the leaves signed together (see `audit.tree.Batch`)."""

    def path(self, index: int) -> tuple[bytes, ...]:
        """The inclusion path of the leaf at `index`, its sibling first."""


class Covered(Struct, frozen=True, gc=False):
    """An entry's place in the audit log, under a checkpoint the log has signed.

    Attributes:
        index: The entry's place, from 0.
        leaf: Its exact bytes.
        checkpoint: The signed note (C2SP tlog-checkpoint) whose size exceeds `index`.
        paths: Gives the entry's inclusion path under that checkpoint, when asked.
    """

    index: int
    leaf: bytes
    checkpoint: bytes
    paths: Paths


class Recorded(Struct, frozen=True, gc=False):
    """Made by `record`: durably written, and covered by a signed checkpoint.

    The only thing `release` accepts.

    Attributes:
        answer: The exact bytes that may leave and to which the entry commits; None where the
            outcome is not a disclosure.
    """

    exchange_id: UUID
    outcome: Outcome
    answer: bytes | None
    covered: Covered


class Released(Struct, frozen=True, gc=False):
    """Made by `release`: what goes back to the consumer.

    Attributes:
        body: The answer's exact bytes; None where there is none.
        receipt: The C2SP tlog-proof, where it was asked for.
    """

    exchange_id: UUID
    outcome: Outcome
    index: int
    body: bytes | None
    receipt: bytes | None
