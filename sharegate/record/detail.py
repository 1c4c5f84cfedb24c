"""The detail beside an entry: sealed at once, and readable by two offices alone.

Each entry's detail is encrypted under a fresh key (see `suite` for the algorithms). That key is
wrapped under a wrapping key which lives for at most a minute in the gateway's memory and is itself
encrypted to the provider and to the audit office (HPKE, RFC 9180: X25519, HKDF-SHA256,
AES-256-GCM). Each entry carries all that its readers need; erasing its `wrapped` value erases its
detail and no other. One HPKE encryption costs more than all the rest of an entry, which is why
it is shared for a minute; what the gateway could read in that minute it had in hand anyway.
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM
from cryptography.hazmat.primitives.hpke import Suite as Hpke

from sharegate.model.act import Act
from sharegate.model.party import Department, DepartmentId
from sharegate.model.passage import Fetched
from sharegate.record.entry import SALT_BYTES, Label, Salts, SealedDetail, b64, commit
from sharegate.record.suite import AES, Random, Suite

_HPKE = Hpke(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_INFO = b"sharegate detail wrapping v1"
_WRAPPING_LIFETIME = 60_000  # milliseconds
_encode = msgspec.json.Encoder(order="sorted").encode
_encode_plain = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Wrapping:
    """A wrapping key, and itself encrypted to each of its readers.

    Attributes:
        until: First millisecond (Unix time) at which it no longer serves.
        readers: Their ids, sorted.
        encrypted: By reader, as JSON.
    """

    key: bytes
    until: int
    readers: tuple[str, ...]
    encrypted: bytes


class _Wrapped(msgspec.Struct, frozen=True):
    """An entry's key, and the wrapping key for each reader."""

    to: Mapping[str, str]
    key: str


class _Salts(msgspec.Struct, gc=False):
    asked_by: str
    detail: str
    matter: str
    officer: str
    request: str
    response: str


class _Plain(msgspec.Struct, gc=False):
    """The plaintext of an exchange's detail; as in a core, the members stand in order."""

    body: str
    officer: str
    salts: _Salts
    schema: int


class DetailSealer:
    """Seals details to the provider asked (where there is one) and to the audit office."""

    def __init__(self, office: bytes, random: Random, suite: Suite = AES) -> None:
        """Put it together.

        Args:
            office: The audit office's public key, X25519, 32 bytes.
            random: Gives so many random bytes.
            suite: What details are sealed with.
        """
        self._office = office
        self._random = random
        self._suite = suite
        self._wrappings: dict[bytes | None, Wrapping] = {}

    def seal(self, fetched: Fetched, salts: Salts) -> SealedDetail:
        """Seal what the entry commits to but does not show.

        The plaintext is JSON: the officer, the request's exact body, and the salts. The rows that
        were disclosed are not in it: data stays at its source.
        """
        identified = fetched.decided.identified
        request = fetched.decided.request
        plaintext = _encode_plain(
            _Plain(
                body=b64(identified.body),
                officer=identified.caller.officer,
                salts=_Salts(
                    asked_by=b64(salts.asked_by),
                    detail=b64(salts.detail),
                    matter=b64(salts.matter),
                    officer=b64(salts.officer),
                    request=b64(salts.request),
                    response=b64(salts.response),
                ),
                schema=1,
            )
        )
        departments = fetched.decided.names.departments
        provider = None if request is None else departments.get(DepartmentId(request.provider))
        return self._sealed(
            plaintext, identified.exchange_id, identified.at, provider, salts.detail
        )

    def seal_act(self, act: Act, entry_id: UUID, provider: Department | None) -> SealedDetail:
        """Seal what the entry of an administrative act commits to but does not show."""
        salt = self._random(SALT_BYTES)
        plaintext = _encode({"schema": 1, "act": act.detail, "salts": {"detail": b64(salt)}})
        return self._sealed(plaintext, entry_id, act.at, provider, salt)

    def _sealed(
        self, plaintext: bytes, entry_id: UUID, at: int, provider: Department | None, salt: bytes
    ) -> SealedDetail:
        wrapping = self._wrapping(None if provider is None else provider.detail_key, at)
        suite = self._suite
        key = self._random(suite.key_bytes)
        ciphertext = suite.encrypt(key, plaintext, entry_id.bytes)
        # A `_Wrapped`, put together by hand: all but the key is the same for a minute.
        wrapped_key = b64encode(suite.wrap(wrapping.key, key, self._random))
        return SealedDetail(
            algorithm=suite.id,
            ciphertext=ciphertext,
            digest=suite.digest(ciphertext),
            wrapped=b'{"key":"%b","to":%b}' % (wrapped_key, wrapping.encrypted),
            commitment=commit(salt, Label.DETAIL, plaintext),
            readers=wrapping.readers,
        )

    def _wrapping(self, provider: bytes | None, now: int) -> Wrapping:
        current = self._wrappings.get(provider)
        if current is not None and current.until - _WRAPPING_LIFETIME <= now < current.until:
            return current
        key = self._random(self._suite.key_bytes)
        public = [self._office]
        if provider is not None:
            public.append(provider)
        encrypted = {
            reader_id(raw): b64encode(
                _HPKE.encrypt(key, X25519PublicKey.from_public_bytes(raw), info=_INFO)
            ).decode()
            for raw in public
        }
        readers = tuple(sorted(encrypted))
        fresh = Wrapping(key, now + _WRAPPING_LIFETIME, readers, _encode(encrypted))
        self._wrappings[provider] = fresh
        return fresh


def reader_id(public: bytes) -> str:
    """Name a reader's key: the first 8 bytes of its SHA-256, base64url."""
    return b64(sha256(public).digest()[:8])


def unseal(
    key: X25519PrivateKey, *, suite: Suite, exchange_id: bytes, ciphertext: bytes, wrapped: bytes
) -> Mapping[str, object]:
    """Open a detail with one of its readers' private keys.

    Raises:
        ValueError: It is not sealed to this key, or ciphertext and key do not belong together.
    """
    parts = msgspec.json.decode(wrapped, type=_Wrapped)
    encrypted = parts.to.get(reader_id(key.public_key().public_bytes_raw()))
    if encrypted is None:
        raise ValueError("the detail is not sealed to this key")
    try:
        wrapping = _HPKE.decrypt(b64decode(encrypted), key, info=_INFO)
    except InvalidTag as error:
        raise ValueError("the detail does not open") from error
    entry_key = suite.unwrap(wrapping, b64decode(parts.key))
    plaintext = suite.decrypt(entry_key, ciphertext, exchange_id)
    opened: Mapping[str, object] = msgspec.json.decode(plaintext)
    return opened
