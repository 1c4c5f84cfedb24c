"""Hashing the entries of a stored log stretch by stretch: what several processes do at once.

Each process reads over a connection of its own, which it opens at its first stretch and keeps. What
comes of it are hashes: whoever joins them holds them against what was signed.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from sharegate.audit.chain import linked
from sharegate.record.reader import Broken, PostgresReader


@dataclass(frozen=True, slots=True)
class Hashed:
    """A stretch of the log, each of whose entries follows the one before it.

    Attributes:
        prev: What the first one records as the hash before it.
        hashes: The leaf hashes, in order.
        gone: The entries whose detail is gone, and none says why.
    """

    prev: bytes
    hashes: tuple[bytes, ...]
    gone: tuple[int, ...]


class _Process:
    """What one process keeps from stretch to stretch."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.runner = asyncio.Runner()
        self.reader = PostgresReader(dsn)


_own: Final[list[_Process]] = []


def look(dsn: str, part: tuple[int, int]) -> Hashed | None:
    """Read and hash the entries of a part; None where one does not follow.

    Args:
        dsn: A login with the role ``sharegate_read``.
        part: From which index on, and before which greater one.

    Raises:
        OSError: The database gives no answer.
    """
    if not _own or _own[0].dsn != dsn:
        _own[:] = [_Process(dsn)]
    try:
        return _own[0].runner.run(_look(_own[0].reader, *part))
    except Broken as error:  # not all of them can go from one process to another
        raise OSError(type(error).__name__) from None


async def _look(reader: PostgresReader, first: int, after: int) -> Hashed | None:
    leaves = await reader.leaves(first, after - first)
    if len(leaves) != after - first:
        return None
    found = linked(leaves, first)
    if found is None:
        return None
    prev, hashes = found
    return Hashed(prev, tuple(hashes), tuple(await reader.vanished(first, after)))
