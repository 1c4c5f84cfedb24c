"""``sharegate policy explain``: why a question is decided so, and what would change it."""

import argparse
import json
from pathlib import Path

from sharegate.authorize.explanation import explain
from sharegate.authorize.ruleset import load_rule_set
from sharegate.cli.options import Verbs
from sharegate.cli.policy.check import folder_arguments, members, now
from sharegate.errors import Misconfigured
from sharegate.identify.rehearsal import rehearsed


def add_to(actions: Verbs) -> None:
    """Add the action."""
    parser = actions.add_parser("explain", help="say why a question is decided as it is")
    folder_arguments(parser)
    parser.add_argument("--consumer", required=True, help="who asks")
    parser.add_argument("--post", action="append", default=[], help="a post of the officer")
    parser.add_argument(
        "--question", type=Path, required=True, metavar="FILE", help="the request's body (JSON)"
    )
    parser.set_defaults(run=_run)


def _run(chosen: argparse.Namespace) -> int:
    rule_set = load_rule_set(chosen.folder, members(chosen))
    try:
        question = json.loads(chosen.question.read_text(encoding="utf-8"))
    except OSError as error:
        raise Misconfigured(str(chosen.question), error.strerror or "cannot be read") from error
    except ValueError as error:
        raise Misconfigured(str(chosen.question), "is not JSON") from error
    asked = rehearsed(chosen.consumer, tuple(chosen.post), question, now())
    found = explain(rule_set, asked)
    print(found.told)
    for words in found.considered:
        print(f"  {words}")
    for words in found.changes:
        print(f"what would change it: {words}")
    return 0
