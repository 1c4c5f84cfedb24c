"""``sharegate policy diff``: what new rules change, in words."""

import argparse
from collections import Counter
from pathlib import Path

from sharegate.authorize.difference import differences
from sharegate.authorize.ruleset import load_rule_set
from sharegate.cli.options import Verbs
from sharegate.cli.policy.check import members


def add_to(actions: Verbs) -> None:
    """Add the action."""
    parser = actions.add_parser("diff", help="say what new rules change")
    parser.add_argument("old", type=Path, metavar="OLD", help="the policies folder in force")
    parser.add_argument("new", type=Path, metavar="NEW", help="the one proposed")
    parser.add_argument(
        "--registry", type=Path, default=Path("registry.toml"), help="the members (registry.toml)"
    )
    parser.set_defaults(run=_run)


def _run(chosen: argparse.Namespace) -> int:
    departments = members(chosen)
    found = differences(
        load_rule_set(chosen.old, departments), load_rule_set(chosen.new, departments)
    )
    for each in found:
        print(f"{each.change}: {each.rule}")
        for words in each.words:
            print(f"  {words}")
    counts = Counter(each.change for each in found)
    said = ", ".join(f"{count} {change}" for change, count in sorted(counts.items()))
    print(said or "nothing changes")
    return 0
