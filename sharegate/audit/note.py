"""Signed notes: a short text, and lines under it by the keys that vouch for it.

The format is C2SP signed-note v1, with Ed25519 keys (type 0x01). A reader names
the keys it trusts; signatures by other keys are passed over, so that a witness
may add its line without asking anyone. Lines marked `SPEC:` quote the
specification (https://c2sp.org/signed-note).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Generic, Protocol, Self, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sharegate.audit.text import is_key_name, read_base64, write_base64
from sharegate.audit.verdict import Malformed, Unproven

# A verifier must bound its work. 16 lines is the least it has to accept; the largest
# signature in use (ML-DSA-44) takes 3.3 kB of base64.
MAX_NOTE_BYTES = 1_000_000
MAX_SIGNATURES = 100

_ED25519 = 0x01
_KEY_ID_BYTES = 4
_PUBLIC_KEY_BYTES = 32
_KEY_ID = re.compile(r"[0-9a-f]{8}")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


class Verifier(Protocol):
    """Whoever's line under a note can be checked: a `VerifierKey`, or a cosigner's key."""

    @property
    def name(self) -> str:
        """The name it signs with."""

    @property
    def key_id(self) -> bytes:
        """4 bytes that tell apart the keys of one name."""

    def accepts(self, message: bytes, signature: bytes) -> bool:
        """Say whether the signature under a note with this text is this key's."""


V = TypeVar("V", bound=Verifier)


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key one has decided to trust, under the name it signs with.

    Attributes:
        name: UTF-8, no spaces, no plus sign; for a log, its origin.
        public_key: 32 bytes (RFC 8032).
        key_id: 4 bytes that tell apart the keys of one name; not a secure hash.

    Raises:
        Malformed: the name or the length of the key is not as above.
    """

    name: str
    public_key: bytes
    key_id: bytes = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if not is_key_name(self.name):
            raise Malformed(f"not a key name: {self.name[:80]!r}")
        if len(self.public_key) != _PUBLIC_KEY_BYTES:
            raise Malformed(f"an Ed25519 public key has {_PUBLIC_KEY_BYTES} bytes")
        # SPEC: key ID = SHA-256(key name || 0x0A || 0x01 || 32-byte Ed25519 public key)[:4]
        object.__setattr__(self, "key_id", key_id_of(self.name, self._material()))

    @classmethod
    def parse(cls, vkey: str) -> Self:
        """Read `<name>+<8 hex digits>+<base64>`, a *vkey*.

        Raises:
            Malformed: not a vkey, of another type than Ed25519, or its key ID is not its own.
        """
        name, key_id, material = split_vkey(vkey)
        if material[:1] != bytes([_ED25519]):
            kind = material[:1].hex() or "none"
            raise Malformed(f"unsupported key type {kind}: only 01 (Ed25519) is read here")
        key = cls(name, material[1:])
        if key.key_id.hex() != key_id:
            raise Malformed(f"the key id of {name!r} is {key.key_id.hex()}, not {key_id}")
        return key

    @property
    def vkey(self) -> str:
        """Write the key as a vkey."""
        return join_vkey(self.name, self._material())

    def accepts(self, message: bytes, signature: bytes) -> bool:
        """Say whether the signature over these bytes is this key's (RFC 8032)."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def _material(self) -> bytes:
        return bytes([_ED25519]) + self.public_key


def key_id_of(name: str, material: bytes) -> bytes:
    """Compute the id of a key from its type's byte and its own bytes, as most types do."""
    return sha256(name.encode() + b"\n" + material).digest()[:_KEY_ID_BYTES]


def split_vkey(vkey: str) -> tuple[str, str, bytes]:
    """Read a vkey of any type: the name, the key id in hex, and type and key; not judged.

    Raises:
        Malformed: not `<name>+<8 hex digits>+<base64>`.
    """
    # base64 has plus signs of its own; a name has none.
    parts = vkey.split("+", 2)
    if len(parts) != 3:  # noqa: PLR2004 - the three parts of the docstring
        raise Malformed("a verifier key is <name>+<key id>+<base64>")
    name, key_id, encoded = parts
    if _KEY_ID.fullmatch(key_id) is None:
        # Not shown: whoever gives the wrong file may have given a private key.
        raise Malformed("a key id is 8 lower-case hex digits")
    return name, key_id, read_base64(encoded)


def join_vkey(name: str, material: bytes) -> str:
    """Write a vkey; `split_vkey` reads it."""
    return f"{name}+{key_id_of(name, material).hex()}+{write_base64(material)}"


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line of a note, not judged.

    Attributes:
        name: the name of the key.
        key_id: 4 bytes.
        signature: the rest, at least one byte; its form depends on the key.

    Raises:
        Malformed: a part is not as above.
    """

    name: str
    key_id: bytes
    signature: bytes

    def __post_init__(self) -> None:
        if not is_key_name(self.name):
            raise Malformed(f"not a key name: {self.name[:80]!r}")
        if len(self.key_id) != _KEY_ID_BYTES or not self.signature:
            raise Malformed("a signature is a key id of 4 bytes and at least one byte more")

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read one line, without its newline.

        Raises:
            Malformed: not a signature line.
        """
        # SPEC: em dash (U+2014), space (U+0020), key name, space, base64-encoded signature
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] != "\u2014":  # noqa: PLR2004 - see the line above
            raise Malformed(f"not a signature line: {line[:80]!r}")
        # SPEC: Signatures are the base64 encoding of 4+n bytes.
        data = read_base64(parts[2])
        return cls(parts[1], data[:_KEY_ID_BYTES], data[_KEY_ID_BYTES:])

    @property
    def line(self) -> str:
        """Write the line, with its newline."""
        return f"\u2014 {self.name} {write_base64(self.key_id + self.signature)}\n"


