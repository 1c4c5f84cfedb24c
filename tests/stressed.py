"""Everything that must hold, on a machine that is too busy: ``make stressed``.

Beside the tests run more busy loops than there are processors, and one process that keeps the disk
flushing. What only holds while nothing waits does not hold: races in rare paths show themselves
here that a calm run passes by. Arguments go to pytest, which then runs alone beside the load.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from typing import Final

from tests import everything

BOUND_SECONDS: Final = 60 * 60
PATIENCE_SECONDS: Final = 60
LOOPS: Final = (os.cpu_count() or 1) + 1
_BUSY: Final = """
while True: pass
"""
_FLUSHING: Final = """
import os, sys
with open(sys.argv[1], "wb") as file:
    while True:
        file.seek(0)
        file.write(bytes(4_000_000))
        file.flush()
        os.fsync(file.fileno())
"""


def main(arguments: list[str]) -> int:
    """Run them; stops the load, and after an hour the tests."""
    module = ["pytest", *arguments] if arguments else [everything.__name__]
    command = [sys.executable, "-m", *module]
    with ExitStack() as stack:
        file = stack.enter_context(tempfile.NamedTemporaryFile())
        hogs = [(_BUSY,)] * LOOPS + [(_FLUSHING, file.name)]
        for hog in hogs:
            process = subprocess.Popen([sys.executable, "-c", *hog])
            stack.callback(process.wait)
            stack.callback(process.kill)
        began = time.monotonic()
        # A group of its own, since what it starts has to end with it.
        tests = subprocess.Popen(command, cwd=everything.ROOT, start_new_session=True)
        stack.callback(_end, tests)
        try:
            code = tests.wait(BOUND_SECONDS)
        except subprocess.TimeoutExpired:
            print(f"stopped after {BOUND_SECONDS} s", flush=True)
            return 1
    print(f"beside {len(hogs)} processes that never rest: {time.monotonic() - began:.0f} s")
    return code


def _end(tests: subprocess.Popen[bytes]) -> None:
    """End what still runs, as Ctrl-C would; by force where that does not help."""
    for how, seconds in ((signal.SIGINT, PATIENCE_SECONDS), (signal.SIGKILL, None)):
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(tests.pid, how)
            tests.wait(seconds)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
