"""Group commit: one batch in flight; what arrives meanwhile is the next. No timer. No IO.

A lone item is written at once; under load a batch grows to whatever arrived while the one before
it was being made durable, so the cost of a commit is shared without anyone waiting for it.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class GroupCommit(Generic[T, R]):
    """Turns many submits into few writes.

    Order is kept: an item submitted first is written no later. An item that fails is not retried
    here, because whether it was written is unknown.
    """

    def __init__(
        self,
        write: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        *,
        key: Callable[[T], Hashable],
        most: int,
    ) -> None:
        """Prepare; nothing runs until the first submit.

        Args:
            write: Writes a batch; gives one result for each item, or raises for all of them.
            key: No two items of one batch have the same; the later one waits for the next.
            most: The most items in one batch.
        """
        self._write = write
        self._key = key
        self._most = most
        self._waiting: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._writer: asyncio.Task[None] | None = None

    async def submit(self, item: T) -> R:
        """Write the item with whatever else is waiting.

        Raises:
            BaseException: Whatever `write` raised for its batch.
        """
        done: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._writer is None:
            self._writer = asyncio.create_task(self._run())
        return await done

    async def _run(self) -> None:
        try:
            while batch := self._next():
                await self._settle(batch)
        finally:
            self._writer = None

    async def _settle(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            results = await self._write([item for item, _ in batch])
            settled = list(zip(batch, results, strict=True))
        except BaseException as error:
            for _, done in batch:
                if not done.done():
                    done.set_exception(error)
            if not isinstance(error, Exception):
                raise
        else:
            for (_, done), result in settled:
                if not done.done():  # its submitter may have given up
                    done.set_result(result)

    def _next(self) -> list[tuple[T, asyncio.Future[R]]]:
        batch: list[tuple[T, asyncio.Future[R]]] = []
        later: list[tuple[T, asyncio.Future[R]]] = []
        keys: set[Hashable] = set()
        while self._waiting and len(batch) < self._most:
            item, done = self._waiting.popleft()
            if done.cancelled():
                continue  # given up before it was written
            key = self._key(item)
            if key in keys:
                later.append((item, done))
                continue
            keys.add(key)
            batch.append((item, done))
        self._waiting.extendleft(reversed(later))
        return batch
