"""Reading the private keys that lie in files: unencrypted PEM, PKCS#8."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from sharegate.errors import Misconfigured


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


def _load(file: Path, place: str) -> object:
    try:
        return load_pem_private_key(file.read_bytes(), password=None)
    except OSError as error:
        raise Misconfigured(place, error.strerror or "cannot be read") from error
    except (ValueError, TypeError) as error:
        raise Misconfigured(place, "is not an unencrypted PEM private key") from error
