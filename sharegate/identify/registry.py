"""Reading the registry: who the members are and how each proves it.

The file is TOML. An unknown key, a missing one, a wrong type, a key that is no key or anything
listed twice refuses the whole file, naming the place.
"""

import base64
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from msgspec import Meta, Struct

from sharegate.errors import Misconfigured
from sharegate.identify.jws import issuer_key
from sharegate.model.party import Department, DepartmentId, KeyId, MemberKey, Registry, TokenIssuer

_KEY_BYTES = 32
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# The y coordinates of the Ed25519 points of small order (and p, p+1, which spell 0 and 1 anew).
# Under such a key one signature fits many messages; a key of zeros left as a placeholder is one.
_WEAK_ED25519 = {
    bytes.fromhex(y)
    for y in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
}

_Id = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,62}\Z")]
_Name = Annotated[str, Meta(min_length=1, max_length=100)]
_Moment = Annotated[datetime, Meta(tz=True)]


class _KeyEntry(Struct, frozen=True, forbid_unknown_fields=True):
    key_id: _Id
    public: str
    not_before: _Moment
    not_after: _Moment


class _IssuerEntry(Struct, frozen=True, forbid_unknown_fields=True):
    issuer: Annotated[str, Meta(pattern=r"^[\x21-\x7e]{1,255}\Z")]
    algorithm: str
    jwk: dict[str, str]


class _DepartmentEntry(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    id: _Id
    name_zh: _Name
    name_en: _Name
    detail_key: str | None = None
    key: list[_KeyEntry] = []
    issuer: list[_IssuerEntry] = []


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    audit_office_key: str
    department: Annotated[list[_DepartmentEntry], Meta(min_length=1)]


def load_registry(path: Path) -> Registry:
    """Read the registry file.

    Raises:
        Misconfigured: It cannot be read, or anything in it is not as it must be.
    """
    try:
        file = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _File)
    except OSError as error:
        raise Misconfigured(str(path), error.strerror or "cannot be read") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Misconfigured(str(path), f"is not TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise Misconfigured(str(path), str(error)) from error
    departments: dict[DepartmentId, Department] = {}
    keys: dict[KeyId, MemberKey] = {}
    issuers: dict[str, TokenIssuer] = {}
    for entry in file.department:
        place = f"{path}: department {entry.id}"
        department = _department(entry, place)
        if department.id in departments:
            raise Misconfigured(place, "is listed twice")
        departments[department.id] = department
        for key in entry.key:
            _add_key(keys, key, department.id, f"{place}, key {key.key_id}")
        for issuer in entry.issuer:
            _add_issuer(issuers, issuer, department.id, f"{place}, issuer {issuer.issuer}")
    office = _x25519(file.audit_office_key, f"{path}: audit_office_key")
    return Registry(departments, keys, issuers, office)


def _department(entry: _DepartmentEntry, place: str) -> Department:
    if not (entry.name_zh.isprintable() and entry.name_en.isprintable()):
        raise Misconfigured(place, "name_zh or name_en holds a control or direction character")
    detail_key = entry.detail_key
    return Department(
        id=DepartmentId(entry.id),
        name_zh=entry.name_zh,
        name_en=entry.name_en,
        detail_key=None if detail_key is None else _x25519(detail_key, f"{place}, detail_key"),
    )


def _add_key(
    keys: dict[KeyId, MemberKey], entry: _KeyEntry, department: DepartmentId, place: str
) -> None:
    key = MemberKey(
        key_id=KeyId(entry.key_id),
        department=department,
        public=_raw(entry.public, f"{place}, public"),
        not_before=(entry.not_before - _EPOCH) // timedelta(milliseconds=1),
        not_after=(entry.not_after - _EPOCH) // timedelta(milliseconds=1),
    )
    if key.public[:31] + bytes([key.public[31] & 0x7F]) in _WEAK_ED25519:
        raise Misconfigured(f"{place}, public", "is an Ed25519 key anyone can sign under")
    if key.not_before >= key.not_after:
        raise Misconfigured(f"{place}, not_after", "is not later than not_before")
    if key.key_id in keys:
        raise Misconfigured(place, "is listed twice; a key id belongs to one key")
    if any(other.public == key.public for other in keys.values()):
        raise Misconfigured(f"{place}, public", "is listed under another key id as well")
    keys[key.key_id] = key


def _add_issuer(
    issuers: dict[str, TokenIssuer], entry: _IssuerEntry, department: DepartmentId, place: str
) -> None:
    if entry.issuer in issuers:
        raise Misconfigured(place, "is listed twice; an issuer belongs to one department")
    try:
        issuer_key(entry.algorithm, entry.jwk)
    except ValueError as error:
        raise Misconfigured(place, str(error)) from error
    issuers[entry.issuer] = TokenIssuer(entry.issuer, department, entry.algorithm, entry.jwk)


def _raw(text: str, place: str) -> bytes:
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except ValueError:
        data = b""
    if len(data) != _KEY_BYTES or base64.b64encode(data).decode("ascii") != text:
        raise Misconfigured(place, f"is not {_KEY_BYTES} bytes in base64")
    return data


def _x25519(text: str, place: str) -> bytes:
    data = _raw(text, place)
    try:  # fails for the points of small order, to which nothing can be sealed (RFC 7748 6.1)
        X25519PrivateKey.from_private_bytes(bytes(_KEY_BYTES)).exchange(
            X25519PublicKey.from_public_bytes(data)
        )
    except ValueError as error:
        raise Misconfigured(place, "is an X25519 key to which nothing can be sealed") from error
    return data
