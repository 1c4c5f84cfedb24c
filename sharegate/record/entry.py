"""What an entry says: the core of a leaf, as restricted RFC 8785 JSON. Pure.

The core holds strings, integers below 2^53, booleans, lists and maps with ASCII keys, nothing
else, so that any encoder that sorts keys writes the one canonical form (RFC 8785), and an auditor
can read it with the naked eye. Binary values are base64url without padding (RFC 4648 5).

Nothing personal and nothing of the caller's own spelling is in a core: a name stands there only
if the catalogue or the registry knows it, everything else only as a salted commitment, whose salt
is in the sealed detail. The fields are listed in docs/format.md.
"""

from base64 import urlsafe_b64decode
from binascii import b2a_base64
from collections.abc import Container, Mapping
from enum import StrEnum
from hashlib import sha256
from typing import assert_never
from uuid import UUID

import msgspec
from msgspec import Struct

from sharegate.model.act import Act
from sharegate.model.catalogue import Catalogue, Mode, PurposeCode, ResourceId
from sharegate.model.decision import Deny, Permit, Refer
from sharegate.model.party import DepartmentId
from sharegate.model.passage import Disclosure, Failure, Fetched, Refusal
from sharegate.model.request import AccessRequest

SCHEMA = 1
SALT_BYTES = 32
_BEYOND_INTEGERS = 2**53  # from here on a reader that uses doubles (RFC 8785 3.2.2.3) rounds
_encode = msgspec.json.Encoder(order="sorted").encode


class Kind(StrEnum):
    """What came of an exchange. The kinds of acts are `sharegate.model.act.ActKind`."""

    RELEASE = "release"
    REFUSAL = "refusal"
    FAILURE = "failure"


class Label(StrEnum):
    """What a commitment is of; part of what is hashed, so none can pass for another."""

    OFFICER = "officer"
    MATTER = "matter"
    REQUEST = "request"
    ASKED_BY = "asked-by"
    RESPONSE = "response"
    DETAIL = "detail"
    PERSON = "person"


class Salts(Struct, frozen=True, gc=False):
    """One random salt for each commitment of one entry, 32 bytes each."""

    officer: bytes
    matter: bytes
    request: bytes
    asked_by: bytes
    response: bytes
    detail: bytes

    @classmethod
    def cut(cls, random: bytes) -> "Salts":
        """Cut 6 × 32 random bytes into salts."""
        return cls(*(random[at : at + SALT_BYTES] for at in range(0, 6 * SALT_BYTES, SALT_BYTES)))


class SealedDetail(Struct, frozen=True, gc=False):
    """The detail beside the entry, as `detail` sealed it.

    Attributes:
        algorithm: The id of the `suite` it was sealed with.
        ciphertext: What `digest` is of.
        wrapped: Its key, wrapped to each reader; erasing this erases the detail.
        commitment: The commitment to the plaintext.
        readers: The key ids it was sealed to.
    """

    algorithm: str
    ciphertext: bytes
    digest: bytes
    wrapped: bytes
    commitment: bytes
    readers: tuple[str, ...]


_MODES = frozenset(mode.value for mode in Mode)
_BLOCK = 64
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_RETENTION_PERSONAL = "personal-3y"


def commit(salt: bytes, label: Label, value: bytes) -> bytes:
    """Commit to a value without showing it: HMAC-SHA-256(salt, label ‖ 0x00 ‖ value), 32 bytes.

    Raises:
        ValueError: The salt is longer than 64 bytes; ours have 32.
    """
    if len(salt) > _BLOCK:
        raise ValueError("the salt is too long")
    # RFC 2104 written out: hmac.digest sets up OpenSSL anew for each, which takes as long again.
    inner = sha256(salt.translate(_INNER).ljust(_BLOCK, b"\x36") + label.encode() + b"\0" + value)
    return sha256(salt.translate(_OUTER).ljust(_BLOCK, b"\x5c") + inner.digest()).digest()


def b64(value: bytes) -> str:
    """Base64url without padding."""
    return b2a_base64(value, newline=False).rstrip(b"=").translate(_URL_SAFE).decode()


def unb64(text: object) -> bytes:
    """Read what :func:`b64` wrote.

    Raises:
        ValueError: It is not that.
    """
    if not isinstance(text, str):
        raise ValueError("not base64url")  # noqa: TRY004  one error for every wrong value
    value = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if b64(value) != text:
        raise ValueError("not base64url")
    return value


