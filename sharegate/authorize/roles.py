"""Casbin's roles, without Casbin's role managers. Pure.

A department has the roles of its classes (its level, its level within its region); an officer those
of the posts the token names and of every post they include. Both are closed over when the rule set
is loaded, so asking is one lookup. Casbin's own role managers follow links at each question, stop
at ten without a word, remember every name they were ever asked for, and can be changed.
"""

from collections.abc import Iterable, Mapping

from sharegate.model.party import Department, DepartmentId, classes_of

NO_ROLES: frozenset[str] = frozenset()


class Classes:
    """Casbin's ``g``: whether a department is the one named, or of the class named."""

    def __init__(self, departments: Mapping[DepartmentId, Department]) -> None:
        self._of: Mapping[str, frozenset[str]] = {
            str(each.id): frozenset((each.id, *classes_of(each))) for each in departments.values()
        }

    def of(self, consumer: str) -> frozenset[str]:
        """All names a rule may call a department by; none for a stranger."""
        return self._of.get(consumer, NO_ROLES)

    def has_link(self, consumer: str, name: str) -> bool:
        """Say it, as Casbin asks."""
        return consumer == name or name in self._of.get(consumer, NO_ROLES)


class Posts:
    """Casbin's ``g2``: whether an officer holds a post.

    An officer is written as the posts the token names, in order, with spaces between.
    """

    def __init__(self, posts: Mapping[str, frozenset[str]]) -> None:
        self._included = posts

    def officer(self, named: Iterable[str]) -> str:
        """Write an officer; a post that is not listed is passed over and gives nothing."""
        return " ".join(sorted({post for post in named if post in self._included}))

    def has_link(self, officer: str, post: str) -> bool:
        """Say it, as Casbin asks."""
        if officer == post:
            return True  # as Casbin's own: everybody is linked to himself
        held = (self._included.get(each, NO_ROLES) for each in officer.split(" "))
        return any(post in included for included in held)
