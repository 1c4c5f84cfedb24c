"""Who takes part: departments, their keys, and the caller they prove to be."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

from msgspec import Struct

DepartmentId = NewType("DepartmentId", str)
OfficerId = NewType("OfficerId", str)
KeyId = NewType("KeyId", str)
PersonId = NewType("PersonId", str)


class Level(StrEnum):
    """The administrative level of a department, highest first."""

    NATION = "nation"
    PROVINCE = "province"
    CITY = "city"
    COUNTY = "county"


def classes_of(department: "Department") -> tuple[str, ...]:
    """The classes a department belongs to, the widest first, as ``county`` and ``county@33``.

    A class is a level, or a level within a region; the hierarchy gives classes, never ownership.
    """
    if department.level is None:
        return ()
    ends = range(2, len(department.region) + 1, 2)
    regions = (department.region[:end] for end in ends)
    return (department.level.value, *(f"{department.level.value}@{each}" for each in regions))


class Role(StrEnum):
    """What a person may do besides asking. Nobody manages, operates or audits at once."""

    MANAGE = "manage"  # changes rules and members
    OPERATE = "operate"  # runs the machines
    AUDIT = "audit"  # reviews who saw what
    RULE = "rule"  # answers what a department's rules refer to it


class Known(StrEnum):
    """How a caller proved which department it is."""

    CHANNEL = "channel"
    SIGNED = "signed"


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
        discovery: Where and what to ask the issuer itself; then `algorithm` and `jwk` are empty.
    """

    issuer: str
    department: DepartmentId
    algorithm: str
    jwk: Mapping[str, str]
    discovery: "Discovery | None" = None


@dataclass(frozen=True, slots=True)
class Discovery:
    """An OpenID provider that publishes its keys itself.

    Attributes:
        audience: The ``aud`` its tokens must carry.
        typ: The ``typ`` they must carry (RFC 9068: ``at+jwt``).
        algorithms: The JWS algorithms accepted from it.
    """

    audience: str
    typ: str
    algorithms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate by which a department's connections are known.

    Attributes:
        key_id: The name entries give it.
        not_before, not_after: As for a `MemberKey`.
    """

    key_id: KeyId
    department: DepartmentId
    not_before: int
    not_after: int


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a duty besides asking, and the key that proves it.

    Attributes:
        public: The raw Ed25519 public key, 32 bytes.
        not_before, not_after: As for a `MemberKey`.
    """

    id: PersonId
    department: DepartmentId
    role: Role
    public: bytes
    not_before: int
    not_after: int


@dataclass(frozen=True, slots=True)
class Department:
    """An organisation that is a party.

    Attributes:
        detail_key: Raw X25519 public key to which the detail of entries about its resources
            is sealed (RFC 9180), or None where it provides nothing.
        level: Its administrative level, or None where that is not said.
        region: Its GB/T 2260 code: 2, 4 or 6 digits; empty for the nation, or where not said.
        parent: The department above it, of a higher level.
        policy_keys: The C2SP verifier keys that sign its rules.
    """

    id: DepartmentId
    name_zh: str
    name_en: str
    detail_key: bytes | None
    level: Level | None = None
    region: str = ""
    parent: DepartmentId | None = None
    policy_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Registry:
    """The members: who they are and how each proves it.

    Attributes:
        audit_office_key: Raw X25519 public key of the audit office (RFC 9180).
        issuers: By the ``iss`` of the tokens they issue.
        version: Rises with every change.
        certificates: By thumbprint (lower-case hexadecimal SHA-256) or SPIFFE id.
        persons: Those with a duty besides asking.
        revoked_officers: Officers who may no longer ask, whatever token they hold.
    """

    departments: Mapping[DepartmentId, Department]
    keys: Mapping[KeyId, MemberKey]
    issuers: Mapping[str, TokenIssuer]
    audit_office_key: bytes
    version: int = 1
    certificates: Mapping[str, Certificate] = field(default_factory=dict)
    persons: Mapping[PersonId, Person] = field(default_factory=dict)
    revoked_officers: frozenset[tuple[DepartmentId, OfficerId]] = frozenset()


class Caller(Struct, frozen=True, gc=False):
    """The consumer and the officer who acts for it, both proven.

    Attributes:
        key_id: The member key that signed the request.
        issuer: The issuer of the officer's token.
        posts: The posts the officer holds, as the token says.
        known: How the consumer proved itself.
    """

    consumer: DepartmentId
    officer: OfficerId
    key_id: KeyId
    issuer: str
    posts: tuple[str, ...] = ()
    known: Known = Known.SIGNED
