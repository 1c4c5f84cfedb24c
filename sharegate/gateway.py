"""THE WALK. Read this first.

Identify who asks; authorize the question; fetch the answer; record it; and only then release
it. Each stage takes the one type that only the stage before it makes, so the order cannot be
wrong. Refusals and failures of a source are values that walk on and are recorded like answers.
Only :class:`~sharegate.errors.LeavesTheWalk` ends a walk early: nobody proved who asks, or it
cannot be written down. There is no setting that turns recording off.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol
from uuid import UUID

from sharegate.model.decision import Reason
from sharegate.model.party import DepartmentId
from sharegate.model.passage import (
    Arrived,
    Covered,
    Decided,
    Disclosure,
    Fetched,
    Identified,
    Recorded,
    Released,
)
from sharegate.observe import Exchanged, Observer


class Authorize(Protocol):
    """What the walk needs of `authorize`."""

    def __call__(self, identified: Identified) -> Decided:
        """Decide the access request in the body."""

    def refuse(self, identified: Identified, reason: Reason, detail: str) -> Decided:
        """Deny what is wrong with a request besides its body."""


class Recorder(Protocol):
    """What the walk needs of `record`."""

    def require_usable(self) -> None:
        """Raise :class:`AuditLogUnavailable` at once if recording is known to be impossible."""

    async def record(self, fetched: Fetched) -> Recorded:
        """Write it down durably, under a signed checkpoint, or raise AuditLogUnavailable."""

    async def find(self, consumer: DepartmentId, exchange_id: UUID) -> Covered | None:
        """Where a consumer's own earlier exchange stands in the audit log, or None."""


class Release(Protocol):
    """What the walk needs of `release`."""

    def __call__(self, recorded: Recorded, *, receipt: bool) -> Released:
        """Let go what was recorded."""

    def receipt(self, covered: Covered) -> bytes:
        """Write the receipt of an entry."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """The five rooms, in the order a request walks them."""

    identify: Callable[[Arrived], Identified]
    authorize: Authorize
    fetch: Callable[[Decided], Awaitable[Fetched]]
    recorder: Recorder
    release: Release
    observe: Observer

    async def exchange(self, arrived: Arrived, *, receipt: bool) -> Released:
        """Answer one access request, if it may be answered and once it is recorded.

        Args:
            arrived: What the network brought.
            receipt: Whether the receipt is wanted along with the answer.

        Raises:
            Unauthenticated: Nobody proved who asks.
            AuditLogUnavailable: It is not known to be recorded, so nothing leaves.
        """
        began = perf_counter()
        identified = self._admit(arrived)
        known = perf_counter()
        decided = self.authorize(identified)
        return await self._walk_on(decided, began, known, receipt=receipt)

    async def refuse(self, arrived: Arrived, detail: str) -> Released:
        """Refuse a request that no body could mend; recorded, once it is known whose it is.

        Raises:
            Unauthenticated, AuditLogUnavailable: As for :meth:`exchange`.
        """
        began = perf_counter()
        identified = self._admit(arrived)
        known = perf_counter()
        decided = self.authorize.refuse(identified, Reason.MALFORMED, detail)
        return await self._walk_on(decided, began, known, receipt=False)

    async def receipt(self, arrived: Arrived, exchange_id: UUID | None) -> bytes | Released:
        """Give a consumer the receipt of one of its own exchanges.

        Any other id, and what is no id (None), is a refusal like every other.

        Raises:
            Unauthenticated, AuditLogUnavailable: As for :meth:`exchange`.
        """
        began = perf_counter()
        identified = self._admit(arrived)
        known = perf_counter()
        if exchange_id is not None:
            covered = await self.recorder.find(identified.caller.consumer, exchange_id)
            if covered is not None:
                return self.release.receipt(covered)
        detail = "None of your exchanges has this id."
        decided = self.authorize.refuse(identified, Reason.UNKNOWN_RECEIPT, detail)
        return await self._walk_on(decided, began, known, receipt=False)

    def _admit(self, arrived: Arrived) -> Identified:
        """Identify, unless it is known that nothing can be recorded: then not even begin."""
        self.recorder.require_usable()
        return self.identify(arrived)

    async def _walk_on(
        self, decided: Decided, began: float, known: float, *, receipt: bool
    ) -> Released:
        """Fetch, record, release: the same way for an answer and for a refusal."""
        ruled = perf_counter()
        fetched = await self.fetch(decided)
        held = perf_counter()
        recorded = await self.recorder.record(fetched)
        written = perf_counter()
        released = self.release(recorded, receipt=receipt)
        gone = perf_counter()
        outcome = released.outcome
        self.observe(
            Exchanged(
                reason=None if isinstance(outcome, Disclosure) else outcome.reason,
                rows=len(outcome.rows) if isinstance(outcome, Disclosure) else 0,
                seconds=(
                    known - began,
                    ruled - known,
                    held - ruled,
                    written - held,
                    gone - written,
                ),
            )
        )
        return released
