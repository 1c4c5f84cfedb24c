"""Quorums: which witnesses are known, and how many must have cosigned.

The file is a C2SP tlog-policy (https://c2sp.org/tlog-policy); here it is called a quorum file,
because a policy is a provider's rules. Names and URLs in it are opaque: they are read as Latin-1,
so that every byte stays itself.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from sharegate.audit.checkpoint import Checkpoint, parse
from sharegate.audit.cosignature import CosignerKey, cosigned_at
from sharegate.audit.note import Verifier, VerifierKey, open_note
from sharegate.audit.verdict import Malformed, Unproven

NOBODY: Final = "none"
# A reader must bound its work; 32 of each is what must be read at least.
MAX_BYTES: Final = 1_000_000
MAX_DEPTH: Final = 32  # so that 32 groups may stand in one chain
_FORBIDDEN: Final = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
_COUNT: Final = re.compile(r"[1-9][0-9]{0,4}")
_WORDS: Final = re.compile(r"[^ \t]+")


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness, as a quorum file names it.

    Attributes:
        name: Within the file; a key has a name of its own.
        url: Where it takes checkpoints; None where the file does not say.
    """

    name: str
    key: CosignerKey
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Log:
    """A log whose checkpoints count; its key is named as its origin."""

    key: VerifierKey
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """So many of these, each a witness or a group, must have cosigned."""

    least: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Quorum:
    """What makes a checkpoint valid.

    Attributes:
        logs: Whose checkpoints count.
        witnesses: By name.
        groups: By name; every member is defined.
        rule: The witness or group that decides, or `NOBODY`.
    """

    logs: tuple[Log, ...]
    witnesses: Mapping[str, Witness]
    groups: Mapping[str, Group] = field(default_factory=dict)
    rule: str = NOBODY

    def met_by(self, names: Collection[str]) -> bool:
        """Say whether cosignatures of the witnesses of these names are enough."""
        return self.rule == NOBODY or self._has(self.rule, names)

    def _has(self, name: str, names: Collection[str]) -> bool:
        group = self.groups.get(name)
        if group is None:
            return name in names
        return sum(self._has(member, names) for member in group.members) >= group.least


@dataclass(frozen=True, slots=True)
class Cosigned:
    """A checkpoint that its log has signed, and who else has.

    Attributes:
        log_key: The log's key.
        times: When each witness cosigned, by its name in the file; seconds of Unix time.
    """

    checkpoint: Checkpoint
    log_key: VerifierKey
    times: Mapping[str, int]


def read_quorum(data: bytes) -> Quorum:
    """Read a quorum file.

    Raises:
        Malformed: Not one; names the line.
    """
    # SPEC: the allowed octet values are 0x09 (tab), 0x0A (newline), 0x20-0x7E, and 0x80-0xFF.
    if len(data) > MAX_BYTES or (data and not data.endswith(b"\n")):
        raise Malformed(f"a quorum file has whole lines, {MAX_BYTES} bytes at most")
    if _FORBIDDEN.search(data) is not None:
        raise Malformed("a quorum file has no control characters but tabs and newlines")
    return _Reader().read(data.decode("latin-1"))


def write_quorum(quorum: Quorum) -> bytes:
    """Write a quorum file; `read_quorum` reads it."""

    def line(*words: str | None) -> str:
        return " ".join(word for word in words if word is not None) + "\n"

    lines = [
        *(line("log", _opaque(each.key.vkey), each.url) for each in quorum.logs),
        *(
            line("witness", each.name, _opaque(each.key.vkey), each.url)
            for each in quorum.witnesses.values()
        ),
        *(
            line("group", name, str(group.least), *group.members)
            for name, group in quorum.groups.items()
        ),
        line("quorum", quorum.rule),
    ]
    return "".join(lines).encode("latin-1")


def open_cosigned(data: bytes, quorum: Quorum) -> Cosigned:
    """Check a checkpoint note against a quorum file: its log's line, and those of witnesses.

    Whether there are enough of them is for `require_quorum` to say.

    Raises:
        Malformed: Not a checkpoint note.
        Unproven: No known log has signed it, or a known key's line does not hold.
    """
    logs = {each.key.name: each.key for each in quorum.logs}
    names = {each.key: each.name for each in quorum.witnesses.values()}
    known: list[Verifier] = [*logs.values(), *names]
    opened = open_note(data, known)
    state = parse(opened.note.text)
    log_key = logs.get(state.origin)
    if log_key is None or log_key not in opened.signers:
        raise Unproven(f"no known key of {state.origin!r} has signed this checkpoint")
    ids = {(key.name, key.key_id): name for key, name in names.items()}
    # Of one who cosigned twice the newest time counts.
    times: dict[str, int] = {}
    for signature in opened.note.signatures:
        name = ids.get((signature.name, signature.key_id))
        if name is not None:
            times[name] = max(times.get(name, 0), cosigned_at(signature))
    return Cosigned(state, log_key, times)


