"""Departments that keep asking while something breaks, and what each of them got.

Every caller has one keep-alive connection and signs each request afresh. RELEASED, here as in the
promises, are the exchanges whose answer arrived whole at a caller.
"""

import asyncio
import contextlib
import json
import sys
import time
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from sharegate.audit.chain import parse_leaf
from sharegate.cli.audit import verify_log
from sharegate.cli.call import CallerSettings, SignedRequest, prepare
from sharegate.record.answer import open_answer
from sharegate.record.entry import read_core
from sharegate.record.verified import verify_answer
from sharegate.settings import load_settings
from tests.site import Site

CALLERS = 8
LONGEST_SECONDS = 10.0
"""An answer or refusal that takes longer is a fault, whatever else happens on the machine."""
PATIENCE_SECONDS = 30.0
"""How long to wait for what must come; far above what is promised, as machines are shared."""
_SECONDS = 20
_PAUSE = 0.01  # after a refusal or a lost connection


@dataclass(frozen=True, slots=True)
class Asked:
    """One request and what came of it; status 0 where no whole response came."""

    began: float
    ended: float
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def exchange_id(self) -> str | None:
        return self.headers.get("ShareGate-Exchange")

    @property
    def receipt(self) -> bytes:
        return b64decode(self.headers["ShareGate-Receipt"])


@dataclass
class Load:
    """What all callers got so far, in order of arrival."""

    asked: list[Asked] = field(default_factory=list)

    def released(self) -> dict[str, Asked]:
        """The answers that arrived, by exchange id; no id may come twice."""
        answers = [one for one in self.asked if one.status == 200]
        by_id = {one.exchange_id: one for one in answers}
        assert None not in by_id
        assert len(by_id) == len(answers), "one exchange was answered twice"
        return by_id

    def since(self, moment: float, status: int | None = None) -> list[Asked]:
        """Requests that began after a moment; all, or those with one status."""
        return [one for one in self.asked if one.began >= moment and status in (None, one.status)]

    async def until_answered(self, more: int = 1) -> float:
        """Wait for so many more answers to requests not begun yet; give the first one's moment."""
        began = time.monotonic()
        while len(answers := self.since(began, 200)) < more:
            assert time.monotonic() < began + PATIENCE_SECONDS, (
                f"no answer in {PATIENCE_SECONDS} s; last: {self.asked[-3:]}"
            )
            await asyncio.sleep(0.002)
        return answers[0].ended


def tell(figures: str) -> None:
    """Put what a test measured on its record; pytest shows it with ``-rP`` or ``-s``."""
    sys.stdout.write(f"\n{figures}\n")


async def ask(session: ClientSession, request: SignedRequest) -> Asked:
    """Send it once; a connection that breaks before the last byte is status 0."""
    began = time.monotonic()
    try:
        async with session.post(
            request.url, data=request.body, headers=request.headers
        ) as response:
            body = await response.read()
            return Asked(began, time.monotonic(), response.status, dict(response.headers), body)
    except (ClientError, OSError, TimeoutError) as error:
        return Asked(began, time.monotonic(), 0, {}, type(error).__name__.encode())


def session() -> ClientSession:
    return ClientSession(connector=TCPConnector(limit=1), timeout=ClientTimeout(_SECONDS))


@contextlib.asynccontextmanager
async def asking(
    caller: CallerSettings,
    question: Callable[[], Mapping[str, Any]],
    callers: int = CALLERS,
) -> AsyncIterator[Load]:
    """Keep asking until the block ends; every request begun is then waited for."""
    load, stop = Load(), asyncio.Event()

    async def one_caller() -> None:
        async with session() as mine:
            while not stop.is_set():
                got = await ask(mine, prepare(caller, question()))
                load.asked.append(got)
                if got.status != 200:
                    await asyncio.sleep(_PAUSE)

    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(one_caller())
        try:
            yield load
        finally:
            stop.set()


@dataclass(frozen=True, slots=True)
class Logged:
    """An entry as it is stored."""

    seq: int
    leaf: bytes


async def logged(site: Site) -> dict[str, Logged]:
    """Every entry by exchange id, read as a superuser; sequence dense, no id twice."""
    connection = await asyncpg.connect(site.audit_dsn())
    try:
        rows = await connection.fetch(
            "select seq, exchange_id, leaf from sharegate.entry order by seq"
        )
    finally:
        await connection.close()
    assert [row["seq"] for row in rows] == list(range(len(rows))), "the sequence is not dense"
    entries = {str(row["exchange_id"]): Logged(row["seq"], row["leaf"]) for row in rows}
    assert len(entries) == len(rows), "an exchange has two entries"
    return entries


async def missing(site: Site, load: Load) -> list[str]:
    """RELEASED without LOGGED: what must never be."""
    released = load.released()  # before the log is read: what comes later may not be in it yet
    entries = await logged(site)
    return [exchange_id for exchange_id in released if exchange_id not in entries]


def kind_of(entry: Logged) -> str:
    """What the entry says happened."""
    return str(read_core(parse_leaf(entry.leaf).core)["kind"])


async def assert_kept(site: Site, load: Load, checked: set[str] | None = None) -> dict[str, Logged]:
    """Every released answer has its entry and its proof; the whole log verifies.

    Args:
        site: Whose log.
        load: What was released.
        checked: Exchanges whose receipts were checked before; grows.
    """
    checked = set() if checked is None else checked
    released = load.released()  # before the log is read: what comes later may not be in it yet
    entries = await logged(site)
    for exchange_id, answer in released.items():
        if exchange_id in checked:
            continue
        assert exchange_id in entries, "released, and not in the log"
        entry = entries[exchange_id]
        opened = open_answer(answer.body, parse_leaf(entry.leaf).core)
        assert opened["kind"] == "release"
        assert json.loads(answer.body)["exchange_id"] == exchange_id
        assert verify_answer(answer.body, answer.receipt, site.log_key).index == entry.seq
        checked.add(exchange_id)
    verified = await verify_log(load_settings(site.gateways[0].config).audit_log)
    assert isinstance(verified, int), verified
    assert verified >= len(entries)
    return entries


def assert_refused(refusals: list[Asked], canaries: list[str], reason: str | None = None) -> None:
    """Each is the one clear 503, and carries nothing of any source."""
    for one in refusals:
        assert one.status == 503, (one.status, one.body)
        assert one.headers["Content-Type"].startswith("application/problem+json")
        assert int(one.headers["Retry-After"]) >= 1
        problem = json.loads(one.body)
        assert problem["type"] == "urn:sharegate:problem:audit-unavailable"
        assert reason in (None, problem["reason"])
        seen = one.body.decode() + repr(one.headers)
        assert not [canary for canary in canaries if canary in seen]


def canaries_of(answer: bytes) -> list[str]:
    """The strings of a source's rows, long enough to be nobody else's."""
    rows = json.loads(answer)["rows"]
    found = [value for row in rows for value in row.values() if isinstance(value, str)]
    return [value for value in found if len(value) >= 8]


def p99(of: list[Asked]) -> float:
    """The 99th percentile of their durations, in seconds; never above what is a fault."""
    durations = sorted(one.ended - one.began for one in of)
    assert durations, "nothing was asked"
    assert durations[-1] < LONGEST_SECONDS
    return durations[int(len(durations) * 0.99)]
