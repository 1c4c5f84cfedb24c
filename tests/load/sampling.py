"""Where a process spends its processor time, by looking at it now and then.

Unlike a tracing profiler it makes no call dearer than another. What runs in C counts for the
Python function that called it.
"""

import json
import signal
from collections import Counter
from pathlib import Path
from types import FrameType

EVERY_SECONDS = 0.001


class Sampled:
    """Looks at the main thread after each millisecond of processor time, from start to stop."""

    def __init__(self) -> None:
        self.looks = 0
        self.own: Counter[str] = Counter()
        self.whole: Counter[str] = Counter()

    def start(self) -> None:
        signal.signal(signal.SIGPROF, self._look)
        signal.setitimer(signal.ITIMER_PROF, EVERY_SECONDS, EVERY_SECONDS)

    def stop(self, place: Path) -> None:
        """Stop, and write down what was seen."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        seen = {"looks": self.looks, "own": self.own, "whole": self.whole}
        place.write_text(json.dumps(seen), encoding="utf-8")

    def _look(self, _number: int, frame: FrameType | None) -> None:
        self.looks += 1
        names = []
        while frame is not None:
            code = frame.f_code
            file = "/".join(Path(code.co_filename).parts[-2:])
            names.append(f"{file}:{code.co_firstlineno} {code.co_qualname}")
            frame = frame.f_back
        self.own.update(names[:1])
        self.whole.update(set(names))
