"""Cosignatures: a witness says that a checkpoint adds to every one it saw before.

The format is C2SP tlog-cosignature v1 (https://c2sp.org/tlog-cosignature): a line under a
checkpoint's note that holds a time and a signature, by Ed25519 (type 0x04) or ML-DSA-44 (type
0x06, FIPS 204). A line of the first kind signs the text of the checkpoint, one of the second kind
its fields, its cosigner's name among them.
"""

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from sharegate.audit import checkpoint
from sharegate.audit.note import Signature, join_vkey, key_id_of, split_vkey
from sharegate.audit.text import MAX_SIZE, is_key_name
from sharegate.audit.verdict import Malformed

_TIME: Final = struct.Struct(">Q")
_LABEL: Final = b"subtree/v1\n\x00"
_LONGEST_NAME: Final = 255


class Algorithm(IntEnum):
    """How a cosigner signs: the first byte of its key's material."""

    ED25519 = 0x04
    ML_DSA_44 = 0x06


_KEY_BYTES: Final = {Algorithm.ED25519: 32, Algorithm.ML_DSA_44: 1312}
_SIGNATURE_BYTES: Final = {Algorithm.ED25519: 64, Algorithm.ML_DSA_44: 2420}


@dataclass(frozen=True, slots=True)
class CosignerKey:
    """The public key of a witness one has decided to trust, under the name it signs with.

    Attributes:
        name: As a note's key name; at most 255 bytes for ML-DSA-44, which signs it.
        algorithm: How it signs.
        public_key: 32 bytes (RFC 8032) or 1312 (FIPS 204).
        key_id: 4 bytes that tell apart the keys of one name; not a secure hash.

    Raises:
        Malformed: A part is not as above.
    """

    name: str
    algorithm: Algorithm
    public_key: bytes = field(repr=False)
    key_id: bytes = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if not is_key_name(self.name):
            raise Malformed(f"not a key name: {self.name[:80]!r}")
        if len(self.public_key) != _KEY_BYTES[self.algorithm]:
            raise Malformed(f"a key of this type has {_KEY_BYTES[self.algorithm]} bytes")
        if self.algorithm is Algorithm.ML_DSA_44 and len(self.name.encode()) > _LONGEST_NAME:
            raise Malformed(f"the name of an ML-DSA cosigner has at most {_LONGEST_NAME} bytes")
        # SPEC: The key ID [...] MUST be computed as
        # SHA-256(<name> || "\n" || 0x04 (or 0x06) || cosigner public key)[:4]
        object.__setattr__(self, "key_id", key_id_of(self.name, self._material()))

    @classmethod
    def parse(cls, vkey: str) -> Self:
        """Read a cosigner's vkey.

        Raises:
            Malformed: Not a vkey, of another type, or its key ID is not its own.
        """
        name, key_id, material = split_vkey(vkey)
        try:
            algorithm = Algorithm(material[0] if material else 0)
        except ValueError:
            kind = material[:1].hex() or "none"
            raise Malformed(f"key type {kind} is no cosigner's: 04 or 06") from None
        key = cls(name, algorithm, material[1:])
        if key.key_id.hex() != key_id:
            raise Malformed(f"the key id of {name!r} is {key.key_id.hex()}, not {key_id}")
        return key

    @property
    def vkey(self) -> str:
        """Write the key as a vkey."""
        return join_vkey(self.name, self._material())

    def accepts(self, message: bytes, signature: bytes) -> bool:
        """Say whether the line under a checkpoint with this text is this cosigner's."""
        if len(signature) != _TIME.size + _SIGNATURE_BYTES[self.algorithm]:
            return False
        (at,) = _TIME.unpack_from(signature)
        # SPEC: It MUST NOT exceed 2^63 - 1. A witness's MUST NOT be zero (tlog-witness).
        if not 0 < at <= MAX_SIZE:
            return False
        try:
            signed = _signed(self.algorithm, self.name, at, message.decode())
            if self.algorithm is Algorithm.ED25519:
                Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature[8:], signed)
            else:
                MLDSA44PublicKey.from_public_bytes(self.public_key).verify(signature[8:], signed)
        except (InvalidSignature, ValueError):  # ValueError: no key, no UTF-8, or no checkpoint
            return False
        return True

    def _material(self) -> bytes:
        return bytes([self.algorithm]) + self.public_key


@dataclass(frozen=True, slots=True)
class Cosigner:
    """A witness's private key and the name it signs with.

    Attributes:
        name: As `CosignerKey.name`.
        private_key: Never printed.
        verifier: The public half, for those who are to trust it.
    """

    name: str
    private_key: Ed25519PrivateKey | MLDSA44PrivateKey = field(repr=False)
    verifier: CosignerKey = field(init=False, compare=False)

    def __post_init__(self) -> None:
        ed25519 = isinstance(self.private_key, Ed25519PrivateKey)
        algorithm = Algorithm.ED25519 if ed25519 else Algorithm.ML_DSA_44
        public = self.private_key.public_key().public_bytes_raw()
        object.__setattr__(self, "verifier", CosignerKey(self.name, algorithm, public))

    def cosign(self, text: str, at: int) -> Signature:
        """Cosign the text of a checkpoint.

        That the checkpoint adds to every one cosigned before is the caller's promise to keep:
        this method has no memory.

        Args:
            text: As `checkpoint.encode` writes it.
            at: Seconds of Unix time, 1 to 2^63 - 1.

        Raises:
            Malformed: The text is no checkpoint, or its origin is too long for ML-DSA-44.
            ValueError: No such time.
        """
        if not 0 < at <= MAX_SIZE:
            raise ValueError(f"no cosignature is made at {at}")
        checkpoint.parse(text)
        verifier = self.verifier
        signed = self.private_key.sign(_signed(verifier.algorithm, self.name, at, text))
        return Signature(self.name, verifier.key_id, _TIME.pack(at) + signed)


def cosigned_at(line: Signature) -> int:
    """The time in a cosignature, seconds of Unix time; worth something once it was checked.

    Raises:
        Malformed: The line is too short to hold a time.
    """
    if len(line.signature) < _TIME.size:
        raise Malformed("a cosignature begins with its time")
    at: int = _TIME.unpack_from(line.signature)[0]
    return at


def _signed(algorithm: Algorithm, name: str, at: int, text: str) -> bytes:
    """The bytes that are signed."""
    if algorithm is Algorithm.ED25519:
        # SPEC: two newline (U+000A) terminated lines (one header line and one timestamp
        # line) followed by the whole note body of the cosigned checkpoint
        return f"cosignature/v1\ntime {at}\n{text}".encode()
    seen = checkpoint.parse(text)
    cosigner, origin = name.encode(), seen.origin.encode()
    if len(origin) > _LONGEST_NAME:
        raise Malformed(f"ML-DSA cosigns origins of at most {_LONGEST_NAME} bytes")
    # SPEC: label, cosigner_name<1..2^8-1>, timestamp, log_origin<1..2^8-1>, start, end, hash.
    # If signing a checkpoint, [start] MUST be zero.
    return b"".join(
        (
            _LABEL,
            bytes([len(cosigner)]), cosigner, _TIME.pack(at),
            bytes([len(origin)]), origin, _TIME.pack(0), _TIME.pack(seen.size), seen.root,
        )
    )  # fmt: skip
