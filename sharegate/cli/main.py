"""``sharegate``: one command, a few verbs."""

import argparse
import sys
from collections.abc import Sequence

from sharegate import __version__
from sharegate.cli import (
    break_glass,
    call,
    catalogue,
    consortium,
    keys,
    monitor,
    project,
    receipt,
    registry,
    ruling,
    seal,
    serve,
    stamp,
    succession,
    verify,
    witness,
)
from sharegate.cli.audit import command as audit
from sharegate.cli.demo import command as demo
from sharegate.cli.doctor import command as doctor
from sharegate.cli.policy import command as policy
from sharegate.errors import ShareGateError

_VERBS = (
    serve,
    call,
    catalogue,
    receipt,
    verify,
    audit,
    project,
    seal,
    stamp,
    keys,
    policy,
    registry,
    ruling,
    break_glass,
    witness,
    monitor,
    consortium,
    succession,
    doctor,
    demo,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; give the process's exit code: 0 as asked, 1 not so, 2 used wrongly."""
    parser = argparse.ArgumentParser(
        prog="sharegate",
        description="Answers one department's question from another department's database, and "
        "gives no answer that it has not first written into the audit log.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for verb in _VERBS:
        verb.add_to(verbs)
    chosen = parser.parse_args(arguments)
    try:
        code: int = chosen.run(chosen)
    except ShareGateError as error:
        print(f"sharegate: {error}", file=sys.stderr)
        return 1
    return code
