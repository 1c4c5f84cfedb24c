"""A line as long as one says, between a gateway and its witnesses.

A process of its own: what comes in at each port goes on to another one, and what comes back comes
back, half the way's time later each, and in order. One line of its input sets the time there and
back, in seconds; it ends with its input.
"""

import asyncio
import json
import sys
from collections.abc import Mapping

import uvloop


class _Way:
    """How long the way is now, there and back."""

    seconds = 0.0


class _End(asyncio.Protocol):
    """One end of a connection; what it hears, the other end says later."""

    def __init__(self, way: _Way) -> None:
        self._way = way
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._unsaid: list[bytes] = []
        self.other: _End | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        for data in self._unsaid:
            transport.write(data)
        self._unsaid.clear()

    def say(self, data: bytes) -> None:
        if self._transport is None:
            self._unsaid.append(data)
        else:
            self._transport.write(data)

    def end(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        assert self.other is not None
        self._later(self.other.say, data)

    def connection_lost(self, _error: Exception | None) -> None:
        assert self.other is not None
        self._later(self.other.end)

    def _later(self, what, *given) -> None:  # type: ignore[no-untyped-def]
        if self._way.seconds:
            self._loop.call_later(self._way.seconds / 2, what, *given)
        else:
            what(*given)


async def relay(ports: Mapping[int, int]) -> None:
    """Relay between each pair of local ports until the input ends."""
    loop, way, over = asyncio.get_running_loop(), _Way(), asyncio.Event()

    def reaching(port: int) -> _End:
        near, far = _End(way), _End(way)
        near.other, far.other = far, near
        connecting = loop.create_task(loop.create_connection(lambda: far, "127.0.0.1", port))
        connecting.add_done_callback(lambda done: near.end() if done.exception() else None)
        return near

    for port, beyond in ports.items():
        await loop.create_server(lambda beyond=beyond: reaching(beyond), "127.0.0.1", port)

    def told() -> None:
        line = sys.stdin.readline()
        if not line:
            over.set()
            return
        way.seconds = float(line)
        sys.stdout.write("set\n")
        sys.stdout.flush()

    loop.add_reader(sys.stdin.fileno(), told)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await over.wait()


if __name__ == "__main__":
    uvloop.run(relay({int(port): beyond for port, beyond in json.loads(sys.argv[1]).items()}))
