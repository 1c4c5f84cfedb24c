"""What `policy sign` and `registry sign` share: the key, the note, and how it is replaced."""

from collections.abc import Mapping
from pathlib import Path

from sharegate.audit.note import SignerKey
from sharegate.audit.verdict import Malformed
from sharegate.errors import Misconfigured
from sharegate.model.signed import Statement, add_signature, next_version, state
from sharegate.private_keys import load_ed25519


def load_key(file: Path, name: str) -> SignerKey:
    """Read a key that signs rules or the registry.

    Args:
        file: Unencrypted PEM, PKCS#8, Ed25519.
        name: What it signs as: a department's id, or an administrator's name.

    Raises:
        Misconfigured: It cannot be read, or is not that.
    """
    key = load_ed25519(file)
    try:
        return SignerKey(name, key)
    except Malformed as error:
        raise Misconfigured(str(file), str(error)) from error


def sign_set(
    note: Path, name: str, files: Mapping[str, bytes], key: SignerKey, version: int | None = None
) -> Statement:
    """Sign a set of files, and replace its note whole.

    Args:
        note: Where it is or will be. Signatures there over the same files and version stay.
        name: The set's.
        files: All of it.
        key: Who signs.
        version: By default one more than the note's, or the note's own for the same files.

    Raises:
        Misconfigured: The note that is there is none, or the new one cannot be written.
    """
    former = note.read_bytes() if note.exists() else None
    try:
        statement = state(name, version or next_version(former, name, files), files)
        signed = add_signature(former, statement, key)
    except Malformed as error:
        raise Misconfigured(str(note), f"is no note of such a set: {error}") from error
    fresh = note.with_name(f".{note.name}.new")  # a name that a gateway passes over
    try:
        fresh.write_bytes(signed)
        fresh.replace(note)
    except OSError as error:
        raise Misconfigured(str(note), error.strerror or "cannot be written") from error
    return statement
