"""Single parts of the walk, each beside what it is measured against."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from random import Random
from time import perf_counter
from uuid import UUID, uuid4

import asyncpg
import casbin
from casbin.model import Model
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import structs

from sharegate.audit.chain import Verifier
from sharegate.audit.checkpoint import Checkpoint, sign
from sharegate.audit.note import SignerKey, VerifierKey
from sharegate.audit.tree import Frontier, leaf_hash
from sharegate.authorize.pdp import SENTINEL, PolicyDecisionPoint, Question
from sharegate.authorize.quota import Claim, Term
from sharegate.authorize.quota_postgres import PostgresQuotas
from sharegate.authorize.ruleset import RuleSet
from sharegate.consortium.sealer import Sealer
from sharegate.consortium.signed_log import signed_log
from sharegate.model.grant import Grant
from sharegate.observe import Committed, Observation
from sharegate.record.audit_log import Appended, Draft
from sharegate.record.postgres import PostgresAuditLog
from sharegate.record.reader import PostgresReader
from sharegate.settings import AuditLogSettings
from tests.load.arms import stock_rules

WAITING = 64
FEW = 10
AT = 1_780_000_000_000  # 2026-05-28, when every grant is valid
_AT_ONCE = 4096
_LAST_DAY = AT + 86_400_000
_INSERT = "insert into pooled (exchange_id, leaf, sealed, wrapped) values ($1, $2, $3, $4)"
_POOLED = """create table if not exists pooled (
    seq bigserial primary key, exchange_id uuid not null, leaf bytea not null,
    sealed bytea not null, wrapped bytea)"""
_COMMIT = "insert into one_row (id, leaf) values ($1, $2)"
_ONE_ROW = "create table if not exists one_row (id uuid primary key, leaf bytea not null)"
BENCH_ORIGIN = "bench.example/log"
_KEY = SignerKey(BENCH_ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes(32)))


class Decisions:
    """The decision point over many rules, over ten, and the stock Casbin over many."""

    def __init__(self, rule_set: RuleSet, policies: Path) -> None:
        few = rule_set.grants[-FEW:]
        self._many = PolicyDecisionPoint(rule_set)
        self._few = PolicyDecisionPoint(replace(rule_set, grants=few))
        choose = Random(1)
        self._asked_of_many = [_question(g) for g in choose.choices(rule_set.grants, k=2000)]
        self._asked_of_few = [_question(few[n % FEW]) for n in range(2000)]
        self._stock = self._stock_enforcer(rule_set.model, policies)
        self._numbers = iter(range(10**9))

    @staticmethod
    def _stock_enforcer(model_text: str, policies: Path) -> casbin.Enforcer:
        model = Model()
        model.load_model_from_text(model_text)
        enforcer = casbin.Enforcer(model)
        # Put in at once: its own add_policies takes longer than everything measured here.
        enforcer.model["p"]["p"].policy = [list(SENTINEL), *stock_rules(policies)]
        return enforcer

    def many(self) -> float:
        """Seconds a decision takes over all rules, nothing remembered."""
        return self._each(self._many, self._asked_of_many)

    def few(self) -> float:
        """Seconds a decision takes over ten rules, nothing remembered."""
        return self._each(self._few, self._asked_of_few)

    @staticmethod
    def _each(point: PolicyDecisionPoint, questions: Sequence[Question]) -> float:
        began = perf_counter()
        for question in questions:
            point._rule(question, AT)  # rule() but for what it remembers
        return (perf_counter() - began) / len(questions)

    def stock(self) -> float:
        """Seconds one stock decision takes; both must answer alike, by the same rule."""
        number = next(self._numbers)
        question = self._asked_of_many[number]
        if number % 3 == 2:  # now and then one that nobody granted
            question = question._replace(consumer="nobody")
        began = perf_counter()
        permitted, rule = self._stock.enforce_ex(*question[:6])
        took = perf_counter() - began
        ours = self._many.decide(question, AT)
        alike = rule[:1] == [ours.id] if isinstance(ours, Grant) else not permitted
        assert alike, f"stock Casbin answers otherwise: {question}"
        return took


def _question(grant: Grant) -> Question:
    return Question(
        consumer="civil-affairs" if grant.consumer == "*" else grant.consumer,
        officer="",
        provider=grant.provider,
        resource=grant.resource,
        mode="query",
        purpose="tax-collection" if "*" in grant.purposes else grant.purposes[0],
        needs=(),
        named=None,
    )


@dataclass(frozen=True, slots=True)
class Sample:
    """The bytes of a real entry, so that both ways of writing it write as much."""

    leaf: bytes
    core: bytes
    sealed: bytes
    wrapped: bytes

    def draft(self, number: int) -> Draft:
        """An entry of these bytes, under a name of its own."""
        return numbered(Draft(UUID(int=0), b"", 0, self.core, self.sealed, self.wrapped), number)


def numbered(like: Draft, number: int) -> Draft:
    """The same entry once more, under an id and a replay key of its own."""
    key = sha256(str(number).encode()).digest()
    return structs.replace(like, exchange_id=UUID(int=number), replay_key=key, signed_at=0)


class Appends:
    """The audit log's own append, and one pooled INSERT an entry, with 64 always waiting."""

    def __init__(self, dsns: tuple[str, str], pooled: str, sample: Sample) -> None:
        self._reader = PostgresReader(dsns[1])
        self._log = PostgresAuditLog(dsns[0], self._reader, lambda _: None, seconds=2)
        self._dsn = pooled
        self._sample = sample
        self._numbers = iter(range(10**9))
        self.entries = 0

    async def start(self) -> None:
        self._pool = await asyncpg.create_pool(self._dsn)
        await self._pool.execute(_POOLED + ";" + _ONE_ROW)
        self._single = await asyncpg.connect(self._dsn)
        self._insert = await self._single.prepare(_COMMIT)

    async def stop(self) -> None:
        await self._reader.close()
        await self._single.close()
        await self._pool.close()

    async def grouped(self, count: int) -> float:
        """Entries appended a second."""
        # Connected for each sample: between samples this loop stands still, which the log's own
        # watch would take for a database that does not answer.
        await self._log.start()
        try:
            return await _rate(self._append, count)
        finally:
            await self._log.stop()

    async def pooled(self, count: int) -> float:
        """Rows inserted and committed a second, each by itself."""
        return await _rate(self._put, count)

    async def commit(self, count: int) -> list[float]:
        """Seconds of each of so many durable commits of one row, one after the other."""
        took = []
        for _ in range(count):
            began = perf_counter()
            await self._insert.fetch(uuid4(), self._sample.leaf)
            took.append(perf_counter() - began)
        return took

    async def fill(self, entries: int) -> None:
        """Bring the log to so many entries."""
        while self.entries < entries:
            await self.grouped(min(10_000, entries - self.entries))

    async def verify(self) -> float:
        """Seconds to read every entry back and check it."""
        verifier, read = Verifier(), 0
        began = perf_counter()
        while leaves := await self._reader.leaves(read, _AT_ONCE):
            read += len(leaves)
            verifier.feed(leaves)
        assert verifier.finish() is None
        assert verifier.frontier.size == self.entries
        return perf_counter() - began

    async def hash_once(self) -> float:
        """Seconds of one SHA-256 over the same bytes."""
        whole = b"".join(
            [leaf for first in range(0, self.entries, _AT_ONCE)
             for leaf in await self._reader.leaves(first, _AT_ONCE)]
        )  # fmt: skip
        began = perf_counter()
        sha256(whole).digest()
        return perf_counter() - began

    async def seal(self, place: Path) -> None:
        """Write all there is as files."""
        hashes = [
            leaf_hash(leaf) for first in range(0, self.entries, _AT_ONCE)
            for leaf in await self._reader.leaves(first, _AT_ONCE)
        ]  # fmt: skip
        root = Frontier.empty().extend(hashes).root()
        note = sign(Checkpoint(_KEY.name, len(hashes), root), _KEY)
        self._files = place
        await Sealer(place, VerifierKey.parse(_KEY.vkey), self._reader).seal(note)

    def verify_files(self) -> tuple[float, float]:
        """Seconds to verify the files with two processes; and of one SHA-256 over all entries."""
        command = [sys.executable, "-m", "tests.load.filed", self._files, _KEY.vkey]
        took = float(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        bundles = sorted((self._files / "tile" / "entries").rglob("*"))
        whole = b"".join(each.read_bytes() for each in bundles if each.is_file())
        began = perf_counter()
        sha256(whole).digest()
        return took, perf_counter() - began

    async def _append(self) -> None:
        fate = await self._log.append(self._sample.draft(next(self._numbers)))
        assert isinstance(fate, Appended)
        self.entries += 1

    async def _put(self) -> None:
        sample = self._sample
        number = UUID(int=next(self._numbers))
        await self._pool.execute(_INSERT, number, sample.leaf, sample.sealed, sample.wrapped)


class Held:
    """Entries of one caller that wait for a signed checkpoint, as every answer does."""

    def __init__(self, settings: AuditLogSettings, dsns: tuple[str, str], sample: Sample) -> None:
        self._settings = settings
        self._dsns = dsns
        self._sample = sample
        self._numbers = iter(range(10**9))

    async def alone(self, count: int) -> tuple[list[float], list[float]]:
        """Seconds of so many appends, and how much longer each waited for its checkpoint."""
        appended: list[float] = []
        waited: list[float] = []

        def observe(seen: Observation) -> None:
            if isinstance(seen, Committed):
                appended.append(seen.seconds)

        async with AsyncExitStack() as stack:
            opened = await signed_log(self._settings, _KEY, self._dsns, observe, stack)
            for _ in range(count):
                began = perf_counter()
                fate = await opened.audit_log.append(self._sample.draft(next(self._numbers)))
                assert isinstance(fate, Appended)
                await opened.coverage.covered(fate.index)
                waited.append(perf_counter() - began)
        held = [whole - part for whole, part in zip(waited, appended, strict=True)]
        return appended, held


class Claims:
    """Reservations of quotas, as the gateway makes one before it fetches."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._terms = tuple(Term(bytes([kind]) * 32, 2**31 - 1, _LAST_DAY) for kind in (1, 2))

    async def alone(self, count: int) -> list[float]:
        """Seconds of each of so many claims of two places, one after the other."""
        quotas, took = PostgresQuotas(self._dsn), []
        await quotas.start()
        try:
            for _ in range(count):
                claim = Claim(uuid4(), AT, self._terms)
                began = perf_counter()
                place = await quotas.reserve(claim)
                took.append(perf_counter() - began)
                assert place is None, "what has room for all has no place left"
                quotas.settle(claim.exchange_id, answered=True)
        finally:
            await quotas.stop()
        return took


async def _rate(one: Callable[[], Awaitable[None]], count: int) -> float:
    each = -(-count // WAITING)

    async def work() -> None:
        for _ in range(each):
            await one()

    began = perf_counter()
    await asyncio.gather(*(work() for _ in range(WAITING)))
    return each * WAITING / (perf_counter() - began)
