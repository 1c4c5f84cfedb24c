"""Quotas in memory: what PostgreSQL keeps, as plainly as it can be said."""

from collections import Counter
from dataclasses import dataclass, field
from uuid import UUID

from sharegate.authorize.quota import Claim


@dataclass
class Counts:
    """What all gateways of one audit log share."""

    used: Counter[bytes] = field(default_factory=Counter)
    held: dict[UUID, Claim] = field(default_factory=dict)


class MemoryQuotas:
    def __init__(self, counts: Counts) -> None:
        self.counts = counts

    async def reserve(self, claim: Claim) -> int | None:
        used = self.counts.used
        for place, term in enumerate(claim.terms):
            if used[term.key] >= term.most:
                return place
        used.update(term.key for term in claim.terms)
        self.counts.held[claim.exchange_id] = claim
        return None

    def settle(self, exchange_id: UUID, *, answered: bool) -> None:
        claim = self.counts.held.pop(exchange_id, None)
        if claim is not None and not answered:
            self.counts.used.subtract(term.key for term in claim.terms)

    def sweep(self, oldest: int, recorded: dict[UUID, str]) -> None:
        for claim in list(self.counts.held.values()):
            if claim.signed_at < oldest:
                kind = recorded.get(claim.exchange_id)
                answered = kind is not None and kind not in {"refusal", "failure"}
                self.settle(claim.exchange_id, answered=answered)
