"""``sharegate policy``: check, test, diff, explain, replay and sign rules."""

from sharegate.cli.options import Verbs
from sharegate.cli.policy import check, compare, explain, replay, sign, trial


def add_to(verbs: Verbs) -> None:
    """Add the verb."""
    parser = verbs.add_parser("policy", help="check, test, compare, explain and sign rules")
    actions: Verbs = parser.add_subparsers(required=True, metavar="ACTION")
    for each in (check, trial, compare, explain, replay, sign):
        each.add_to(actions)
