"""Erasing details in PostgreSQL, and holding them back from it.

What may be erased, and when, is said once: by the functions of the schema.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Final

import asyncpg

_SECONDS: Final = 30
_ERASABLE: Final = "select sharegate.erasable($1)"
_ERASE: Final = "select sharegate.erase($1, $2)"
_HOLD: Final = "select sharegate.hold($1, $2, $3)"


class State(StrEnum):
    """What there is to say of a detail, before an act about it and after."""

    ERASABLE = "erasable"
    UNKNOWN = "unknown"  # there is no such entry
    ERASED = "erased"  # it is gone already
    HELD = "held"  # an auditor holds it
    RETAINED = "retained"  # it is too young
    FREE = "free"  # it is held no more
    UNTOLD = "untold"  # no entry says that it would be done


class Erasing:
    """What may be done to details; every method raises one of `record.reader.Broken`."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        """Prepare; see :func:`erasing`."""
        self._connection = connection

    async def state(self, index: int) -> State:
        """Whether the detail of the entry at `index` may be erased now."""
        return State(await self._connection.fetchval(_ERASABLE, index))

    async def erase(self, index: int, told: int) -> State:
        """Erase it, as the entry at `told` says; ``erasable`` means that it is done."""
        return State(await self._connection.fetchval(_ERASE, index, told))

    async def hold(self, index: int, told: int, *, held: bool) -> State:
        """Hold it or let it go, as the entry at `told` says; ``held`` or ``free`` is done."""
        return State(await self._connection.fetchval(_HOLD, index, told, held))


@asynccontextmanager
async def erasing(dsn: str) -> AsyncIterator[Erasing]:
    """Connect.

    Args:
        dsn: A login with the role ``sharegate_erase``; to hold, with ``sharegate_audit``.
    """
    connection = await asyncpg.connect(
        dsn,
        timeout=_SECONDS,
        command_timeout=_SECONDS,
        # Auditors' login only reads unless it says otherwise, as it does here.
        server_settings={"default_transaction_read_only": "off"},
    )
    try:
        yield Erasing(connection)
    finally:
        connection.terminate()
