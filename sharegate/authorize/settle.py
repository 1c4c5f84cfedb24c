"""Settle what the rules alone cannot: bring in facts from outside, or deny.

In this order, and each only where it is demanded:

1. the ruling the request cites, where the rules referred or denied it (`rulings`)
2. the consent of the person concerned: the provider's consent register confirms it (`matters`)
3. the matter: the consumer's case system confirms it (`matters`)
4. the quotas of the grant: one more answer has its place in each (`quota`)

Most permits demand nothing of this and do not come here. Whatever fails, is late or cannot be
believed denies, and the denial walks on to be recorded.
"""

from collections.abc import Awaitable
from typing import Protocol
from zoneinfo import ZoneInfo

from msgspec import structs

from sharegate.authorize.matters import Asks, Confirm, Inquiry, Trouble, Unanswered
from sharegate.authorize.quota import (
    Claim,
    Quotas,
    QuotaUnavailable,
    span_of,
    terms_of,
    used_up,
)
from sharegate.errors import LeavesTheWalk
from sharegate.model.decision import Deny, Permit, Reason
from sharegate.model.grant import GrantId
from sharegate.model.passage import Decided, Disclosure, Outcome
from sharegate.observe import Observer, Settling, SettlingFailed


class Rulings(Protocol):
    """Knows what officers ruled in cases the rules do not settle."""

    async def use(self, decided: Decided, at: int) -> Decided:
        """Let the ruling that the request cites speak, once; or deny.

        Args:
            decided: A referral, or a denial whose request cites a ruling.
            at: Milliseconds of Unix time at which the request arrived.

        Raises:
            AuditLogUnavailable: Its use cannot be written down.
        """

    def ended(self, decided: Decided, outcome: Outcome) -> None:
        """List what was referred; give back a ruling where nothing was disclosed."""


class Settle:
    """The second half of the second room."""

    def __init__(
        self,
        rulings: Rulings,
        confirm: Confirm,
        quotas: Quotas,
        observe: Observer,
        *,
        zone: ZoneInfo,
        key: bytes,
    ) -> None:
        """Settle by what these know.

        Args:
            rulings: Lets rulings speak.
            confirm: Asks case systems and consent registers.
            quotas: Counts answers.
            observe: Told of whatever failed.
            zone: Whose midnight begins a day and a month.
            key: Of the hashes under which counts are kept (`quota.counting_key`).
        """
        self._rulings = rulings
        self._confirm = confirm
        self._quotas = quotas
        self._observe = observe
        self._zone = zone
        self._key = key

    async def __call__(self, decided: Decided) -> Decided:
        """Settle it. A denial is a value like a permit.

        Raises:
            AuditLogUnavailable: The use of a ruling cannot be written down.
        """
        if not isinstance(decided.decision, Permit):
            ruled = self._rulings.use(decided, decided.identified.at)
            decided = await self._or_deny(Settling.RULING, decided, ruled)
        if isinstance(decided.decision, Permit) and decided.decision.needs_consent:
            decided = await self._or_deny(Settling.CONSENT, decided, self._consent(decided))
        if isinstance(decided.decision, Permit) and decided.decision.confirm_matter:
            decided = await self._or_deny(Settling.MATTER, decided, self._matter(decided))
        if isinstance(decided.decision, Permit) and decided.decision.quota:
            decided = await self._or_deny(Settling.QUOTA, decided, self._quota(decided))
        return decided

    def ended(self, decided: Decided, outcome: Outcome) -> None:
        """Count it if it was answered, or else give its places and its ruling back.

        Args:
            decided: As settled.
            outcome: As recorded.
        """
        self._rulings.ended(decided, outcome)
        if isinstance(decided.decision, Permit) and decided.decision.quota:
            answered = isinstance(outcome, Disclosure)
            self._quotas.settle(decided.identified.exchange_id, answered=answered)

    async def _or_deny(
        self, step: Settling, decided: Decided, settling: Awaitable[Decided]
    ) -> Decided:
        """Take one step; whatever goes wrong in it, nobody is permitted by it."""
        try:
            return await settling
        except LeavesTheWalk:
            raise
        except (Unanswered, QuotaUnavailable) as error:
            kind = str(error)
        except Exception as error:  # noqa: BLE001  fails closed; its text may carry data
            kind = type(error).__name__
        self._observe(SettlingFailed(step, kind))
        return _denied(decided, *_UNSETTLED[step])

    async def _consent(self, decided: Decided) -> Decided:
        inquiry = _inquiry(Asks.CONSENT, decided)
        if inquiry.request.consent is None:
            return _denied(
                decided,
                Reason.CONSENT,
                "/consent",
                "This needs the consent of the person concerned.",
            )
        if not inquiry.persons:
            return _denied(
                decided, Reason.CONSENT, "/where", "A consent is one person's: ask by who it is."
            )
        if await self._confirm(inquiry):
            return decided
        return _denied(
            decided,
            Reason.CONSENT,
            "/consent",
            "The provider's consent register does not confirm this consent.",
        )

    async def _matter(self, decided: Decided) -> Decided:
        if await self._confirm(_inquiry(Asks.MATTER, decided)):
            return decided
        return _denied(
            decided, Reason.MATTER, "/matter", "Your case system does not confirm this matter."
        )

    async def _quota(self, decided: Decided) -> Decided:
        permit, identified = decided.decision, decided.identified
        assert isinstance(permit, Permit)
        terms = terms_of(permit, identified.caller, identified.at, self._zone, self._key)
        claim = Claim(identified.exchange_id, identified.signed_at, terms)
        place = await self._quotas.reserve(claim)
        if place is None:
            return decided
        quota = permit.quota[place]
        span = span_of(identified.at, quota.period, self._zone)
        return _denied(decided, Reason.QUOTA, None, used_up(quota, span, self._zone))


_UNSETTLED = {
    Settling.RULING: (Reason.UNDECIDABLE, "/ruling", "The ruling cannot be looked up now."),
    Settling.CONSENT: (
        Reason.CONSENT,
        "/consent",
        "The provider's consent register could not be asked.",
    ),
    Settling.MATTER: (Reason.MATTER, "/matter", "Your case system could not be asked."),
    Settling.QUOTA: (Reason.UNDECIDABLE, None, "It is not known how many answers there were."),
}


def _inquiry(asks: Asks, decided: Decided) -> Inquiry:
    identified, request, permit = decided.identified, decided.request, decided.decision
    assert isinstance(permit, Permit)
    if request is None:
        raise Unanswered(Trouble.UNREADABLE)
    fields = permit.resource.fields
    persons = {name: value for name, value in request.where.items() if fields[name].person}
    return Inquiry(asks, identified.exchange_id, identified.at, identified.caller, request, persons)


def _denied(decided: Decided, reason: Reason, pointer: str | None, detail: str) -> Decided:
    """Deny what was permitted or referred; the entry still names the grant."""
    before = decided.decision
    rule: GrantId | None
    match before:
        case Permit():
            rule = before.grant
        case Deny():
            rule = before.rule
        case _:
            rule = before.permit.grant
    deny = Deny(before.rule_set, reason, rule, pointer, detail)
    return structs.replace(decided, decision=deny)
