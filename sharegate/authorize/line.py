"""One connection to the audit log's own database, for what stands there beside the log."""

import asyncio
from typing import Any, Final

import asyncpg

# What a broken, slow or refusing database raises, in asyncpg's and the operating system's terms.
BROKEN: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)


class Line:
    """One connection, one statement at a time; made anew where it broke."""

    def __init__(self, dsn: str, seconds: float, **session: str) -> None:
        """Prepare; the first statement connects.

        Args:
            dsn: A login with the role ``sharegate_append``.
            seconds: How long one statement may take, waiting for its turn included.
            session: Server settings besides its timeout.
        """
        self._dsn = dsn
        self._seconds = seconds
        self._session = {**session, "statement_timeout": str(round(seconds * 1000))}
        self._turn = asyncio.Lock()
        self._connection: asyncpg.Connection | None = None

    async def ask(self, statement: str, *values: object) -> list[Any]:
        """Give the rows of a statement.

        Raises:
            BROKEN: One of these; it may have been carried out all the same.
        """
        async with asyncio.timeout(self._seconds), self._turn:
            try:
                if self._connection is None:
                    self._connection = await asyncpg.connect(
                        self._dsn, server_settings=self._session
                    )
                rows: list[Any] = await self._connection.fetch(statement, *values)
            except BaseException as error:
                self.drop()
                if isinstance(error, Exception) and not isinstance(error, BROKEN):
                    raise OSError(f"the driver: {type(error).__name__}") from error
                raise
            return rows

    def drop(self) -> None:
        """Cut the connection."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
