"""The load generator: a process of its own that asks, counts and times, and does little else.

Reads one order a line (JSON) from its input, answers each with one line. Requests are built, and
where need be signed, before the clock starts; each connection is open before it, too, and sends
its next request when the answer to the last has come.
"""

import asyncio
import json
import secrets
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter, process_time

import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from sharegate.identify.signature import content_digest, sign
from tests.load.figures import percentile

PATH = "/v1/exchanges"
_HEAD_END = b"\r\n\r\n"
_LENGTH = b"Content-Length: "


class _Line(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self, run: "_Run") -> None:
        self._run = run
        self._began = 0.0
        self._read = b""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def ask(self) -> None:
        request = next(self._run.requests, None)
        if request is None:
            self._transport.close()
            self._run.line_is_done()
            return
        self._began = perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._read:
            data = self._read + data
        head = data.find(_HEAD_END)
        place = data.find(_LENGTH, 0, head)
        if head < 0 or place < 0:
            self._read = data
            return
        place += len(_LENGTH)
        end = head + len(_HEAD_END) + int(data[place : data.index(b"\r", place)])
        if len(data) < end:
            self._read = data
            return
        self._read = b""
        self._run.seconds.append(perf_counter() - self._began)
        if not data.startswith(b"HTTP/1.1 200 ") or self._run.expect not in data or len(data) > end:
            self._run.wrong.append(data)
        self.ask()

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None:
            self._run.wrong.append(repr(error).encode())
            self._run.line_is_done()


class _Run:
    """One sample."""

    def __init__(self, requests: Iterator[bytes], expect: bytes, callers: int) -> None:
        self.requests = requests
        self.expect = expect
        self.seconds: list[float] = []
        self.wrong: list[bytes] = []
        self._open = callers
        self.done = asyncio.Event()

    def line_is_done(self) -> None:
        self._open -= 1
        if self._open <= 0:
            self.done.set()


def build(order: dict, count: int) -> list[bytes]:
    """Build the requests of one sample; each signed one has a nonce of its own."""
    body = order["body"].encode()
    head = f"POST {PATH} HTTP/1.1\r\nHost: {order['host']}\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\n"
    if order["token"] is not None:
        head += f"Authorization: Bearer {order['token']}\r\n"
    if order["key"] is None:
        return [head.encode() + b"\r\n" + body] * count
    key = load_pem_private_key(Path(order["key"]).read_bytes(), password=None)
    assert isinstance(key, Ed25519PrivateKey)
    return [_signed(order, key, head, body) for _ in range(count)]


def _signed(order: dict, key: Ed25519PrivateKey, head: str, body: bytes) -> bytes:
    digest = content_digest(body)
    headers = sign(
        key,
        key_id=order["key_id"],
        nonce=secrets.token_urlsafe(18),
        created=int(time.time()),
        method="POST",
        authority=order["host"],
        path=PATH,
        query="",
        content_digest=digest,
        authorization=f"Bearer {order['token']}",
    )
    head += f"Content-Digest: {digest}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return head.encode() + b"\r\n" + body


async def sample(order: dict) -> dict:
    """Ask `count` times from `callers` connections at once; say how it went."""
    requests = build(order, order["count"])
    run = _Run(iter(requests), order["expect"].encode(), order["callers"])
    host, _, port = order["host"].rpartition(":")
    loop = asyncio.get_running_loop()
    lines = [
        (await loop.create_connection(lambda: _Line(run), host, int(port)))[1]
        for _ in range(order["callers"])
    ]
    cpu, began = process_time(), perf_counter()
    for line in lines:
        line.ask()
    await asyncio.wait_for(run.done.wait(), 60)
    took, used = perf_counter() - began, process_time() - cpu
    return {
        "rps": len(run.seconds) / took,
        "p50": percentile(run.seconds, 0.50),
        "p99": percentile(run.seconds, 0.99),
        "answers": len(run.seconds),
        "wrong": [each[:600].decode(errors="replace") for each in run.wrong[:1]],
        "asker_cpu": used / len(run.seconds),
    }


def main() -> None:
    """Serve orders until the input ends."""
    for line in sys.stdin:
        answer = uvloop.run(sample(json.loads(line)))
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
