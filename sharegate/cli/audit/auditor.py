"""Who reads, proven, and the entry that says so: written before anything appears."""

import argparse
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final, Protocol
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sharegate.cli.audit.plain import given_text
from sharegate.cli.options import config_argument
from sharegate.errors import ShareGateError
from sharegate.identify.persons import prove
from sharegate.model.act import Act, ActKind, Fact
from sharegate.model.ids import new_id
from sharegate.model.party import DepartmentId, PersonId, Registry, Role
from sharegate.model.passage import Covered
from sharegate.private_keys import load_ed25519
from sharegate.record.entry import b64

_STATEMENT: Final = b"sharegate-audit-read/v1\n"
_encode: Final = msgspec.json.Encoder(order="sorted").encode


class AlreadyRead(ShareGateError):
    """The same reading was written down before."""


class ActRecorder(Protocol):
    """Writes acts down; `record.recorder.Recorder`."""

    async def record_act(self, act: Act, entry_id: UUID) -> Covered | None:
        """Write an act durably, or raise AuditLogUnavailable; None where it is there already."""


@dataclass(frozen=True, slots=True)
class Auditor:
    """A registered person with the role ``audit``, who has shown to hold the key.

    Attributes:
        key: Signs what is about to be read.
    """

    id: PersonId
    key: Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class Reading:
    """What an auditor is about to read, and what for.

    Attributes:
        facts: In clear in the entry: which criteria, never their values.
        values: Sealed to the audit office.
        provider: Whose data it is, where that is one department.
    """

    matter: str
    facts: Mapping[str, Fact]
    values: Mapping[str, object]
    provider: DepartmentId | None = None


def auditor_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments by which an auditor says who he is, and what for he reads."""
    config_argument(parser)
    parser.add_argument("--as", dest="person", required=True, metavar="PERSON", type=given_text,
                        help="who reads: a person of the registry with the role audit")  # fmt: skip
    parser.add_argument("--key", type=Path, required=True, metavar="FILE",
                        help="that person's private key (Ed25519, PEM)")  # fmt: skip
    parser.add_argument("--matter", required=True, type=given_text,
                        help="the case number that the reading serves")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON")


def load_auditor(registry: Registry, person_id: str, key_file: Path, now: int) -> Auditor:
    """See that somebody may read, and holds the key that proves it.

    Args:
        registry: Who is who.
        person_id: Who it is said to be.
        key_file: His private key.
        now: Milliseconds of Unix time.

    Raises:
        NotInRole: There is no such person, not in the role ``audit``, not at this time, or the
            key is not his.
        Misconfigured: The key cannot be read.
    """
    key = load_ed25519(key_file)
    person = prove(registry, person_id, key, Role.AUDIT, now)
    return Auditor(person.id, key)


async def write_down(recorder: ActRecorder, auditor: Auditor, reading: Reading) -> Covered:
    """Write down what is about to be read; only then may it be.

    The auditor signs all of it, values included; the signature is sealed with them.

    Raises:
        AuditLogUnavailable: It is not known to be written down.
        AlreadyRead: The same reading was written down before.
    """
    at = time.time_ns() // 1_000_000
    entry_id = new_id(at)
    detail = {"matter": reading.matter, **reading.values}
    signed = statement(auditor.id, at, entry_id, reading.facts, detail)
    act = Act(
        kind=ActKind.AUDIT_READ,
        at=at,
        by=auditor.id,
        facts=reading.facts,
        detail=detail | {"signature": b64(auditor.key.sign(signed))},
        provider=reading.provider,
        once=sha256(signed).digest(),
    )
    covered = await recorder.record_act(act, entry_id)
    if covered is None:
        raise AlreadyRead("this reading was written down before")
    return covered


def statement(
    by: str, at: int, entry_id: UUID, facts: Mapping[str, Fact], detail: Mapping[str, object]
) -> bytes:
    """What an auditor signs; see docs/format.md."""
    said = {"by": by, "at": at, "id": b64(entry_id.bytes), "facts": facts, "detail": detail}
    return _STATEMENT + _encode(said)
