"""``sharegate audit verify``: re-hash the whole audit log from what is stored."""

import argparse
import asyncio
from typing import Final

from sharegate.app import audit_log_logins, load_signing_key
from sharegate.audit.chain import Fault, Verifier
from sharegate.audit.checkpoint import Checkpoint, open_checkpoint
from sharegate.audit.note import VerifierKey
from sharegate.audit.verdict import Malformed, Unproven
from sharegate.cli.options import Verbs, config_argument
from sharegate.consortium.memory import SignerMemory
from sharegate.consortium.signed_log import MEMORY_FILE
from sharegate.errors import LogDiverged, ShareGateError
from sharegate.record.reader import Broken, PostgresReader
from sharegate.settings import AuditLogSettings, load_settings

_AT_ONCE: Final = 4096


class LogUnreadable(ShareGateError):
    """The audit log's database gives no answer."""


def add_to(acts: Verbs) -> None:
    """Add the act."""
    act = acts.add_parser("verify", help="re-hash every entry; name the first that is not right")
    config_argument(act)
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
    settings = load_settings(chosen.config).audit_log
    found = asyncio.run(verify_log(settings))
    if isinstance(found, Fault):
        print(f"NOT RIGHT  {settings.origin}: {found}")
        return 1
    print(f"right      {settings.origin}: {found} entries, every hash and every checkpoint agree")
    return 0
