"""``sharegate key``: make a key pair and say its public half; share it among keepers."""

import argparse
import os
from base64 import b64encode
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from sharegate.audit.cosignature import Cosigner
from sharegate.audit.note import SignerKey
from sharegate.audit.sm2 import Sm2Key
from sharegate.audit.verdict import Malformed
from sharegate.cli import backup
from sharegate.cli.options import Verbs
from sharegate.errors import Misconfigured
from sharegate.private_keys import load_ed25519

_KINDS = {
    "log": "signs a log's checkpoints; prints its verifier key (give --origin)",
    "rules": "signs rules or the registry; prints its verifier key (give --origin: a department's "
    "id, or an administrator's name)",
    "member": "signs a department's requests (Ed25519)",
    "detail": "opens sealed details (X25519)",
    "witness": "cosigns other members' checkpoints (Ed25519); prints its verifier key (give "
    "--origin: the witness's name)",
    "witness-ml-dsa": "the same by ML-DSA-44, which quantum computers do not break",
}
_ED25519 = ("log", "rules", "member", "witness")
_SM2 = "sm2"
_NAMED = frozenset({"log", "rules", "witness", "witness-ml-dsa", _SM2})
NEEDS_SM = "SM2 needs sharegate[sm]"


def add_to(verbs: Verbs) -> None:
    """Add the verb."""
    parser = verbs.add_parser("key", help="make a key pair, or share one among keepers")
    kinds = parser.add_subparsers(required=True, metavar="KIND")
    for kind, meaning in _KINDS.items():
        one = kinds.add_parser(kind, help=meaning)
        one.add_argument("file", type=Path, help="where the private key goes; never overwritten")
        one.add_argument("--origin", required=kind in _NAMED, help="what it signs as")
        one.set_defaults(run=_run, kind=kind)
    one = kinds.add_parser("public", help="say the public half of a key that is there")
    one.add_argument("file", type=Path, help="the private key, or the file that names a token's; "
                     "of sm2 the public one, as the module gives it out (PEM)")  # fmt: skip
    one.add_argument("--as", dest="kind", choices=(*_ED25519, _SM2), required=True,
                     help="what it is")  # fmt: skip
    one.add_argument("--origin", help="what it signs as")
    one.set_defaults(run=_public)
    backup.add_to(kinds)


def _public(chosen: argparse.Namespace) -> int:
    if (chosen.origin is None) == (chosen.kind in _NAMED):
        raise Misconfigured("--origin", f"is needed for a name, and only there: {chosen.kind}")
    if chosen.kind == _SM2:
        print(load_sm2(chosen.file, chosen.origin).vkey)
    else:
        print(_said(load_ed25519(chosen.file), chosen.kind, chosen.origin))
    return 0


def load_sm2(file: Path, origin: str) -> Sm2Key:
    """Read the SM2 public key that vouches for a log.

    Raises:
        Misconfigured: It cannot be read, or is none.
    """
    try:
        return Sm2Key.from_pem(origin, file.read_text(encoding="utf-8"))
    except ImportError as error:
        raise Misconfigured(str(file), NEEDS_SM) from error
    except OSError as error:
        raise Misconfigured(str(file), error.strerror or "cannot be read") from error
    except (UnicodeDecodeError, Malformed) as error:
        raise Misconfigured(str(file), f"is no key: {error}") from error


def _said(key: Ed25519PrivateKey, kind: str, origin: str) -> str:
    """The public half, in the form in which others are told it."""
    if kind == "witness":
        return Cosigner(origin, key).verifier.vkey
    if kind in _NAMED:
        return SignerKey(origin, key).vkey
    return b64encode(key.public_key().public_bytes_raw()).decode()


def _run(chosen: argparse.Namespace) -> int:
    if chosen.kind == "detail":
        print(b64encode(new_detail_key(chosen.file)).decode())
    elif chosen.kind == "witness-ml-dsa":
        print(Cosigner(chosen.origin, new_ml_dsa_key(chosen.file)).verifier.vkey)
    else:
        print(_said(new_signing_key(chosen.file), chosen.kind, chosen.origin))
    return 0


def new_signing_key(file: Path) -> Ed25519PrivateKey:
    """Make an Ed25519 key and write it.

    Raises:
        Misconfigured: The file is there already, or cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    _write(file, key)
    return key


def new_ml_dsa_key(file: Path) -> MLDSA44PrivateKey:
    """Make an ML-DSA-44 key (FIPS 204) and write it.

    Raises:
        Misconfigured: The file is there already, or cannot be written.
    """
    key = MLDSA44PrivateKey.generate()
    _write(file, key)
    return key


def new_detail_key(file: Path) -> bytes:
    """Make an X25519 key, write it, and give its raw public half.

    Raises:
        Misconfigured: The file is there already, or cannot be written.
    """
    key = X25519PrivateKey.generate()
    _write(file, key)
    return key.public_key().public_bytes_raw()


def _write(file: Path, key: Ed25519PrivateKey | X25519PrivateKey | MLDSA44PrivateKey) -> None:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise Misconfigured(str(file), error.strerror or "cannot be written") from error
    with os.fdopen(handle, "wb") as opened:
        opened.write(pem)
