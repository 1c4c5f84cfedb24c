"""Reading the private keys that persons and readers of details hold."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from sharegate.errors import Misconfigured


def load_person_key(file: Path) -> Ed25519PrivateKey:
    """Read the key a person signs with.

    Raises:
        Misconfigured: It cannot be read, or is not an Ed25519 key.
    """
    key = _load(file)
    if not isinstance(key, Ed25519PrivateKey):
        raise Misconfigured(str(file), "is not an Ed25519 key")
    return key


def load_reader_key(file: Path) -> X25519PrivateKey:
    """Read the key that opens sealed details.

    Raises:
        Misconfigured: It cannot be read, or is not an X25519 key.
    """
    key = _load(file)
    if not isinstance(key, X25519PrivateKey):
        raise Misconfigured(str(file), "is not an X25519 key")
    return key


def _load(file: Path) -> object:
    try:
        return load_pem_private_key(file.read_bytes(), password=None)
    except OSError as error:
        raise Misconfigured(str(file), error.strerror or "cannot be read") from error
    except (ValueError, TypeError) as error:
        raise Misconfigured(str(file), "is not an unencrypted PEM private key") from error
