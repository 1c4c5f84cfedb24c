"""A provider's PostgreSQL as a source."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import asyncpg

from sharegate.fetch.checkout import BROKEN, Checkout, Link, Prepared
from sharegate.fetch.plan import Plan
from sharegate.fetch.source import SourceTimeout, SourceUnavailable, Trouble
from sharegate.fetch.sql import Statement, arguments, statement

# Sent with the connection, so they cost no round trip; a text form that follows from them is
# the one that sharegate.fetch.wire reads.
_SESSION = {"application_name": "sharegate", "DateStyle": "ISO, YMD", "TimeZone": "UTC"}
_CONNECT_SECONDS = 2.0
# A role for whom each of these is false cannot change anything here, however it is asked to:
# default_transaction_read_only alone is a habit that any session may drop. What a SECURITY
# DEFINER function may do cannot be seen from outside.
_SAFE_ROLE = """
SELECT current_setting('default_transaction_read_only') = 'on'
   AND (SELECT setting::bigint BETWEEN 1000 AND 60000
          FROM pg_catalog.pg_settings WHERE name = 'statement_timeout')
   AND NOT EXISTS (
       SELECT FROM pg_catalog.pg_roles AS r
        WHERE pg_has_role(r.oid, 'MEMBER')
          AND (r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolreplication
               OR r.rolbypassrls
               OR r.rolname IN ('pg_write_all_data', 'pg_write_server_files',
                                'pg_read_server_files', 'pg_execute_server_program')))
   AND NOT has_database_privilege(current_database(), 'CREATE')
   AND NOT EXISTS (
       SELECT FROM pg_catalog.pg_namespace AS n
        WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
          AND has_schema_privilege(n.oid, 'CREATE'))
   AND NOT EXISTS (
       SELECT FROM pg_catalog.pg_class AS c
         JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
          AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
          AND (has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER')
               OR has_any_column_privilege(c.oid, 'INSERT, UPDATE')))
"""
# Types a text field may be asked by. Of others PostgreSQL would try to read the value, and answer
# with an error if it cannot: a list of districts would then tell a good guess from a bad one.
_TEXT_TYPES = frozenset({"text", "varchar", "bpchar", "name"})


class PostgresSource:
    """Keeps what :class:`~sharegate.fetch.source.Source` promises, on PostgreSQL 13 and later.

    Every new connection is used only once its role is seen to be unable to write and to have
    ``default_transaction_read_only`` on and a ``statement_timeout`` of 1 to 60 seconds.
    """

    def __init__(self, dsn: str, connections: int, seconds: float) -> None:
        """Connect to nothing yet.

        Args:
            dsn: A ``postgresql://`` URL. Secret.
            connections: The most connections at once.
            seconds: The longest one call may take, waiting for a connection included.
        """
        self._dsn = dsn
        self._seconds = seconds
        self._checkout = Checkout(self._connect, connections)

    async def rows(self, plan: Plan, exchange_id: UUID) -> Sequence[Sequence[object]]:
        """Ask, as the port promises."""
        asked = statement(plan.shape)
        bound = arguments(plan, exchange_id)
        now = asyncio.get_running_loop().time
        deadline = now() + self._seconds
        link: Link | None = None
        try:
            link = await self._checkout.take(deadline)
            prepared = link.prepared(asked.text) or await _prepare(link, asked, deadline - now())
            rows = await prepared.fetch(*bound, timeout=deadline - now())
        except BaseException as error:
            if link is not None:
                self._return(link, asked, error)
            failure = _failure(error, waited_only=link is None)
            if failure is None:
                raise
        else:
            self._checkout.give(link)
            return list(map(tuple, rows))
        # Outside the handler, so that the source's error is not even the context of ours.
        raise failure

    async def check(self) -> None:
        """Show that the source can be used now.

        Raises:
            SourceUnavailable: It cannot, and why.
        """
        (await self._connect()).connection.terminate()

    async def close(self) -> None:
        """Cut every connection; whoever waits is told that the source is down."""
        await self._checkout.close()

    def _return(self, link: Link, asked: Statement, error: BaseException) -> None:
        if isinstance(error, asyncpg.PostgresError) and _only_the_statement(error):
            link.forget(asked.text)
            self._checkout.give(link)
        else:
            self._checkout.discard(link)

    async def _connect(self) -> Link:
        connection = None
        safe = False
        trouble = Trouble.DOWN
        try:
            async with asyncio.timeout(min(_CONNECT_SECONDS, self._seconds)):
                connection = await asyncpg.connect(self._dsn, server_settings=_SESSION)
                safe = await connection.fetchval(_SAFE_ROLE) is True
            trouble = Trouble.UNSAFE_ROLE
        except Exception:  # noqa: BLE001  what answers is not trusted, and the driver trips over it
            safe = False
        if connection is not None and safe:
            return Link(connection)
        if connection is not None:
            connection.terminate()
        raise SourceUnavailable(trouble)


async def _prepare(link: Link, asked: Statement, seconds: float) -> Prepared:
    prepared = await link.prepare(asked.text, seconds)
    kinds = prepared.get_parameters()
    if any(kinds[place].name not in _TEXT_TYPES for place in asked.text_keys):
        link.forget(asked.text)
        raise asyncpg.DatatypeMismatchError
    return prepared


def _only_the_statement(error: asyncpg.PostgresError) -> bool:
    """Whether the connection is as good as before: the statement was refused or stopped."""
    state = error.sqlstate or ""
    return state == asyncpg.QueryCanceledError.sqlstate or state[:2] in {"0A", "22", "42"}


def _failure(
    error: BaseException, *, waited_only: bool
) -> SourceTimeout | SourceUnavailable | None:
    """What to say instead of the error; None where it is not the source's."""
    match error:
        case TimeoutError():
            return SourceTimeout(Trouble.BUSY if waited_only else Trouble.SLOW)
        case asyncpg.QueryCanceledError():
            return SourceTimeout(Trouble.SLOW)
        case asyncpg.PostgresError() if _only_the_statement(error):
            return SourceUnavailable(Trouble.REJECTED)
        case Exception() if not isinstance(error, SourceTimeout | SourceUnavailable):
            # The driver's slip over what it was answered too, as the year 20000, which has no form.
            odd = isinstance(error, ValueError | OverflowError) and not isinstance(error, BROKEN)
            return SourceUnavailable(Trouble.UNREPRESENTABLE if odd else Trouble.DOWN)
        case _:
            return None
