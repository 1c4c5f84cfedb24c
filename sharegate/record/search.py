"""Searching the projection: what an auditor may look for, and the statement that finds it.

Every criterion is equality on one column; every value is bound, never spelt into the statement.
"""

from typing import Final

import asyncpg
from msgspec import Struct

from sharegate.record.projection import SearchRow

LIMIT: Final = 100
MOST: Final = 10_000
_SECONDS: Final = 30
_COLUMNS: Final = ", ".join(f"e.{name}" for name in SearchRow.__struct_fields__)
_EQUAL: Final = (
    "kind", "consumer", "officer", "matter", "provider", "resource", "mode", "purpose", "effect",
    "reason",
)  # fmt: skip
_REACH: Final = """
    select p.size, h.size from sharegate.search_place p, sharegate.head h
"""
_ENTRY: Final = """
    select e.exchange_id, e.leaf, e.sealed, e.wrapped, e.blind, g.told
      from sharegate.entry e left join sharegate.erasure g on g.seq = e.seq where e.seq = $1
"""


class Criteria(Struct, frozen=True, gc=False, kw_only=True):
    """What an entry must be to be found; what is None does not matter.

    Attributes:
        officer, matter, person: Tokens of the blind index, 16 bytes each.
        since: First millisecond of Unix time.
        until: First millisecond after.
        limit: The most entries; the newest are given.
    """

    kind: str | None = None
    consumer: str | None = None
    officer: bytes | None = None
    matter: bytes | None = None
    person: bytes | None = None
    provider: str | None = None
    resource: str | None = None
    mode: str | None = None
    purpose: str | None = None
    effect: str | None = None
    reason: str | None = None
    since: int | None = None
    until: int | None = None
    limit: int = LIMIT


class Found(Struct, frozen=True, gc=False):
    """What a search found.

    Attributes:
        rows: The newest first.
        reach: How many entries can be searched.
        size: How many the log has.
    """

    rows: list[SearchRow]
    reach: int
    size: int


class Stored(Struct, frozen=True, gc=False):
    """One entry and what is kept beside it.

    Attributes:
        wrapped: The detail's key, wrapped; None once erased.
        blind: The tokens it is found by.
        erased_by: Where the log is said to say that it would be erased; None where nowhere.
    """

    entry_id: bytes
    leaf: bytes
    sealed: bytes
    wrapped: bytes | None
    blind: bytes | None
    erased_by: int | None


def statement(criteria: Criteria) -> tuple[str, list[object]]:
    """Write the statement and its values. Pure."""
    values: list[object] = []

    def bound(value: object) -> str:
        values.append(value)
        return f"${len(values)}"

    of_person = criteria.person is not None
    table = "sharegate.search_entry e"
    when = "p" if of_person else "e"
    if of_person:
        table = f"sharegate.search_person p join {table} on e.seq = p.seq"
    terms = [f"p.token = {bound(criteria.person)}"] if of_person else []
    terms += [
        f"e.{name} = {bound(value)}"
        for name in _EQUAL
        if (value := getattr(criteria, name)) is not None
    ]
    if criteria.since is not None:
        terms.append(f"{when}.time >= {bound(criteria.since)}")
    if criteria.until is not None:
        terms.append(f"{when}.time < {bound(criteria.until)}")
    where = f" where {' and '.join(terms)}" if terms else ""
    order = f" order by {when}.time desc, {when}.seq desc limit {bound(criteria.limit)}"
    return f"select {_COLUMNS} from {table}{where}{order}", values  # noqa: S608  columns only


class PostgresSearch:
    """Reads the projection, and single entries; every method raises one of `reader.Broken`."""

    def __init__(self, dsn: str) -> None:
        """Prepare; the first call connects.

        Args:
            dsn: A login with the role ``sharegate_audit``.
        """
        self._dsn = dsn
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    async def find(self, criteria: Criteria) -> Found:
        """Find entries, and say how much of the log was searched, all of one moment."""
        connection = await self._connected()
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            reach = await connection.fetchrow(_REACH)
            if reach is None:
                raise OSError("there is no projection in this database")
            text, values = statement(criteria)
            rows = [SearchRow(*row) for row in await connection.fetch(text, *values)]
        return Found(rows, reach[0], reach[1])

    async def entry(self, index: int) -> Stored | None:
        """An entry and what is beside it."""
        row = await (await self._connected()).fetchrow(_ENTRY, index)
        return None if row is None else Stored(row[0].bytes, *tuple(row)[1:])

    async def close(self) -> None:
        """Disconnect."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _connected(self) -> "asyncpg.Connection[asyncpg.Record]":
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(
                self._dsn, timeout=_SECONDS, command_timeout=_SECONDS
            )
        return self._connection
