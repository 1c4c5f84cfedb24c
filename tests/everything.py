"""Everything that must hold, and one summary: ``make test``.

Arguments go to pytest.
"""

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
STEPS = (
    ("format", ["ruff", "format", "--check", "."]),
    ("lint", ["ruff", "check", "."]),
    ("types", ["mypy"]),
    ("imports", ["importlinter.cli"]),
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
    tests = subprocess.run([sys.executable, "-m", "pytest", *arguments], cwd=ROOT, check=False)
    if tests.returncode:
        failed.append("tests")
    seconds = round(time.monotonic() - began)
    verdict = f"FAILED: {', '.join(failed)}" if failed else "everything holds"
    print(f"\n{verdict} ({seconds // 60} min {seconds % 60} s)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
