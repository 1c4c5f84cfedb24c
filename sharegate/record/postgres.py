"""The audit log in PostgreSQL: appending.

One connection appends, one statement at a time, each statement one batch and one commit; a second
watches whether appends would still be durable. On any doubt the log is declared unusable, both
connections are dropped, and the watch tries again until it is.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from time import perf_counter
from typing import Final
from uuid import UUID

import asyncpg

from sharegate.errors import AuditLogUnavailable, Unavailable
from sharegate.observe import AuditLogState, Committed, Observer
from sharegate.record.audit_log import Appended, Draft, Fate, Lent, Replayed, Stale
from sharegate.record.commit import GroupCommit
from sharegate.record.reader import Broken, PostgresReader

_APPEND: Final = "select fates, seqs from sharegate.append($1, $2, $3, $4, $5, $6, $7, $8)"
_USABLE: Final = "select sharegate.usable()"
_KEEP: Final = "select sharegate.keep_checkpoint($1, $2, $3, $4, $5, $6, $7)"
_KEEP_COSIGNED: Final = "select sharegate.keep_cosigned($1, $2)"
_TAKE: Final = "select fence, before, lent from sharegate.take_signing($1, $2)"
_RENEW: Final = "select sharegate.renew_signing($1, $2)"
_FORGET: Final = "select sharegate.forget_replays($1, $2)"
_MOST: Final = 512
_WATCH_SECONDS: Final = 0.25
_ANSWER_SECONDS: Final = 1.0
# Twice over the 60 s for which a request is fresh, and an allowance for a clock that is corrected.
_REMEMBER_MILLISECONDS: Final = 10 * 60 * 1000
_FORGET_SECONDS: Final = 60.0

# What a trial appends: about as much as an exchange does. Never committed.
_TRIAL: Final = (
    [UUID(int=0)], [bytes(32)], [0], [bytes(1024)], [bytes(512)], [bytes(512)], [None], False,
)  # fmt: skip

_WHY = {
    "SG001": Unavailable.NOT_DURABLE,
    "25006": Unavailable.READ_ONLY,
    "read-only": Unavailable.READ_ONLY,
    "not-durable": Unavailable.NOT_DURABLE,
}
_SAID = {"set-back": "the database's clock is behind the moment from which it remembers requests"}


async def _at_once(_: int) -> None:
    """Nobody signs."""


class PostgresAuditLog:
    """An :class:`~sharegate.record.audit_log.AuditLog` in PostgreSQL."""

    def __init__(
        self, dsn: str, reader: PostgresReader, observe: Observer, *, seconds: float
    ) -> None:
        """Prepare; :meth:`start` connects.

        Args:
            dsn: A login with the role ``sharegate_append``.
            reader: Finds exchanges.
            observe: Told of every commit and of every change of state.
            seconds: How long one commit may take before the log is declared unusable.
        """
        self.announce = False
        self.doubtful = False
        """Whether a commit was warned about and none went well since: no standby may have it."""
        self.until_signed: Callable[[int], Awaitable[None]] = _at_once
        """Waits until an entry is signed, where that is waited for. The next batch is not begun
        before: nobody leaves earlier for it, and fewer, larger batches are read back and signed."""
        self._dsn = dsn
        self._reader = reader
        self._observe = observe
        self._seconds = seconds
        self._commit: GroupCommit[Draft, Fate] = GroupCommit(
            self._write, key=lambda draft: draft.replay_key, most=_MOST
        )
        self._appender: asyncpg.Connection | None = None
        self._watcher: asyncpg.Connection | None = None
        # Sent with the connection, so that no ALTER ROLE or ALTER SYSTEM overrides them: the only
        # sign of a commit that no standby has is a warning, and an append that was given up here
        # must not be carried out minutes later; nor may whoever is cut off in the middle of one
        # hold the log's end against the others.
        self._session = {
            "client_min_messages": "notice",
            "idle_in_transaction_session_timeout": "5000",
            "statement_timeout": str(round(seconds * 1000)),
        }
        self._side = asyncio.Lock()  # one statement at a time on the watcher
        self._noticed = False
        self._unusable: tuple[Unavailable, str] | None = (Unavailable.DOWN, "not connected yet")
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect if possible, and begin to watch; an unusable log does not stop the start."""
        await self._look()
        self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Stop watching and disconnect; whatever is still waiting is refused."""
        if self._watching is not None:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching
        self._drop(Unavailable.DOWN, "stopping")

    def require_usable(self) -> None:
        """Raise at once if nothing can be appended now."""
        if self._unusable is not None:
            raise AuditLogUnavailable(*self._unusable)

    async def append(self, draft: Draft) -> Fate:
        """Append one entry, together with whatever else is waiting."""
        return await self._commit.submit(draft)

    async def find(self, exchange_id: UUID) -> int | None:
        """The place of an exchange's entry."""
        try:
            return await self._reader.find(exchange_id)
        except Broken as error:
            raise AuditLogUnavailable(
                Unavailable.DOWN, "the audit log cannot be read now"
            ) from error

    async def take_signing(self, holder: bytes, seconds: float) -> Lent:
        """Take the right to sign this log, unless another signer has it.

        Args:
            holder: 16 bytes that no other signer's memory has.
            seconds: For how long.

        Raises:
            Broken: It may have been taken.
        """
        row = await self._aside(_TAKE, holder, round(seconds * 1000))
        assert row is not None
        return Lent(row["fence"], row["before"], row["lent"])

    async def renew_signing(self, fence: int, seconds: float) -> bool:
        """Have the right to sign for so long from now; False where another took it.

        Raises:
            Broken: It may have been renewed.
        """
        row = await self._aside(_RENEW, fence, round(seconds * 1000))
        return row is not None and bool(row[0])

    async def keep_checkpoint(
        self, fence: int, size: int, note: bytes, subtrees: Sequence[tuple[int, int, bytes]]
    ) -> None:
        """Keep a signed checkpoint and the subtrees completed since the last one.

        Raises:
            Broken: It may not be kept, for one because another signer has the right to sign.
        """
        levels, ns, hashes = zip(*subtrees, strict=True) if subtrees else ((), (), ())
        await self._aside(_KEEP, fence, size, note, levels, ns, hashes, self.announce)

    async def keep_cosigned(self, fence: int, note: bytes) -> None:
        """Keep what a quorum of witnesses has cosigned, for other hosts.

        Raises:
            Broken: As for :meth:`keep_checkpoint`.
        """
        await self._aside(_KEEP_COSIGNED, fence, note)

    async def _aside(self, statement: str, *values: object) -> asyncpg.Record | None:
        """Ask beside the appends."""
        async with self._side:
            if self._watcher is None:
                raise OSError("the audit log is not connected")
            return await self._watcher.fetchrow(statement, *values, timeout=_ANSWER_SECONDS)

    async def _write(self, batch: Sequence[Draft]) -> list[Fate]:
        self.require_usable()
        assert self._appender is not None
        began = perf_counter()
        self._noticed = False
        try:
            row = await self._appender.fetchrow(
                _APPEND,
                [draft.exchange_id for draft in batch],
                [draft.replay_key for draft in batch],
                [draft.signed_at for draft in batch],
                [draft.core for draft in batch],
                [draft.sealed for draft in batch],
                [draft.wrapped for draft in batch],
                [draft.blind for draft in batch],
                self.announce,
                timeout=self._seconds,
            )
        except Exception as error:
            raise self._declare(error) from error
        if self._noticed:
            # With a dead synchronous standby a cancelled COMMIT "succeeds" with a warning.
            self.doubtful = True
            self._drop(Unavailable.NOT_DURABLE, "the database warned about a commit")
            self.require_usable()
        assert row is not None
        self.doubtful = False
        self._observe(Committed(len(batch), perf_counter() - began))
        fates = [_fate(fate, seq) for fate, seq in zip(row["fates"], row["seqs"], strict=True)]
        appended = [fate.index for fate in fates if isinstance(fate, Appended)]
        if appended:
            await self._wait_until_signed(appended[-1])
        return fates

    async def _wait_until_signed(self, index: int) -> None:
        """Wait for the signer; not for ever, or what waits behind would pile up."""
        try:
            async with asyncio.timeout(self._seconds):
                await self.until_signed(index)
        except TimeoutError as error:
            raise AuditLogUnavailable(
                Unavailable.TIMEOUT, "no checkpoint was signed in time"
            ) from error

    def _declare(self, error: BaseException) -> AuditLogUnavailable:
        """Turn what the database raised into a reason, and stop using it."""
        if isinstance(error, TimeoutError):
            reason, detail = Unavailable.TIMEOUT, "the database did not answer in time"
        else:
            state = str(getattr(error, "sqlstate", None) or "")
            reason = _WHY.get(state, Unavailable.DOWN)
            detail = f"the database refused: {state}" if state else "the database is not reachable"
        self._drop(reason, detail)
        return AuditLogUnavailable(reason, detail)

    def _drop(self, reason: Unavailable, detail: str) -> None:
        for connection in (self._appender, self._watcher):
            if connection is not None:
                connection.terminate()
        self._appender = self._watcher = None
        if self._unusable is None:
            self._observe(AuditLogState(usable=False, detail=f"{reason}: {detail}"))
        self._unusable = (reason, detail)

    async def _watch(self) -> None:
        """Look at the database for as long as the gateway runs; from time to time, forget."""
        forget_at = 0.0
        try:
            while True:
                await asyncio.sleep(_WATCH_SECONDS)
                await self._look()
                if self._unusable is None and perf_counter() >= forget_at:
                    forget_at = perf_counter() + _FORGET_SECONDS
                    await self._forget()
        finally:
            self._drop(Unavailable.DOWN, "nobody watches the database")

    async def _look(self) -> None:
        """Ask the database whether it is usable; connect first where need be."""
        try:
            async with self._side, asyncio.timeout(_ANSWER_SECONDS):
                if self._watcher is None:
                    self._watcher = await asyncpg.connect(self._dsn, server_settings=self._session)
                said = await self._watcher.fetchval(_USABLE)
                if said == "usable" and self._appender is None:
                    self._appender = await self._connect()
        except AuditLogUnavailable as unusable:
            self._drop(unusable.reason, str(unusable))
            return
        except Exception as error:  # noqa: BLE001  a driver's slip too must not end the watch
            self._declare(error)
            return
        if said != "usable":
            self._drop(_WHY.get(said, Unavailable.DOWN), _SAID.get(said, f"the database is {said}"))
        elif self._unusable is not None:
            self._unusable = None
            self._observe(AuditLogState(usable=True, detail="entries can be recorded"))

    async def _connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        """Connect, and see one append go well before any is entrusted to it.

        The trial is rolled back. Without it a log whose disk is full would seem usable again after
        each append that failed.

        Raises:
            Broken: The database refuses it.
            AuditLogUnavailable: The database warned about it.
        """
        connection = await asyncpg.connect(self._dsn, server_settings=self._session)
        try:
            connection.add_log_listener(self._notice)
            self._noticed = False
            trial = connection.transaction()
            await trial.start()
            await connection.fetchrow(_APPEND, *_TRIAL)
            await trial.rollback()
        except BaseException:
            connection.terminate()
            raise
        if self._noticed:
            connection.terminate()
            raise AuditLogUnavailable(
                Unavailable.NOT_DURABLE, "the database warned about an append"
            )
        return connection

    async def _forget(self) -> None:
        try:
            async with self._side:
                if self._watcher is not None:
                    now = time.time_ns() // 1_000_000
                    await self._watcher.execute(
                        _FORGET, _REMEMBER_MILLISECONDS, now, timeout=_ANSWER_SECONDS
                    )
        except Exception as error:  # noqa: BLE001  as in `_look`
            self._declare(error)

    def _notice(self, _connection: object, _message: object) -> None:
        self._noticed = True


def _fate(fate: str, seq: int) -> Fate:
    match fate:
        case "a":
            return Appended(seq)
        case "r":
            return Replayed(seq)
        case _:
            return Stale()
