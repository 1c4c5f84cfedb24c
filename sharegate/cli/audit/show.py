"""``sharegate audit show``: one entry, proven to be the log's, and what was sealed beside it."""

import argparse
import asyncio
import time
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from sharegate.app import load_signing_key, projection_logins, recording
from sharegate.audit.chain import parse_leaf
from sharegate.audit.checkpoint import Checkpoint
from sharegate.audit.note import VerifierKey
from sharegate.audit.verdict import Malformed
from sharegate.cli.audit.acting import (
    Actor,
    Intent,
    acting_arguments,
    index_argument,
    load_actor,
    write_down,
)
from sharegate.cli.audit.source import Database, InFiles, NotShown, Source
from sharegate.cli.audit.verify import LogUnreadable
from sharegate.cli.options import Verbs
from sharegate.cli.plain import as_json, moment, outline, plain
from sharegate.consortium.coverage import Nodes, prove
from sharegate.errors import Misconfigured
from sharegate.in_force import load_members
from sharegate.model.act import ActKind, Fact
from sharegate.model.party import Role
from sharegate.private_keys import load_x25519
from sharegate.record.entry import read_core, unb64
from sharegate.record.opening import open_detail, says_erased
from sharegate.record.reader import Broken
from sharegate.record.search import Stored
from sharegate.settings import Settings, load_settings


@dataclass(frozen=True, slots=True)
class Shown:
    """One entry, proven.

    Attributes:
        by_entry: The place of the entry that says it was read.
        checkpoint: The signed checkpoint it is under.
        core: What it says.
        detail: What was sealed beside it, where it was opened.
        erased: What became of the detail instead, where it is gone.
    """

    index: int
    by_entry: int
    checkpoint: Checkpoint
    core: Mapping[str, object]
    detail: Mapping[str, object] | None
    erased: str | None = None


def add_to(acts: Verbs) -> None:
    """Add the act."""
    act = acts.add_parser("show", help="show one entry; is an entry itself, before it answers")
    index_argument(act)
    acting_arguments(act, Role.AUDIT)
    act.add_argument("--json", action="store_true", help="print JSON")
    act.add_argument("--open", action="store_true", help="unseal the detail too")
    act.add_argument("--office-key", type=Path, metavar="FILE",
                     help="the audit office's private key (X25519, PEM); with --open")  # fmt: skip
    act.add_argument("--files", type=Path, metavar="DIR", help="read the log's files instead of "
                     "the database, with --details")  # fmt: skip
    act.add_argument("--details", type=Path, metavar="DIR", help="what `audit archive` wrote "
                     "beside them")  # fmt: skip
    act.set_defaults(run=_run)


async def show(
    settings: Settings,
    auditor: Actor,
    *,
    index: int,
    matter: str,
    office_key: X25519PrivateKey | None,
    archive: Source | None = None,
) -> Shown:
    """Write the reading down, then prove the entry and, with a key, open its detail.

    Args:
        settings: Which log.
        auditor: Who reads.
        index: Which entry.
        matter: What for.
        office_key: Opens its detail.
        archive: Where it is read; absent: in the database.

    Raises:
        AuditLogUnavailable: It could not be written down or proven; nothing is shown.
        LogDiverged: A stored checkpoint is not this log's.
        LogUnreadable: The database gives no answer.
        Misconfigured: There is no login for auditors.
        NotShown: There is no such entry, or it is not what was signed, or it does not open.
        NotWhole: The archive is not that of its log.
    """
    async with (
        recording(settings, lambda _: None) as recorder,
        projection_logins(settings) as (_, dsn),
    ):
        if dsn is None:
            raise Misconfigured("projection.search_dsn", "is needed to read entries")
        facts: dict[str, Fact] = {"reads": "entry", "entry": index, "opens": office_key is not None}
        covered = await write_down(recorder, auditor, Intent(ActKind.AUDIT_READ, matter, facts, {}))
        key = VerifierKey.parse(load_signing_key(settings.audit_log).vkey)
        source = archive or Database(dsn)
        try:
            checkpoint = await source.checkpoint(key, index)
            leaf, _ = await prove(source.nodes, index, checkpoint.size, checkpoint.root)
            stored = await source.entry(index)
            gone = None if stored is None else await _gone(source.nodes, checkpoint, index, stored)
        except Broken as error:
            raise LogUnreadable(f"the audit log gives no answer: {type(error).__name__}") from error
        finally:
            await source.close()
    try:
        core = read_core(parse_leaf(leaf).core)
        detail = None
        if office_key is not None and gone is None:
            detail = _opened(core, stored, office_key)
    except (Malformed, ValueError) as error:
        raise NotShown(f"entry {index}: {error}") from error
    return Shown(index, parse_leaf(covered.leaf).seq, checkpoint, core, detail, gone)