def require_quorum(cosigned: Cosigned, quorum: Quorum) -> None:
    """See that enough witnesses have cosigned.

    Raises:
        Unproven: They have not; names those that have.
    """
    if not quorum.met_by(cosigned.times):
        by = ", ".join(sorted(cosigned.times)) or "no known witness"
        raise Unproven(f"the quorum is not reached: cosigned by {by}")


class _Reader:
    """Reads line by line: what is used must be defined above."""

    def __init__(self) -> None:
        self._logs: list[Log] = []
        self._witnesses: dict[str, Witness] = {}
        self._groups: dict[str, Group] = {}
        self._members: set[str] = set()
        self._depths: dict[str, int] = {}  # of groups: how many stand one in another
        self._rule: str | None = None

    def read(self, text: str) -> Quorum:
        for number, words in _lines(text):
            try:
                self._line(*words)
            except Malformed as error:
                raise Malformed(f"line {number}: {error}") from error
        # SPEC: A policy file must include exactly one quorum line.
        if self._rule is None:
            raise Malformed("there is no quorum line")
        return Quorum(tuple(self._logs), self._witnesses, self._groups, self._rule)

    def _line(self, *words: str) -> None:
        match words:
            case ("log", vkey):
                self._list(Log(VerifierKey.parse(_utf8(vkey))))
            case ("log", vkey, url):
                self._list(Log(VerifierKey.parse(_utf8(vkey)), url))
            case ("witness", name, vkey):
                self._witness(Witness(name, CosignerKey.parse(_utf8(vkey))))
            case ("witness", name, vkey, url):
                self._witness(Witness(name, CosignerKey.parse(_utf8(vkey)), url))
            case ("group", name, least, *members) if members:
                self._group(name, least, members)
            case ("quorum", name):
                self._quorum(name)
            case _:
                raise Malformed("not a line of log, witness, group or quorum")

    def _list(self, listed: Log) -> None:
        # SPEC: Duplicate logs, i.e., multiple log lines with the same public key, are not allowed.
        for other in self._logs:
            if other.key.public_key == listed.key.public_key:
                raise Malformed("another log has this key")
            if other.key.name == listed.key.name:
                raise Malformed("another log has this origin")
        self._logs.append(listed)

    def _witness(self, witness: Witness) -> None:
        self._define(witness.name)
        # SPEC: Duplicate witnesses, i.e., multiple witness lines with the same public key, are
        # not allowed.
        if any(each.key.public_key == witness.key.public_key for each in self._witnesses.values()):
            raise Malformed("another witness has this key")
        self._witnesses[witness.name] = witness

    def _group(self, name: str, least: str, members: list[str]) -> None:
        # SPEC: Each defined name can be listed as a group member at most once.
        for member in members:
            self._require_defined(member)
            if member in self._members:
                raise Malformed(f"{member!r} is in a group already")
            self._members.add(member)
        self._define(name)
        # SPEC: If k is given numerically, it must be written in decimal, and it is required that
        # 1 <= k <= n.
        count = {"any": 1, "all": len(members)}.get(least)
        if count is None:
            count = int(least) if _COUNT.fullmatch(least) is not None else 0
        if not 1 <= count <= len(members):
            raise Malformed(f"of {len(members)} members 1 to {len(members)} can be needed")
        depth = 1 + max(self._depths.get(member, 0) for member in members)
        if depth > MAX_DEPTH:
            raise Malformed(f"at most {MAX_DEPTH} groups stand one in another")
        self._depths[name] = depth
        self._groups[name] = Group(count, tuple(members))

    def _quorum(self, name: str) -> None:
        if self._rule is not None:
            raise Malformed("there is another quorum line")
        if name != NOBODY:
            self._require_defined(name)
        self._rule = name

    def _define(self, name: str) -> None:
        # SPEC: Witnesses and groups share a single namespace. The special name `none` is
        # predefined.
        if name == NOBODY or name in self._witnesses or name in self._groups:
            raise Malformed(f"{name!r} is defined already")

    def _require_defined(self, name: str) -> None:
        if name not in self._witnesses and name not in self._groups:
            raise Malformed(f"{name!r} is not defined above")


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """The lines that say something, by number."""
    for number, line in enumerate(text.split("\n"), start=1):
        words = _WORDS.findall(line)
        # SPEC: comment lines (lines starting with "#", possibly preceded by whitespace)
        if words and not words[0].startswith("#"):
            yield number, words


def _opaque(word: str) -> str:
    return word.encode().decode("latin-1")


def _utf8(word: str) -> str:
    """A vkey's name is UTF-8, unlike the names of the file."""
    try:
        return word.encode("latin-1").decode()
    except UnicodeDecodeError:
        raise Malformed("a vkey is UTF-8") from None
