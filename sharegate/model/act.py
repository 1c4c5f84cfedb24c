"""What is done about the rules, and with the log, beside exchanges: each is an entry of its own."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from msgspec import Struct

from sharegate.model.party import DepartmentId
from sharegate.model.passage import Covered

Fact = str | int | bool | tuple[str, ...]


class ActKind(StrEnum):
    """What was done. The list grows with the product; a kind's meaning never changes."""

    POLICY = "policy"  # a provider's rules, or the common ones, were put into force or refused
    REGISTRY = "registry"  # the registry was put into force or refused
    RULING = "ruling"  # an officer answered what the rules had referred
    BREAK_GLASS = "break-glass"  # two officers opened a way past the rules, for a while
    REVIEW = "review"  # somebody looked at such an opening afterwards
    AUDIT_READ = "audit-read"  # an auditor is about to read
    HOLD = "hold"  # an auditor is about to see to it that a detail is kept, or may go
    AVAILABILITY = "availability"  # the witnesses came near enough, or fell behind
    SUCCESSION = "succession"  # this log goes on for another that ended
    REQUEST = "request"  # this department is about to ask another one's gateway
    RECEIVED = "received"  # what came of that
    ERASE = "erase"  # a detail is about to be erased by whose data it is of
    ARCHIVE = "archive"  # old entries are about to leave the database for an archive


class Act(Struct, frozen=True, gc=False):
    """One administrative act.

    Attributes:
        at: Milliseconds of Unix time.
        by: Who did it: a person's id, a department's id, or ``administrators``.
        facts: What stands in the entry for everyone: registered names, codes, hashes and numbers,
            nothing personal.
        detail: What is sealed to the audit office, and to `provider` where there is one.
        once: 32 bytes: while the audit log remembers them (see `forget_replays`), the same act is
            not written again.
    """

    kind: ActKind
    at: int
    by: str
    facts: Mapping[str, Fact]
    detail: Mapping[str, object]
    provider: DepartmentId | None
    once: bytes


class RecordAct(Protocol):
    """Writes acts into the log."""

    async def record_act(self, act: Act, entry_id: UUID) -> Covered | None:
        """Write an act durably, under a signed checkpoint; None where it is there already.

        Raises:
            AuditLogUnavailable: It may not be there.
        """
