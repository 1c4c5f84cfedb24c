"""The audit log in PostgreSQL: reading it back.

What is read here is evidence to be checked, never taken at its word.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from sharegate.audit.tree import Node

_LEAVES: Final = """
    select seq, leaf from sharegate.entry where seq >= $1 and seq < $1 + $2::bigint order by seq
"""
_ARCHIVED: Final = "select archived, archived_last, archived_frontier from sharegate.head"
_ARCHIVED_BY: Final = "select archived_by from sharegate.head"
_TAIL: Final = """
    select h.size, h.last, (select s.fence from sharegate.signing s) as fence, e.leaf
      from sharegate.head h
    left join lateral (
        select t.seq, t.leaf from sharegate.entry t where t.seq >= $1 order by t.seq limit $2
    ) e on true order by e.seq
"""
_FIND: Final = "select min(seq) from sharegate.entry where exchange_id = $1"
_HEAD: Final = "select origin, size, last from sharegate.head"
_CHECKPOINT: Final = "select note, signer from sharegate.checkpoint order by size desc limit 1"
_LIVES: Final = "select until > clock_timestamp() from sharegate.signing"
_COSIGNED: Final = "select note from sharegate.cosigned"
_CHECKPOINTS: Final = """
    select size, note from sharegate.checkpoint where size >= $1 order by size limit $2
"""
_CHECKPOINTS_AT_ONCE: Final = 8192
_SUBTREES: Final = """
    select s.level, s.n, s.hash from sharegate.subtree s
    join unnest($1::smallint[], $2::bigint[], $3::bigint[]) as w (level, first, after)
      on s.level = w.level and s.n >= w.first and s.n < w.after
"""
_VANISHED: Final = "select * from sharegate.vanished($1, $2)"
_STORED: Final = """
    select count(*) filter (where n = place)
      from (select n, row_number() over (order by n) - 1 as place
              from sharegate.subtree where level = $1) as stored
"""
_SECONDS: Final = 1.5
# What a broken, slow or refusing database raises, in asyncpg's and the operating system's terms.
Broken: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)


class Tail(NamedTuple):
    """The end of the log, all of one moment.

    Attributes:
        size: Of the log.
        last: The leaf hash of its last entry.
        fence: The number of the signer that may sign it.
        leaves: In order.
    """

    size: int
    last: bytes
    fence: int
    leaves: list[bytes]


class PostgresReader:
    """Reads entries, the head, checkpoints and subtree hashes over one connection of its own.

    One statement at a time; a connection that broke is made anew at the next call. Every method
    raises one of :data:`Broken`.
    """

    def __init__(self, dsn: str) -> None:
        """Prepare; the first call connects.

        Args:
            dsn: A login with the role ``sharegate_read``.
        """
        self._dsn = dsn
        self._turn = asyncio.Lock()
        self._connection: asyncpg.Connection | None = None
        self._listening: list[tuple[str, Callable[[], None]]] = []

    async def listen(self, channel: str, heard: Callable[[], None]) -> None:
        """Call `heard` at each notification on a channel, across reconnections."""
        self._listening.append((channel, heard))
        async with self._turn:
            if self._connection is not None:
                await self._connection.add_listener(channel, lambda *_: heard())

    async def head(self) -> tuple[str, int, bytes]:
        """The log's origin, its size, and the leaf hash of its last entry."""
        row = await self._ask(_HEAD)
        if not row:
            raise OSError("there is no audit log in this database")
        return row[0]["origin"], row[0]["size"], row[0]["last"]

    async def leaves(self, first: int, most: int) -> list[bytes]:
        """At most `most` leaves in order, from index `first`; none where that one is archived."""
        rows = await self._ask(_LEAVES, first, most)
        # Null is for whoever owns the table; it is no entry, and so found to be none.
        return [row["leaf"] or b"" for row in rows] if rows and rows[0]["seq"] == first else []

    async def archived(self) -> tuple[int, bytes, bytes]:
        """How many entries archives alone have, the last one's leaf hash, and the tree there."""
        row = (await self._ask(_ARCHIVED))[0]
        return row["archived"], row["archived_last"], row["archived_frontier"]

    async def archived_by(self) -> int | None:
        """The index of the entry that says that archives have them; None where none is named."""
        found: int | None = (await self._ask(_ARCHIVED_BY))[0][0]
        return found

    async def tail(self, first: int, most: int) -> Tail:
        """The log's end, from index `first`: at most `most` leaves."""
        rows = await self._ask(_TAIL, first, most)
        if not rows:
            raise OSError("there is no audit log in this database")
        leaves = [row["leaf"] for row in rows if row["leaf"] is not None]
        return Tail(rows[0]["size"], rows[0]["last"], rows[0]["fence"], leaves)

    async def find(self, exchange_id: UUID) -> int | None:
        """The index of an exchange's entry."""
        found: int | None = (await self._ask(_FIND, exchange_id))[0][0]
        return found

    async def checkpoint(self) -> bytes | None:
        """The newest signed checkpoint kept in the database."""
        rows = await self._ask(_CHECKPOINT)
        return rows[0]["note"] if rows else None

    async def newest_signer(self) -> bytes | None:
        """Whose memory must reach the newest checkpoint in the database; None where none must."""
        rows = await self._ask(_CHECKPOINT)
        return rows[0]["signer"] if rows else None

    async def signer_lives(self) -> bool:
        """Whether some signer has the right to sign now."""
        return bool((await self._ask(_LIVES))[0][0])

    async def cosigned(self) -> bytes | None:
        """The newest checkpoint that a quorum has cosigned, as the host that signs kept it."""
        rows = await self._ask(_COSIGNED)
        return rows[0]["note"] if rows else None

    async def checkpoints(self, size: int) -> list[bytes]:
        """The signed checkpoints of at least this size, in order of size.

        Page by page: there may be millions.
        """
        notes: list[bytes] = []
        while rows := await self._ask(_CHECKPOINTS, size, _CHECKPOINTS_AT_ONCE):
            notes += [row["note"] for row in rows]
            size = rows[-1]["size"] + 1
        return notes

    async def subtrees(self, ranges: Sequence[tuple[int, int, int]]) -> dict[Node, bytes]:
        """Stored subtree hashes, for ranges of (level, first, after)."""
        levels, firsts, afters = zip(*ranges, strict=True) if ranges else ((), (), ())
        rows = await self._ask(_SUBTREES, levels, firsts, afters)
        return {(row["level"], row["n"]): row["hash"] for row in rows}

    async def stored_subtrees(self, level: int) -> int:
        """How many subtrees of a level are stored, counting from the first without a gap."""
        count: int = (await self._ask(_STORED, level))[0][0]
        return count

    async def vanished(self, first: int, after: int) -> list[int]:
        """The entries from `first` to before `after` whose detail is gone, and none says why."""
        return [row[0] for row in await self._ask(_VANISHED, first, after)]

    async def close(self) -> None:
        """Disconnect."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _ask(self, statement: str, *values: object) -> list[asyncpg.Record]:
        async with self._turn:
            try:
                async with asyncio.timeout(_SECONDS):
                    if self._connection is None or self._connection.is_closed():
                        self._connection = await self._connect()
                    return await self._connection.fetch(statement, *values)
            except Broken:
                await self.close()
                raise

    async def _connect(self) -> asyncpg.Connection:
        connection = await asyncpg.connect(self._dsn)
        for channel, heard in self._listening:
            await connection.add_listener(channel, lambda *_, heard=heard: heard())
        return connection
