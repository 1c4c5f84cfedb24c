"""ROOM 5: let the answer go, with its receipt if wanted.

It accepts nothing but a :class:`~sharegate.model.passage.Recorded`.
"""

from sharegate.audit import receipt as tlog_proof
from sharegate.audit.carried import pack
from sharegate.model.passage import Covered, Recorded, Released


class Release:
    """Releases what was recorded."""

    def __call__(self, recorded: Recorded, *, receipt: bool) -> Released:
        """Let go what was recorded: the bytes the entry commits to, unchanged."""
        return Released(
            exchange_id=recorded.exchange_id,
            outcome=recorded.outcome,
            index=recorded.covered.index,
            body=recorded.answer,
            receipt=self.receipt(recorded.covered) if receipt else None,
        )

    def receipt(self, covered: Covered) -> bytes:
        """Write the receipt of an entry (C2SP tlog-proof) with the leaf in its extra data.

        The extra data is not authenticated by the format; whoever checks hashes the leaf himself,
        and the proof then holds for those bytes or for none.
        """
        return tlog_proof.encode(
            tlog_proof.Receipt(
                index=covered.index,
                path=covered.paths.path(covered.index),
                checkpoint_note=covered.checkpoint,
                extra=pack(covered.leaf),
            )
        )
