"""``sharegate key split`` and ``recover``: a key among keepers, so many of whom can bring it back.

The shares are SLIP-0039 mnemonics (https://github.com/satoshilabs/slips/blob/master/slip-0039.md),
so that other software recovers the key too; fewer than are needed say nothing about it. Each share
carries a check value, which tells the right key from another without giving it away.
"""

import argparse
import hmac
import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from shamir_mnemonic import MnemonicError, Share, combine_mnemonics, generate_mnemonics

from sharegate.cli.options import Verbs
from sharegate.errors import Misconfigured, ShareGateError

_FORM: Final = "sharegate-key-share/v1"
_CHECK: Final = b"sharegate-key-check/v1"
_CHECK_BYTES: Final = 8
_KEY_BYTES: Final = 32
_MOST: Final = 16  # SLIP-0039
_WORDS_A_LINE: Final = 11
_INDEX: Final = "index"
_KINDS: Final = ("ed25519", "x25519")


class NotRecovered(ShareGateError):
    """The shares do not give the key that was split; nothing was written."""


def add_to(kinds: Verbs) -> None:
    """Add the verbs, beside those that make keys."""
    act = kinds.add_parser("split", help="share a private key among keepers (SLIP-0039)")
    act.add_argument("file", type=Path, help="the key: Ed25519 or X25519 (PEM), or an index key")
    act.add_argument("--of", type=int, required=True, metavar="N", help="how many keepers")
    act.add_argument("--needed", type=int, required=True, metavar="K",
                     help="how many of them bring it back; 2 or more")  # fmt: skip
    act.add_argument("--out", type=Path, required=True, metavar="DIR", help="one file a keeper")
    act.set_defaults(run=_split)
    act = kinds.add_parser("recover", help="bring a key back from so many shares as are needed")
    act.add_argument("shares", type=Path, nargs="+", metavar="SHARE")
    how = act.add_mutually_exclusive_group(required=True)
    how.add_argument("--out", type=Path, metavar="FILE", help="where it goes; never overwritten")
    how.add_argument("--rehearse", action="store_true",
                     help="see that it could be brought back; write nothing")  # fmt: skip
    act.set_defaults(run=_recover)


def _split(chosen: argparse.Namespace) -> int:
    if not 2 <= chosen.needed <= chosen.of <= _MOST:  # noqa: PLR2004  one alone is no sharing
        raise Misconfigured("--needed, --of", f"2 ≤ needed ≤ of ≤ {_MOST}")
    kind, secret = _load(chosen.file)
    check = check_value(kind, secret)
    (shares,) = generate_mnemonics(1, [(chosen.needed, chosen.of)], secret)
    try:
        chosen.out.mkdir(mode=0o700, parents=True, exist_ok=True)
        for number, words in enumerate(shares, start=1):
            head = [_FORM, f"share {number} of {chosen.of}, any {chosen.needed} bring the key back",
                    f"kind {kind}", f"check {check}"]  # fmt: skip
            _write(chosen.out / f"share-{number}", "\n".join([*head, *_lines(words), ""]).encode())
    except OSError as error:
        raise Misconfigured(str(error.filename), error.strerror or "cannot be written") from error
    _require(kind, check, [share.split() for share in shares[: chosen.needed]])
    print(f"{chosen.of} shares in {chosen.out}, any {chosen.needed} of them bring the key back")
    print(f"check value {check}: keep it where everybody can read it")
    print("give each keeper one share, by hand; then remove the directory")
    return 0


def _recover(chosen: argparse.Namespace) -> int:
    read = [_read(share) for share in chosen.shares]
    if len({(kind, check) for kind, check, _ in read}) != 1:
        raise NotRecovered("the shares are of different keys: their check values differ")
    kind, check, _ = read[0]
    secret = _require(kind, check, [words for _, _, words in read])
    if chosen.rehearse:
        print(f"rehearsed: {len(read)} shares bring the {kind} key back, check value {check}; "
              "nothing was written")  # fmt: skip
        return 0
    try:
        _write(chosen.out, _encoded(kind, secret))
    except OSError as error:
        raise Misconfigured(str(chosen.out), error.strerror or "cannot be written") from error
    print(f"{chosen.out}: the {kind} key, check value {check}")
    return 0


def check_value(kind: str, secret: bytes) -> str:
    """Tell keys apart: 8 bytes over the public half, or of a keyed hash where there is none."""
    if kind == _INDEX:
        public = hmac.digest(secret, _CHECK, "sha256")
    else:
        public = _private(kind, secret).public_key().public_bytes_raw()
    text = sha256(b"\n".join([_CHECK, kind.encode(), public])).hexdigest()[: 2 * _CHECK_BYTES]
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))


def _require(kind: str, check: str, shares: Sequence[Sequence[str]]) -> bytes:
    """Join the shares, and see that they give the key with this check value.

    Where there are more than are needed, each of them is tried.
    """
    given = [" ".join(words) for words in shares]
    try:
        needed: int = Share.from_mnemonic(given[0]).member_threshold
        tried = range(max(1, len(given) - needed + 1))
        secrets = {combine_mnemonics(given[at : at + needed]) for at in tried}
    except (MnemonicError, ValueError):
        # Not the library's own sentence, which repeats words of the shares.
        raise NotRecovered("the shares do not join: too few, damaged, or of two splits") from None
    secret: bytes = secrets.pop()
    right = len(secret) == _KEY_BYTES and hmac.compare_digest(check_value(kind, secret), check)
    if secrets or not right:
        raise NotRecovered("the shares give another key than the one that was split")
    return secret


def _load(file: Path) -> tuple[str, bytes]:
    try:
        data = file.read_bytes()
        if len(data) == _KEY_BYTES:
            return _INDEX, data
        key = load_pem_private_key(data, None)
    except OSError as error:
        raise Misconfigured(str(file), error.strerror or "cannot be read") from error
    except (ValueError, TypeError) as error:
        raise Misconfigured(str(file), "is neither a private key nor an index key") from error
    if isinstance(key, Ed25519PrivateKey):
        return "ed25519", key.private_bytes_raw()
    if isinstance(key, X25519PrivateKey):
        return "x25519", key.private_bytes_raw()
    raise Misconfigured(str(file), "has more than 32 bytes of secret; only such keys are shared")


def _encoded(kind: str, secret: bytes) -> bytes:
    if kind == _INDEX:
        return secret
    key = _private(kind, secret)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _private(kind: str, secret: bytes) -> Ed25519PrivateKey | X25519PrivateKey:
    if kind == "ed25519":
        return Ed25519PrivateKey.from_private_bytes(secret)
    return X25519PrivateKey.from_private_bytes(secret)


def _read(file: Path) -> tuple[str, str, list[str]]:
    """One share: the kind of key, its check value, the words."""
    try:
        form, _, kind, check, *lines = file.read_text(encoding="ascii").splitlines()
    except OSError as error:
        raise NotRecovered(f"{file}: {error.strerror}") from error
    except ValueError as error:
        raise NotRecovered(f"{file} is no share") from error
    kind, check = kind.removeprefix("kind "), check.removeprefix("check ")
    if form != _FORM or (kind not in _KINDS and kind != _INDEX):
        raise NotRecovered(f"{file} is no share")
    return kind, check, " ".join(lines).split()


def _lines(words: str) -> list[str]:
    each = words.split()
    return [" ".join(each[at : at + _WORDS_A_LINE]) for at in range(0, len(each), _WORDS_A_LINE)]


def _write(file: Path, data: bytes) -> None:
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())