def core(
    fetched: Fetched,
    catalogue: Catalogue,
    departments: Container[DepartmentId],
    salts: Salts,
    detail: SealedDetail,
    answer: bytes | None,
) -> bytes:
    """Write the core of the entry for one exchange.

    Args:
        fetched: What happened.
        catalogue: The resources and purposes that are known; no other name is written.
        departments: The departments that are known.
        salts: The salts also kept in `detail`.
        detail: The sealed detail.
        answer: The exact bytes that would leave, or None where nothing would.
    """
    identified = fetched.decided.identified
    caller = identified.caller
    entry: dict[str, object] = {
        "schema": SCHEMA,
        "id": b64(identified.exchange_id.bytes),
        "kind": _kind(fetched),
        "time": identified.at,
        "caller": {
            "consumer": caller.consumer,
            "officer": b64(commit(salts.officer, Label.OFFICER, caller.officer.encode())),
            "key": caller.key_id,
            "issuer": caller.issuer,
        },
        "decision": _decision(fetched),
        "request": b64(commit(salts.request, Label.REQUEST, identified.body_digest)),
        "detail": _detail(detail),
    }
    if fetched.decided.request is not None:
        consumers = fetched.decided.request.consumer_entry
        if consumers is not None:
            entry["consumer_entry"] = b64(counterpart(consumers))
        entry |= _asked(fetched.decided.request, catalogue, departments, salts)
    if isinstance(fetched.outcome, Disclosure) and answer is not None:
        entry["response"] = {
            "rows": len(fetched.outcome.rows),
            "bytes": len(answer),
            "digest": b64(commit(salts.response, Label.RESPONSE, sha256(answer).digest())),
        }
    return _encode(entry)


def counterpart(leaf_hash: bytes) -> bytes:
    """How an entry names one of another log: 32 bytes that nobody can choose to say something."""
    return sha256(b"sharegate-counterpart\0" + leaf_hash).digest()


def act_core(act: Act, entry_id: UUID, detail: SealedDetail) -> bytes:
    """Write the core of the entry for an administrative act."""
    return _encode(
        {
            "schema": SCHEMA,
            "id": b64(entry_id.bytes),
            "kind": act.kind,
            "time": act.at,
            "by": act.by,
            "facts": act.facts,
            "detail": _detail(detail),
        }
    )


def _detail(detail: SealedDetail) -> dict[str, object]:
    return {
        "algorithm": detail.algorithm,
        "ciphertext": b64(detail.digest),
        "plaintext": b64(detail.commitment),
        "readers": detail.readers,
        "retention": _RETENTION_PERSONAL,
    }


def read_core(core_bytes: bytes) -> Mapping[str, object]:
    """Read a core back.

    Raises:
        ValueError: The bytes are not the canonical form of what they say.
    """
    try:
        value = msgspec.json.decode(core_bytes)
        if isinstance(value, dict) and _restricted(value) and _encode(value) == core_bytes:
            return value
    except RecursionError as error:
        raise ValueError("the core is nested too deeply") from error
    raise ValueError("the core is not canonical JSON")


def _restricted(value: object) -> bool:
    """Whether sorting keys is all it takes to write this in canonical form (see above)."""
    match value:
        case str() | bool():
            return True
        case int():
            return abs(value) < _BEYOND_INTEGERS
        case list():
            return all(map(_restricted, value))
        case dict():
            return all(key.isascii() for key in value) and all(map(_restricted, value.values()))
        case _:
            return False


def _kind(fetched: Fetched) -> Kind:
    match fetched.outcome:
        case Disclosure():
            return Kind.RELEASE
        case Refusal():
            return Kind.REFUSAL
        case Failure():
            return Kind.FAILURE
        case _:
            assert_never(fetched.outcome)


def _decision(fetched: Fetched) -> dict[str, object]:
    decision = fetched.decided.decision
    said: dict[str, object] = {"rule_set": decision.rule_set}
    match decision:
        case Permit():
            said |= {
                "effect": "permit",
                "rule": decision.grant,
                "fields": decision.fields,
                "row_limit": decision.row_limit,
            }
            if decision.ruling is not None:
                said["ruling"] = decision.ruling
        case Refer():
            said |= {
                "effect": "refer",
                "rule": decision.permit.grant,
                "question": decision.question,
            }
        case Deny():
            said["effect"] = "deny"
            if decision.rule is not None:
                said["rule"] = decision.rule
        case _:
            assert_never(decision)
    if not isinstance(fetched.outcome, Disclosure):
        # The outcome's, not the decision's: a replay is one, whatever the rules said to it.
        said["reason"] = fetched.outcome.reason
    return said


def _asked(
    request: AccessRequest,
    catalogue: Catalogue,
    departments: Container[DepartmentId],
    salts: Salts,
) -> dict[str, object]:
    """What was asked, and what for, as far as the names are known ones."""
    provider = DepartmentId(request.provider)
    resource = catalogue.resources.get((provider, ResourceId(request.resource)))
    asked: dict[str, object] = {}
    if provider in departments:
        asked["provider"] = provider
    if resource is not None:
        asked["resource"] = {"id": resource.id, "version": resource.version}
        asked["asked_by"] = {
            name: b64(commit(salts.asked_by, Label.ASKED_BY, _encode([name, value])))
            for name, value in request.where.items()
            if name in resource.fields
        }
    if request.mode in _MODES:
        asked["mode"] = request.mode
    purpose = catalogue.purposes.get(PurposeCode(request.purpose))
    said = {"matter": b64(commit(salts.matter, Label.MATTER, request.matter.encode()))}
    if purpose is not None:
        said["code"] = purpose.code
        if request.legal_basis in purpose.legal_bases:
            said["legal_basis"] = request.legal_basis
    return {**asked, "purpose": said}
