"""Everything that must hold, and one summary: ``make test``.

What needs no server is tested beside what mostly waits for one. Arguments go to pytest, and then
there is one run.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
STEPS = (
    ("format", ["ruff", "format", "--check", "."]),
    ("lint", ["ruff", "check", "."]),
    ("types", ["mypy"]),
    ("imports", ["importlinter.cli"]),
)
# Needs no server.
ALONE = ("tests/architecture", "tests/docs", "tests/policies", "tests/unit", "tests/vectors")


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
    with tempfile.TemporaryFile("w+") as said:
        command = [sys.executable, "-m", "pytest", *ALONE]
        alone = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=subprocess.STDOUT)
        try:
            rest = _pytest([f"--ignore={each}" for each in ALONE])
            held = alone.wait() == 0
        finally:
            alone.kill()
        said.seek(0)
        print(said.read(), flush=True)
    return rest and held


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
