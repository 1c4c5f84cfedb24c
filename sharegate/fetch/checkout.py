"""Connections to one source, lent first come first served, with their prepared statements.

Not ``asyncpg.create_pool``: its reset on release doubles the round trips and its waiters are
served unfairly. The price is that nothing here may ever change a session's state.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import TypeAlias

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from sharegate.fetch.source import SourceUnavailable, Trouble

Prepared: TypeAlias = "PreparedStatement[asyncpg.Record]"
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

# What asyncpg raises when a connection is no good. The last: it is used in the moment after the
# server ended it and before its end was noticed.
BROKEN = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
BACK_OFF_SECONDS = 0.25  # between two attempts to connect to a source that is down
BURIAL_SECONDS = 1.0  # to stop what still runs on a connection before it is cut
_STATEMENTS = 64  # kept prepared on one connection


class Link:
    """One connection and the statements prepared on it, the longest unused forgotten first."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._prepared: OrderedDict[str, Prepared] = OrderedDict()

    def prepared(self, text: str) -> "Prepared | None":  # asyncpg is generic in its stubs only
        """The statement, if it is prepared here."""
        found = self._prepared.get(text)
        if found is not None:
            self._prepared.move_to_end(text)
        return found

    async def prepare(self, text: str, seconds: float) -> Prepared:
        """Prepare a statement that is not, and keep it."""
        made = await self.connection.prepare(text, timeout=seconds)
        self._prepared[text] = made
        if len(self._prepared) > _STATEMENTS:
            self._prepared.popitem(last=False)  # asyncpg closes it at the server
        return made

    def forget(self, text: str) -> None:
        """Prepare it anew next time: what it refers to may have changed."""
        self._prepared.pop(text, None)


class Checkout:
    """Lends at most `connections` links at once; opens them when they are needed.

    A connection counts until nothing of it runs at the source any more, so the source never sees
    more than `connections` of them, whatever is cancelled. Not bounded in time: the borrower is.
    """

    def __init__(self, connect: Callable[[], Awaitable[Link]], connections: int) -> None:
        self._connect = connect
        self._most = connections
        self._idle: list[Link] = []
        self._waiting: deque[asyncio.Future[Link]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._lent = 0
        self._opening = 0
        self._burying = 0
        self._closed = False
        self._resting_until = 0.0
        self._failure = Trouble.DOWN

    async def take(self, deadline: float) -> Link:
        """Borrow a link; give it back with :meth:`give` or :meth:`discard`.

        Args:
            deadline: How long to wait for one, in the event loop's time.

        Raises:
            TimeoutError: None became free in time.
            SourceUnavailable: The last attempt to connect failed a moment ago, or the one waited
                for did.
        """
        while self._idle:
            link = self._idle.pop()
            if not link.connection.is_closed():
                self._lent += 1
                return link
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Link] = loop.create_future()
        self._waiting.append(waiter)
        self._serve(loop.time())
        # A bare timer: asyncio.timeout costs as much Python as the whole checkout.
        timer = loop.call_at(deadline, _give_up, waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.give(waiter.result())  # handed over in the very moment of hanging up
            raise
        finally:
            timer.cancel()

    def give(self, link: Link) -> None:
        """Return a link on which nothing runs."""
        self._lent -= 1
        if self._closed or link.connection.is_closed():
            self._bury(link)
        else:
            self._hand_over(link)

    def discard(self, link: Link) -> None:
        """Return a link whose state is in doubt: what runs on it is stopped, then it is cut."""
        self._lent -= 1
        self._bury(link)

    async def close(self) -> None:
        """Cut every link and fail whoever waits."""
        self._closed = True
        self._fail_waiting(Trouble.DOWN)
        while self._idle:
            self._bury(self._idle.pop())
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _hand_over(self, link: Link) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                self._lent += 1
                waiter.set_result(link)
                return
        self._idle.append(link)

    def _serve(self, now: float) -> None:
        """Open as many links as are waited for and allowed; if none can come, say so now."""
        if self._closed:
            self._fail_waiting(Trouble.DOWN)
            return
        if now < self._resting_until:
            if not self._lent:
                self._fail_waiting(self._failure)
            return
        room = self._most - self._lent - self._opening - self._burying - len(self._idle)
        for _ in range(min(room, len(self._waiting) - self._opening)):
            self._opening += 1
            self._start(self._open())

    async def _open(self) -> None:
        try:
            link = await self._connect()
        except Exception as error:  # noqa: BLE001  a driver's slip too: else its place were lost
            self._opening -= 1
            self._failure = getattr(error, "trouble", Trouble.DOWN)
            now = asyncio.get_running_loop().time()
            self._resting_until = now + BACK_OFF_SECONDS
            self._serve(now)
            return
        self._opening -= 1
        if self._closed:
            self._bury(link)
        else:
            self._hand_over(link)

    def _bury(self, link: Link) -> None:
        self._burying += 1
        self._start(self._burial(link))

    async def _burial(self, link: Link) -> None:
        try:
            await link.connection.close(timeout=BURIAL_SECONDS)
        except BROKEN:
            link.connection.terminate()
        finally:
            self._burying -= 1
            self._serve(asyncio.get_running_loop().time())

    def _fail_waiting(self, trouble: Trouble) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(SourceUnavailable(trouble))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _give_up(waiter: asyncio.Future[Link]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())
