"""The verb."""

import argparse
import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from sharegate.authorize.ruleset import RuleSet
from sharegate.cli.doctor.audit_database import check_audit_database
from sharegate.cli.doctor.files import (
    check_other_files,
    check_policies,
    check_registry,
    check_settings,
    check_signing_key,
    check_state,
)
from sharegate.cli.doctor.finding import Finding, Verdict
from sharegate.cli.doctor.listeners import check_listeners
from sharegate.cli.doctor.projection import check_projection
from sharegate.cli.doctor.signed import check_signed
from sharegate.cli.doctor.sources import check_source
from sharegate.cli.options import Verbs, config_argument
from sharegate.settings import Settings


def add_to(verbs: Verbs) -> None:
    """Add the verb."""
    parser = verbs.add_parser("doctor", help="say what is wrong with a configuration, in words")
    config_argument(parser)
    parser.set_defaults(run=_run)


def _run(chosen: argparse.Namespace) -> int:
    found = asyncio.run(examine(chosen.config))
    for finding in found:
        print(finding)
    bad = sum(finding.verdict is Verdict.WRONG for finding in found)
    doubtful = sum(finding.verdict is Verdict.WARN for finding in found)
    print(f"{bad or 'nothing'} wrong, {doubtful or 'nothing'} to look at, {len(found)} checks")
    return 1 if bad else 0


async def examine(config: Path, clock: Callable[[], float] = time.time) -> list[Finding]:
    """Check everything that can be checked, whatever else is wrong; change nothing.

    Args:
        config: The settings file.
        clock: This machine's, in seconds of Unix time.

    Returns:
        One finding for each check, without any secret in it.
    """
    settings, found = check_settings(config)
    if settings is None:
        return found
    registry, findings = check_registry(settings, clock())
    found += findings
    rule_set, findings = check_policies(settings, registry)
    found += findings
    found += check_signed(settings)
    key, findings = check_signing_key(settings.audit_log)
    found += findings
    found += check_state(settings.audit_log)
    found += check_other_files(settings, key)
    # Sources and audit database at once: one that hangs does not keep the reader from the others.
    for findings in await asyncio.gather(
        check_audit_database(settings.audit_log, key, clock),
        check_projection(settings.projection),
        *_sources(settings, rule_set, clock),
    ):
        found += findings
    return found + check_listeners(settings)


def _sources(
    settings: Settings, rule_set: RuleSet | None, clock: Callable[[], float]
) -> list["asyncio.Future[list[Finding]]"]:
    listed = () if rule_set is None else rule_set.catalogue.resources.values()
    return [
        asyncio.ensure_future(
            check_source(name, source, [one for one in listed if one.source == name], clock)
        )
        for name, source in settings.sources.items()
    ]
