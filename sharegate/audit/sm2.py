"""SM2 lines under a note: one more key that vouches, for those whom GM/T 0054 binds.

A line is an SM2 signature with SM3 (GB/T 32918.2; user id and DER form of GM/T 0009) over the
note's text, its type 0xff and a name of our own, as C2SP signed-note has it for types without a
byte. Whoever does not know the key passes over it. Lines are checked here and made elsewhere: by a
program that reaches a certified module. Needs the extra ``sm`` (gmalg).
"""

from dataclasses import dataclass, field
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from sharegate.audit.note import join_vkey, key_id_of, split_vkey
from sharegate.audit.text import is_key_name, read_base64
from sharegate.audit.verdict import Malformed

# SPEC: 0xff [...] It is RECOMMENDED that this byte be followed by a longer identifier that is
# unlikely to collide.
_TYPE: Final = b"\xffsharegate-sm2-sm3-v1"
_USER: Final = b"1234567812345678"  # where nothing else was agreed: GM/T 0009
_POINT_BYTES: Final = 65
_NUMBER_BYTES: Final = 32
# A SubjectPublicKeyInfo (RFC 5480) of the curve 1.2.156.10197.1.301, up to the point.
_SPKI: Final = bytes.fromhex("3059301306072a8648ce3d020106082a811ccf5501822d034200")


@dataclass(frozen=True, slots=True)
class Sm2Key:
    """A public key one has decided to trust, under the name it signs with.

    Attributes:
        name: As `note.VerifierKey.name`.
        point: 65 bytes: 0x04 and both coordinates.
        key_id: 4 bytes.

    Raises:
        Malformed: The name is none, or the point is not one of the curve.
        ImportError: The extra is not installed.
    """

    name: str
    point: bytes
    key_id: bytes = field(init=False, compare=False)

    def __post_init__(self) -> None:
        import gmalg  # noqa: PLC0415  an extra that most sites do not install

        if not is_key_name(self.name):
            raise Malformed(f"not a key name: {self.name[:80]!r}")
        if len(self.point) != _POINT_BYTES or self.point[0] != 0x04:  # noqa: PLR2004  uncompressed
            raise Malformed("an SM2 public key is 04 and two coordinates of 32 bytes")
        if not gmalg.SM2().verify_pk(self.point):
            raise Malformed("the point is not on the curve of SM2")
        object.__setattr__(self, "key_id", key_id_of(self.name, self._material()))

    @classmethod
    def parse(cls, vkey: str) -> Self:
        """Read a vkey of this type.

        Raises:
            Malformed: It is none.
        """
        name, key_id, material = split_vkey(vkey)
        if not material.startswith(_TYPE):
            raise Malformed("not the verifier key of an SM2 line")
        key = cls(name, material.removeprefix(_TYPE))
        if key.key_id.hex() != key_id:
            raise Malformed(f"the key id of {name!r} is {key.key_id.hex()}, not {key_id}")
        return key

    @classmethod
    def from_pem(cls, name: str, pem: str) -> Self:
        """Read a public key as modules give it out (``BEGIN PUBLIC KEY``).

        Raises:
            Malformed: It is not one of SM2.
        """
        lines = pem.strip().splitlines()
        if lines[:1] != ["-----BEGIN PUBLIC KEY-----"]:
            raise Malformed("not a public key in PEM")
        der = read_base64("".join(lines[1:-1]))
        if not der.startswith(_SPKI):
            raise Malformed("not a public key of SM2")
        return cls(name, der.removeprefix(_SPKI))

    @property
    def vkey(self) -> str:
        """Write the key as a vkey."""
        return join_vkey(self.name, self._material())

    def accepts(self, message: bytes, signature: bytes) -> bool:
        """Say whether the signature over these bytes is this key's."""
        import gmalg  # noqa: PLC0415  see above

        try:
            r, s = (
                number.to_bytes(_NUMBER_BYTES, "big") for number in decode_dss_signature(signature)
            )
        except (ValueError, OverflowError):
            return False
        return bool(gmalg.SM2(uid=_USER, pk=self.point).verify(message, r, s))

    def _material(self) -> bytes:
        return _TYPE + self.point
