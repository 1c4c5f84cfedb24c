"""Grants as Casbin reads them, and which of several comes first. Pure."""

from collections.abc import Iterable, Iterator
from itertools import product

from sharegate.model.catalogue import FieldName
from sharegate.model.grant import ANY, Grant
from sharegate.model.party import Level

Row = tuple[str, str, str, str, str, str, str, str]

_LEVELS = frozenset(level.value for level in Level)
_ALL, _LEVEL, _LONGEST_REGION = 9, 8, 6


def rows(grant: Grant) -> Iterator[Row]:
    """Write a grant as Casbin's rules: one for each post, mode and purpose it names."""
    for post, mode, purpose in product(grant.posts, grant.modes, grant.purposes):
        yield row(grant, post, mode, purpose)


def row(grant: Grant, post: str, mode: str, purpose: str) -> Row:
    """Write one of a grant's rules."""
    return (
        grant.id,
        grant.consumer,
        post,
        grant.provider,
        grant.resource,
        str(mode),
        purpose,
        grant.effect.value,
    )


def rank(grant: Grant, needs: Iterable[FieldName]) -> tuple[bool, int, bool, bool, str]:
    """Say where a grant stands among several that permit: the least applies.

    Args:
        grant: One that permits.
        needs: The fields to be read or asked by.
    """
    return (
        any(name not in grant.fields for name in needs),
        _breadth(grant.consumer),
        ANY in grant.posts,
        ANY in grant.purposes,
        grant.id,
    )


def _breadth(consumer: str) -> int:
    """How many a consumer's name may stand for: 0 a department, then its classes, last all."""
    if consumer == ANY:
        return _ALL
    level, _, region = consumer.partition("@")
    if region:
        return _LONGEST_REGION + 1 - len(region)
    return _LEVEL if level in _LEVELS else 0
