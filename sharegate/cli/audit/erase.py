"""``sharegate audit erase`` and ``hold``: details go, or stay, and an entry says so first.

Whose data an entry is about erases its detail once the law lets it; an auditor who needs it longer
holds it. The leaf is never touched, so every proof still holds.
"""

import argparse
import asyncio
import re
import time
from typing import Final

from sharegate.app import audit_log_logins, erasure_login, projection_logins, recording
from sharegate.audit.chain import parse_leaf
from sharegate.audit.verdict import Malformed
from sharegate.cli.audit.acting import (
    Actor,
    Intent,
    acting_arguments,
    index_argument,
    load_actor,
    write_down,
)
from sharegate.cli.audit.verify import LogUnreadable
from sharegate.cli.options import Verbs
from sharegate.cli.plain import given_text
from sharegate.errors import Misconfigured, ShareGateError
from sharegate.in_force import load_members
from sharegate.model.act import ActKind
from sharegate.model.party import DepartmentId, Role
from sharegate.record.entry import read_core
from sharegate.record.erasing import State, erasing
from sharegate.record.reader import Broken, PostgresReader
from sharegate.settings import Settings, load_settings

_LONGEST_BASIS: Final = 100
_NUMBER_OF_SOMEBODY: Final = re.compile(r"\d{5}")
_WHY_NOT: Final = {
    State.UNKNOWN: "there is no such entry",
    State.ERASED: "its detail is gone already",
    State.HELD: "an auditor holds its detail",
    State.RETAINED: "its detail must be kept longer",
    State.UNTOLD: "the log does not say that it would be done",
}


class NotErased(ShareGateError):
    """A detail was not erased, held or let go; nothing was changed."""


def add_to(acts: Verbs) -> None:
    """Add the acts."""
    act = acts.add_parser("erase", help="erase the detail of an entry; is an entry itself, before")
    index_argument(act)
    acting_arguments(act, Role.MANAGE)
    act.add_argument("--legal-basis", required=True, type=_legal_basis, metavar="TEXT",
                     help="the law and article that it is erased by; for all to read")  # fmt: skip
    act.add_argument("--dsn", help="a login with the role sharegate_erase; not with the embedded "
                     "PostgreSQL")  # fmt: skip
    act.set_defaults(run=_erase)
    act = acts.add_parser("hold", help="keep the detail of an entry from being erased")
    index_argument(act)
    acting_arguments(act, Role.AUDIT)
    act.add_argument("--lift", action="store_true", help="no longer")
    act.set_defaults(run=_hold)


async def erase(settings: Settings, manager: Actor, chosen: argparse.Namespace) -> int:
    """Write down that a detail goes, then erase it; give the place of the entry that says so.

    Raises:
        AuditLogUnavailable: It could not be written down; nothing is erased.
        LogUnreadable: The database gives no answer. If an entry says by now that it goes, the
            same command does it again.
        Misconfigured: There is no login that erases.
        NotErased: It may not be erased, or not by this department.
    """
    index = chosen.index
    async with (
        recording(settings, lambda _: None) as recorder,
        audit_log_logins(settings.audit_log) as (_, read_dsn),
        erasure_login(settings.audit_log, chosen.dsn) as dsn,
    ):
        try:
            async with erasing(dsn) as details:
                _require(await details.state(index), State.ERASABLE, index)
                owner = await _owner(read_dsn, index)
                if owner != manager.department:
                    raise NotErased(f"entry {index} is about data of {owner or 'no department'}")
                told = await write_down(
                    recorder,
                    manager,
                    Intent(
                        kind=ActKind.ERASE,
                        matter=chosen.matter,
                        facts={"entry": index, "legal_basis": chosen.legal_basis},
                        values={},
                        provider=owner,
                    ),
                )
                _require(await details.erase(index, told.index), State.ERASABLE, index)
        except Broken as error:
            raise _unreadable(error) from error
    return told.index


async def hold(settings: Settings, auditor: Actor, chosen: argparse.Namespace) -> int:
    """Write down that a detail is held, or no longer, then do it; give the place of that entry.

    Raises:
        AuditLogUnavailable, LogUnreadable, Misconfigured, NotErased: As for :func:`erase`.
    """
    index, held = chosen.index, not chosen.lift
    async with (
        recording(settings, lambda _: None) as recorder,
        projection_logins(settings) as (_, dsn),
    ):
        if dsn is None:
            raise Misconfigured("projection.search_dsn", "is needed to hold details")
        try:
            async with erasing(dsn) as details:
                before = await details.state(index)
                if before in (State.UNKNOWN, State.ERASED):
                    _require(before, State.HELD, index)
                told = await write_down(
                    recorder,
                    auditor,
                    Intent(
                        kind=ActKind.HOLD,
                        matter=chosen.matter,
                        facts={"entry": index, "held": held},
                        values={},
                    ),
                )
                done = State.HELD if held else State.FREE
                _require(await details.hold(index, told.index, held=held), done, index)
        except Broken as error:
            raise _unreadable(error) from error
    return told.index


async def _owner(read_dsn: str, index: int) -> DepartmentId | None:
    """The department whose data the entry at `index` is about."""
    reader = PostgresReader(read_dsn)
    try:
        core = read_core(parse_leaf((await reader.leaves(index, 1))[0]).core)
    except (Malformed, ValueError, IndexError) as error:
        raise NotErased(f"entry {index} cannot be read") from error
    finally:
        await reader.close()
    provider = core.get("provider")
    return DepartmentId(provider) if isinstance(provider, str) else None


def _require(state: State, wanted: State, index: int) -> None:
    if state is not wanted:
        raise NotErased(f"entry {index}: {_WHY_NOT[state]}")


def _unreadable(error: BaseException) -> LogUnreadable:
    return LogUnreadable(f"the audit log gives no answer: {type(error).__name__}")


def _erase(chosen: argparse.Namespace) -> int:
    settings = load_settings(chosen.config)
    now = time.time_ns() // 1_000_000
    manager = load_actor(load_members(settings), chosen, Role.MANAGE, now)
    told = asyncio.run(erase(settings, manager, chosen))
    print(f"the detail of entry {chosen.index} is erased, as entry {told} says; "
          "every proof of it still holds")  # fmt: skip
    return 0


def _hold(chosen: argparse.Namespace) -> int:
    settings = load_settings(chosen.config)
    now = time.time_ns() // 1_000_000
    auditor = load_actor(load_members(settings), chosen, Role.AUDIT, now)
    told = asyncio.run(hold(settings, auditor, chosen))
    what = "held no more" if chosen.lift else "held"
    print(f"the detail of entry {chosen.index} is {what}, as entry {told} says")
    return 0


def _legal_basis(text: str) -> str:
    """A law and its article: short, and no place for anybody's number."""
    if len(given_text(text)) > _LONGEST_BASIS or _NUMBER_OF_SOMEBODY.search(text):
        raise argparse.ArgumentTypeError(
            f"at most {_LONGEST_BASIS} characters, without five digits in a row"
        )
    return text
