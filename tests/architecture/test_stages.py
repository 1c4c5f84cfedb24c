"""Each stage of the walk is made in its own room, and the wrong order does not type-check."""

import ast
import re
import subprocess
import sys

import pytest

from tests.architecture.house import ROOT, Module, modules

MAKERS = {
    "Identified": "identify",
    "Decided": "authorize",
    "Fetched": "fetch",
    "Recorded": "record",
    "Released": "release",
    "Covered": "consortium",
}


def uses(tree):
    """Where a stage's type is used for anything but naming it: (name, line)."""
    named = set()
    for node in ast.walk(tree):
        for field in ("annotation", "returns"):
            annotation = getattr(node, field, None)
            if annotation is not None:
                named |= {id(each) for each in ast.walk(annotation)}
        if isinstance(node, ast.MatchClass):
            named.add(id(node.cls))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
            named |= {id(each) for each in ast.walk(node.args[1])}
    renamed = {
        alias.asname: alias.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
        if alias.asname
    }
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                name = renamed.get(name, name)
                if name in MAKERS and id(node) not in named:
                    yield name, node.lineno


def strangers(module):
    return [
        f"{module.name}:{line} makes a {name}"
        for name, line in uses(module.tree)
        if module.room != MAKERS[name] and module.name != "sharegate.model.passage"
    ]


def test_every_stage_is_made_in_its_own_room():
    made = {(name, module.room) for module in modules() for name, _ in uses(module.tree)}
    assert made == set(MAKERS.items())
    assert [each for module in modules() for each in strangers(module)] == []


@pytest.mark.parametrize(
    "line",
    [
        "Recorded(1, 2, 3, 4)",
        "passage.Recorded(1, 2, 3, 4)",
        "make = Recorded",
        "from x import Recorded as R\nR()",
        "list(map(Recorded, []))",
        "object.__new__(Recorded)",
    ],
)
def test_making_a_stage_elsewhere_is_noticed(line):
    tree = ast.parse(line)
    (found, *_) = strangers(Module("sharegate.web.exchange", ROOT, line, tree))
    assert "Recorded" in found
    assert strangers(Module("sharegate.record.recorder", ROOT, line, tree)) == []


def copies(node):
    """Whether this is a call of `dataclasses.replace`, which makes without naming what."""
    match node:
        case ast.Call(func=ast.Name(id="replace")):
            return True
        case ast.Call(func=ast.Attribute(attr="replace", value=ast.Name(id=owner))):
            return owner in {"dataclasses", "copy"}
    return False


def test_no_stage_is_made_by_copying_one_with_a_part_changed():
    found = [
        f"{module.name}:{node.lineno}"
        for module in modules()
        for node in ast.walk(module.tree)
        if copies(node)
    ]
    assert found == []
    for line in ("replace(x, a=1)", "dataclasses.replace(x)", "copy.replace(x)"):
        assert copies(ast.parse(line, mode="eval").body)
    assert not copies(ast.parse("'a'.replace('b', 'c')", mode="eval").body)


# --- the order is a type error ----------------------------------------------------------------

RIGHT = """
from sharegate.authorize.authorize import Authorize
from sharegate.fetch.fetch import Fetch
from sharegate.gateway import Gateway
from sharegate.identify.identify import Identify
from sharegate.model.passage import Arrived, Covered, Decided, Fetched, Identified, Released
from sharegate.record.recorder import Recorder
from sharegate.release import Release


async def in_order(
    arrived: Arrived, identify: Identify, authorize: Authorize, fetch: Fetch,
    recorder: Recorder, release: Release, gateway: Gateway,
) -> Released:
    release(await recorder.record(await fetch(authorize(identify(arrived)))), receipt=True)
    decided = gateway.authorize(gateway.identify(arrived))
    recorded = await gateway.recorder.record(await gateway.fetch(decided))
    return gateway.release(recorded, receipt=True)
"""
WRONG = """

async def out_of_order(
    arrived: Arrived, identified: Identified, decided: Decided, fetched: Fetched, covered: Covered,
    authorize: Authorize, fetch: Fetch, recorder: Recorder, release: Release, gateway: Gateway,
) -> None:
    authorize(arrived)
    await fetch(arrived)
    await fetch(identified)
    await recorder.record(identified)
    await recorder.record(decided)
    release(identified, receipt=True)
    release(decided, receipt=True)
    release(fetched, receipt=True)
    release(covered, receipt=True)
    gateway.authorize(arrived)
    await gateway.fetch(identified)
    await gateway.recorder.record(decided)
    gateway.release(decided, receipt=True)
    gateway.release(fetched, receipt=True)
"""


def test_mypy_proves_the_order(tmp_path):
    snippet = tmp_path / "order.py"
    snippet.write_text(RIGHT + WRONG, encoding="utf-8")
    typed = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", "pyproject.toml", snippet],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    errors = re.findall(r"order\.py:(\d+): error: .*\[([a-z-]+)\]", typed.stdout)
    first = RIGHT.count("\n") + 1 + WRONG[: WRONG.index("    authorize(arrived)")].count("\n")
    wrong = [line for line in WRONG.split("\n") if line.startswith("    ") and line.endswith(")")]
    assert len(wrong) == 14
    assert [int(line) for line, _ in errors] == list(range(first, first + len(wrong))), typed.stdout
    assert {code for _, code in errors} == {"arg-type"}
