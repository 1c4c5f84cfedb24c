"""Everything that must hold, and one summary: ``make test``.

In three runs of pytest at once. Arguments go to pytest, and then there is one run.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).parents[1]
STEPS = (
    ("format", ["ruff", "format", "--check", "."]),
    ("lint", ["ruff", "check", "."]),
    ("types", ["mypy"]),
    ("imports", ["importlinter.cli"]),
)
# Tests mostly wait: for disks, for processes that start, for what must not happen. So these two
# groups run beside all the rest, whose output is seen as it comes; each takes about as long.
BESIDE = (
    (
        *("tests/architecture", "tests/docs", "tests/policies", "tests/unit", "tests/vectors"),
        *sorted(
            str(each.relative_to(ROOT)) for each in ROOT.glob("tests/integration/test_[a-c]*.py")
        ),
    ),
    ("tests/faults", "tests/load", "tests/contract", "tests/security"),
)


def main(arguments: list[str]) -> int:
    began = time.monotonic()
    failed = []
    for name, (module, *rest) in STEPS:
        command = [sys.executable, "-m", module, *rest]
        if module == "importlinter.cli":
            command = [str(Path(sys.executable).with_name("lint-imports"))]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        print(f"{name:8} {'ok' if done.returncode == 0 else 'FAILED'}", flush=True)
        if done.returncode:
            failed.append(name)
            print(done.stdout + done.stderr, flush=True)
    if not (_pytest(arguments) if arguments else _side_by_side()):
        failed.append("tests")
    seconds = round(time.monotonic() - began)
    verdict = f"FAILED: {', '.join(failed)}" if failed else "everything holds"
    print(f"\n{verdict} ({seconds // 60} min {seconds % 60} s)")
    return 1 if failed else 0


def _pytest(arguments: Sequence[str]) -> bool:
    command = [sys.executable, "-m", "pytest", *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def _side_by_side() -> bool:
    with ExitStack() as stack:
        beside = []
        for group in BESIDE:
            said = stack.enter_context(tempfile.TemporaryFile("w+"))
            command = [sys.executable, "-m", "pytest", *group]
            run = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=subprocess.STDOUT)
            stack.callback(run.kill)
            beside.append((run, said))
        held = [_pytest([f"--ignore={each}" for group in BESIDE for each in group])]
        for run, said in beside:
            held.append(run.wait() == 0)
            said.seek(0)
            print(said.read(), flush=True)
    return all(held)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
