"""``sharegate audit archive``: old entries leave the database, once they stand in files.

What stays behind is the tree and the chain where they ended, so whatever came after is proven as
before; and an entry that says so, written first.
"""

import argparse
import asyncio
import time
from pathlib import Path
from typing import Final

from sharegate.app import audit_log_logins, erasure_login, load_signing_key, recording
from sharegate.audit.note import VerifierKey
from sharegate.audit.tiles import WIDTH
from sharegate.cli.audit.acting import (
    Actor,
    Intent,
    acting_arguments,
    index_argument,
    load_actor,
    write_down,
)
from sharegate.cli.audit.sealed import Files, verify_files
from sharegate.cli.audit.verify import LogUnreadable
from sharegate.cli.options import Verbs
from sharegate.consortium.archive import Archive
from sharegate.consortium.memory import LogState
from sharegate.consortium.stored import beginning
from sharegate.errors import ShareGateError
from sharegate.in_force import load_members
from sharegate.model.act import ActKind
from sharegate.model.party import Role
from sharegate.record.archiving import Archiving, Leaving, archiving
from sharegate.record.entry import b64
from sharegate.record.reader import Broken, PostgresReader
from sharegate.settings import Settings, load_settings

_WHY_NOT: Final = {
    Leaving.UNKNOWN: "there are not so many that are signed",
    Leaving.ARCHIVED: "they left before",
    Leaving.HELD: "an auditor holds the detail of one of them",
    Leaving.RETAINED: "one of them must be kept longer where it is",
    Leaving.UNPROVEN: "the hashes that later proofs need are not stored yet",
    Leaving.CHANGED: "a detail was erased meanwhile; do it again",
    Leaving.UNTOLD: "the log does not say that it would be done",
}


class NotArchived(ShareGateError):
    """Entries did not leave; all of them are where they were."""


def add_to(acts: Verbs) -> None:
    """Add the act."""
    act = acts.add_parser("archive", help="take old entries out of the database, once files have "
                          "them; is an entry itself, before")  # fmt: skip
    index_argument(act, "the entry before which all are to go; rounded down to a bundle of 256")
    acting_arguments(act, Role.OPERATE)
    act.add_argument("--files", type=Path, required=True, metavar="DIR",
                     help="the log's files (`sharegate seal`)")  # fmt: skip
    act.add_argument("--details", type=Path, required=True, metavar="DIR", help="where what is "
                     "sealed beside the entries goes; never to be published")  # fmt: skip
    act.add_argument("--dsn", help="a login with the role sharegate_erase; not with the embedded "
                     "PostgreSQL")  # fmt: skip
    act.set_defaults(run=_run)


async def archive(settings: Settings, operator: Actor, chosen: argparse.Namespace) -> int:
    """Write the details out, see that the archive is whole, write that down, remove the entries.

    Broken off at any moment, the same command goes on with it.

    Returns:
        How many entries were removed from the database.

    Raises:
        AuditLogUnavailable: It could not be written down; nothing is removed.
        LogUnreadable: The database gives no answer.
        Misconfigured: There is no login that may.
        NotArchived: They may not leave.
        NotRight, NotWhole: The archive is not that of this log.
    """
    size = chosen.index // WIDTH * WIDTH
    key = VerifierKey.parse(load_signing_key(settings.audit_log).vkey)
    files = Files(chosen.files, key, settings.audit_log.quorum)
    async with (
        recording(settings, lambda _: None) as recorder,
        audit_log_logins(settings.audit_log) as (_, read_dsn),
        erasure_login(settings.audit_log, chosen.dsn) as dsn,
    ):
        reader = PostgresReader(read_dsn)
        try:
            async with archiving(dsn) as leaving:
                now = await leaving.state(size)
                if now is Leaving.ARCHIVED:  # perhaps not all are gone
                    return await leaving.detach()
                _require(now)
                kept = await asyncio.to_thread(_verified, files, size)
                before = await beginning(reader)
                if before.frontier.size:
                    await asyncio.to_thread(_require_former, chosen, kept, before)
                whole = Archive(chosen.files, chosen.details, kept)
                erased = await _write_details(leaving, whole, before.frontier.size, size)
                state = await asyncio.to_thread(whole.hold, size)
                root = b64(state.frontier.root())
                facts = {"from": before.frontier.size, "to": size, "root": root}
                told = await write_down(
                    recorder, operator, Intent(ActKind.ARCHIVE, chosen.matter, facts, {})
                )
                edge = state.frontier.edge
                _require(await leaving.archive(size, told.index, state.last, edge, erased))
                return await leaving.detach()
        except Broken as error:
            raise LogUnreadable(f"the audit log gives no answer: {type(error).__name__}") from error
        finally:
            await reader.close()


def _verified(files: Files, size: int) -> int:
    """Hash the files again; how many entries they have."""
    found = verify_files(files, lambda _done, _whole: None, processes=1)
    if not isinstance(found, int):
        raise NotArchived(f"{files.directory}: {found}")
    if found < size:
        raise NotArchived(f"{files.directory} has {found} entries; run `sharegate seal` first")
    return found


def _require_former(chosen: argparse.Namespace, kept: int, before: LogState) -> None:
    """See that what left earlier is in this archive too, and is what the database says it was."""
    if Archive(chosen.files, chosen.details, kept).hold(before.frontier.size) != before:
        raise NotArchived("what left before is not what this archive has")


async def _write_details(leaving: Archiving, whole: Archive, first: int, size: int) -> int:
    """Write out what is sealed beside the entries; how many of these details are erased."""
    erased = 0
    for n in range(first // WIDTH, size // WIDTH):
        rows = await leaving.entries(n * WIDTH, WIDTH)
        await asyncio.to_thread(whole.write, n, rows)
        erased += sum(row.wrapped is None for row in rows)
    return erased


def _require(state: Leaving) -> None:
    if state is not Leaving.ARCHIVABLE:
        raise NotArchived(_WHY_NOT[state])


def _run(chosen: argparse.Namespace) -> int:
    settings = load_settings(chosen.config)
    now = time.time_ns() // 1_000_000
    operator = load_actor(load_members(settings), chosen, Role.OPERATE, now)
    removed = asyncio.run(archive(settings, operator, chosen))
    print(f"{removed} entries left the database; {chosen.files} and {chosen.details} have them")
    return 0
