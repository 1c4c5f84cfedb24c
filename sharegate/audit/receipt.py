"""Receipts: what a consumer keeps to show, offline, that its exchange was recorded.

The format is C2SP tlog-proof v1 (https://c2sp.org/tlog-proof); the file ending is
`.tlog-proof`. A receipt holds the place of one entry, its inclusion path and the
signed checkpoint the path leads to. It does not hold the entry.
"""

from binascii import b2a_base64
from collections.abc import Iterable
from dataclasses import dataclass

from sharegate.audit import checkpoint, note
from sharegate.audit.proof import verify_inclusion
from sharegate.audit.text import MAX_SIZE, read_base64, read_decimal
from sharegate.audit.tree import HASH_BYTES
from sharegate.audit.verdict import Malformed

MAX_PATH = 63  # a tree of fewer than 2^63 leaves is no deeper

_HEADER = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True, slots=True)
class Receipt:
    """One entry's inclusion proof, not judged.

    Attributes:
        index: the entry's zero-based place in the log.
        path: up to 63 hashes of 32 bytes, the leaf's sibling first.
        checkpoint_note: the signed checkpoint, byte for byte as it was signed.
        extra: anything, at least one byte, or None. Not authenticated: never trust it.

    Raises:
        Malformed: a part is not as above; `checkpoint_note` is looked into only by
            `parse` and `verify`.
    """

    index: int
    path: tuple[bytes, ...]
    checkpoint_note: bytes
    extra: bytes | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.index < MAX_SIZE:
            raise Malformed(f"a log has no entry {self.index}")
        if len(self.path) > MAX_PATH or set(map(len, self.path)) - {HASH_BYTES}:
            raise Malformed(f"a path has at most {MAX_PATH} hashes of {HASH_BYTES} bytes")
        if self.extra == b"":
            raise Malformed("extra data, if any, has at least one byte")


def parse(data: bytes) -> Receipt:
    """Read a receipt without judging it; `encode` gives the same bytes back.

    Raises:
        Malformed: not a receipt around a checkpoint note.
    """
    head, blank, checkpoint_note = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n", MAX_PATH + 3)
    except UnicodeDecodeError:
        raise Malformed("a receipt is ASCII above its checkpoint") from None
    # SPEC: The first line MUST be the string `c2sp.org/tlog-proof@v1`.
    if not blank or lines.pop(0) != _HEADER:
        raise Malformed(f"a receipt begins with {_HEADER} and holds an empty line")
    # SPEC: The second line MAY start with the string `extra` followed by a space (U+0020)
    # and base64-encoded opaque extra data.
    extra = None
    if lines and lines[0].startswith("extra "):
        extra = read_base64(lines.pop(0).removeprefix("extra "))
    # SPEC: The next line MUST start with the string `index` followed by a space (U+0020)
    # and the zero-based index of the entry in the log
    if not lines or not lines[0].startswith("index "):
        raise Malformed("a receipt names the index of its entry")
    index = read_decimal(lines.pop(0).removeprefix("index "))
    path = tuple(map(read_base64, lines))
    checkpoint.parse(note.parse(checkpoint_note).text)
    return Receipt(index, path, checkpoint_note, extra)


def encode(receipt: Receipt) -> bytes:
    """Write a receipt."""
    extra = b"" if receipt.extra is None else b"extra " + b2a_base64(receipt.extra)
    head = f"{_HEADER}\n".encode() + extra + f"index {receipt.index}\n".encode()
    # b2a_base64 ends each line with the newline the format wants.
    path = b"".join(map(b2a_base64, receipt.path))
    return head + path + b"\n" + receipt.checkpoint_note


def verify(
    receipt: Receipt, leaf_hash: bytes, verifiers: Iterable[note.Verifier], origin: str
) -> checkpoint.Checkpoint:
    """Check that the log of this origin recorded the entry, and give the checkpoint it is in.

    Args:
        receipt: the receipt.
        leaf_hash: 32 bytes, `tree.leaf_hash` of the entry's exact bytes, computed by the
            one who checks: a hash that came with the receipt proves nothing about an entry.
        verifiers: the keys one trusts, the log's among them.
        origin: the log one expects.

    Raises:
        Malformed: the checkpoint is not a checkpoint note.
        Unproven: the checkpoint is not that log's, or the entry is not in it.
    """
    state = checkpoint.open_checkpoint(receipt.checkpoint_note, verifiers, origin)
    verify_inclusion(receipt.index, state.size, leaf_hash, receipt.path, state.root)
    return state
