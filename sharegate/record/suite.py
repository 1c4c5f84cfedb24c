"""With which algorithms a detail is sealed. Every entry names them, so an old one can be opened.

`A256GCM` is the rule. `SM4GCM-SM3` is for those whom GM/T 0054 binds: SM4 (GB/T 32907) in GCM as
RFC 8998 uses it, and SM3 (GB/T 32905). Neither is a certified module here, and two things stay what
they are in both: readers' keys are X25519 (HPKE), and the log's own hashes SHA-256.
"""

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import SM4
from cryptography.hazmat.primitives.ciphers.modes import GCM
from cryptography.hazmat.primitives.hashes import SM3, Hash
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_NONCE: Final = bytes(_NONCE_BYTES)  # each key encrypts once


Random = Callable[[int], bytes]


class Suite(Protocol):
    """One choice of algorithms; keys have `key_bytes` bytes."""

    id: str
    """What an entry calls it."""
    key_bytes: int

    def encrypt(self, key: bytes, plaintext: bytes, associated: bytes) -> bytes:
        """Encrypt under a key that encrypts nothing else."""

    def decrypt(self, key: bytes, ciphertext: bytes, associated: bytes) -> bytes:
        """Open it; raises ValueError where it is not under this key, or not whole."""

    def wrap(self, wrapping: bytes, key: bytes, random: Random) -> bytes:
        """Encrypt a key under another one, which may wrap many."""

    def unwrap(self, wrapping: bytes, wrapped: bytes) -> bytes:
        """Open it; raises ValueError as `decrypt` does."""

    def digest(self, ciphertext: bytes) -> bytes:
        """Hash what an entry commits to: 32 bytes."""


class _Aes:
    """AES-256-GCM, RFC 3394 and SHA-256."""

    id = "A256GCM"
    key_bytes = 32

    def encrypt(self, key: bytes, plaintext: bytes, associated: bytes) -> bytes:
        return AESGCM(key).encrypt(_NONCE, plaintext, associated)

    def decrypt(self, key: bytes, ciphertext: bytes, associated: bytes) -> bytes:
        try:
            return AESGCM(key).decrypt(_NONCE, ciphertext, associated)
        except InvalidTag as error:
            raise ValueError("the ciphertext does not open") from error

    def wrap(self, wrapping: bytes, key: bytes, _random: Random) -> bytes:
        return aes_key_wrap(wrapping, key)

    def unwrap(self, wrapping: bytes, wrapped: bytes) -> bytes:
        try:
            return aes_key_unwrap(wrapping, wrapped)
        except InvalidUnwrap as error:
            raise ValueError("the key does not open") from error

    def digest(self, ciphertext: bytes) -> bytes:
        return sha256(ciphertext).digest()


class _Sm:
    """SM4-GCM, for details and for keys, and SM3."""

    id = "SM4GCM-SM3"
    key_bytes = 16

    def encrypt(self, key: bytes, plaintext: bytes, associated: bytes) -> bytes:
        return self._sealed(key, _NONCE, plaintext, associated)

    def decrypt(self, key: bytes, ciphertext: bytes, associated: bytes) -> bytes:
        return self._opened(key, _NONCE, ciphertext, associated)

    def wrap(self, wrapping: bytes, key: bytes, random: Random) -> bytes:
        nonce = random(_NONCE_BYTES)  # RFC 3394 is for AES alone
        return nonce + self._sealed(wrapping, nonce, key, b"")

    def unwrap(self, wrapping: bytes, wrapped: bytes) -> bytes:
        return self._opened(wrapping, wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], b"")

    def digest(self, ciphertext: bytes) -> bytes:
        hashed = Hash(SM3())
        hashed.update(ciphertext)
        return hashed.finalize()

    @staticmethod
    def _sealed(key: bytes, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
        encryptor = Cipher(SM4(key), GCM(nonce)).encryptor()
        encryptor.authenticate_additional_data(associated)
        return encryptor.update(plaintext) + encryptor.finalize() + encryptor.tag

    @staticmethod
    def _opened(key: bytes, nonce: bytes, ciphertext: bytes, associated: bytes) -> bytes:
        tag = ciphertext[-_TAG_BYTES:]
        if len(nonce) != _NONCE_BYTES or len(tag) != _TAG_BYTES:
            raise ValueError("the ciphertext is too short")
        decryptor = Cipher(SM4(key), GCM(nonce, tag)).decryptor()
        decryptor.authenticate_additional_data(associated)
        try:
            return decryptor.update(ciphertext[:-_TAG_BYTES]) + decryptor.finalize()
        except InvalidTag as error:
            raise ValueError("the ciphertext does not open") from error


AES: Final[Suite] = _Aes()
SUITES: Final[Mapping[str, Suite]] = {each.id: each for each in (AES, _Sm())}
