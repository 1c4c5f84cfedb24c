"""A consortium: members, each with a log and a witness, as its administrators signed them.

The file is TOML; beside it lies a note by enough administrators (`model.signed`). Nothing in it is
secret. What a member needs follows from it alone: who witnesses his log and how many must, and
whose logs his witness watches.
"""

import re
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from sharegate.audit import note as notes
from sharegate.audit.cosignature import CosignerKey
from sharegate.audit.note import SignerKey, VerifierKey
from sharegate.audit.quorum import NOBODY, Group, Log, Quorum, Witness
from sharegate.audit.verdict import Malformed, Unproven
from sharegate.consortium.toml_file import read_toml
from sharegate.errors import Misconfigured
from sharegate.model.signed import (
    CONSORTIUM_SET,
    Administrators,
    Fault,
    SetRefused,
    open_set,
    read_keys,
    require_administrators,
)

_FORM: Final = "sharegate-member/v1"
LIST_FILE: Final = "consortium.toml"
"""What the list of members is called in its note, wherever it lies."""
_LIAR_FROM: Final = 4
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_URL: Final = re.compile(r"https?://[!-~]{1,500}")


class Invitation(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a member is handed, by a way he trusts: whose word counts here."""

    consortium: Annotated[str, Meta(min_length=1, max_length=100)]
    administrators: Annotated[list[str], Meta(min_length=2, max_length=100)]
    threshold: Annotated[int, Meta(ge=2)] = 2

    def trust(self, place: str) -> Administrators:
        """Who signs the list of members.

        Raises:
            Misconfigured: One is no verifier key, or so many cannot sign: two at least, and no
                more than are listed.
        """
        keys = read_keys(f"{place}: administrators", self.administrators)
        if not 2 <= self.threshold <= len(keys):  # noqa: PLR2004  never one alone
            raise Misconfigured(f"{place}: threshold", f"2 to {len(keys)}, who are listed")
        return Administrators(keys, self.threshold)


class Member(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One member.

    Attributes:
        name: Within the consortium.
        log_key: The verifier key of its log (C2SP).
        url: Where its log's files are shown.
        witness: The verifier keys of its witness; the first counts in quorums.
        witness_url: Where its witness takes checkpoints.
    """

    name: str
    log_key: str
    url: str
    witness: Annotated[list[str], Meta(min_length=1, max_length=4)]
    witness_url: str

    def require_sound(self) -> None:
        """See that every part is what it is to be.

        Raises:
            Malformed: One is not; names it.
        """
        if _NAME.fullmatch(self.name) is None:
            raise Malformed("name: lower-case letters, digits and hyphens")
        VerifierKey.parse(self.log_key)
        names = {CosignerKey.parse(vkey).name for vkey in self.witness}
        if len(names) != 1:
            raise Malformed("witness: all keys of one witness have one name")
        if not all(_URL.fullmatch(url) for url in (self.url, self.witness_url)):
            raise Malformed("url, witness_url: http:// or https://")

    @property
    def text(self) -> str:
        """What the member signs with its log's key."""
        lines = [_FORM, self.name, self.log_key, self.url, *self.witness, self.witness_url]
        return "\n".join([*lines, ""])


class Consortium(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All members.

    Attributes:
        version: Rises with every change.
    """

    name: str
    version: int
    member: list[Member] = []

    def quorum(self, member: Member) -> Quorum:
        """Who witnesses a member's log: all the others, never itself; and how many must.

        Of four or more, so many that one of them may lie; of fewer, the majority.
        """
        others = [other for other in self.member if other.name != member.name]
        witnesses = {
            other.name: Witness(other.name, CosignerKey.parse(other.witness[0]), other.witness_url)
            for other in others
        }
        logs = (Log(VerifierKey.parse(member.log_key), member.url),)
        if not others:
            return Quorum(logs, {}, {}, NOBODY)
        group = {"members": Group(least(len(others)), tuple(witnesses))}
        return Quorum(logs, witnesses, group, "members")


def least(witnesses: int) -> int:
    """How many of so many must cosign, that two quorums share an honest one: 2k - n > f."""
    liars = 1 if witnesses >= _LIAR_FROM else 0
    return (witnesses + liars) // 2 + 1


def note_of(consortium: Path) -> Path:
    """Where the administrators' note lies: beside the file."""
    return consortium.with_suffix(".note")


def read_invitation(path: Path) -> Invitation:
    """Read an invitation.

    Raises:
        Misconfigured: It cannot be read, or is none.
    """
    invitation = read_toml(path, Invitation)
    invitation.trust(str(path))
    return invitation


def read_consortium(path: Path) -> Consortium:
    """Read a list of members, signed or not.

    Raises:
        Misconfigured: It cannot be read, a part is wrong, or two members share what is one's own.
    """
    consortium = read_toml(path, Consortium)
    for member in consortium.member:
        try:
            member.require_sound()
        except Malformed as error:
            raise Misconfigured(f"{path}: member {member.name}", str(error)) from error
    for what in ("name", "log_key", "witness_url"):
        seen = [getattr(member, what) for member in consortium.member]
        if len(set(seen)) != len(seen):
            raise Misconfigured(str(path), f"two members have one {what}")
    for kind, parse in (("origin", VerifierKey.parse), ("witness", CosignerKey.parse)):
        vkeys = [m.log_key if kind == "origin" else m.witness[0] for m in consortium.member]
        if len({parse(vkey).name for vkey in vkeys}) != len(vkeys):
            raise Misconfigured(str(path), f"two members have one {kind}")
    return consortium


def open_consortium(path: Path, invitation: Invitation) -> Consortium:
    """Read a list of members that enough administrators signed.

    Raises:
        SetRefused: They have not.
        Misconfigured: It cannot be read, is of another consortium, or is wrong.
    """
    consortium = read_consortium(path)
    note = note_of(path)
    trust = invitation.trust(str(path))
    files = {LIST_FILE: path.read_bytes()}
    found = note.read_bytes() if note.exists() else None
    opened = open_set(str(note), CONSORTIUM_SET, files, found, trust.keys)
    require_administrators(str(note), opened, trust)
    if consortium.name != invitation.consortium:
        raise Misconfigured(str(path), f"is of {consortium.name}, not {invitation.consortium}")
    if opened.statement.version != consortium.version:
        raise SetRefused(Fault.FAULTY, str(note), "says another version than the file")
    return consortium


def write_consortium(consortium: Consortium) -> str:
    """Write a list of members as TOML; `read_consortium` reads it."""
    lines = [f"name = {_quoted(consortium.name)}", f"version = {consortium.version}"]
    for member in consortium.member:
        lines += ["", "[[member]]"]
        for field, value in msgspec.structs.asdict(member).items():
            listed = isinstance(value, list)
            said = f"[{', '.join(map(_quoted, value))}]" if listed else _quoted(value)
            lines.append(f"{field} = {said}")
    return "\n".join([*lines, ""])


def write_invitation(invitation: Invitation) -> str:
    """Write an invitation as TOML; `read_invitation` reads it."""
    keys = ",\n".join(f"    {_quoted(vkey)}" for vkey in invitation.administrators)
    return (
        f"consortium = {_quoted(invitation.consortium)}\n"
        f"administrators = [\n{keys},\n]\nthreshold = {invitation.threshold}\n"
    )


def apply_for(member: Member, key: SignerKey) -> bytes:
    """Write a member's application: the member, signed with its log's key.

    Raises:
        Malformed: A part is wrong, or the key is not the log's.
    """
    member.require_sound()
    if key.vkey != member.log_key:
        raise Malformed("the key is not the log's")
    return notes.encode(notes.Note(member.text, (key.sign(member.text),)))


def read_application(data: bytes) -> Member:
    """Read an application; whoever wrote it holds the key of the log he names.

    Raises:
        Malformed: It is none, or a part is wrong.
        Unproven: The log's key has not signed it.
    """
    form, *lines = notes.parse(data).text.split("\n")
    if form != _FORM or len(lines) < 6:  # noqa: PLR2004  name, log, url, witness, its url, end
        raise Malformed(f"not an application of the form {_FORM}")
    name, log_key, url, *witness, witness_url, _ = lines
    member = Member(name=name, log_key=log_key, url=url, witness=witness, witness_url=witness_url)
    member.require_sound()
    if notes.open_note(data, [VerifierKey.parse(log_key)]).note.text != member.text:
        raise Unproven("the log's key signed something else")
    return member


def _quoted(text: str) -> str:
    """A TOML basic string; what stands in these files has no character that needs escaping."""
    if not text.isprintable() or '"' in text or "\\" in text:
        raise Misconfigured(text[:40].encode("ascii", "replace").decode(), "cannot be written")
    return f'"{text}"'
