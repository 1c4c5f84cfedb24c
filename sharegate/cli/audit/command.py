"""``sharegate audit``: its acts."""

from sharegate.cli.audit import archive, erase, fork, reconcile, relied, search, show, verify
from sharegate.cli.options import Verbs


def add_to(verbs: Verbs) -> None:
    """Add the verb."""
    parser = verbs.add_parser("audit", help="work on the audit log")
    acts = parser.add_subparsers(required=True, metavar="ACT")
    for act in (verify, search, show, relied, reconcile, erase, archive, fork):
        act.add_to(acts)
