"""What was made of parts of the rules in force, kept for the next question of its kind."""

from collections.abc import Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


class Made(Generic[V]):
    """Finds again what was made of certain objects, by their identity.

    With each, those objects are kept, so that no other can come to have their `id`: what was made
    of rules that are no longer in force is never taken for theirs.
    """

    def __init__(self, most: int) -> None:
        """Keep at most so many; one more, and all are forgotten."""
        self._most = most
        self._made: dict[Hashable, tuple[object, V]] = {}

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._made)

    def get(self, known: Hashable) -> V | None:
        """What was kept under this."""
        found = self._made.get(known)
        return None if found is None else found[1]

    def keep(self, known: Hashable, of: object, made: V) -> V:
        """Keep it, and what it was made of.

        Args:
            known: The identities of what it was made of, and all else that it depends on.
            of: The objects whose identities those are.
            made: What was made.
        """
        if len(self._made) >= self._most:
            self._made.clear()
        self._made[known] = of, made
        return made
