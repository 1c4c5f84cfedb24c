"""THE WALK. Read this first.

Identify who asks; authorize the question; fetch the answer; record it; and only then release
it. Each stage takes the one type that only the stage before it makes, so the order cannot be
wrong. Refusals and failures of a source are values that walk on and are recorded like answers.
Only :class:`~sharegate.errors.LeavesTheWalk` ends a walk early: nobody proved who asks, or it
cannot be written down. There is no setting that turns recording off.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol
from uuid import UUID

from sharegate.errors import AuditLogUnavailable
from sharegate.model.decision import Permit, Reason
from sharegate.model.party import DepartmentId
from sharegate.model.passage import (
    Arrived,
    Covered,
    Decided,
    Disclosure,
    Fetched,
    Identified,
    Outcome,
    Recorded,
    Refusal,
    Released,
)
from sharegate.model.ruling import Heard, NotHeard, Referral
from sharegate.observe import Exchanged, Observer, ReferralsListed


class Authorize(Protocol):
    """What the walk needs of `authorize`."""

    def __call__(self, identified: Identified) -> Decided:
        """Decide the access request in the body."""

    def refuse(self, identified: Identified, reason: Reason, detail: str) -> Decided:
        """Deny what is wrong with a request besides its body."""

    def catalogue(self, identified: Identified) -> Mapping[str, object]:
        """What this officer may learn of the catalogue."""


class Settle(Protocol):
    """What the walk needs of `authorize` where the rules alone do not decide."""

    async def __call__(self, decided: Decided) -> Decided:
        """Bring in what only others know (a ruling, a consent, a matter, a count), or deny."""

    def ended(self, decided: Decided, outcome: Outcome) -> None:
        """Say what came of it: only answers count, and no ruling is lost on a failure."""


class Hearing(Protocol):
    """What the walk needs of `authorize` for officers who rule."""

    async def referrals(self, identified: Identified) -> Sequence[Referral] | NotHeard:
        """What was referred to the asker's department, if he may rule on it."""

    async def rule(self, identified: Identified) -> Heard | NotHeard:
        """Take a signed ruling: prove it, record it, and only then put it into force."""


class Recorder(Protocol):
    """What the walk needs of `record`."""

    def require_usable(self) -> None:
        """Raise :class:`AuditLogUnavailable` at once if recording is known to be impossible."""

    def require_witnessed(self, *, detail: bool) -> None:
        """Raise :class:`AuditLogUnavailable` while the log's witnesses have seen too little."""

    async def record(self, fetched: Fetched) -> Recorded:
        """Write it down durably, under a signed checkpoint, or raise AuditLogUnavailable."""

    async def find(
        self, consumer: DepartmentId, exchange_id: UUID, *, cosigned: bool = False
    ) -> Covered | None:
        """Where a consumer's own earlier exchange stands in the audit log, or None."""


class Release(Protocol):
    """What the walk needs of `release`."""

    def __call__(self, recorded: Recorded, *, receipt: bool) -> Released:
        """Let go what was recorded."""

    def receipt(self, covered: Covered) -> bytes:
        """Write the receipt of an entry."""


_NOT_BEGUN = Refusal(Reason.UNDECIDABLE, None, "")


@dataclass(frozen=True, slots=True)
class Gateway:
    """The five rooms, in the order a request walks them."""

    identify: Callable[[Arrived], Identified]
    authorize: Authorize
    settle: Settle
    fetch: Callable[[Decided], Awaitable[Fetched]]
    recorder: Recorder
    release: Release
    hearing: Hearing
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
        if decided.unsettled:
            decided = await self.settle(decided)
        self._require_witnessed(decided)
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

    async def receipt(
        self, arrived: Arrived, exchange_id: UUID | None, *, cosigned: bool = False
    ) -> bytes | Released:
        """Give a consumer the receipt of one of its own exchanges.

        Any other id, and what is no id (None), is a refusal like every other.

        Args:
            arrived: What the network brought.
            exchange_id: Which one.
            cosigned: Whether a quorum of witnesses must have cosigned what it leads to.

        Raises:
            Unauthenticated, AuditLogUnavailable: As for :meth:`exchange`.
        """
        began = perf_counter()
        identified = self._admit(arrived)
        known = perf_counter()
        if exchange_id is not None:
            covered = await self.recorder.find(
                identified.caller.consumer, exchange_id, cosigned=cosigned
            )
            if covered is not None:
                return self.release.receipt(covered)
        detail = "None of your exchanges has this id."
        decided = self.authorize.refuse(identified, Reason.UNKNOWN_RECEIPT, detail)
        return await self._walk_on(decided, began, known, receipt=False)

    def catalogue(self, arrived: Arrived) -> Mapping[str, object]:
        """Show an officer what is listed, and on what terms for him. Not an exchange: no entry.

        Raises:
            Unauthenticated, AuditLogUnavailable: As for :meth:`exchange`.
        """
        return self.authorize.catalogue(self._admit(arrived))

    async def referrals(self, arrived: Arrived) -> Sequence[Referral] | Released:
        """Show an officer what his department has to rule on; anybody else is refused.

        Raises:
            Unauthenticated, AuditLogUnavailable: As for :meth:`exchange`.
        """
        began = perf_counter()
        identified = self._admit(arrived)
        known = perf_counter()
        found = await self.hearing.referrals(identified)
        if isinstance(found, NotHeard):
            decided = self.authorize.refuse(identified, found.reason, found.detail)
            return await self._walk_on(decided, began, known, receipt=False)
        self.observe(ReferralsListed())
        return found

    async def rule(self, arrived: Arrived) -> Heard | Released:
        """Take a signed ruling; one that is not accepted is a refusal like every other.

        Raises:
            Unauthenticated, AuditLogUnavailable: As for :meth:`exchange`.
        """
        began = perf_counter()
        identified = self._admit(arrived)
        known = perf_counter()
        heard = await self.hearing.rule(identified)
        if isinstance(heard, NotHeard):
            decided = self.authorize.refuse(identified, heard.reason, heard.detail)
            return await self._walk_on(decided, began, known, receipt=False)
        return heard

    def _admit(self, arrived: Arrived) -> Identified:
        """Identify, unless it is known that nothing can be recorded: then not even begin."""
        self.recorder.require_usable()
        return self.identify(arrived)

    def _require_witnessed(self, decided: Decided) -> None:
        """See that the witnesses are near enough for a person's data to be read.

        What two officers opened is answered all the same. What was reserved is given back.
        """
        try:
            self.recorder.require_witnessed(detail=True)
        except AuditLogUnavailable:
            decision = decided.decision
            if isinstance(decision, Permit) and decision.breaks_glass:
                return
            if decided.unsettled:
                self.settle.ended(decided, _NOT_BEGUN)
            raise

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
        if decided.unsettled:
            self.settle.ended(decided, outcome)
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
