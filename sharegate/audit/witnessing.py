"""What a log asks of a witness, byte for byte, and when a witness may say yes. Pure.

The protocol is C2SP tlog-witness (https://c2sp.org/tlog-witness), its call `add-checkpoint`. What
the witness must remember, and moving it on in one step with the check, is `consortium.witness`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from sharegate.audit import checkpoint, note
from sharegate.audit.checkpoint import Checkpoint
from sharegate.audit.proof import verify_consistency
from sharegate.audit.text import read_base64, read_decimal, write_base64
from sharegate.audit.tree import HASH_BYTES
from sharegate.audit.verdict import Malformed, Unproven

# SPEC: The client MUST NOT send more than 63 consistency proof lines.
MAX_PATH: Final = 63
MAX_BYTES: Final = note.MAX_NOTE_BYTES + 4096
SIZE_TYPE: Final = "text/x.tlog.size"


class Status(IntEnum):
    """How a witness answers, as HTTP has it."""

    COSIGNED = 200
    MALFORMED = 400
    UNSIGNED = 403
    UNKNOWN = 404
    STALE = 409
    INCONSISTENT = 422


class Refused(ValueError):
    """The witness does not cosign this.

    Attributes:
        status: Why.
        size: Of the latest checkpoint that was cosigned, where the status is `STALE`.
    """

    def __init__(self, status: Status, detail: str, size: int = 0) -> None:
        super().__init__(detail)
        self.status = status
        self.size = size


@dataclass(frozen=True, slots=True)
class Submission:
    """A checkpoint and the proof that it adds to an earlier one; not judged.

    Attributes:
        old: The size of the earlier checkpoint, which the witness has; 0 where it has none.
        path: The consistency proof, at most 63 hashes of 32 bytes.
        note: The new checkpoint's note.

    Raises:
        Malformed: A part is not as above.
    """

    old: int
    path: tuple[bytes, ...]
    note: bytes

    def __post_init__(self) -> None:
        if len(self.path) > MAX_PATH or any(len(each) != HASH_BYTES for each in self.path):
            raise Malformed(f"a proof has at most {MAX_PATH} hashes of {HASH_BYTES} bytes")


def parse(data: bytes) -> Submission:
    """Read the body of `add-checkpoint`; `encode` gives the same bytes back.

    Raises:
        Malformed: Not one.
    """
    # SPEC: an old size line, zero or more consistency proof lines, and an empty line, followed
    # by a checkpoint.
    head, blank, rest = data.partition(b"\n\n")
    try:
        first, *lines = head.decode("ascii").split("\n", MAX_PATH + 2)
    except UnicodeDecodeError:
        raise Malformed("a submission is ASCII above its checkpoint") from None
    if not blank or not first.startswith("old "):
        raise Malformed("a submission begins with an old size and has an empty line")
    old = read_decimal(first.removeprefix("old "))
    return Submission(old, tuple(map(read_base64, lines)), rest)


def encode(submission: Submission) -> bytes:
    """Write the body of `add-checkpoint`."""
    lines = [f"old {submission.old}", *map(write_base64, submission.path), "", ""]
    return "\n".join(lines).encode() + submission.note


def origin_of(submission: Submission) -> str:
    """The log that a submission says it is of; nothing is proven yet.

    Raises:
        Malformed: There is no note in it.
    """
    return note.parse(submission.note).text.partition("\n")[0]


def require_signed(submission: Submission, keys: Iterable[note.VerifierKey]) -> Checkpoint:
    """See that its log has signed it, and that it can be later than what it says it follows.

    Args:
        submission: What was sent.
        keys: Those trusted for its origin, each named so.

    Raises:
        Refused: `UNSIGNED` or `MALFORMED`.
    """
    try:
        text = note.open_note(submission.note, keys).note.text
    except Unproven as error:
        # SPEC: "403 Forbidden" [...] if either no signature from a trusted key for the origin is
        # present, or [it] fails to verify.
        raise Refused(Status.UNSIGNED, str(error)) from error
    except Malformed as error:
        raise Refused(Status.MALFORMED, str(error)) from error
    try:
        state = checkpoint.parse(text)
    except Malformed as error:
        # SPEC: A checkpoint of size zero MUST have the root hash of the empty tree [...].
        # Otherwise, the witness MUST respond with a "422 Unprocessable Entity".
        empty = text.split("\n")[1:2] == ["0"]
        status = Status.INCONSISTENT if empty else Status.MALFORMED
        raise Refused(status, str(error)) from error
    # SPEC: The old size MUST be equal to or lower than the checkpoint size. Otherwise, [...] a
    # "400 Bad Request".
    if submission.old > state.size:
        raise Refused(Status.MALFORMED, "the old size is larger than the checkpoint's")
    return state


def require_consistent(
    submission: Submission, state: Checkpoint, latest: Checkpoint | None
) -> None:
    """See that a signed checkpoint adds to the latest one that the witness cosigned.

    Args:
        submission: What was sent.
        state: Its checkpoint, signed.
        latest: What the witness remembers of this log; None where it never cosigned one.

    Raises:
        Refused: `STALE`, where it was not sent for this latest one; `INCONSISTENT`, where it does
            not add to it, or is not shown to.
    """
    known = 0 if latest is None else latest.size
    if submission.old != known:
        raise Refused(Status.STALE, f"the latest checkpoint has size {known}", known)
    if latest is None or known == 0:
        # SPEC: If the old size is zero, the consistency proof MUST be empty
        if submission.path:
            raise Refused(Status.INCONSISTENT, "nothing is proven of an empty log")
        return
    try:
        verify_consistency(known, state.size, latest.root, state.root, submission.path)
    except Unproven as error:
        raise Refused(Status.INCONSISTENT, str(error)) from error