async def _gone(reader: Nodes, checkpoint: Checkpoint, index: int, stored: Stored) -> str | None:
    """What became of a detail that cannot be opened any more, as far as the log proves it."""
    if stored.wrapped is not None:
        return None
    told = stored.erased_by
    if told is not None and told < checkpoint.size:
        leaf, _ = await prove(reader, told, checkpoint.size, checkpoint.root)
        with suppress(ValueError):  # whoever owns the database may name any entry
            core = read_core(parse_leaf(leaf).core)
            facts = core.get("facts")
            if says_erased(core, index) and isinstance(facts, dict):
                why = facts.get("legal_basis")
                return f"erased by {core.get('by')}, as entry {told} says: {why}"
    return "gone, and no entry says why"


def _opened(
    core: Mapping[str, object], stored: Stored | None, key: X25519PrivateKey
) -> Mapping[str, object]:
    if stored is None:
        raise ValueError("is gone")
    opened = dict(
        open_detail(
            core, key, entry_id=stored.entry_id, sealed=stored.sealed, wrapped=stored.wrapped
        )
    )
    body = opened.get("body")
    if isinstance(body, str):
        opened["body"] = _readable(unb64(body))
    del opened["salts"]
    return opened


def _readable(body: bytes) -> object:
    """A request's body as JSON where it is JSON, else its bytes in base64."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return {"base64": b64encode(body).decode()}


def _run(chosen: argparse.Namespace) -> int:
    if chosen.open != (chosen.office_key is not None):
        raise Misconfigured("--open", "and --office-key go together")
    if (chosen.files is None) != (chosen.details is None):
        raise Misconfigured("--files", "and --details go together")
    settings = load_settings(chosen.config)
    now = time.time_ns() // 1_000_000
    auditor = load_actor(load_members(settings), chosen, Role.AUDIT, now)
    office_key = None if chosen.office_key is None else load_x25519(chosen.office_key)
    archive = None
    if chosen.files is not None:
        key = VerifierKey.parse(load_signing_key(settings.audit_log).vkey)
        archive = InFiles(chosen.files, chosen.details, key)
    shown = asyncio.run(
        show(
            settings,
            auditor,
            index=chosen.index,
            matter=chosen.matter,
            office_key=office_key,
            archive=archive,
        )
    )
    print(as_json(_as_map(shown)) if chosen.json else "\n".join(_lines(shown)))
    return 0


def _as_map(shown: Shown) -> dict[str, object]:
    said: dict[str, object] = {
        "index": shown.index,
        "entry": shown.by_entry,
        "origin": shown.checkpoint.origin,
        "size": shown.checkpoint.size,
        "core": shown.core,
    }
    for name in ("detail", "erased"):
        if getattr(shown, name) is not None:
            said[name] = getattr(shown, name)
    return said


def _lines(shown: Shown) -> list[str]:
    at = shown.core.get("time")
    under = f"the signed checkpoint of {shown.checkpoint.size} entries"
    lines = [
        f"this reading is entry {shown.by_entry}",
        f"entry {shown.index} of {shown.checkpoint.origin}, proven under {under}",
    ]
    if isinstance(at, int):
        lines.append(f"  at {moment(at)}")
    lines += [f"  {line}" for line in outline(shown.core)]
    if shown.detail is not None:
        lines.append("opened; it is what the entry committed to")
        lines += [f"  {line}" for line in outline(shown.detail)]
    if shown.erased is not None:
        lines.append(f"its detail is {plain(shown.erased)}")
    return lines
