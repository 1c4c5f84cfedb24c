"""Checkpoints: a log's signed statement of how many entries it has and their root.

The format is C2SP tlog-checkpoint v1 (https://c2sp.org/tlog-checkpoint) without
extension lines, which not every kind of cosignature covers. A log signs with a
key named as its origin.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sharegate.audit import note
from sharegate.audit.text import MAX_SIZE, is_line, read_base64, read_decimal, write_base64
from sharegate.audit.tree import EMPTY_ROOT, HASH_BYTES
from sharegate.audit.verdict import Malformed, Unproven


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One state of a log; says nothing by itself of who signed it.

    Attributes:
        origin: the log's name, unique to it; one line of text.
        size: entries, 0 to 2^63 - 1.
        root: 32 bytes, the root of the tree over those entries.

    Raises:
        Malformed: a part is not as above.
    """

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        # SPEC: The origin MUST be non-empty
        if not is_line(self.origin):
            raise Malformed(f"not an origin: {self.origin[:80]!r}")
        if not 0 <= self.size <= MAX_SIZE:
            raise Malformed(f"a log cannot have {self.size} entries")
        if len(self.root) != HASH_BYTES:
            raise Malformed(f"a root has {HASH_BYTES} bytes")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise Malformed("the root of an empty log is the SHA-256 of nothing")


def parse(text: str) -> Checkpoint:
    """Read the text of a checkpoint note; `encode` gives the same text back.

    Raises:
        Malformed: not the three lines, or not written in their one spelling.
    """
    lines = text.split("\n")
    # SPEC: at least three non-empty lines [...]. Any following lines are extension lines;
    # these are refused, see above.
    if len(lines) != 4 or lines[3]:  # noqa: PLR2004 - three lines, and nothing after the last newline
        raise Malformed("a checkpoint has three lines: origin, size, root")
    # SPEC: the ASCII decimal representation of the number of leaves in the tree, with no
    # leading zeroes
    return Checkpoint(lines[0], read_decimal(lines[1]), read_base64(lines[2]))


def encode(checkpoint: Checkpoint) -> str:
    """Write the text that is signed."""
    return f"{checkpoint.origin}\n{checkpoint.size}\n{write_base64(checkpoint.root)}\n"


def sign(checkpoint: Checkpoint, key: note.SignerKey) -> bytes:
    """Sign a checkpoint as its log and give the note.

    That the checkpoint only adds to every one signed before is the caller's promise to
    keep: this function has no memory.

    Raises:
        ValueError: the key is not named as the origin.
    """
    # SPEC: The log's key name in its signature line SHOULD match the origin line.
    if key.name != checkpoint.origin:
        raise ValueError(f"key {key.name!r} cannot sign for the log {checkpoint.origin!r}")
    text = encode(checkpoint)
    return note.encode(note.Note(text, (key.sign(text),)))


def open_checkpoint(data: bytes, verifiers: Iterable[note.Verifier], origin: str) -> Checkpoint:
    """Read a checkpoint note and check that the log of this origin signed it.

    Signatures of other trusted keys are checked too, and alone are not enough.

    Args:
        data: the bytes of the note.
        verifiers: the keys one trusts, the log's among them.
        origin: the log one expects.

    Raises:
        Malformed: not a checkpoint note.
        Unproven: another log's, a trusted key's line that does not hold, or not signed by
            a trusted key of the log.
    """
    opened = note.open_note(data, verifiers)
    checkpoint = parse(opened.note.text)
    if checkpoint.origin != origin:
        raise Unproven(f"this is a checkpoint of {checkpoint.origin!r}, not of {origin!r}")
    if all(signer.name != origin for signer in opened.signers):
        raise Unproven(f"no trusted key of {origin!r} has signed this checkpoint")
    return checkpoint
