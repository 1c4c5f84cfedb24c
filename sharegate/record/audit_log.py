"""The ports of this room: what it needs of whatever keeps the audit log, and of its signer."""

from datetime import datetime
from typing import Protocol
from uuid import UUID

from msgspec import Struct

from sharegate.errors import AuditLogUnavailable, Unavailable
from sharegate.model.passage import Covered


class Draft(Struct, frozen=True, gc=False):
    """An entry before it has a place.

    Attributes:
        replay_key: 32 bytes that no other signed request has.
        signed_at: Milliseconds of Unix time at which the consumer says it signed; 0 means now, by
            the audit log's own clock.
        core: What the leaf will hold after its number and its link.
        sealed: The detail's ciphertext.
        wrapped: The detail's key, wrapped.
        blind: The blind index kept beside the entry (see `record.blind`), or None.
    """

    exchange_id: UUID
    replay_key: bytes
    signed_at: int
    core: bytes
    sealed: bytes
    wrapped: bytes
    blind: bytes | None = None


class Appended(Struct, frozen=True, gc=False):
    """The entry is durable, at this place."""

    index: int


class Replayed(Struct, frozen=True, gc=False):
    """Nothing was appended: the entry at `index` already has this replay key."""

    index: int


class Stale(Struct, frozen=True, gc=False):
    """Nothing was appended: signed so long ago that whether it is a replay is forgotten."""


Fate = Appended | Replayed | Stale


class Lent(Struct, frozen=True, gc=False):
    """What came of an attempt to take the right to sign.

    Attributes:
        fence: The number it has now, or None where another signer has it.
        before: Whose it was last, or None where it was nobody's.
        until: Until when it was lent before this; the database's clock.
    """

    fence: int | None
    before: bytes | None
    until: datetime


class AuditLog(Protocol):
    """An append-only sequence of entries, numbered from 0 without gaps.

    Durability: `append` returns `Appended` only once the entry would survive the loss of power.
    Consistency: entries of all processes form one sequence; a replay key is used once, ever,
    across processes and restarts. Concurrency: any number of appends at once. Nobody retries: an
    append that raised may have been kept, and its replay key is then used up.
    """

    def require_usable(self) -> None:
        """Raise AuditLogUnavailable at once if it is known that nothing can be appended."""

    async def append(self, draft: Draft) -> Fate:
        """Append one entry.

        Raises:
            AuditLogUnavailable: It is not known to be durable.
        """

    async def find(self, exchange_id: UUID) -> int | None:
        """The place of an exchange's first entry, or None.

        Raises:
            AuditLogUnavailable: The log cannot be read.
        """


class Checkpoints(Protocol):
    """The log's signed checkpoints.

    A checkpoint handed out here was signed after its size and root were made durable in the
    signer's own memory, over bytes read back from the log.
    """

    def require_usable(self) -> None:
        """Raise AuditLogUnavailable at once if it is known that nothing will be signed."""

    async def covered(self, index: int) -> Covered:
        """Wait until a signed checkpoint covers the entry at `index`.

        Raises:
            AuditLogUnavailable: The signer stopped, or cannot read the log.
        """


class Witnesses(Protocol):
    """Those who saw the log only grow."""

    def require(self, *, detail: bool) -> None:
        """Raise AuditLogUnavailable while they have seen too little of it.

        Args:
            detail: Whether a person's data is about to be read.
        """

    async def covered(self, index: int) -> Covered:
        """Wait until enough of them have cosigned a checkpoint over an entry; prove it under that.

        Raises:
            AuditLogUnavailable: They have not, in the time there is.
        """


class NoWitnesses:
    """A log that nobody but its operator vouches for."""

    def require(self, *, detail: bool) -> None:
        """Nobody is waited for."""

    async def covered(self, index: int) -> Covered:
        """There is no such checkpoint."""
        raise AuditLogUnavailable(
            Unavailable.UNWITNESSED, f"entry {index} is of a log without witnesses"
        )
