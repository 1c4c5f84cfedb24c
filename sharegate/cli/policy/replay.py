"""``sharegate policy replay``: what proposed rules would have decided about recorded questions."""

import argparse
import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sharegate.app import audit_log_logins
from sharegate.audit.chain import parse_leaf
from sharegate.authorize.authorize import Authorize
from sharegate.authorize.expectations import a_value, told
from sharegate.authorize.ruleset import RuleSet, load_rule_set
from sharegate.cli.options import Verbs, config_argument
from sharegate.cli.plain import plain
from sharegate.errors import Misconfigured
from sharegate.identify.registry import load_registry
from sharegate.identify.rehearsal import rehearsed
from sharegate.model.catalogue import FieldName, ResourceId
from sharegate.model.decision import Decision, Permit
from sharegate.model.party import DepartmentId
from sharegate.record.entry import read_core
from sharegate.record.reader import Broken, PostgresReader
from sharegate.settings import Settings, load_settings

_AT_ONCE: Final = 1024
_SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class Replayed:
    """One recorded decision, and what the proposed rules say to the same question."""

    index: int
    was: str
    rule: str
    becomes: Decision


def add_to(actions: Verbs) -> None:
    """Add the action."""
    parser = actions.add_parser("replay", help="try proposed rules on recorded questions")
    config_argument(parser)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="the proposed policies")
    parser.add_argument("--since", type=_since, required=True, metavar="MOMENT",
                        help="from when on, as 2026-11-01 (UTC)")  # fmt: skip
    parser.set_defaults(run=_run)


def _since(text: str) -> int:
    """Read one argument: ISO 8601, in UTC where it has no offset, as milliseconds of Unix time."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            "a day or a moment, as 2026-11-01 or 2026-11-01T08:00+08:00 (UTC without an offset)"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)


def _run(chosen: argparse.Namespace) -> int:
    settings = load_settings(chosen.config)
    rule_set = load_rule_set(chosen.folder, load_registry(settings.registry).departments)
    cores = asyncio.run(_cores(settings, chosen.since))
    replayed, left_out = replay(rule_set, cores)
    denied = [each for each in replayed if each.was == "permit" and not _permits(each)]
    permitted = [each for each in replayed if each.was != "permit" and _permits(each)]
    for title, changed in (("denied", denied), ("permitted", permitted)):
        for each in changed[:_SHOWN]:
            print(line(each))
        if len(changed) > _SHOWN:
            print(f"and {len(changed) - _SHOWN} more that would be {title}")
    print(
        f"of {len(replayed)} recorded questions: would have denied {len(denied)}, "
        f"permitted {len(permitted)} new"
    )
    print(
        "an entry does not say the officer's posts, the values asked by, or a consent: each is "
        f"taken to be as the rules want it. {left_out} entries name nothing that is known."
    )
    return 0


def line(replayed: Replayed) -> str:
    """Say in one line what would change; what the entry says makes no other one."""
    was = plain(f"{replayed.was} {replayed.rule}")
    return f"entry {replayed.index}: was {was}; would be {told(replayed.becomes)}"


def _permits(replayed: Replayed) -> bool:
    return isinstance(replayed.becomes, Permit)


async def _cores(settings: Settings, since: int) -> list[tuple[int, Mapping[str, object]]]:
    found = []
    async with audit_log_logins(settings.audit_log) as (_, read_dsn):
        reader = PostgresReader(read_dsn)
        try:
            first = 0
            while leaves := await reader.leaves(first, _AT_ONCE):
                for index, leaf in enumerate(leaves, start=first):
                    core = read_core(parse_leaf(leaf).core)
                    time = core.get("time")
                    if isinstance(time, int) and time >= since:
                        found.append((index, core))
                first += len(leaves)
        except Broken as error:
            raise Misconfigured("audit_log.read_dsn", "the audit log cannot be read") from error
        finally:
            await reader.close()
    return found


def replay(
    rule_set: RuleSet, cores: list[tuple[int, Mapping[str, object]]]
) -> tuple[list[Replayed], int]:
    """Ask proposed rules every recorded question again, each at the time it was asked.

    Returns:
        What came of each, and how many entries hold no question that could be asked again.
    """
    authorize, posts = Authorize(rule_set), tuple(rule_set.posts)
    replayed, left_out = [], 0
    for index, core in cores:
        asked = _question(rule_set, core)
        decision = core.get("decision")
        if asked is None or not isinstance(decision, dict):
            left_out += 1
            continue
        consumer, time, question = asked
        becomes = authorize(rehearsed(consumer, posts, question, time)).decision
        rule = decision.get("rule") or decision.get("reason") or ""
        replayed.append(Replayed(index, str(decision["effect"]), str(rule), becomes))
    return replayed, left_out


def _question(
    rule_set: RuleSet, core: Mapping[str, object]
) -> tuple[str, int, dict[str, object]] | None:
    """What an entry says was asked; None where it does not say enough."""
    caller, resource, purpose = (core.get(name) for name in ("caller", "resource", "purpose"))
    decision, asked_by, time = (core.get(name) for name in ("decision", "asked_by", "time"))
    if not (isinstance(caller, dict) and isinstance(resource, dict) and isinstance(purpose, dict)):
        return None
    if not (isinstance(decision, dict) and isinstance(asked_by, dict) and isinstance(time, int)):
        return None
    if "code" not in purpose or "legal_basis" not in purpose or "mode" not in core:
        return None
    question: dict[str, object] = {
        "provider": core.get("provider"),
        "resource": resource["id"],
        "mode": core["mode"],
        "purpose": purpose["code"],
        "legal_basis": purpose["legal_basis"],
        "matter": "REPLAY-1",
        "consent": "replay-1",
        "where": _values(rule_set, str(core.get("provider")), str(resource["id"]), asked_by),
    }
    fields = decision.get("fields")
    if isinstance(fields, list):
        question["fields"] = fields
    return str(caller["consumer"]), time, question


def _values(
    rule_set: RuleSet, provider: str, resource_id: str, asked_by: Iterable[str]
) -> dict[str, str | int | bool]:
    """Some value for each field that was asked by; the recorded one is sealed."""
    asked = (DepartmentId(provider), ResourceId(resource_id))
    resource = rule_set.catalogue.resources.get(asked)
    fields = {} if resource is None else resource.fields
    return {
        name: a_value(fields[FieldName(name)]) if name in fields else "replay" for name in asked_by
    }
