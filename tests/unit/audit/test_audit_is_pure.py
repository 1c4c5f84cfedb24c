"""The audit package can be published alone: it needs almost nothing and touches nothing."""

import ast
from pathlib import Path

import pytest

import sharegate.audit

# Of the standard library only what computes: no files, no sockets, no clock, no randomness.
ALLOWED = {
    "binascii", "collections", "cryptography", "dataclasses", "enum", "gmalg", "hashlib",
    "itertools", "json", "re", "struct", "typing", "zlib",
}  # fmt: skip
TOUCHES_THE_WORLD = {"open", "input", "print", "exec", "eval", "__import__"}

MODULES = sorted(Path(sharegate.audit.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.stem)
def test_a_module_imports_only_what_computes(module):
    for node in ast.walk(ast.parse(module.read_bytes())):
        match node:
            case ast.Import(names=names):
                imported = [alias.name for alias in names]
            case ast.ImportFrom(module=str(name), level=0):
                imported = [name]
            case ast.ImportFrom():
                pytest.fail("relative imports hide where they lead")
            case ast.Name(id=name):
                assert name not in TOUCHES_THE_WORLD
                continue
            case _:
                continue
        for name in imported:
            assert name.split(".")[0] in ALLOWED or name.startswith("sharegate.audit")
