"""Chance that repeats itself: the same seed, the same town, on every machine.

Only ``Random.random()`` is used. It is the one method Python promises to keep the same between
versions, and nothing here goes through the C library's ``log`` or ``exp``, which differ.
"""

from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import accumulate
from random import Random
from typing import Generic, Self, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Weighted(Generic[T]):
    """Things, some of them likelier than others."""

    things: tuple[T, ...]
    reach: tuple[float, ...]
    """The running sum of the weights."""

    @classmethod
    def of(cls, weights: Mapping[T, float]) -> Self:
        """Take the weights as they are; they need not add up to anything."""
        return cls(tuple(weights), tuple(accumulate(weights.values())))


class Chance:
    """One seeded stream of choices. Every draw moves it, so the order of draws is the town."""

    __slots__ = ("_draw",)

    def __init__(self, seed: int) -> None:
        self._draw = Random(seed).random  # noqa: S311  it invents people, it guards nothing

    def happens(self, probability: float) -> bool:
        """Answer yes with this probability."""
        return self._draw() < probability

    def below(self, end: int) -> int:
        """Draw one of 0 … end − 1."""
        return int(self._draw() * end)

    def between(self, low: int, high: int) -> int:
        """Draw one of low … high, both included."""
        return low + int(self._draw() * (high - low + 1))

    def pick(self, things: Sequence[T]) -> T:
        """Take one, all equally likely."""
        return things[int(self._draw() * len(things))]

    def weigh(self, weighted: Weighted[T]) -> T:
        """Take one by its weight."""
        # Half-open at the top: a draw is below 1, its product may round up to the whole sum.
        index = bisect(weighted.reach, self._draw() * weighted.reach[-1])
        return weighted.things[min(index, len(weighted.things) - 1)]

    def day(self, first: date, last: date) -> date:
        """Draw a day from first to last, both included; `first` where they are out of order."""
        return first + timedelta(days=self.below(max((last - first).days, 0) + 1))
