"""The house's limits and manners, and the linters that keep the rest of them."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.house import ROOT, modules, project_files

LONGEST = 400
NO_MODULES = {"utils", "util", "helpers", "helper", "common", "core", "types", "constants", "misc"}
NO_CLASSES = {"Manager", "Handler", "Service", "Helper", "Base", "Impl", "Data", "Info"}
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
PYTHON = [name for name in project_files() if name.endswith(".py")]


def run(*command):
    done = subprocess.run(
        [str(part) for part in command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_mypy_is_strict_and_content():
    run(sys.executable, "-m", "mypy", "--strict")


def test_ruff_finds_nothing_to_say():
    run(Path(sys.executable).with_name("ruff"), "check", ".")


def test_every_file_is_formatted():
    run(Path(sys.executable).with_name("ruff"), "format", "--check", ".")


def test_no_module_is_long():
    assert len(modules()) > 50
    assert {m.name: n for m in modules() if (n := m.text.count("\n")) > LONGEST} == {}


def test_no_module_is_a_junk_drawer():
    parts = {part.lstrip("_") for module in modules() for part in module.name.split(".")}
    assert parts & NO_MODULES == set()


def classes(tree):
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and set(WORD.findall(node.name)) & NO_CLASSES
    }


def test_no_class_has_an_empty_name():
    assert {name for module in modules() for name in classes(module.tree)} == set()


@pytest.mark.parametrize("name", ["DataStore", "HTTPHandler", "_RowInfo", "Base", "AuditService2"])
def test_an_empty_name_is_noticed(name):
    assert classes(ast.parse(f"class {name}: ...")) == {name}


@pytest.mark.parametrize("name", ["Database", "Basement", "Informed", "Dataset", "AuditLog"])
def test_a_word_that_only_begins_like_one_is_not(name):
    assert classes(ast.parse(f"class {name}: ...")) == set()


def logs(tree):
    """Whatever is called `log`: of which log it speaks, nobody can tell."""
    for node in ast.walk(tree):
        match node:
            case (
                ast.Name(id="log", ctx=ast.Store())
                | ast.arg(arg="log")
                | ast.Attribute(attr="log", ctx=ast.Store())
                | ast.alias(asname="log")
                | ast.FunctionDef(name="log")
                | ast.AsyncFunctionDef(name="log")
                | ast.ExceptHandler(name="log")
                | ast.MatchAs(name="log")
            ):
                yield getattr(node, "lineno", 0)


def test_no_variable_is_called_log():
    trees = {name: ast.parse(project_files()[name]) for name in PYTHON}
    assert {name: found for name, tree in trees.items() if (found := list(logs(tree)))} == {}


@pytest.mark.parametrize(
    "line",
    ["log = 1", "def f(log): ...", "self.log = 1", "import x as log", "for log in (): ...",
     "[log for log in ()]", "with x as log: ...", "def log(): ..."],
)  # fmt: skip
def test_a_variable_called_log_is_noticed(line):
    assert list(logs(ast.parse(line)))


# Written so that no pattern matches its own text.
ELSEWHERE = {
    "a path of one machine": r"(?<![\w.:/-])/(?:wor[k]|Use[r]s|hom[e]/\w+|roo[t]/\w+)/",
    "a scratch path": r"/tm[p]/w\b",
    "a package registry": r"(?:pyp[i]\.org|pythonhoste[d]|--(?:extra-)?inde[x]-url|/simpl[e]/)",
}


@pytest.mark.parametrize("what", ELSEWHERE)
def test_no_file_speaks_of_the_machine_it_was_written_on(what):
    pattern = re.compile(ELSEWHERE[what])
    found = {
        f"{name}:{number}: {line.strip()[:80]}"
        for name, text in project_files().items()
        for number, line in enumerate(text.split("\n"), start=1)
        if pattern.search(line)
    }
    assert found == set()


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("a path of one machine", "see /{}/main/x".format("work")),
        ("a path of one machine", "'/{}/me/x'".format("home")),
        ("a scratch path", "/{}/w/notes".format("tmp")),
        ("a package registry", "https://{}.org/simple".format("pypi")),
        ("a package registry", "--{}-url x".format("index")),
    ],
)
def test_a_machine_is_noticed(what, line):
    assert re.search(ELSEWHERE[what], line)


def test_every_exception_to_a_rule_names_the_rule():
    silent = re.compile(r"#\s*(?:noqa(?!: ?[A-Z]+\d+)|type:\s*ignore(?!\[[a-z-]+))")
    found = {
        f"{name}:{number}"
        for name in PYTHON
        for number, line in enumerate(project_files()[name].split("\n"), start=1)
        if silent.search(line) and "silent = " not in line
    }
    assert found == set()
