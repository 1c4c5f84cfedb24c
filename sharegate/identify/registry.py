"""Reading the registry: who the members are and how each proves it.

The file is TOML. An unknown key, a missing one, a wrong type, a key that is no key or anything
listed twice refuses the whole file, naming the place.
"""

import base64
from collections.abc import Container, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from sharegate.audit.note import VerifierKey
from sharegate.audit.verdict import Malformed
from sharegate.audit.weak import is_weak
from sharegate.errors import Misconfigured
from sharegate.identify.jws import ALGORITHMS, issuer_key
from sharegate.identify.registry_file import (
    CertificateEntry,
    DepartmentEntry,
    IssuerEntry,
    KeyEntry,
    PersonEntry,
    RegistryFile,
    is_safe,
    parse_registry,
)
from sharegate.model.party import (
    Certificate,
    Department,
    DepartmentId,
    Discovery,
    KeyId,
    Level,
    MemberKey,
    OfficerId,
    Person,
    PersonId,
    Registry,
    TokenIssuer,
)
from sharegate.model.signed import CONSORTIUM_SET, REGISTRY_SET, ROOT_SET

_KEY_BYTES = 32
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LEVELS = frozenset(level.value for level in Level)
_REGION_DIGITS = {Level.NATION: 0, Level.PROVINCE: 2, Level.CITY: 4, Level.COUNTY: 6}
# Entries call others by these names.
_TAKEN = frozenset(
    {REGISTRY_SET, ROOT_SET, CONSORTIUM_SET, "administrators", "gateway", "unregistered"}
)


def load_registry(path: Path) -> Registry:
    """Read the registry file, whoever wrote it.

    Raises:
        Misconfigured: It cannot be read, or anything in it is not as it must be.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Misconfigured(str(path), error.strerror or "cannot be read") from error
    return read_registry(path, content)


def read_registry(path: Path, content: bytes) -> Registry:
    """Read a registry.

    Args:
        path: Where it was read from, for complaints.
        content: The file.

    Raises:
        Misconfigured: Anything in it is not as it must be.
    """
    file = parse_registry(path, content)
    departments: dict[DepartmentId, Department] = {}
    keys: dict[KeyId, MemberKey] = {}
    issuers: dict[str, TokenIssuer] = {}
    certificates: dict[str, Certificate] = {}
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
        for certificate in entry.certificate:
            _add_certificate(certificates, certificate, department.id, place)
    for department in departments.values():
        _require_place(f"{path}: department {department.id}", department, departments)
    for one in certificates.values():
        if one.key_id in keys:
            place = f"{path}: department {one.department}, certificate {one.key_id}"
            raise Misconfigured(place, "is the id of a signing key as well")
    persons = _persons(file, path, departments)
    _require_own_keys(path, persons, keys, departments)
    return Registry(
        departments=departments,
        keys=keys,
        issuers=issuers,
        audit_office_key=_x25519(file.audit_office_key, f"{path}: audit_office_key"),
        version=file.version,
        certificates=certificates,
        persons=persons,
        revoked_officers=_revoked_officers(file, path, departments),
    )


def _persons(
    file: RegistryFile, path: Path, departments: Container[DepartmentId]
) -> dict[PersonId, Person]:
    persons: dict[PersonId, Person] = {}
    for person in file.person:
        _add_person(persons, person, departments, f"{path}: person {person.id}")
    return persons


def _require_own_keys(
    path: Path,
    persons: Mapping[PersonId, Person],
    keys: Mapping[KeyId, MemberKey],
    departments: Mapping[DepartmentId, Department],
) -> None:
    """See that no person's key does anything else: who signs rules or requests has that duty."""
    others = {key.public for key in keys.values()}
    for department in departments.values():
        others |= {VerifierKey.parse(vkey).public_key for vkey in department.policy_keys}
    for person in persons.values():
        if person.public in others:
            raise Misconfigured(f"{path}: person {person.id}, public", "is a department's key")


