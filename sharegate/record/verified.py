"""An answer held against its receipt, by the log's key and nothing else: what a consumer does."""

from collections.abc import Mapping
from dataclasses import dataclass

from sharegate.audit import receipt as tlog_proof
from sharegate.audit.carried import unpack
from sharegate.audit.chain import parse_leaf
from sharegate.audit.note import VerifierKey
from sharegate.audit.tree import leaf_hash
from sharegate.audit.verdict import Malformed, Unproven
from sharegate.errors import ShareGateError
from sharegate.record.answer import open_answer


class NotVerified(ShareGateError):
    """The answer is not the one that was recorded, or nothing proves that it is."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What a receipt proves.

    Attributes:
        index: The entry's place in the audit log.
        size: The size of the signed checkpoint that covers it.
        entry: What the entry says.
        leaf: The entry's exact bytes.
    """

    origin: str
    index: int
    size: int
    entry: Mapping[str, object]
    leaf: bytes


def verify_answer(answer: bytes, receipt: bytes, log_key: str) -> Verified:
    """Check that the log recorded exactly this answer.

    Args:
        answer: Its exact bytes.
        receipt: The C2SP tlog-proof, with the leaf in its extra data.
        log_key: The log's verifier key (C2SP signed-note), from a source one trusts.

    Raises:
        NotVerified: It did not, or the receipt does not prove it.
    """
    try:
        key = VerifierKey.parse(log_key.strip())
        parsed = tlog_proof.parse(receipt)
        if parsed.extra is None:
            raise NotVerified("the receipt does not carry the entry")
        carried = unpack(parsed.extra)
        checkpoint = tlog_proof.verify(parsed, leaf_hash(carried), [key], key.name)
        leaf = parse_leaf(carried)
        if leaf.seq != parsed.index:
            raise NotVerified("the entry is not the one of this place in the log")
        entry = open_answer(answer, leaf.core)
    except (Malformed, Unproven, ValueError) as error:
        raise NotVerified(str(error)) from error
    return Verified(key.name, parsed.index, checkpoint.size, entry, carried)
