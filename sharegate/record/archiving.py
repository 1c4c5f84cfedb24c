"""Taking old entries out of PostgreSQL once they stand in an archive.

What may leave, and when, is said once: by the functions of the schema.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Final

import asyncpg

from sharegate.record.search import Stored

_SECONDS: Final = 600  # every core that is to go is read
_ARCHIVABLE: Final = "select sharegate.archivable($1)"
_ARCHIVE: Final = "select sharegate.archive($1, $2, $3, $4, $5)"
_DETACH: Final = "select sharegate.detach($1)"
_BESIDE: Final = """
    select e.exchange_id, e.leaf, e.sealed, e.wrapped, e.blind, g.told
      from sharegate.entry e left join sharegate.erasure g using (seq)
     where e.seq >= $1 and e.seq < $1 + $2::bigint order by e.seq
"""
_AT_ONCE: Final = 2048


class Leaving(StrEnum):
    """What there is to say of the entries before one, before they leave and after."""

    ARCHIVABLE = "archivable"
    UNKNOWN = "unknown"  # so many are not there, not signed, or do not fill bundles
    ARCHIVED = "archived"  # they left already
    HELD = "held"  # an auditor holds the detail of one
    RETAINED = "retained"  # one is too young
    UNPROVEN = "unproven"  # the hashes that later proofs need are not stored yet
    CHANGED = "changed"  # a detail was erased since the archive was written
    UNTOLD = "untold"  # no entry says that it would be done


class Archiving:
    """What may be done; every method raises one of `record.reader.Broken`."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        """Prepare; see :func:`archiving`."""
        self._connection = connection

    async def state(self, size: int) -> Leaving:
        """Whether the first `size` entries may leave now."""
        return Leaving(await self._connection.fetchval(_ARCHIVABLE, size))

    async def entries(self, first: int, most: int) -> list[Stored]:
        """At most `most` entries in order, from index `first`."""
        rows = await self._connection.fetch(_BESIDE, first, most)
        return [Stored(row["exchange_id"].bytes, *tuple(row)[1:]) for row in rows]

    async def archive(
        self, size: int, told: int, last: bytes, frontier: bytes, erased: int
    ) -> Leaving:
        """Say that they stand in an archive, as the entry at `told` says; then they may go.

        Args:
            size: How many.
            told: The index of that entry.
            last: The leaf hash of the last of them.
            frontier: The tree's growing edge there, 32 bytes each.
            erased: How many details that were still here are erased in the archive.
        """
        return Leaving(
            await self._connection.fetchval(_ARCHIVE, size, told, last, frontier, erased)
        )

    async def detach(self) -> int:
        """Remove what stands in an archive, a little at a time; how many there were."""
        removed = 0
        while gone := await self._connection.fetchval(_DETACH, _AT_ONCE):
            removed += gone
        return removed


@asynccontextmanager
async def archiving(dsn: str) -> AsyncIterator[Archiving]:
    """Connect.

    Args:
        dsn: A login with the role ``sharegate_erase``.
    """
    connection = await asyncpg.connect(dsn, command_timeout=_SECONDS)
    try:
        yield Archiving(connection)
    finally:
        connection.terminate()