def _revoked_officers(
    file: RegistryFile, path: Path, departments: Container[DepartmentId]
) -> frozenset[tuple[DepartmentId, OfficerId]]:
    revoked = [
        (DepartmentId(one.department), OfficerId(one.officer)) for one in file.revoked_officer
    ]
    if any(department not in departments for department, _ in revoked):
        raise Misconfigured(f"{path}: revoked_officer", "names a department that is not listed")
    return frozenset(revoked)


def _department(entry: DepartmentEntry, place: str) -> Department:
    if not (entry.name_zh.isprintable() and entry.name_en.isprintable()):
        raise Misconfigured(place, "name_zh or name_en holds a control or direction character")
    if entry.id in _LEVELS:
        raise Misconfigured(
            place, "is named like a class of departments, so a rule would mean both"
        )
    if entry.id in _TAKEN:
        raise Misconfigured(place, "has a name that entries have for somebody else")
    detail_key = entry.detail_key
    return Department(
        id=DepartmentId(entry.id),
        name_zh=entry.name_zh,
        name_en=entry.name_en,
        detail_key=None if detail_key is None else _x25519(detail_key, f"{place}, detail_key"),
        level=entry.level,
        region=entry.region,
        parent=None if entry.parent is None else DepartmentId(entry.parent),
        policy_keys=tuple(_policy_key(vkey, entry.id, place) for vkey in entry.policy_keys),
    )


def _policy_key(vkey: str, department: str, place: str) -> str:
    try:
        key = VerifierKey.parse(vkey)
    except Malformed as error:
        raise Misconfigured(f"{place}, policy_keys", f"is no verifier key: {error}") from error
    if key.name != department:
        raise Misconfigured(f"{place}, policy_keys", "is named otherwise than the department")
    if is_weak(key.public_key):
        raise Misconfigured(f"{place}, policy_keys", "is an Ed25519 key anyone can sign under")
    return vkey


def _require_place(
    place: str, department: Department, departments: Mapping[DepartmentId, Department]
) -> None:
    """See that a department's place in the hierarchy is one; it gives classes, never ownership."""
    digits = None if department.level is None else _REGION_DIGITS[department.level]
    if digits is not None and len(department.region) != digits:
        raise Misconfigured(f"{place}, region", f"a {department.level} has {digits} digits")
    if digits is None and department.region:
        raise Misconfigured(f"{place}, region", "needs a level")
    if department.parent is None:
        return
    above = departments.get(department.parent)
    if above is None:
        raise Misconfigured(f"{place}, parent", "is no listed department")
    levels = list(Level)
    if department.level is None or above.level is None:
        raise Misconfigured(f"{place}, parent", "needs a level, its own and its parent's")
    # A parent is of a higher level, so no chain comes back or is longer than there are levels.
    if levels.index(above.level) >= levels.index(department.level):
        raise Misconfigured(f"{place}, parent", "is not of a higher level")
    if not department.region.startswith(above.region):
        raise Misconfigured(f"{place}, parent", "is of another region")


def _add_key(
    keys: dict[KeyId, MemberKey], entry: KeyEntry, department: DepartmentId, place: str
) -> None:
    not_before, not_after = _window(entry, place)
    key = MemberKey(
        key_id=KeyId(entry.key_id),
        department=department,
        public=_ed25519(entry.public, f"{place}, public"),
        not_before=not_before,
        not_after=not_after,
    )
    if key.key_id in keys:
        raise Misconfigured(place, "is listed twice; a key id belongs to one key")
    if any(other.public == key.public for other in keys.values()):
        raise Misconfigured(f"{place}, public", "is listed under another key id as well")
    keys[key.key_id] = key


def _add_issuer(
    issuers: dict[str, TokenIssuer], entry: IssuerEntry, department: DepartmentId, place: str
) -> None:
    if entry.issuer in issuers:
        raise Misconfigured(place, "is listed twice; an issuer belongs to one department")
    issuers[entry.issuer] = TokenIssuer(
        issuer=entry.issuer,
        department=department,
        algorithm=entry.algorithm or "",
        jwk=entry.jwk or {},
        discovery=_discovery(entry, place),
    )


