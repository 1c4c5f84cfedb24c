"""The projection in PostgreSQL: where it reaches to, and filling it.

One connection, as a login that reads leaves and tokens and writes the projection's tables only.
Whatever is put in moves the place in the same transaction, so an entry is projected once however
often its follower dies.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
import msgspec
from msgspec import Struct

from sharegate.record.projection import SearchRow

_COLUMNS: Final = SearchRow.__struct_fields__
_PLACE: Final = """
    select p.size, p.last, p.frontier, p.note, h.archived
      from sharegate.search_place p, sharegate.head h for update of p skip locked
"""
# The furthest checkpoint within reach; where there is none, the next one after it.
_TARGET: Final = """
    (select size, note from sharegate.checkpoint
      where size > $1 and size <= $1 + $2 order by size desc limit 1)
    union all
    (select size, note from sharegate.checkpoint where size > $1 order by size limit 1)
    limit 1
"""
_NEWEST: Final = "select max(size) from sharegate.checkpoint"
_ENTRIES: Final = """
    select leaf, blind from sharegate.entry where seq >= $1 order by seq limit $2
"""
_MOVE: Final = "update sharegate.search_place set size = $1, last = $2, frontier = $3, note = $4"
_EMPTY: Final = "truncate sharegate.search_entry, sharegate.search_person"
_SECONDS: Final = 30
_BEGIN: Final = """
    update sharegate.search_place p set size = h.archived, last = h.archived_last,
           frontier = h.archived_frontier, note = null
      from sharegate.head h
"""


class Place(Struct, frozen=True, gc=False):
    """How far the projection reaches.

    Attributes:
        last: The leaf hash of the last entry in it.
        frontier: The tree's growing edge, 32 bytes each.
        note: The checkpoint that signed it, or None where it begins.
    """

    size: int
    last: bytes
    frontier: bytes
    note: bytes | None


class Turn:
    """One transaction over the projection; nobody else fills it meanwhile."""

    def __init__(
        self, connection: "asyncpg.Connection[asyncpg.Record]", place: Place, archived: int
    ) -> None:
        self.place = place
        self.archived = archived
        """How many of the first entries are not there any more."""
        self._connection = connection

    async def target(self, most: int) -> bytes | None:
        """A checkpoint to go to: the furthest within `most` entries, or else the next one."""
        row = await self._connection.fetchrow(_TARGET, self.place.size, most)
        return None if row is None else row["note"]

    async def newest(self) -> int:
        """The size of the newest checkpoint kept; 0 where there is none."""
        return await self._connection.fetchval(_NEWEST) or 0

    async def entries(self, first: int, most: int) -> list[tuple[bytes, bytes | None]]:
        """At most `most` entries in order, from index `first`: leaf and tokens."""
        rows = await self._connection.fetch(_ENTRIES, first, most)
        return [(row["leaf"], row["blind"]) for row in rows]

    async def add(
        self, rows: Sequence[SearchRow], people: Sequence[tuple[bytes, int, int]]
    ) -> None:
        """Put entries in, and whom they are about: token, time, index."""
        await self._connection.copy_records_to_table(
            "search_entry",
            schema_name="sharegate",
            columns=_COLUMNS,
            records=[msgspec.structs.astuple(row) for row in rows],
        )
        if people:
            await self._connection.copy_records_to_table(
                "search_person",
                schema_name="sharegate",
                columns=("token", "time", "seq"),
                records=people,
            )

    async def move(self, place: Place) -> None:
        """Say that the projection reaches so far now."""
        await self._connection.execute(_MOVE, *msgspec.structs.astuple(place))

    async def empty(self) -> None:
        """Take everything out and begin with the first entry that is not archived."""
        await self._connection.execute(_EMPTY)
        await self._connection.execute(_BEGIN)


class PostgresProjection:
    """The projection's tables; every method raises one of `record.reader.Broken`."""

    def __init__(self, dsn: str) -> None:
        """Prepare; the first turn connects.

        Args:
            dsn: A login with the role ``sharegate_project``.
        """
        self._dsn = dsn
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Turn | None]:
        """Open a transaction, committed at the end unless something is raised.

        Gives None where another follower has the projection in hand.
        """
        try:
            if self._connection is None or self._connection.is_closed():
                # What is lost with the server's memory is projected again: no commit need wait
                # for the disk, nor the gateway's own commits behind it.
                self._connection = await asyncpg.connect(
                    self._dsn,
                    command_timeout=_SECONDS,
                    server_settings={"synchronous_commit": "off"},
                )
            transaction = self._connection.transaction()
            await transaction.start()
            row = await self._connection.fetchrow(_PLACE)
            yield None if row is None else Turn(self._connection, Place(*row[:4]), row["archived"])
            await transaction.commit()
        except BaseException:
            # Cut off, which rolls back: a rollback that failed would hide why it came to this.
            await self.close()
            raise

    async def close(self) -> None:
        """Disconnect."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
