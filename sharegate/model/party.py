"""Who takes part: departments, their keys, and the caller they prove to be."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NewType

from msgspec import Struct

DepartmentId = NewType("DepartmentId", str)
OfficerId = NewType("OfficerId", str)
KeyId = NewType("KeyId", str)


@dataclass(frozen=True, slots=True)
class MemberKey:
    """One request-signing key of a department.

    Attributes:
        public: The raw Ed25519 public key, 32 bytes.
        not_before: First millisecond (Unix time) at which it may sign.
        not_after: First millisecond at which it may no longer sign.
    """

    key_id: KeyId
    department: DepartmentId
    public: bytes
    not_before: int
    not_after: int


@dataclass(frozen=True, slots=True)
class TokenIssuer:
    """Who vouches for a department's officers.

    Attributes:
        issuer: The ``iss`` its tokens carry.
        algorithm: The one JWS algorithm accepted from it (RFC 7518, RFC 8037).
        jwk: Its public key as a JSON Web Key (RFC 7517).
    """

    issuer: str
    department: DepartmentId
    algorithm: str
    jwk: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Department:
    """An organisation that is a party.

    Attributes:
        detail_key: Raw X25519 public key to which the detail of entries about its resources
            is sealed (RFC 9180), or None where it provides nothing.
    """

    id: DepartmentId
    name_zh: str
    name_en: str
    detail_key: bytes | None


@dataclass(frozen=True, slots=True)
class Registry:
    """The members: who they are and how each proves it.

    Attributes:
        audit_office_key: Raw X25519 public key of the audit office (RFC 9180).
        issuers: By the ``iss`` of the tokens they issue.
    """

    departments: Mapping[DepartmentId, Department]
    keys: Mapping[KeyId, MemberKey]
    issuers: Mapping[str, TokenIssuer]
    audit_office_key: bytes


class Caller(Struct, frozen=True, gc=False):
    """The consumer and the officer who acts for it, both proven.

    Attributes:
        key_id: The member key that signed the request.
        issuer: The issuer of the officer's token.
    """

    consumer: DepartmentId
    officer: OfficerId
    key_id: KeyId
    issuer: str
