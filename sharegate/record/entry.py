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
from collections.abc import Mapping
from enum import Enum, StrEnum
from hashlib import sha256
from typing import assert_never
from uuid import UUID

import msgspec
from msgspec import Struct

from sharegate.model.act import Act
from sharegate.model.catalogue import Mode, PurposeCode, ResourceId
from sharegate.model.decision import Decision, Deny, Permit, Refer
from sharegate.model.party import DepartmentId
from sharegate.model.passage import Disclosure, Failure, Fetched, Names, Outcome, Refusal
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


class Label(bytes, Enum):
    """What a commitment is of; part of what is hashed, so none can pass for another."""

    OFFICER = b"officer\0"
    MATTER = b"matter\0"
    REQUEST = b"request\0"
    ASKED_BY = b"asked-by\0"
    RESPONSE = b"response\0"
    DETAIL = b"detail\0"
    PERSON = b"person\0"


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
        return cls(
            random[:32], random[32:64], random[64:96],
            random[96:128], random[128:160], random[160:192],
        )  # fmt: skip


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


class _Member(Struct, gc=False, omit_defaults=True):
    """An object of a core; what is None is left out.

    Its members stand here in the order of their names, for so they are written: sorting them for
    each entry would take as long as writing them.
    """


class _Caller(_Member, kw_only=True):
    consumer: str
    issuer: str
    key: str
    officer: str


class _Decision(_Member, kw_only=True):
    effect: str
    fields: tuple[str, ...] | None = None
    question: str | None = None
    reason: str | None = None
    row_limit: int | None = None
    rule: str | None = None
    rule_set: str
    ruling: str | None = None


class _Detail(_Member, kw_only=True):
    algorithm: str
    ciphertext: str
    plaintext: str
    readers: tuple[str, ...]
    retention: str


class _Purpose(_Member, kw_only=True):
    code: str | None = None
    legal_basis: str | None = None
    matter: str


class _Version(_Member, kw_only=True):
    id: str
    version: int


class _Response(_Member, kw_only=True):
    bytes: int
    digest: str
    rows: int


class _Core(_Member, kw_only=True):
    asked_by: dict[str, str] | None = None
    caller: _Caller
    consumer_entry: str | None = None
    decision: _Decision
    detail: _Detail
    id: str
    kind: str
    mode: str | None = None
    provider: str | None = None
    purpose: _Purpose | None = None
    request: str
    resource: _Version | None = None
    response: _Response | None = None
    schema: int
    time: int


_RETENTION_PERSONAL = "personal-3y"
_encode_core = msgspec.json.Encoder().encode
_MODES = frozenset(mode.value for mode in Mode)
_BLOCK = 64
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def commit(salt: bytes, label: Label, value: bytes) -> bytes:
    """Commit to a value without showing it: HMAC-SHA-256(salt, label ‖ 0x00 ‖ value), 32 bytes.

    Raises:
        ValueError: The salt is longer than 64 bytes; ours have 32.
    """
    if len(salt) > _BLOCK:
        raise ValueError("the salt is too long")
    # RFC 2104 written out: hmac.digest sets up OpenSSL anew for each, which takes as long again.
    block = salt.ljust(_BLOCK, b"\0")
    inner = sha256(block.translate(_INNER) + label + value).digest()
    return sha256(block.translate(_OUTER) + inner).digest()


def b64(value: bytes) -> str:
    """Base64url without padding."""
    return b2a_base64(value).translate(_URL_SAFE, b"=\n").decode()


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


def core(fetched: Fetched, salts: Salts, detail: SealedDetail, answer: bytes | None) -> bytes:
    """Write the core of the entry for one exchange.

    Args:
        fetched: What happened, and the names that were known then; no other is written.
        salts: The salts also kept in `detail`.
        detail: The sealed detail.
        answer: The exact bytes that would leave, or None where nothing would.
    """
    decided, outcome = fetched.decided, fetched.outcome
    identified = decided.identified
    caller = identified.caller
    entry = _Core(
        caller=_Caller(
            consumer=caller.consumer,
            issuer=caller.issuer,
            key=caller.key_id,
            officer=b64(commit(salts.officer, Label.OFFICER, caller.officer.encode())),
        ),
        decision=_decision(decided.decision, outcome),
        detail=_detail(detail),
        id=b64(identified.exchange_id.bytes),
        kind=_KINDS[type(outcome)],
        request=b64(commit(salts.request, Label.REQUEST, identified.body_digest)),
        schema=SCHEMA,
        time=identified.at,
    )
    if decided.request is not None:
        _add_question(entry, decided.request, decided.names, salts)
    if isinstance(outcome, Disclosure) and answer is not None:
        entry.response = _Response(
            bytes=len(answer),
            digest=b64(commit(salts.response, Label.RESPONSE, sha256(answer).digest())),
            rows=len(outcome.rows),
        )
    return _encode_core(entry)


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


def _detail(detail: SealedDetail) -> _Detail:
    return _Detail(
        algorithm=detail.algorithm,
        ciphertext=b64(detail.digest),
        plaintext=b64(detail.commitment),
        readers=detail.readers,
        retention=_RETENTION_PERSONAL,
    )


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


_KINDS = {Disclosure: Kind.RELEASE, Refusal: Kind.REFUSAL, Failure: Kind.FAILURE}


def _decision(decision: Decision, outcome: Outcome) -> _Decision:
    # The outcome's reason, not the decision's: a replay is one, whatever the rules said to it.
    reason = None if isinstance(outcome, Disclosure) else outcome.reason
    match decision:
        case Permit():
            return _Decision(
                effect="permit",
                fields=decision.fields,
                reason=reason,
                row_limit=decision.row_limit,
                rule=decision.grant,
                rule_set=decision.rule_set,
                ruling=decision.ruling,
            )
        case Refer():
            return _Decision(
                effect="refer",
                question=decision.question,
                reason=reason,
                rule=decision.permit.grant,
                rule_set=decision.rule_set,
            )
        case Deny():
            return _Decision(
                effect="deny", reason=reason, rule=decision.rule, rule_set=decision.rule_set
            )
        case _:
            assert_never(decision)


def _add_question(entry: _Core, request: AccessRequest, names: Names, salts: Salts) -> None:
    """Say what was asked, and what for, as far as the names are known ones."""
    catalogue, provider = names.catalogue, DepartmentId(request.provider)
    if provider in names.departments:
        entry.provider = provider
    resource = catalogue.resources.get((provider, ResourceId(request.resource)))
    if resource is not None:
        entry.resource = _Version(id=resource.id, version=resource.version)
        where = request.where
        entry.asked_by = {
            name: b64(commit(salts.asked_by, Label.ASKED_BY, _encode([name, where[name]])))
            for name in sorted(where)
            if name in resource.fields
        }
    if request.mode in _MODES:
        entry.mode = request.mode
    purpose = catalogue.purposes.get(PurposeCode(request.purpose))
    basis = request.legal_basis
    entry.purpose = _Purpose(
        code=None if purpose is None else purpose.code,
        legal_basis=basis if purpose is not None and basis in purpose.legal_bases else None,
        matter=b64(commit(salts.matter, Label.MATTER, request.matter.encode())),
    )
    if request.consumer_entry is not None:
        entry.consumer_entry = b64(counterpart(request.consumer_entry))
