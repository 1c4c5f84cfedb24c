"""The bench's own arithmetic: what is printed is a ratio inside one run, never a bare time."""

import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

HEAD: Final = (
    f"{'ratio of one run':<58} {'median':>8}  {'low':>7} – {'high':<7} {'good':<8} moonshot"
)


@dataclass(frozen=True, slots=True)
class Spread:
    """What several samples say: the one in the middle, and how far apart they are."""

    median: float
    low: float
    high: float
    samples: int


@dataclass(frozen=True, slots=True)
class Goal:
    """What a ratio should reach.

    Attributes:
        more: Whether more is better.
    """

    good: float
    moonshot: float
    more: bool

    def reached(self, value: float) -> str:
        """The best goal that the value reaches: moonshot, good or missed."""
        for name, bound in (("moonshot", self.moonshot), ("good", self.good)):
            if (value >= bound) if self.more else (value <= bound):
                return name
        return "missed"


def spread(values: Sequence[float]) -> Spread:
    """Sum up samples, at least one."""
    return Spread(median(values), min(values), max(values), len(values))


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Divide sample by sample, each by the one taken beside it in the same round."""
    return [a / b for a, b in zip(above, below, strict=True)]


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values do not exceed (nearest rank)."""
    ranked = sorted(values)
    return ranked[max(0, -int(-share * len(ranked) // 1) - 1)]


def row(name: str, seen: Spread, goal: Goal | None) -> str:
    """One line of the table."""
    text = f"{name:<58} {number(seen.median):>8}  {number(seen.low):>7} – {number(seen.high):<7}"
    if goal is None:
        return text
    sign = "≥" if goal.more else "≤"
    wanted = f"{sign} {number(goal.good):<6} {sign} {number(goal.moonshot):<7}"
    return f"{text} {wanted} {goal.reached(seen.median)}"


def number(value: float) -> str:
    """Three significant digits, and whole numbers from a hundred on."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def machine(rounds: int) -> str:
    """One line about where this was measured."""
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    return (
        f"{os.cpu_count()} × {model}; Python {platform.python_version()}; load average {load}; "
        f"{rounds} rounds, arms in turn"
    )


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
