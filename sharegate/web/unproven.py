"""Counts requests without proof, for each address, in windows of a minute."""

from typing import Final

_WINDOW: Final = 60.0
_MOST_ADDRESSES: Final = 10_000


class UnprovenCount:
    """Says when an address is over its budget. Its size is bounded whoever knocks."""

    def __init__(self, budget: int) -> None:
        """Start with nothing counted.

        Args:
            budget: Unproven requests an address may send in a minute.
        """
        self._budget = budget
        self._counts: dict[str, int] = {}
        self._until = 0.0

    def over(self, address: str, now: float) -> bool:
        """Count one, and say whether that is over the budget.

        Args:
            address: The peer's address.
            now: Seconds of a clock that never goes back.
        """
        if now >= self._until or len(self._counts) >= _MOST_ADDRESSES:
            self._counts.clear()
            self._until = now + _WINDOW
        count = self._counts[address] = self._counts.get(address, 0) + 1
        return count > self._budget
