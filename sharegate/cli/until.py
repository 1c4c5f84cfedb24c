"""Ending at a signal: what runs until SIGTERM or Ctrl-C."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def signalled() -> asyncio.Event:
    """An event that a signal sets; to be asked for inside the loop that waits for it."""
    stop = asyncio.Event()
    for number in _SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def repeated(act: Callable[[], Awaitable[None]], seconds: float) -> None:
    """Do something, to its end each time, with a pause in between; until a signal."""
    stop = signalled()
    while not stop.is_set():
        await act()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await stop.wait()


async def cut_off(work: Coroutine[None, None, None]) -> None:
    """Do something that may be cut off anywhere; until a signal, or until it raises."""
    task = asyncio.create_task(work)
    for number in _SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await task
