"""``make mutants``: break the decision path in every small way there is; count what tests notice.

The tree is copied, mutmut changes one thing at a time in the copy, and the tests of the decision
path are run against each change. What is printed is, module by module, how many changes a test
noticed, and every change that none did. Changes to the wording of a sentence alone are counted
apart: an error's words are no promise.

Arguments are modules (``pdp settle``); without any, all are tried. On two cores all of them take
the better part of an hour.
"""

import argparse
import ast
import contextlib
import difflib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sharegate.embedded import EmbeddedPostgres
from tests.postgres import (
    SHARED,
    on_a_thread,
    reachable_directory,
    remove_abandoned,
    stopped_at_the_end,
)

ROOT = Path(__file__).parents[2]
_COPIED = ("sharegate", "tests", "policies", "deploy", "docs")
_PAIRS = "3000"  # of the comparison with a stock Casbin: all of them would take most of the time
# mutmut's names for how a run of the tests ended.
_SURVIVED, _UNTESTED, _NOT_RUN = 0, 33, None
_PROGRESS = re.compile(r"(\d+)/(\d+)")
_LOOK_SECONDS = 30


@dataclass
class Score:
    """What became of one module's mutants.

    Attributes:
        survivors: What each did that no test noticed, as a difference in one line.
    """

    module: str
    noticed: int = 0
    wording: int = 0
    survivors: list[str] = field(default_factory=list)
    not_run: int = 0

    @property
    def line(self) -> str:
        """One line of the table."""
        tried = self.noticed + len(self.survivors)
        share = f"{self.noticed / tried:.1%}" if tried else "–"
        return (
            f"{self.module:<18} {self.noticed:>6} of {tried:<6} {share:>7}   "
            f"wording {self.wording}" + (f"   not run {self.not_run}" if self.not_run else "")
        )


class _Worded(ast.NodeTransformer):
    """Takes the words out of sentences."""

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        sentence = isinstance(node.value, str) and " " in node.value
        return ast.Constant("words") if sentence else node


def is_wording(before: str, after: str) -> bool:
    """Whether two functions differ in the wording of sentences alone."""
    one, other = (
        ast.dump(_Worded().visit(ast.parse(textwrap.dedent(each)))) for each in (before, after)
    )
    return one == other


def difference(before: str, after: str) -> str:
    """What is another way in the second function, in one line."""
    changed = difflib.unified_diff(before.split("\n"), after.split("\n"), n=0, lineterm="")
    lines = [line for line in changed if line[:2] not in {"--", "++", "@@"}]
    return "  ".join(f"{line[0]} {line[1:].strip()}" for line in lines)


def score(mutated: Path, found: Path) -> Score:
    """Read what mutmut found out about one module.

    Args:
        mutated: The module with all its mutants in it.
        found: How the tests ended on each.
    """
    text = mutated.read_text(encoding="utf-8")
    lines = text.split("\n")
    functions = {
        node.name: "\n".join(lines[node.lineno - 1 : node.end_lineno])
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    said = Score(mutated.stem)
    ended: dict[str, int | None] = json.loads(found.read_bytes())["exit_code_by_key"]
    for key, code in ended.items():
        if code is _NOT_RUN:
            said.not_run += 1
            continue
        name = key.rpartition(".")[2]
        original = re.sub(r"__mutmut_\d+$", "__mutmut_orig", name)
        before = functions[original].replace(original, "f")
        after = functions[name].replace(name, "f")
        if code not in {_SURVIVED, _UNTESTED}:
            said.noticed += 1
        elif is_wording(before, after):
            said.wording += 1
        else:
            where = re.sub(r"^x_?|__mutmut_\d+$", "", name).replace("ǁ", ".").strip(".")
            said.survivors.append(f"{where}: {difference(before, after)}")
    return said


@contextlib.contextmanager
def _server() -> Iterator[Path]:
    """A PostgreSQL for all runs of the tests, which else would each start one."""
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(reachable_directory()) / "postgres"
        server = EmbeddedPostgres(place)
        stack.enter_context(stopped_at_the_end(server))
        on_a_thread(server.start())
        yield place


def run(copy: Path, modules: Sequence[str], seconds: float) -> bool:
    """Let mutmut try what is configured in pyproject.toml; say whether it came to the end."""
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(os.cpu_count() or 1)]
    command += [f"sharegate.*.{module}.*" for module in modules]
    until = time.monotonic() + seconds
    with _server() as server, (copy / "mutmut.log").open("wb") as said:
        environment = {**os.environ, "SHAREGATE_PAIRS": _PAIRS, SHARED: str(server)}
        process = subprocess.Popen(
            command, cwd=copy, env=environment, stdout=said, stderr=subprocess.STDOUT
        )
        try:
            while process.poll() is None and time.monotonic() < until:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_LOOK_SECONDS)
                tried = _PROGRESS.findall((copy / "mutmut.log").read_text(errors="replace")[-300:])
                if tried:
                    print(f"  {tried[-1][0]} of {tried[-1][1]}", flush=True)
        finally:
            process.terminate()
            process.wait()
    if process.returncode > 0:
        raise RuntimeError((copy / "mutmut.log").read_text(errors="replace")[-3000:])
    return process.returncode == 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Try them, and print what became of them."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation.mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", help="as in: pdp settle")
    parser.add_argument("--seconds", type=float, default=5400, help="after which it ends")
    chosen = parser.parse_args(arguments)
    remove_abandoned()
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "sharegate"
        for name in _COPIED:
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        Path(place).chmod(0o711)
        whole = run(copy, chosen.modules, chosen.seconds)
        found = sorted((copy / "mutants" / "sharegate").rglob("*.py.meta"))
        scores = [score(each.with_suffix(""), each) for each in found]
    if whole:  # what was not asked for was not run
        scores = [each for each in scores if each.noticed or each.survivors]
    for each in scores:
        print(each.line)
    total = Score("all")
    for each in scores:
        total.noticed += each.noticed
        total.wording += each.wording
        total.not_run += each.not_run
        total.survivors += [f"{each.module}.{one}" for one in each.survivors]
    print(total.line)
    print("\nnoticed by no test:")
    for one in total.survivors:
        print(f"  {one}")
    if not whole:
        print("(out of time)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
