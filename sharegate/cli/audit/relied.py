"""``sharegate audit relied``: what was answered on a key's word, from when it may have been stolen.

The registry ends a key at any moment, past ones too; nothing that was answered before it did so can
be taken back. This lists those entries, from the log itself.
"""

import argparse
import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from sharegate.app import audit_log_logins, recording
from sharegate.audit.chain import Verifier, parse_leaf
from sharegate.cli.audit.acting import Actor, Intent, acting_arguments, load_actor, write_down
from sharegate.cli.audit.verify import LogUnreadable
from sharegate.cli.options import Verbs
from sharegate.cli.plain import as_json, given_moment, given_text, moment, plain
from sharegate.consortium.stored import beginning
from sharegate.errors import LogDiverged
from sharegate.in_force import load_members
from sharegate.model.act import ActKind
from sharegate.model.party import Role
from sharegate.record.entry import read_core
from sharegate.record.reader import Broken, PostgresReader
from sharegate.settings import Settings, load_settings

_AT_ONCE: Final = 4096


def add_to(acts: Verbs) -> None:
    """Add the act."""
    act = acts.add_parser("relied", help="list what was answered on a key's word since a moment; "
                          "is an entry itself, before it answers")  # fmt: skip
    acting_arguments(act, Role.AUDIT)
    which = act.add_mutually_exclusive_group(required=True)
    which.add_argument("--member-key", dest="key_id", type=given_text, metavar="ID",
                       help="a department's request key, or its certificate's name")  # fmt: skip
    which.add_argument("--issuer", type=given_text, help="who vouched for officers")
    act.add_argument("--since", type=given_moment, required=True, metavar="MOMENT",
                     help="when it may have been stolen: ISO 8601 with an offset")  # fmt: skip
    act.add_argument("--json", action="store_true", help="print JSON")
    act.set_defaults(run=_run)


@dataclass(frozen=True, slots=True)
class Found:
    """What was answered on a key's word.

    Attributes:
        told: The place of the entry that says it was read.
        archived: How many of the first entries were not read, since archives alone have them.
        rows: Places and cores, in order.
    """

    told: int
    archived: int
    rows: list[tuple[int, Mapping[str, object]]]


async def relied(settings: Settings, auditor: Actor, chosen: argparse.Namespace) -> Found:
    """Write the reading down, then read the whole log that is in the database.

    Raises:
        AuditLogUnavailable: It could not be written down, so nothing was read.
        LogDiverged: The log is not right; what it says is worth nothing.
        LogUnreadable: The database gives no answer.
    """
    what, value = _wanted(chosen)
    intent = Intent(
        kind=ActKind.AUDIT_READ,
        matter=chosen.matter,
        facts={"reads": "relied", "criteria": (what, "since")},
        values={"criteria": {what: value, "since": chosen.since}},
    )
    async with (
        recording(settings, lambda _: None) as recorder,
        audit_log_logins(settings.audit_log) as (_, read_dsn),
    ):
        told = await write_down(recorder, auditor, intent)
        reader = PostgresReader(read_dsn)
        found: list[tuple[int, Mapping[str, object]]] = []
        try:
            start = await beginning(reader)
            verifier = Verifier((), start.frontier, start.last)
            while leaves := await reader.leaves(verifier.frontier.size, _AT_ONCE):
                first = verifier.frontier.size
                if (fault := verifier.feed(leaves)) is not None:
                    raise LogDiverged(str(fault))
                found += _among(first, leaves, what, value, chosen.since)
        except Broken as error:
            raise LogUnreadable(f"the audit log cannot be read: {type(error).__name__}") from error
        finally:
            await reader.close()
    return Found(told.index, start.frontier.size, found)


def _among(
    first: int, leaves: Sequence[bytes], what: str, value: str, since: int
) -> Iterator[tuple[int, Mapping[str, object]]]:
    """The releases among these that a key's word led to. A core names it in clear."""
    sought = msgspec.json.encode(value)
    for index, leaf in enumerate(leaves, start=first):
        if sought not in leaf:  # most; reading a core costs a hundred times as much
            continue
        try:
            core = read_core(parse_leaf(leaf).core)
        except ValueError as error:
            raise LogDiverged(f"entry {index}: {error}") from error
        caller, at = core.get("caller"), core.get("time")
        if (
            core.get("kind") == "release"
            and isinstance(caller, dict)
            and caller.get(what) == value
            and isinstance(at, int)
            and at >= since
        ):
            yield index, core


def _wanted(chosen: argparse.Namespace) -> tuple[str, str]:
    return ("key", chosen.key_id) if chosen.key_id is not None else ("issuer", chosen.issuer)


def _run(chosen: argparse.Namespace) -> int:
    settings = load_settings(chosen.config)
    now = time.time_ns() // 1_000_000
    auditor = load_actor(load_members(settings), chosen, Role.AUDIT, now)
    found = asyncio.run(relied(settings, auditor, chosen))
    if chosen.json:
        rows = [{"index": index, "core": core} for index, core in found.rows]
        print(as_json({"entry": found.told, "archived": found.archived, "rows": rows}))
        return 0
    since = f" from {found.archived} on (archives have those before)" if found.archived else ""
    print(f"this reading is entry {found.told}; every entry before it{since} was read and hashed "
          "again")  # fmt: skip
    for index, core in found.rows:
        print(_line(index, core))
    print(f"{len(found.rows)} answered on the word of {plain(_wanted(chosen)[1])} since "
          f"{moment(chosen.since)}")  # fmt: skip
    return 0


def _line(index: int, core: Mapping[str, object]) -> str:
    caller, resource = core.get("caller"), core.get("resource")
    consumer = caller.get("consumer") if isinstance(caller, dict) else None
    what = resource.get("id") if isinstance(resource, dict) else None
    at = core.get("time")
    assert isinstance(at, int)
    return plain(f"{index:>8}  {moment(at)}  {consumer}  {core.get('provider')}/{what}")
