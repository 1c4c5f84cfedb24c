"""The form of registry.toml: its keys, and how each is spelt.

What they mean together is seen to in :mod:`sharegate.identify.registry`.
"""

import tomllib
from datetime import datetime
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from sharegate.errors import Misconfigured
from sharegate.model.party import Level, Role

_Id = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,62}\Z")]
_Name = Annotated[str, Meta(min_length=1, max_length=100)]
_Moment = Annotated[datetime, Meta(tz=True)]
_Visible = Annotated[str, Meta(pattern=r"^[\x21-\x7e]{1,255}\Z")]
# SPIFFE-ID 2: a lower-case trust domain and a path of plain segments, at most 2048 bytes.
SPIFFE_ID = r"^spiffe://[a-z0-9._-]{1,255}(/(?!\.{1,2}(/|\Z))[A-Za-z0-9._-]+)+\Z"
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class KeyEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """``[[department.key]]``: a key that signs requests."""

    key_id: _Id
    public: str
    not_before: _Moment
    not_after: _Moment


class IssuerEntry(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[[department.issuer]]``: who vouches for officers, by a key of its own or by discovery."""

    issuer: _Visible
    algorithm: str | None = None
    jwk: dict[str, str] | None = None
    discovery: bool = False
    audience: _Visible | None = None
    typ: _Visible | None = None
    algorithms: Annotated[list[str], Meta(min_length=1, max_length=8)] | None = None


class CertificateEntry(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[[department.certificate]]``: what a connection of the department shows."""

    key_id: _Id
    thumbprint: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")] | None = None
    spiffe: Annotated[str, Meta(pattern=SPIFFE_ID)] | None = None
    not_before: _Moment
    not_after: _Moment


class PersonEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """``[[person]]``: somebody with a duty besides asking."""

    id: _Id
    department: _Id
    role: Role
    public: str
    not_before: _Moment
    not_after: _Moment


class OfficerEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """``[[revoked_officer]]``: an officer who may no longer ask."""

    department: _Id
    officer: Annotated[str, Meta(min_length=1, max_length=255)]


class DepartmentEntry(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[[department]]``: a party, with what proves it."""

    id: _Id
    name_zh: _Name
    name_en: _Name
    detail_key: str | None = None
    level: Level | None = None
    region: Annotated[str, Meta(pattern=r"^([0-9]{2}){0,3}\Z")] = ""
    parent: _Id | None = None
    policy_keys: list[str] = []
    key: list[KeyEntry] = []
    issuer: list[IssuerEntry] = []
    certificate: list[CertificateEntry] = []


class RegistryFile(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All of it."""

    version: Annotated[int, Meta(ge=1, lt=2**53)] = 1
    audit_office_key: str
    department: Annotated[list[DepartmentEntry], Meta(min_length=1)]
    person: list[PersonEntry] = []
    revoked_officer: list[OfficerEntry] = []


def is_safe(url: str) -> bool:
    """Whether a URL may be fetched: https, or this very machine."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)


def parse_registry(path: Path, content: bytes) -> RegistryFile:
    """Read the form.

    Args:
        path: Where it was read from, for complaints.
        content: The file.

    Raises:
        Misconfigured: A key is unknown, missing or of a wrong form.
    """
    try:
        return msgspec.convert(tomllib.loads(content.decode()), RegistryFile)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Misconfigured(str(path), f"is not TOML: {error}") from error
    except RecursionError as error:
        raise Misconfigured(str(path), "is nested too deeply") from error
    except msgspec.ValidationError as error:
        raise Misconfigured(str(path), str(error)) from error
