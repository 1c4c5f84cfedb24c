"""The import map is kept, and each of its contracts notices when it is not."""

import shutil
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.architecture.house import PACKAGE, ROOT, imports, modules

LINTER = Path(sys.executable).with_name("lint-imports")
HOUSE = "The house: imports point one way"
CASBIN = "Only the decision point knows Casbin"
ALONE = "audit stands alone: no framework, no database, no clock of others"

# One forbidden line each: the contract it breaks, the module it is written into, the line.
BREACHES = [
    (HOUSE, "model/ids.py", "import sharegate.gateway"),
    (HOUSE, "gateway.py", "import sharegate.web.exchange"),
    (HOUSE, "fetch/plan.py", "from sharegate.record import entry"),
    (HOUSE, "release/__init__.py", "def late():\n    import sharegate.identify.jws"),
    (HOUSE, "audit/tree.py", "import sharegate.errors"),
    (HOUSE, "consortium/memory.py", "import sharegate.web.admin"),
    (HOUSE, "another.py", "NAME = 'a module with no place in the house'"),
    (CASBIN, "authorize/ruleset.py", "import casbin"),
    (CASBIN, "gateway.py", "from casbin.enforcer import Enforcer"),
    (ALONE, "audit/chain.py", "import asyncio"),
    (ALONE, "audit/note.py", "from time import time"),
    (ALONE, "audit/text.py", "import msgspec"),
]


def lint(place):
    """Run the linter over the package in a folder, which holds the project's own settings."""
    return subprocess.run(
        [LINTER, "--no-cache"], cwd=place, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(place), "PATH": ""},
    )  # fmt: skip


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "sharegate", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_contract_is_kept(copy):
    linted = lint(copy)
    assert linted.returncode == 0, linted.stdout + linted.stderr
    assert "0 broken" in linted.stdout


@pytest.mark.parametrize(("contract", "module", "line"), BREACHES, ids=[b[1] for b in BREACHES])
def test_a_contract_notices_a_breach(copy, contract, module, line):
    path = copy / "sharegate" / module
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    path.write_text(f"{text}\n{line}\n", encoding="utf-8")
    linted = lint(copy)
    assert linted.returncode != 0
    # A module without a place stops the linter before it comes to any contract's verdict.
    verdict = "not listed as layers" if module == "another.py" else f"{contract} BROKEN"
    assert verdict in linted.stdout


def test_every_contract_has_a_breach_here():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = {contract["name"] for contract in settings["tool"]["importlinter"]["contracts"]}
    assert contracts == {contract for contract, _, _ in BREACHES}


def test_no_two_modules_import_each_other_not_even_by_a_detour():
    names = {module.name for module in modules()}
    graph = {module.name: set(imports(module)) & names - {module.name} for module in modules()}
    assert sum(map(len, graph.values())) > len(graph), "the graph is not empty"
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle


def test_casbin_is_imported_in_one_place():
    importers = {
        module.name
        for module in modules()
        if any(name.split(".")[0] == "casbin" for name in imports(module))
    }
    assert importers == {"sharegate.authorize.pdp"}


def test_the_embedded_server_knows_nothing_and_is_known_to_few():
    for module in modules():
        ours = {name.split(".")[1] for name in imports(module) if name.startswith("sharegate.")}
        if module.room == "embedded":
            assert ours <= {"embedded", "errors"}, module
        elif "embedded" in ours:
            assert module.room in {"app", "cli"}, module
