"""Opening an entry: the sealed detail beside it, held against what the entry committed to. Pure."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from sharegate.model.act import ActKind
from sharegate.record.detail import unseal
from sharegate.record.entry import Label, b64, commit, unb64
from sharegate.record.suite import SUITES, Suite

_encode: Final = msgspec.json.Encoder(order="sorted").encode


def open_detail(
    core: Mapping[str, object],
    key: X25519PrivateKey,
    *,
    entry_id: bytes,
    sealed: bytes,
    wrapped: bytes | None,
) -> Mapping[str, object]:
    """Open an entry's detail, and check that it is the one the entry was written with.

    Args:
        core: What the entry says.
        key: The private key of one of its readers.
        entry_id: The id it was sealed under.
        sealed: The detail's ciphertext.
        wrapped: Its key, wrapped; None once erased.

    Raises:
        ValueError: It was erased, is not sealed to this key, or is not what the entry says.
    """
    if wrapped is None:
        raise ValueError("the detail was erased")
    suite = require_sealed(core, entry_id, sealed)
    said = _map(core.get("detail"))
    try:
        opened = unseal(key, suite=suite, exchange_id=entry_id, ciphertext=sealed, wrapped=wrapped)
    except msgspec.MsgspecError as error:
        raise ValueError("the detail's key is damaged") from error
    salts = _map(opened.get("salts"))
    if said.get("plaintext") != _committed(salts, Label.DETAIL, _encode(opened)):
        raise ValueError("the detail is not the one the entry committed to")
    if "body" in opened:
        _check_exchange(core, opened, salts)
    return opened


def require_sealed(core: Mapping[str, object], entry_id: bytes, sealed: bytes) -> Suite:
    """Check that a detail is the one that an entry names; give what it is sealed with.

    Raises:
        ValueError: It is not, or is sealed with what is not known here.
    """
    said = _map(core.get("detail"))
    suite = SUITES.get(str(said.get("algorithm")))
    if suite is None:
        raise ValueError("the detail is sealed with an algorithm that is not known here")
    if said.get("ciphertext") != b64(suite.digest(sealed)) or core.get("id") != b64(entry_id):
        raise ValueError("the sealed detail is not the entry's")
    return suite


def says_erased(core: Mapping[str, object], index: int) -> bool:
    """Whether an entry is the one that says that the detail of the entry at `index` goes."""
    return core.get("kind") == ActKind.ERASE and _map(core.get("facts")).get("entry") == index


def _check_exchange(
    core: Mapping[str, object], opened: Mapping[str, object], salts: Mapping[str, object]
) -> None:
    officer = str(opened.get("officer")).encode()
    body = sha256(unb64(opened.get("body"))).digest()
    if _map(core.get("caller")).get("officer") != _committed(salts, Label.OFFICER, officer):
        raise ValueError("the officer in the detail is not the entry's")
    if core.get("request") != _committed(salts, Label.REQUEST, body):
        raise ValueError("the request in the detail is not the entry's")


def _committed(salts: Mapping[str, object], label: Label, value: bytes) -> str:
    return b64(commit(unb64(salts.get(label.name.lower())), label, value))


def _map(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}
