"""``sharegate audit show``: one entry, proven to be the log's, and what was sealed beside it."""

import argparse
import asyncio
import time
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from sharegate.app import load_signing_key, projection_logins, recording
from sharegate.audit.chain import parse_leaf
from sharegate.audit.checkpoint import Checkpoint, open_checkpoint
from sharegate.audit.note import VerifierKey
from sharegate.audit.verdict import Malformed, Unproven
from sharegate.cli.audit.acting import (
    Actor,
    Intent,
    acting_arguments,
    index_argument,
    load_actor,
    write_down,
)
from sharegate.cli.audit.plain import as_json, moment, outline, plain
from sharegate.cli.audit.verify import LogUnreadable
from sharegate.cli.options import Verbs
from sharegate.consortium.coverage import prove
from sharegate.errors import LogDiverged, Misconfigured, ShareGateError
from sharegate.in_force import load_members
from sharegate.model.act import ActKind, Fact
from sharegate.model.party import Role
from sharegate.private_keys import load_x25519
from sharegate.record.entry import read_core, unb64
from sharegate.record.opening import open_detail
from sharegate.record.reader import Broken, PostgresReader
from sharegate.record.search import PostgresSearch, Stored
from sharegate.settings import Settings, load_settings

_TRIES = 20
_PAUSE_SECONDS = 0.25


class NotShown(ShareGateError):
    """There is no such entry, or it is not what was signed, or it does not open."""


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
    act.set_defaults(run=_run)


async def show(
    settings: Settings,
    auditor: Actor,
    *,
    index: int,
    matter: str,
    office_key: X25519PrivateKey | None,
) -> Shown:
    """Write the reading down, then prove the entry and, with a key, open its detail.

    Raises:
        AuditLogUnavailable: It could not be written down or proven; nothing is shown.
        LogDiverged: A stored checkpoint is not this log's.
        LogUnreadable: The database gives no answer.
        Misconfigured: There is no login for auditors.
        NotShown: There is no such entry, or it is not what was signed, or it does not open.
    """
    async with (
        recording(settings, lambda _: None) as recorder,
        projection_logins(settings) as (_, dsn),
    ):
        if dsn is None:
            raise Misconfigured("projection.search_dsn", "is needed to read entries")
        facts: dict[str, Fact] = {"reads": "entry", "entry": index, "opens": office_key is not None}
        covered = await write_down(recorder, auditor, Intent(ActKind.AUDIT_READ, matter, facts, {}))
        reader, beside = PostgresReader(dsn), PostgresSearch(dsn)
        try:
            checkpoint = await _checkpoint_over(settings, reader, index)
            leaf, _ = await prove(reader, index, checkpoint.size, checkpoint.root)
            stored = await beside.entry(index)
            gone = None if stored is None else await _gone(reader, checkpoint, index, stored)
        except Broken as error:
            raise LogUnreadable(f"the audit log gives no answer: {type(error).__name__}") from error
        finally:
            await reader.close()
            await beside.close()
    try:
        core = read_core(parse_leaf(leaf).core)
        detail = None
        if office_key is not None and gone is None:
            detail = _opened(core, stored, office_key)
    except (Malformed, ValueError) as error:
        raise NotShown(f"entry {index}: {error}") from error
    return Shown(index, parse_leaf(covered.leaf).seq, checkpoint, core, detail, gone)


async def _gone(
    reader: PostgresReader, checkpoint: Checkpoint, index: int, stored: Stored
) -> str | None:
    """What became of a detail that cannot be opened any more, as far as the log proves it."""
    if stored.wrapped is not None:
        return None
    told = stored.erased_by
    if told is not None and told < checkpoint.size:
        leaf, _ = await prove(reader, told, checkpoint.size, checkpoint.root)
        core = read_core(parse_leaf(leaf).core)
        facts = core.get("facts")
        if (
            core.get("kind") == ActKind.ERASE
            and isinstance(facts, dict)
            and facts.get("entry") == index
        ):
            return f"erased by {core['by']}, as entry {told} says: {facts['legal_basis']}"
    return "gone, and no entry says why"


async def _checkpoint_over(settings: Settings, reader: PostgresReader, index: int) -> Checkpoint:
    """The newest checkpoint kept; waits a little for one that covers the entry."""
    key = VerifierKey.parse(load_signing_key(settings.audit_log).vkey)
    size = (await reader.head())[1]
    if index >= size:
        raise NotShown(f"the log has {size} entries, the last of them {size - 1}")
    for _ in range(_TRIES):
        note = await reader.checkpoint()
        if note is not None:
            try:
                checkpoint = open_checkpoint(note, [key], key.name)
            except (Malformed, Unproven) as error:
                raise LogDiverged(f"a stored checkpoint is not this log's: {error}") from error
            if index < checkpoint.size:
                return checkpoint
        await asyncio.sleep(_PAUSE_SECONDS)
    raise NotShown(f"no kept checkpoint covers entry {index} yet")


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
    settings = load_settings(chosen.config)
    now = time.time_ns() // 1_000_000
    auditor = load_actor(load_members(settings), chosen, Role.AUDIT, now)
    office_key = None if chosen.office_key is None else load_x25519(chosen.office_key)
    shown = asyncio.run(
        show(settings, auditor, index=chosen.index, matter=chosen.matter, office_key=office_key)
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