@dataclass(frozen=True, slots=True)
class SignerKey:
    """A private key and the name it signs with.

    Attributes:
        name: as `VerifierKey.name`.
        private_key: Ed25519; never printed.
        verifier: the public half, for those who are to trust it.
    """

    name: str
    private_key: Ed25519PrivateKey = field(repr=False)
    verifier: VerifierKey = field(init=False, compare=False)

    def __post_init__(self) -> None:
        public_key = self.private_key.public_key().public_bytes_raw()
        object.__setattr__(self, "verifier", VerifierKey(self.name, public_key))

    @property
    def vkey(self) -> str:
        """Write the public half as a vkey."""
        return self.verifier.vkey

    def sign(self, text: str) -> Signature:
        """Sign the text of a note, which ends in a newline."""
        signature = self.private_key.sign(text.encode())
        return Signature(self.name, self.verifier.key_id, signature)


@dataclass(frozen=True, slots=True)
class Note:
    """A text and the signature lines under it, in order, not judged.

    Attributes:
        text: ends in a newline; no other control characters.
        signatures: 1 to 100.

    Raises:
        Malformed: a part is not as above.
    """

    text: str
    signatures: tuple[Signature, ...]

    def __post_init__(self) -> None:
        if not self.text.endswith("\n"):
            raise Malformed("the text of a note ends in a newline")
        # SPEC: Signed notes [...] MUST NOT contain any ASCII control characters
        # (those below U+0020) other than newline.
        if _CONTROL.search(self.text) is not None:
            raise Malformed("a note has no control characters but newlines")
        # SPEC: Verifiers SHOULD apply a maximum limit to the number of signatures in a
        # note [...], but MUST accept at least up to 16 signatures.
        if not 1 <= len(self.signatures) <= MAX_SIGNATURES:
            raise Malformed(f"a note has 1 to {MAX_SIGNATURES} signatures")


@dataclass(frozen=True, slots=True)
class Opened(Generic[V]):
    """A note whose text at least one trusted key has signed; only `open_note` makes one.

    Attributes:
        note: as read, with the signatures of strangers.
        signers: the trusted keys that signed, each once, in the order of their lines.
    """

    note: Note
    signers: tuple[V, ...]


def parse(data: bytes) -> Note:
    """Read a note without judging its signatures; `encode` gives the same bytes back.

    Raises:
        Malformed: not a signed note.
    """
    if len(data) > MAX_NOTE_BYTES:
        raise Malformed(f"a note has at most {MAX_NOTE_BYTES} bytes")
    try:
        # SPEC: Signed notes MUST be valid UTF-8
        whole = data.decode()
    except UnicodeDecodeError:
        raise Malformed("a note is UTF-8 text") from None
    # SPEC: the text is separated from the signatures by the last empty line in the note.
    text, blank, lines = whole.rpartition("\n\n")
    if not blank or not lines.endswith("\n"):
        raise Malformed("a note is a text, an empty line and signature lines")
    # Never splitlines(): it would also cut at U+0085 and U+2028.
    signatures = lines[:-1].split("\n", MAX_SIGNATURES)
    return Note(text + "\n", tuple(map(Signature.parse, signatures)))


def encode(note: Note) -> bytes:
    """Write a note."""
    return (note.text + "\n" + "".join(sig.line for sig in note.signatures)).encode()


def open_note(data: bytes, verifiers: Iterable[V]) -> Opened[V]:
    """Read a note and check every signature by a trusted key.

    A key that signed twice counts once, and both lines must be good: a line that
    fails is a sign of tampering even beside one that holds.

    Args:
        data: the bytes of the note.
        verifiers: the keys one trusts.

    Raises:
        Malformed: not a signed note.
        Unproven: a trusted key's line does not hold, or no trusted key signed.
        ValueError: two different trusted keys share name and key id.
    """
    known: dict[tuple[str, bytes], V] = {}
    for verifier in verifiers:
        if known.setdefault((verifier.name, verifier.key_id), verifier) != verifier:
            raise ValueError(f"two trusted keys are both called {verifier.name!r} with one key id")
    note = parse(data)
    message = note.text.encode()
    signers: dict[V, None] = {}
    for signature in note.signatures:
        # SPEC: Verifiers MUST ignore signatures from unknown keys, even if they share a
        # name or ID (but not both) with a known key.
        key = known.get((signature.name, signature.key_id))
        if key is None:
            continue
        # SPEC: If a signature from a known key fails to verify, clients SHOULD reject the
        # whole note.
        if not key.accepts(message, signature.signature):
            raise Unproven(f"the signature by {signature.name!r} does not hold")
        signers[key] = None
    # SPEC: If no signature from a known key verifies successfully, clients MUST reject the
    # note.
    if not signers:
        raise Unproven("no trusted key has signed this note")
    return Opened(note, tuple(signers))
