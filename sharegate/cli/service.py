"""What the service manager is told: that the gateway serves, and that its event loop still turns.

The protocol of sd_notify(3): a datagram to the socket that the environment names. So a gateway that
hangs, whatever holds it, is killed and started again without a human (`WatchdogSec=` in the unit).
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
_ALIVE: Final = "WATCHDOG=1"

Tell = Callable[[str], None]


@asynccontextmanager
async def manager(environment: Mapping[str, str] = os.environ) -> AsyncIterator[Tell]:
    """Give what tells it something; while this is open, it hears that the event loop turns.

    Where nobody listens, nothing happens: a manager that is gone ends no gateway.
    """
    place = environment.get("NOTIFY_SOCKET")
    if not place:
        yield lambda _: None
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)  # noqa: FBT003  its only parameter

        def tell(what: str) -> None:
            with suppress(OSError):
                sender.sendto(what.encode(), "\0" + place[1:] if place[0] == "@" else place)

        seconds = _watched(environment)
        pulse = None if seconds is None else asyncio.create_task(_beat(tell, seconds / 3))
        try:
            yield tell
        finally:
            if pulse is not None:
                pulse.cancel()


def _watched(environment: Mapping[str, str]) -> float | None:
    """Within how many seconds it wants to hear of this process each time, if it does."""
    microseconds = environment.get("WATCHDOG_USEC", "")
    ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(microseconds) / 1e6 if ours and microseconds.isdecimal() else None


async def _beat(tell: Tell, seconds: float) -> None:
    while True:
        tell(_ALIVE)
        await asyncio.sleep(seconds)
