"""Reading private keys: from files (unencrypted PEM, PKCS#8), or by files that name a token's."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from sharegate.errors import Misconfigured
from sharegate.private_keys.token import SCHEME, TokenKey, open_token_key


def load_ed25519(file: Path, place: str | None = None) -> Ed25519PrivateKey:
    """Read a key to sign with.

    Args:
        file: Where it lies.
        place: What it is called in a complaint; by default, the file.

    Raises:
        Misconfigured: It cannot be read, or is not an Ed25519 key.
    """
    place = place or str(file)
    key = _load(file, place)
    if not isinstance(key, Ed25519PrivateKey):
        raise Misconfigured(place, "is not an Ed25519 key")
    return key


def load_cosigner_key(file: Path) -> Ed25519PrivateKey | MLDSA44PrivateKey:
    """Read a key that a witness cosigns with.

    Raises:
        Misconfigured: It cannot be read, or is neither an Ed25519 nor an ML-DSA-44 key.
    """
    key = _load(file, str(file))
    if not isinstance(key, (Ed25519PrivateKey, MLDSA44PrivateKey)):
        raise Misconfigured(str(file), "is neither an Ed25519 nor an ML-DSA-44 key")
    return key


def load_x25519(file: Path) -> X25519PrivateKey:
    """Read a key that opens sealed details.

    Raises:
        Misconfigured: It cannot be read, or is not an X25519 key.
    """
    key = _load(file, str(file))
    if not isinstance(key, X25519PrivateKey):
        raise Misconfigured(str(file), "is not an X25519 key")
    return key


def seed_of(key: Ed25519PrivateKey) -> bytes:
    """32 secret bytes that follow from a key, the same each time: other keys are derived of them.

    Raises:
        OSError: The token that holds it does not sign now.
    """
    return key.seed() if isinstance(key, TokenKey) else key.private_bytes_raw()


def _load(file: Path, place: str) -> object:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise Misconfigured(place, error.strerror or "cannot be read") from error
    if data.startswith(SCHEME.encode()):
        return open_token_key(data.decode(errors="replace"), file.parent, place)
    try:
        return load_pem_private_key(data, password=None)
    except (ValueError, TypeError) as error:
        raise Misconfigured(place, "is not an unencrypted PEM private key") from error
