"""Who acts on the log, proven, and the entry that says so: written before anything is done."""

import argparse
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sharegate.cli.options import config_argument
from sharegate.cli.plain import given_text
from sharegate.errors import ShareGateError
from sharegate.identify.persons import prove
from sharegate.model.act import Act, ActKind, Fact, RecordAct
from sharegate.model.ids import new_id
from sharegate.model.party import DepartmentId, PersonId, Registry, Role
from sharegate.model.passage import Covered
from sharegate.private_keys import load_ed25519
from sharegate.record.entry import b64

_encode: Final = msgspec.json.Encoder(order="sorted").encode


class AlreadyWritten(ShareGateError):
    """The same act was written down before."""


@dataclass(frozen=True, slots=True)
class Actor:
    """A registered person in the role that the act is for, who has shown to hold the key.

    Attributes:
        key: Signs what is about to be done.
    """

    id: PersonId
    department: DepartmentId
    key: Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class Intent:
    """What somebody is about to do, and what for.

    Attributes:
        facts: In clear in the entry: of a search which criteria, never their values.
        values: Sealed to the audit office, and to `provider`.
        provider: Whose data it is, where that is one department.
    """

    kind: ActKind
    matter: str
    facts: Mapping[str, Fact]
    values: Mapping[str, object]
    provider: DepartmentId | None = None


def acting_arguments(parser: argparse.ArgumentParser, role: Role) -> None:
    """Add the arguments by which a person says who he is, and what for he acts."""
    config_argument(parser)
    parser.add_argument("--as", dest="person", required=True, metavar="PERSON", type=given_text,
                        help=f"who acts: a registered person with the role {role}")  # fmt: skip
    parser.add_argument("--key", type=Path, required=True, metavar="FILE",
                        help="that person's private key (Ed25519, PEM)")  # fmt: skip
    parser.add_argument("--matter", required=True, type=given_text,
                        help="the case number that it serves")  # fmt: skip


def index_argument(
    parser: argparse.ArgumentParser, what: str = "its place in the log, from 0"
) -> None:
    """Add the argument that names one entry."""
    parser.add_argument("index", type=_index, metavar="INDEX", help=what)


def load_actor(registry: Registry, chosen: argparse.Namespace, role: Role, now: int) -> Actor:
    """See that somebody may act, and holds the key that proves it.

    Args:
        registry: Who is who.
        chosen: What :func:`acting_arguments` read.
        role: The duty that the act needs.
        now: Milliseconds of Unix time.

    Raises:
        NotInRole: There is no such person, not in this role, not at this time, or the key is not
            his.
        Misconfigured: The key cannot be read.
    """
    key = load_ed25519(chosen.key)
    person = prove(registry, chosen.person, key, role, now)
    return Actor(person.id, person.department, key)


async def write_down(recorder: RecordAct, actor: Actor, intent: Intent) -> Covered:
    """Write down what is about to be done; only then may it be.

    The actor signs all of it, values included; the signature is sealed with them.

    Raises:
        AuditLogUnavailable: It is not known to be written down.
        AlreadyWritten: The same was written down before.
    """
    at = time.time_ns() // 1_000_000
    entry_id = new_id(at)
    detail = {"matter": intent.matter, **intent.values}
    signed = statement(intent.kind, actor.id, at, entry_id, intent.facts, detail)
    act = Act(
        kind=intent.kind,
        at=at,
        by=actor.id,
        facts=intent.facts,
        detail=detail | {"signature": b64(actor.key.sign(signed))},
        provider=intent.provider,
        once=sha256(signed).digest(),
    )
    covered = await recorder.record_act(act, entry_id)
    if covered is None:
        raise AlreadyWritten("this was written down before")
    return covered


def statement(
    kind: ActKind,
    by: str,
    at: int,
    entry_id: UUID,
    facts: Mapping[str, Fact],
    detail: Mapping[str, object],
) -> bytes:
    """What the person signs; see docs/format.md."""
    said = {"by": by, "at": at, "id": b64(entry_id.bytes), "facts": facts, "detail": detail}
    return b"sharegate-%b/v1\n" % kind.encode() + _encode(said)


def _index(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 2**63):
        raise argparse.ArgumentTypeError("a whole number from 0")
    return int(text)
