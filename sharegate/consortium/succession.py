"""A log that ended, and the one that goes on: what enough administrators say of both.

A signing key that is lost or stolen, or a database that was restored, ends a log; nothing continues
it. Its successor has another origin and another key. The administrators sign up to which checkpoint
the old one counts, and which key comes after; the new key signs too, so that nobody is made the
successor who is not. Pure.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sharegate.audit import note as notes
from sharegate.audit.checkpoint import Checkpoint
from sharegate.audit.note import Note, SignerKey, VerifierKey
from sharegate.audit.text import read_base64, read_decimal, write_base64
from sharegate.audit.verdict import Malformed, Unproven
from sharegate.model.signed import Administrators

_FORM: Final = "sharegate-succession/v1"
_LINES: Final = 6


class Ended(StrEnum):
    """Why a log ended."""

    LOST = "lost"  # its key is gone: nobody signs it any more
    STOLEN = "stolen"  # somebody else may sign it
    RESTORED = "restored"  # its database was brought back from a backup, and lacks entries


@dataclass(frozen=True, slots=True)
class Succession:
    """One log after another.

    Attributes:
        old: The key of the log that ended.
        last: Its last checkpoint that counts.
        new: The key of the log that goes on.
    """

    old: VerifierKey
    last: Checkpoint
    new: VerifierKey
    why: Ended

    @property
    def text(self) -> str:
        """What is signed."""
        root = write_base64(self.last.root)
        lines = [_FORM, self.old.vkey, str(self.last.size), root, self.new.vkey, self.why]
        return "\n".join([*lines, ""])

    def judge(self, checkpoint: Checkpoint, *, cosigned: bool) -> None:
        """See whether a checkpoint that the old key signed still counts.

        Args:
            checkpoint: Of the old log.
            cosigned: Whether a quorum of its witnesses has cosigned it, whose keys are their own.

        Raises:
            Unproven: It does not.
        """
        if checkpoint == self.last:
            return
        if checkpoint.size >= self.last.size:
            raise Unproven(f"the log ended with {self.last.size} entries: it was {self.why}")
        if self.why is Ended.STOLEN and not cosigned:
            raise Unproven(
                "the log's key was stolen: a checkpoint that no quorum cosigned proves nothing"
            )


def draft(succession: Succession, new: SignerKey) -> bytes:
    """Write a succession, signed by the new log's key alone.

    Raises:
        Malformed: The origins are one, or the key is not the new log's.
    """
    if new.vkey != succession.new.vkey:
        raise Malformed("the key is not the new log's")
    _require_another(succession)
    return notes.encode(Note(succession.text, (new.sign(succession.text),)))


def sign(data: bytes, key: SignerKey) -> bytes:
    """Add a signature to a succession; an earlier one of the same key is replaced.

    Raises:
        Malformed: It is none.
    """
    former = notes.parse(data)
    read(former.text)
    own = key.name, key.verifier.key_id
    others = [one for one in former.signatures if (one.name, one.key_id) != own]
    return notes.encode(Note(former.text, (*others, key.sign(former.text))))


def read(text: str) -> Succession:
    """Read the text of a succession.

    Raises:
        Malformed: It is not exactly what `Succession.text` would write.
    """
    form, *lines = text.split("\n")
    if form != _FORM or len(lines) != _LINES:
        raise Malformed(f"not of the form {_FORM}")
    old, size, root, new, why, _ = lines
    key = VerifierKey.parse(old)
    try:
        ended = Ended(why)
    except ValueError:
        raise Malformed("no such reason for a log to end") from None
    last = Checkpoint(key.name, read_decimal(size), read_base64(root))
    succession = Succession(key, last, VerifierKey.parse(new), ended)
    _require_another(succession)
    if succession.text != text:
        raise Malformed("not spelt as a succession is")
    return succession


def open_succession(
    data: bytes, administrators: Administrators
) -> tuple[Succession, tuple[str, ...]]:
    """Read a succession that the new log and enough administrators signed; and who did.

    Raises:
        Malformed: It is none.
        Unproven: A signature does not hold, or there are too few.
    """
    succession = read(notes.parse(data).text)
    opened = notes.open_note(data, [succession.new, *administrators.keys])
    if succession.new not in opened.signers:
        raise Unproven("the new log's key has not signed")
    signers = [key for key in administrators.keys if key in opened.signers]
    if len(signers) < administrators.threshold:
        raise Unproven(
            f"signed by {len(signers)} of the {administrators.threshold} administrators needed"
        )
    return succession, tuple(key.name for key in signers)


def _require_another(succession: Succession) -> None:
    if succession.new.name == succession.old.name:
        raise Malformed("the new log has the origin of the old one")
    if succession.new.public_key == succession.old.public_key:
        raise Malformed("the new log has the key of the old one")
