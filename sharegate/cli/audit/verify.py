"""``sharegate audit verify``: re-hash the whole audit log from what is stored."""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Final

from sharegate.app import audit_log_logins, load_signing_key
from sharegate.audit.chain import Fault, Verifier
from sharegate.audit.checkpoint import Checkpoint, open_checkpoint
from sharegate.audit.note import VerifierKey
from sharegate.audit.verdict import Malformed, Unproven
from sharegate.cli.audit.sealed import Files, verify_files
from sharegate.cli.options import Verbs, config_argument
from sharegate.cli.verify import read_log_key
from sharegate.consortium.memory import SignerMemory
from sharegate.consortium.signed_log import MEMORY_FILE
from sharegate.consortium.stamps import read_roots, read_stamps
from sharegate.errors import LogDiverged, Misconfigured, ShareGateError
from sharegate.record.reader import Broken, PostgresReader
from sharegate.settings import AuditLogSettings, load_settings

_AT_ONCE: Final = 4096


class LogUnreadable(ShareGateError):
    """The audit log's database gives no answer."""


def add_to(acts: Verbs) -> None:
    """Add the act."""
    act = acts.add_parser("verify", help="re-hash every entry; name the first that is not right")
    files = "a log's files (`sharegate seal`), to be verified without network"
    act.add_argument("files", type=Path, nargs="?", metavar="DIR", help=files)
    config_argument(act, required=False)
    act.add_argument("--log-key", metavar="KEY", help="the log's verifier key, or a file of it; "
                     "with DIR")  # fmt: skip
    act.add_argument("--quorum", type=Path, metavar="FILE", help="a quorum file: enough witnesses "
                     "must have cosigned; with DIR")  # fmt: skip
    act.add_argument("--kept", type=Path, action="append", default=[], metavar="NOTE",
                     help="a checkpoint that somebody kept, which the log must still have; with "
                     "DIR")  # fmt: skip
    act.add_argument("--stamp-roots", type=Path, metavar="FILE", help="certificates of time-"
                     "stamping authorities (PEM): every stamp must hold; with DIR")  # fmt: skip
    act.add_argument("--processes", type=int, choices=range(1, 65), default=2,
                     metavar="N", help="hash with so many at once, 1 to 64; with DIR")  # fmt: skip
    act.set_defaults(run=_run)


async def verify_log(settings: AuditLogSettings) -> Fault | int:
    """Read every entry and hold it against the chain, the checkpoints and the signer's memory.

    Returns:
        The first fault, or how many entries are right.

    Raises:
        LogDiverged: A checkpoint is not this log's, or two contradict each other.
        LogUnreadable: The database gives no answer.
        PostgresUnavailable: The embedded PostgreSQL, where it is used, does not start.
    """
    async with audit_log_logins(settings) as (_, read_dsn):
        return await _verify(settings, PostgresReader(read_dsn))


async def _verify(settings: AuditLogSettings, reader: PostgresReader) -> Fault | int:
    key = VerifierKey.parse(load_signing_key(settings).vkey)
    try:
        checkpoints = [
            open_checkpoint(note, [key], settings.origin) for note in await reader.checkpoints(0)
        ]
        remembered = SignerMemory(settings.state / MEMORY_FILE, settings.origin).recall()
        if remembered is not None:
            frontier = remembered.frontier
            checkpoints.append(Checkpoint(settings.origin, frontier.size, frontier.root()))
        verifier, read = Verifier(checkpoints), 0
        while leaves := await reader.leaves(read, _AT_ONCE):
            read += len(leaves)
            if verifier.feed(leaves) is not None:
                break
        return verifier.finish() or verifier.frontier.size
    except (Malformed, Unproven) as error:
        raise LogDiverged(str(error)) from error
    except Broken as error:
        raise LogUnreadable(f"the audit log cannot be read: {type(error).__name__}") from error
    finally:
        await reader.close()


def _run(chosen: argparse.Namespace) -> int:
    if (chosen.files is None) == (chosen.config is None):
        raise Misconfigured("audit verify", "needs either DIR or --config")
    if chosen.files is None:
        settings = load_settings(chosen.config).audit_log
        return _told(settings.origin, asyncio.run(verify_log(settings)))
    if chosen.log_key is None:
        raise Misconfigured("--log-key", "is needed with DIR")
    try:
        key = VerifierKey.parse(read_log_key(chosen.log_key, chosen.files).strip())
    except Malformed as error:
        raise Misconfigured("--log-key", str(error)) from error
    stamps = []
    if chosen.stamp_roots is not None:
        stamps = read_stamps(chosen.files, key, read_roots(chosen.stamp_roots))
    stamped = tuple(stamp.checkpoint for stamp in stamps)
    files = Files(chosen.files, key, chosen.quorum, tuple(chosen.kept), stamped)
    code = _told(key.name, verify_files(files, _progress, chosen.processes))
    for stamp in stamps if code == 0 else []:
        print(f"stamped    {stamp.checkpoint.size} entries were there at {stamp.at.isoformat()}")
    return code


def _told(origin: str, found: Fault | int) -> int:
    if isinstance(found, Fault):
        print(f"NOT RIGHT  {origin}: {found}")
        return 1
    print(f"right      {origin}: {found} entries, every hash and every checkpoint agree")
    return 0


def _progress(done: int, whole: int) -> None:
    """A line that is written over, where somebody is looking."""
    if sys.stderr.isatty():
        end = "\n" if done == whole else ""
        print(f"\r{done:,} of {whole:,} entries", end=end, file=sys.stderr, flush=True)
