"""``sharegate audit search``: find entries by who, what, why, when, and whom they are about."""

import argparse
import asyncio
import sys
import time
from typing import Final

from sharegate.app import load_index_key, projection_logins, recording
from sharegate.audit.chain import parse_leaf
from sharegate.cli.audit.acting import (
    Actor,
    Intent,
    acting_arguments,
    load_actor,
    write_down,
)
from sharegate.cli.audit.verify import LogUnreadable
from sharegate.cli.options import Verbs
from sharegate.cli.plain import (
    as_json,
    given_moment,
    given_text,
    moment,
    plain,
    spelt_otherwise,
)
from sharegate.errors import Misconfigured
from sharegate.in_force import load_members
from sharegate.model.act import ActKind
from sharegate.model.party import Role
from sharegate.record.blind import Token, officer_value, token
from sharegate.record.projection import SearchRow
from sharegate.record.reader import Broken
from sharegate.record.search import LIMIT, MOST, Criteria, Found, PostgresSearch
from sharegate.settings import Settings, load_settings

_WORDS: Final = {
    "kind": "what came of it: release, refusal, failure, or an act such as policy",
    "consumer": "the department that asked",
    "provider": "the department that was asked",
    "resource": "the resource; with --provider",
    "mode": "the mode",
    "purpose": "the purpose's code",
    "reason": "why there was no answer",
}
_NAMES: Final = {  # of the criteria, as an entry lists them
    **{word: word for word in _WORDS},
    "decision": "decision",
    "officer": "officer",
    "matter_of": "matter-of",
    "concerned": "concerned",
    "since": "since",
    "until": "until",
}
_SHOWN: Final = tuple(
    name for name in SearchRow.__struct_fields__ if name not in ("officer", "matter")
)


def add_to(acts: Verbs) -> None:
    """Add the act."""
    act = acts.add_parser("search", help="find entries; is an entry itself, before it answers")
    acting_arguments(act, Role.AUDIT)
    for name, meaning in _WORDS.items():
        act.add_argument(f"--{name}", type=given_text, help=meaning)
    act.add_argument("--decision", choices=("permit", "deny", "refer"))
    act.add_argument("--officer", type=given_text, help="the officer's id; with --consumer")
    act.add_argument("--matter-of", type=given_text, metavar="MATTER",
                     help="the case number the entry serves")  # fmt: skip
    act.add_argument("--concerned", type=given_text, metavar="ID", help="whom the entry is about")
    act.add_argument("--since", type=given_moment, metavar="MOMENT",
                     help="ISO 8601 with an offset")  # fmt: skip
    act.add_argument("--until", type=given_moment, metavar="MOMENT", help="first moment after")
    act.add_argument("--limit", type=_limit, default=LIMIT, help=f"at most; default {LIMIT}")
    act.add_argument("--json", action="store_true", help="print JSON")
    act.set_defaults(run=_run)


async def search(
    settings: Settings, auditor: Actor, chosen: argparse.Namespace
) -> tuple[int, Found]:
    """Write the search down, then make it; give the place of its entry, and what was found.

    Raises:
        AuditLogUnavailable: It could not be written down, so nothing was searched.
        Misconfigured: There is no projection, or no key to the blind index.
        LogUnreadable: The projection gives no answer.
    """
    wanted = criteria(chosen, load_index_key(settings.audit_log))
    async with (
        recording(settings, lambda _: None) as recorder,
        projection_logins(settings) as (_, dsn),
    ):
        if dsn is None:
            raise Misconfigured("projection.search_dsn", "is needed to search")
        covered = await write_down(recorder, auditor, reading(chosen))
        projection = PostgresSearch(dsn)
        try:
            return parse_leaf(covered.leaf).seq, await projection.find(wanted)
        except Broken as error:
            raise LogUnreadable(f"the projection cannot be read: {_name(error)}") from error
        finally:
            await projection.close()


def criteria(chosen: argparse.Namespace, index_key: bytes | None) -> Criteria:
    """What is looked for; values nobody may read in the log become tokens.

    Raises:
        Misconfigured: A token is needed, and there is no key to make it with; or an officer or
            resource is named without the department it belongs to.
    """
    for name, of in (("officer", "consumer"), ("resource", "provider")):
        if getattr(chosen, name) is not None and getattr(chosen, of) is None:
            raise Misconfigured(f"--{name}", f"needs --{of} too")

    def blinded(kind: Token, value: str | None) -> bytes | None:
        if value is None:
            return None
        if index_key is None:
            raise Misconfigured(
                "audit_log.index_key", "is needed to search by officer, matter or person"
            )
        return token(index_key, kind, value)[1:]

    officer = chosen.officer and officer_value(chosen.consumer, chosen.officer)
    return Criteria(
        **{name: getattr(chosen, name) for name in _WORDS},
        effect=chosen.decision,
        officer=blinded(Token.OFFICER, officer),
        matter=blinded(Token.MATTER, chosen.matter_of),
        person=blinded(Token.PERSON, chosen.concerned),
        since=chosen.since,
        until=chosen.until,
        limit=chosen.limit,
    )


def reading(chosen: argparse.Namespace) -> Intent:
    """What the entry says of a search: which criteria in clear, their values sealed."""
    used = {
        name: value
        for attribute, name in _NAMES.items()
        if (value := getattr(chosen, attribute)) is not None
    }
    return Intent(
        kind=ActKind.AUDIT_READ,
        matter=chosen.matter,
        facts={"reads": "search", "criteria": tuple(sorted(used)), "limit": chosen.limit},
        values={"criteria": used},
    )


def _run(chosen: argparse.Namespace) -> int:
    settings = load_settings(chosen.config)
    now = time.time_ns() // 1_000_000
    auditor = load_actor(load_members(settings), chosen, Role.AUDIT, now)
    for name in ("officer", "matter_of", "concerned"):
        if spelt_otherwise(getattr(chosen, name) or ""):
            print(f"--{_NAMES[name]} has full-width or compatibility characters; "
                  "it is searched exactly so", file=sys.stderr)  # fmt: skip
    index, found = asyncio.run(search(settings, auditor, chosen))
    if chosen.json:
        rows = [{name: getattr(row, name) for name in _SHOWN} for row in found.rows]
        print(as_json({"entry": index, "reach": found.reach, "size": found.size, "rows": rows}))
        return 0
    print(f"this search is entry {index}; {found.reach} of {found.size} entries can be searched")
    for row in found.rows:
        print(_line(row))
    at_most = "; there may be more" if len(found.rows) == chosen.limit else ""
    print(f"{len(found.rows)} found{at_most}")
    return 0


def _line(row: SearchRow) -> str:
    """One entry on one line."""
    parts = [f"{row.seq:>8}", moment(row.time), f"{row.kind:<8}"]
    parts.append(f"{row.by or row.consumer or '-'}")
    if row.provider is not None or row.resource is not None:
        parts.append(f"{row.provider or '-'}/{row.resource or '-'}")
    for name in ("mode", "purpose", "effect", "reason", "rule"):
        value = getattr(row, name)
        if value is not None:
            parts.append(f"{name}={value}")
    return plain("  ".join(parts))


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= MOST):
        raise argparse.ArgumentTypeError(f"1 to {MOST}")
    return int(text)


def _name(error: BaseException) -> str:
    return type(error).__name__
