"""An audit log in memory: the adapter that the room's promises are tested without a database."""

import asyncio
from dataclasses import dataclass, field

from sharegate.audit.chain import GENESIS, encode_leaf
from sharegate.audit.tree import Batch, Frontier, leaf_hash
from sharegate.errors import AuditLogUnavailable
from sharegate.model.passage import Covered
from sharegate.record.audit_log import Appended, Draft, Replayed, Stale


@dataclass
class Kept:
    """What several gateways share and a restart does not lose."""

    leaves: list[bytes] = field(default_factory=list)
    drafts: list[Draft] = field(default_factory=list)
    replays: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    last: bytes = GENESIS
    remembers_from: int = 0
    now: int = 1_750_000_000_000

    def forget(self, milliseconds):
        self.remembers_from = max(self.remembers_from, self.now - milliseconds)
        self.replays = {
            key: (index, at)
            for key, (index, at) in self.replays.items()
            if at >= self.remembers_from
        }


class MemoryAuditLog:
    """One gateway's view of it. It also covers entries: each under a note that names the size."""

    def __init__(self, kept):
        self.kept = kept
        self.unusable = None

    def require_usable(self):
        if self.unusable is not None:
            raise AuditLogUnavailable(*self.unusable)

    async def append(self, draft):
        await asyncio.sleep(0)
        self.require_usable()
        kept = self.kept
        signed_at = draft.signed_at or kept.now
        if draft.replay_key in kept.replays:
            return Replayed(kept.replays[draft.replay_key][0])
        if signed_at < kept.remembers_from:
            return Stale()
        index = len(kept.leaves)
        leaf = encode_leaf(index, kept.last, draft.core)
        kept.leaves.append(leaf)
        kept.drafts.append(draft)
        kept.last = leaf_hash(leaf)
        kept.replays[draft.replay_key] = index, signed_at
        return Appended(index)

    async def find(self, exchange_id):
        self.require_usable()
        return next(
            (n for n, draft in enumerate(self.kept.drafts) if draft.exchange_id == exchange_id),
            None,
        )

    async def covered(self, index):
        self.require_usable()
        await asyncio.sleep(0)
        leaves = self.kept.leaves
        note = f"checkpoint of size {len(leaves)}".encode()
        return Covered(index, leaves[index], note, Batch(Frontier.empty(), map_hash(leaves)))


def map_hash(leaves):
    return [leaf_hash(leaf) for leaf in leaves]
