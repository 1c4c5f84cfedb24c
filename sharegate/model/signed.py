"""Sets of files that are put into force together: what their note says, and who signed it.

A note is a C2SP signed note whose text names the set, its version and the SHA-256 of each of its
files, in the form `sha256sum` prints::

    sharegate-policy/v1
    tax
    7
    3f2a…  grants.csv
    91c0…  resources.toml

A set has exactly the files its note names: one more, one less or one byte changed, and it is not
the set that was signed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256

from sharegate.audit.note import (
    Note,
    Signature,
    SignerKey,
    VerifierKey,
    encode,
    open_note,
    parse,
)
from sharegate.audit.text import read_decimal
from sharegate.audit.verdict import Malformed, Unproven
from sharegate.audit.weak import is_weak
from sharegate.errors import Misconfigured

POLICY_FORM = "sharegate-policy/v1"
REGISTRY_SET = "registry"
ROOT_SET = "root"
CONSORTIUM_SET = "consortium"
_ONLY = {  # forms of which there is one set, whose name they need not say
    "sharegate-registry/v1": REGISTRY_SET,
    "sharegate-consortium/v1": CONSORTIUM_SET,
}
_FORMS = {name: form for form, name in _ONLY.items()}
_MOST = 2**53  # what an entry can hold
_SHA256_HEX = 64


class Fault(StrEnum):
    """Why a set is not put into force. A closed list: it labels a metric."""

    UNSIGNED = "unsigned"  # there is no note
    FOREIGN = "foreign-signed"  # one who must sign has not
    ALTERED = "altered"  # the files are not those that were signed, or the note is damaged
    MISPLACED = "misplaced"  # the note is of another set
    OLDER = "older"  # a later version was in force
    REUSED = "version-reused"  # this version was in force with other files
    FAULTY = "faulty"  # signed as it must be, and not usable


class SetRefused(Misconfigured):
    """A set of files is not put into force.

    Attributes:
        fault: Which rule it breaks.
    """

    def __init__(self, fault: Fault, place: str, detail: str) -> None:
        super().__init__(place, detail)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Administrators:
    """Those who sign the registry and the common rules.

    Attributes:
        threshold: How many of them must sign.
    """

    keys: tuple[VerifierKey, ...]
    threshold: int


@dataclass(frozen=True, slots=True)
class Statement:
    """What a note says.

    Attributes:
        name: A provider's id, `ROOT_SET`, `REGISTRY_SET` or `CONSORTIUM_SET`.
        version: 1 or more; rises with every change.
        files: The SHA-256 of each file, in lower-case hexadecimal.
    """

    name: str
    version: int
    files: Mapping[str, str]

    @property
    def text(self) -> str:
        """What is signed."""
        form = [_FORMS[self.name]] if self.name in _FORMS else [POLICY_FORM, self.name]
        lines = [f"{self.files[name]}  {name}" for name in sorted(self.files)]
        return "\n".join([*form, str(self.version), *lines, ""])

    @property
    def digest(self) -> str:
        """The SHA-256 of the text, which commits to every file."""
        return sha256(self.text.encode()).hexdigest()


def state(name: str, version: int, files: Mapping[str, bytes]) -> Statement:
    """Say of these files what a note says."""
    return Statement(
        name, version, {file: sha256(content).hexdigest() for file, content in files.items()}
    )


def read_statement(text: str) -> Statement:
    """Read the text of a note.

    Raises:
        Malformed: It is not exactly what `Statement.text` would write.
    """
    form, *lines = text.split("\n")
    name = _ONLY.get(form, "")
    if form == POLICY_FORM and lines:
        name, *lines = lines
    elif not name:
        raise Malformed(f"none of the forms {', '.join([POLICY_FORM, *_ONLY])}")
    version = read_decimal(lines[0] if lines else "")
    statement = Statement(
        name, version, {line[_SHA256_HEX + 2 :]: line[:_SHA256_HEX] for line in lines[1:-1]}
    )
    if statement.text != text or not 1 <= version < _MOST:
        raise Malformed("not a version and the SHA-256 of each file, in order")
    return statement


@dataclass(frozen=True, slots=True)
class Opened:
    """A note over exactly these files.

    Attributes:
        signers: The keys asked about that signed it.
    """

    statement: Statement
    signers: tuple[VerifierKey, ...]


def open_set(
    place: str,
    name: str,
    files: Mapping[str, bytes],
    note: bytes | None,
    keys: Sequence[VerifierKey],
) -> Opened:
    """Read a set's note and hold the files against it; whether enough have signed is not judged.

    Raises:
        SetRefused: There is no note, it is not of this set, none of the keys signed it, a
            signature does not hold, or the files are not those it names.
    """
    if note is None:
        raise SetRefused(Fault.UNSIGNED, place, "is missing: this is not signed")
    try:
        lines = parse(note).signatures
        known = {(key.name, key.key_id) for key in keys}
        if not any((line.name, line.key_id) in known for line in lines):
            raise SetRefused(Fault.FOREIGN, place, "is signed by nobody who may")
        opened = open_note(note, keys)
        statement = read_statement(opened.note.text)
    except (Malformed, Unproven, ValueError) as error:
        raise SetRefused(Fault.ALTERED, place, str(error)) from error
    if statement.name != name:
        raise SetRefused(Fault.MISPLACED, place, f"is the note of {statement.name}, not of {name}")
    found = state(name, statement.version, files).files
    for file in sorted(found.keys() | statement.files.keys()):
        if file not in statement.files:
            raise SetRefused(Fault.ALTERED, place, f"does not name {file}, which is there")
        if found.get(file) != statement.files[file]:
            raise SetRefused(Fault.ALTERED, place, f"was signed over another {file}")
    return Opened(statement, opened.signers)


def require_administrators(place: str, opened: Opened, administrators: Administrators) -> None:
    """See that enough administrators have signed.

    Raises:
        SetRefused: They have not.
    """
    signed, needed = len(opened.signers), administrators.threshold
    if signed < needed:
        raise SetRefused(
            Fault.FOREIGN, place, f"is signed by {signed} of the {needed} administrators needed"
        )


def read_keys(place: str, vkeys: Iterable[str]) -> tuple[VerifierKey, ...]:
    """Read verifier keys; one that is listed twice, under two names or one, is refused.

    Raises:
        Misconfigured: One is no verifier key, is weak, or is listed twice.
    """
    keys: list[VerifierKey] = []
    for vkey in vkeys:
        try:
            key = VerifierKey.parse(vkey)
        except Malformed as error:
            raise Misconfigured(place, f"is no verifier key: {error}") from error
        if is_weak(key.public_key):
            raise Misconfigured(place, f"the key of {key.name} is one anyone can sign under")
        if any(other.public_key == key.public_key for other in keys):
            raise Misconfigured(place, f"lists the key of {key.name} twice")
        keys.append(key)
    return tuple(keys)


def add_signature(note: bytes | None, statement: Statement, key: SignerKey) -> bytes:
    """Sign what a note says, beside those who signed the same before.

    Args:
        note: The note that is there; None where there is none. Signatures over anything else
            are left out.
        statement: What is signed.
        key: Who signs. An earlier line of the same key is replaced.

    Raises:
        Malformed: The note that is there is none.
    """
    signatures: dict[tuple[str, bytes], Signature] = {}
    if note is not None and (former := parse(note)).text == statement.text:
        signatures = {(one.name, one.key_id): one for one in former.signatures}
    # In its place: who signs the same again has changed nothing for anybody who watches the file.
    signatures[key.name, key.verifier.key_id] = key.sign(statement.text)
    return encode(Note(statement.text, tuple(signatures.values())))


def next_version(note: bytes | None, name: str, files: Mapping[str, bytes]) -> int:
    """The version these files have: the note's own where it is of the same files, else one more.

    Raises:
        Malformed: The note that is there is none of a set.
    """
    if note is None:
        return 1
    former = read_statement(parse(note).text)
    same = state(name, former.version, files) == former
    return former.version if same else former.version + 1
