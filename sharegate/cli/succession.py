"""``sharegate succession``: end a log whose key was lost or stolen, and go on with another."""

import argparse
import asyncio
import time
from hashlib import sha256
from pathlib import Path

from sharegate.app import recording
from sharegate.audit.checkpoint import open_checkpoint
from sharegate.audit.note import SignerKey, VerifierKey
from sharegate.audit.verdict import Malformed, Unproven
from sharegate.cli.options import Verbs, config_argument
from sharegate.cli.signing import load_key
from sharegate.cli.verify import load_log_key
from sharegate.consortium.members import read_invitation
from sharegate.consortium.succession import (
    Ended,
    Succession,
    draft,
    open_succession,
    read,
    sign,
)
from sharegate.errors import Misconfigured, ShareGateError
from sharegate.in_force.judge import administrators_of
from sharegate.model.act import Act, ActKind
from sharegate.model.ids import new_id
from sharegate.model.signed import Administrators
from sharegate.private_keys import load_ed25519
from sharegate.settings import Settings, load_settings


class NoSuccession(ShareGateError):
    """What is given is no succession that enough administrators signed."""


def add_to(verbs: Verbs) -> None:
    """Add the verb."""
    parser = verbs.add_parser("succession", help="end a log, and go on with another")
    acts = parser.add_subparsers(required=True, metavar="ACT")
    act = acts.add_parser("draft", help="say which log ended where, and which comes after")
    act.add_argument("file", type=Path, help="where it goes; never overwritten")
    act.add_argument("--old-key", required=True, metavar="KEY",
                     help="the verifier key of the log that ended, or a file of it")  # fmt: skip
    act.add_argument("--last", type=Path, required=True, metavar="NOTE",
                     help="its last checkpoint that counts, best a cosigned one")  # fmt: skip
    act.add_argument("--new-key", type=Path, required=True, metavar="PEM",
                     help="the private key of the log that goes on")  # fmt: skip
    act.add_argument("--origin", required=True, help="its name: another one")
    act.add_argument("--why", required=True, choices=[str(each) for each in Ended])
    act.set_defaults(run=_draft)
    act = acts.add_parser("sign", help="sign it; enough administrators must, one by one")
    act.add_argument("file", type=Path)
    act.add_argument("--key", type=Path, required=True, metavar="PEM", help="an Ed25519 key")
    act.add_argument("--as", dest="name", required=True, help="the key's name in the invitation")
    act.set_defaults(run=_sign)
    act = acts.add_parser("check", help="see that enough signed it, and what it says")
    act.add_argument("file", type=Path)
    act.add_argument("--invitation", type=Path, required=True, metavar="FILE",
                     help="whose word counts")  # fmt: skip
    act.set_defaults(run=_check)
    act = acts.add_parser("record", help="write it into the log that goes on")
    act.add_argument("file", type=Path)
    config_argument(act)
    act.set_defaults(run=_record)


def load_succession(file: Path, trust: Administrators) -> tuple[Succession, tuple[str, ...]]:
    """Read a succession that enough administrators signed, and who did.

    Raises:
        NoSuccession: It is none, or they have not.
    """
    try:
        return open_succession(_read(file), trust)
    except (Malformed, Unproven) as error:
        raise NoSuccession(f"{file}: {error}") from error


def _draft(chosen: argparse.Namespace) -> int:
    try:
        old = load_log_key(chosen.old_key, chosen.last, "--old-key")
        new = SignerKey(chosen.origin, load_ed25519(chosen.new_key))
        last = open_checkpoint(_read(chosen.last), [old], old.name)
        succession = Succession(old, last, VerifierKey.parse(new.vkey), Ended(chosen.why))
        data = draft(succession, new)
    except (Malformed, Unproven) as error:
        raise NoSuccession(str(error)) from error
    try:
        with chosen.file.open("xb") as opened:
            opened.write(data)
    except OSError as error:
        raise Misconfigured(str(chosen.file), error.strerror or "cannot be written") from error
    print(_told(succession))
    print("now the administrators sign it: sharegate succession sign")
    return 0


def _sign(chosen: argparse.Namespace) -> int:
    try:
        data = sign(_read(chosen.file), load_key(chosen.key, chosen.name))
        succession = read(data.decode().split("\n\n", maxsplit=1)[0] + "\n")
    except Malformed as error:
        raise NoSuccession(f"{chosen.file}: {error}") from error
    chosen.file.write_bytes(data)
    print(_told(succession))
    return 0


def _check(chosen: argparse.Namespace) -> int:
    trust = read_invitation(chosen.invitation).trust(str(chosen.invitation))
    succession, signers = load_succession(chosen.file, trust)
    print(_told(succession))
    print(f"signed by {', '.join(signers)}")
    return 0


def _record(chosen: argparse.Namespace) -> int:
    settings = load_settings(chosen.config)
    index = asyncio.run(record(settings, chosen.file))
    print(f"recorded: entry {index} of {settings.audit_log.origin}")
    return 0


async def record(settings: Settings, file: Path) -> int:
    """Write a succession into the log that goes on; give the place of its entry.

    Raises:
        AuditLogUnavailable: It is not known to be written down.
        NoSuccession: It is none, is not to this log, or is there already.
    """
    succession, signers = load_succession(file, administrators_of(settings.trust))
    if succession.new.name != settings.audit_log.origin:
        raise NoSuccession(f"{file} is to {succession.new.name}")
    at = time.time_ns() // 1_000_000
    act = Act(
        kind=ActKind.SUCCESSION,
        at=at,
        by="administrators",
        facts={
            "old": succession.old.name,
            "size": succession.last.size,
            "root": succession.last.root.hex(),
            "why": succession.why,
            "signers": signers,
        },
        detail={"note": _read(file).decode()},
        provider=None,
        once=sha256(succession.text.encode()).digest(),
    )
    async with recording(settings, lambda _: None) as recorder:
        covered = await recorder.record_act(act, new_id(at))
    if covered is None:
        raise NoSuccession(f"{file} was recorded before")
    return covered.index


def _told(succession: Succession) -> str:
    return (
        f"{succession.old.name} ended with {succession.last.size} entries, its key or database "
        f"{succession.why}; {succession.new.name} goes on"
    )


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise NoSuccession(f"{file}: {error.strerror}") from error
