"""``sharegate policy test``: whether the rules do what their owners expect."""

import argparse
from functools import partial

from sharegate.authorize.authorize import Authorize
from sharegate.authorize.expectations import (
    Expectation,
    decide,
    met,
    read_expectations,
    told,
)
from sharegate.authorize.ruleset import compose, read_files
from sharegate.cli.options import Verbs
from sharegate.cli.policy.check import folder_arguments, members, now
from sharegate.identify.rehearsal import rehearsed


def add_to(actions: Verbs) -> None:
    """Add the action."""
    parser = actions.add_parser("test", help="run every provider's grants_test.csv")
    folder_arguments(parser)
    parser.add_argument("--provider", help="this provider's only")
    parser.set_defaults(run=_run)


def _run(chosen: argparse.Namespace) -> int:
    departments = members(chosen)
    files = read_files(chosen.folder, departments)
    authorize = Authorize(compose(chosen.folder, files, departments))
    ask = partial(rehearsed, at=now())
    passed = failed = 0
    for provider in sorted(departments):
        content = files.get(f"{provider}/grants_test.csv")
        if content is None or chosen.provider not in {None, provider}:
            continue
        place = str(chosen.folder / provider / "grants_test.csv")
        for expected in read_expectations(place, content, provider):
            decision = decide(authorize, expected, ask)
            if met(expected, decision):
                passed += 1
            else:
                failed += 1
                print(f"{expected.place}: {_asked(expected)}")
                print(
                    f"  expected {expected.expect} because of {expected.because} ({expected.why})"
                )
                print(f"  but it is {told(decision)}")
    print(f"{passed} expectations hold, {failed} do not")
    return 1 if failed or not passed else 0


def _asked(expected: Expectation) -> str:
    who = expected.consumer + (f" ({' '.join(expected.posts)})" if expected.posts else "")
    return f"{who} asks {expected.provider}/{expected.resource} for {expected.purpose}"