def _discovery(entry: IssuerEntry, place: str) -> Discovery | None:
    """What a discovered issuer must be told of; None, once its own key is seen to be one."""
    if not entry.discovery:
        if entry.audience or entry.typ or entry.algorithms:
            raise Misconfigured(place, "audience, typ and algorithms go with discovery = true")
        if entry.algorithm is None or entry.jwk is None:
            raise Misconfigured(place, "needs algorithm and jwk, or discovery = true")
        try:
            issuer_key(entry.algorithm, entry.jwk)
        except ValueError as error:
            raise Misconfigured(place, str(error)) from error
        return None
    if entry.algorithm is not None or entry.jwk is not None:
        raise Misconfigured(place, "has algorithm or jwk, and discovery = true")
    if entry.audience is None or entry.typ is None or entry.algorithms is None:
        raise Misconfigured(place, "discovery needs audience, typ and algorithms")
    if not ALGORITHMS.keys() >= set(entry.algorithms):
        raise Misconfigured(f"{place}, algorithms", f"may be {', '.join(sorted(ALGORITHMS))}")
    _require_provider(entry.issuer, place)
    return Discovery(entry.audience, entry.typ, tuple(entry.algorithms))


def _require_provider(issuer: str, place: str) -> None:
    """See that an issuer can be asked over https, and its address is one (OIDC Discovery 2)."""
    try:
        url = urlsplit(issuer)
        _ = url.port
    except ValueError as error:
        raise Misconfigured(place, "is no address") from error
    if url.query or url.fragment or url.username is not None or not url.hostname:
        raise Misconfigured(place, "is no address of an OpenID provider")
    if not is_safe(issuer):
        raise Misconfigured(place, "is asked over https only")


def _add_certificate(
    certificates: dict[str, Certificate],
    entry: CertificateEntry,
    department: DepartmentId,
    place: str,
) -> None:
    place = f"{place}, certificate {entry.key_id}"
    name = entry.thumbprint or entry.spiffe
    if name is None or (entry.thumbprint is not None and entry.spiffe is not None):
        raise Misconfigured(place, "needs a thumbprint or a spiffe id, and not both")
    if name in certificates or any(c.key_id == entry.key_id for c in certificates.values()):
        raise Misconfigured(place, "is listed twice")
    certificates[name] = Certificate(KeyId(entry.key_id), department, *_window(entry, place))


def _add_person(
    persons: dict[PersonId, Person],
    entry: PersonEntry,
    departments: Container[DepartmentId],
    place: str,
) -> None:
    """Add one person. Nobody is listed twice, so nobody has two duties (GB/T 39477)."""
    department = DepartmentId(entry.department)
    if department not in departments:
        raise Misconfigured(place, "is of a department that is not listed")
    if entry.id in _TAKEN or DepartmentId(entry.id) in departments:
        raise Misconfigured(place, "has a name that entries have for somebody else")
    not_before, not_after = _window(entry, place)
    public = _ed25519(entry.public, f"{place}, public")
    if PersonId(entry.id) in persons:
        raise Misconfigured(place, "is listed twice; nobody holds two roles")
    if any(other.public == public for other in persons.values()):
        raise Misconfigured(f"{place}, public", "is another person's key; nobody holds two roles")
    person = Person(PersonId(entry.id), department, entry.role, public, not_before, not_after)
    persons[person.id] = person


def _window(entry: KeyEntry | CertificateEntry | PersonEntry, place: str) -> tuple[int, int]:
    not_before = (entry.not_before - _EPOCH) // timedelta(milliseconds=1)
    not_after = (entry.not_after - _EPOCH) // timedelta(milliseconds=1)
    if not_before >= not_after:
        raise Misconfigured(f"{place}, not_after", "is not later than not_before")
    return not_before, not_after


def _ed25519(text: str, place: str) -> bytes:
    public = _raw(text, place)
    if is_weak(public):
        raise Misconfigured(place, "is an Ed25519 key anyone can sign under")
    return public


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
