"""``sharegate policy check``: everything that is wrong in a policies folder."""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path

from sharegate.authorize.lint import Weight, examine
from sharegate.cli.options import Verbs
from sharegate.identify.registry import load_registry
from sharegate.model.party import Department, DepartmentId


def add_to(actions: Verbs) -> None:
    """Add the action."""
    parser = actions.add_parser("check", help="say everything that is wrong, with file and line")
    folder_arguments(parser)
    parser.set_defaults(run=_run)


def folder_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name rules and members."""
    parser.add_argument("folder", type=Path, nargs="?", default=Path("policies"), metavar="FOLDER")
    parser.add_argument(
        "--registry", type=Path, default=Path("registry.toml"), help="the members (registry.toml)"
    )


def members(chosen: argparse.Namespace) -> Mapping[DepartmentId, Department]:
    """The members that the arguments name.

    Raises:
        Misconfigured: The registry cannot be used.
    """
    return load_registry(chosen.registry).departments


def now() -> int:
    """Milliseconds of Unix time."""
    return time.time_ns() // 1_000_000


def _run(chosen: argparse.Namespace) -> int:
    rule_set, findings = examine(chosen.folder, members(chosen), now())
    for finding in findings:
        print(f"{finding.weight}: {finding.place}: {finding.reason}")
    errors = sum(finding.weight is Weight.ERROR for finding in findings)
    warnings = len(findings) - errors
    if rule_set is None:
        print(f"{errors} errors, {warnings} warnings: these rules would be refused")
        return 1
    print(
        f"{len(rule_set.grants):,} rules of {len(rule_set.catalogue.resources)} resources, "
        f"{warnings} warnings; rule set {rule_set.hash}"
    )
    return 0
