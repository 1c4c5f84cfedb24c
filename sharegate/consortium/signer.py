"""The signer: reads back what was appended, remembers it durably, and only then signs it.

One process at a time signs: of each host the one that holds the host's memory, and of the hosts the
one to which the database lends the right to sign. The others follow its checkpoints and stand ready
to take over. What is signed was re-hashed from the bytes the database gives back, so nothing is
signed that is not stored, and a checkpoint never contradicts an earlier one: if the log does, the
signer stops, keeps everything, and waits for a human.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import perf_counter, time
from typing import Final, Protocol, TypeVar

from sharegate.audit.checkpoint import Checkpoint, sign
from sharegate.audit.note import SignerKey, VerifierKey
from sharegate.consortium.coverage import (
    Coverage,
    completed_subtrees,
)
from sharegate.consortium.lease import Lease, Lender
from sharegate.consortium.memory import LogState, SignerMemory
from sharegate.consortium.stored import MOST, StoredLog, certain
from sharegate.errors import LogDiverged, Unavailable
from sharegate.observe import AuditLogState, Observer, Signed, SignerState
from sharegate.record.reader import Broken, PostgresReader

T = TypeVar("T")

_IDLE_SECONDS: Final = 0.25
# Once the disk and the key have answered so fast so many times in a row, the event loop waits for
# them itself: a thread's way to the interpreter's lock and back takes longer than they do.
_FAST_SECONDS: Final = 0.001
_FAST_TIMES: Final = 16
_KEEP_SECONDS: Final = 1.0
_FAILURES_TOLD: Final = 5

Subtrees = Sequence[tuple[int, int, bytes]]


class AnnouncedLog(Lender, Protocol):
    """What the signer needs of the log it signs."""

    announce: bool
    """Whether other processes are told of what this one appends and keeps."""
    until_signed: Callable[[int], Awaitable[None]]
    """What is waited for between two of its batches, until the entry at an index is signed."""
    doubtful: bool
    """Whether entries may be seen here that no standby has, though one must."""

    async def keep_checkpoint(self, fence: int, size: int, note: bytes, subtrees: Subtrees) -> None:
        """Keep a signed checkpoint; raises one of `reader.Broken` if it may not be kept."""

    async def keep_cosigned(self, fence: int, note: bytes) -> None:
        """Keep what a quorum has cosigned; raises as that does."""


class Signer:
    """Signs the log's checkpoints, or follows the process that does."""

    def __init__(
        self,
        key: SignerKey,
        memory: SignerMemory,
        reader: PostgresReader,
        coverage: Coverage,
        audit_log: AnnouncedLog,
        observe: Observer,
    ) -> None:
        """Put it together; :meth:`start` begins.

        Args:
            key: The log's key, named as its origin.
            memory: Its own durable memory.
            reader: Reads the log, and is told when another process appends or signs.
            coverage: Where exchanges wait.
            audit_log: Keeps checkpoints in the database, for followers and for later receipts.
            observe: Told of each checkpoint and of every halt.
        """
        self.signs = False
        self.lease = Lease(audit_log)
        self._key = key
        self._stored = StoredLog(reader, VerifierKey.parse(key.vkey))
        self._memory = memory
        self._reader = reader
        self._coverage = coverage
        self._audit_log = audit_log
        self._observe = observe
        self.compare_abroad: Callable[[LogState], Awaitable[None]] | None = None
        """Holds the log against what its witnesses have seen; raises LogDiverged."""
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="signer")
        self._fast = 0
        self._unkept: list[tuple[int, int, bytes]] = []
        self._kept_size = -1
        self._others = False
        self._remembered = -1
        self._remember_at = 0.0
        self._keep_now = asyncio.Event()
        self._frozen: str | None = None
        self._stumbled = False
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to sign, or to follow.

        Raises:
            LogDiverged: The database contradicts the signer's memory.
        """
        self._audit_log.until_signed = self._until_signed
        await self._reader.listen("sharegate_entries", self._others_append)
        await self._reader.listen("sharegate_checkpoint", self._coverage.wanted.set)
        with suppress(*Broken):
            await self._take_part()
        self._tasks = [asyncio.create_task(self._run()), asyncio.create_task(self._keeping())]

    async def stop(self) -> None:
        """Stop; keep the last checkpoint if the database is there."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.signs:
            with suppress(*Broken):
                await self._keep_newest()
        self._coverage.suspend(Unavailable.DOWN, "stopping")
        self._disk.shutdown(wait=True)
        await self.lease.give_back()
        self._memory.release()

    async def _run(self) -> None:
        wanted = self._coverage.wanted
        try:
            while self._frozen is None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_IDLE_SECONDS):
                        await wanted.wait()
                wanted.clear()
                await self._take_turn()
        finally:
            self._coverage.suspend(Unavailable.DOWN, "the signer has stopped")

    async def _take_turn(self) -> None:
        """Sign or follow once; what goes wrong suspends, or freezes for good."""
        try:
            if not self.signs:
                await self._take_part()
            if self.signs:
                await self._sign_new()
            else:
                await self._follow()
            self._coverage.usable_again()
            if self._stumbled:
                self._stumbled = False
                self._observe(AuditLogState(usable=True, detail="entries are signed again"))
        except LogDiverged as diverged:
            self.freeze(str(diverged))
        except Exception as error:  # noqa: BLE001  a driver's slip on a dying connection too
            self._coverage.suspend(Unavailable.UNSIGNED, "the log cannot be signed now")
            if not self._stumbled:
                self._stumbled = True
                detail = f"the log cannot be signed now: {type(error).__name__}"
                self._observe(AuditLogState(usable=False, detail=detail))
            self._coverage.wanted.set()
            await asyncio.sleep(_IDLE_SECONDS)

    def freeze(self, detail: str) -> None:
        """Sign nothing any more and cover nothing; a human must look."""
        if self._frozen is not None:
            return
        self._frozen = detail
        self._turned(signs=False)
        self._coverage.suspend(Unavailable.FROZEN, detail)
        self._observe(AuditLogState(usable=False, detail=f"frozen: {detail}"))

    # --- taking part -----------------------------------------------------------------------

    async def _take_part(self) -> None:
        """Become the signer if nobody is; otherwise start to follow."""
        if not self._memory.seize() or not await self._lent():
            # Once: under load the memory is always ahead of the checkpoint kept last, and whoever
            # began anew at each turn would never meet it.
            if not self._coverage.state.frontier.size and not self._coverage.checkpoint:
                self._start_following()
            return
        try:
            async with self.lease.kept():
                state = await self._stored.compare(self._memory.recall(), self._memory.holder)
                if self.compare_abroad is not None:
                    await self.compare_abroad(state)
                self._unkept += await self._stored.missing_subtrees(state.frontier.size)
            note = await self._signed(state)
        except Exception:
            # Not when cancelled: the thread may still be writing, and `stop` waits for it first.
            await self.lease.give_back()
            self._memory.release()
            raise
        self._coverage.resume(state, note)
        self._turned(signs=True)
        # Who had the right before may still append, and waits for what is kept here.
        self._others |= self.lease.others_live
        self._audit_log.announce = self._others
        await self._sign_new()
        self._keep_now.set()

    async def _lent(self) -> bool:
        """Whether this host may sign now; the file says under which name it asks."""
        self._memory.recall()
        return await self.lease.take(self._memory.holder)

    # --- signing -----------------------------------------------------------------------------

    async def _sign_new(self) -> None:
        """Sign over everything that has been appended since the last checkpoint."""
        while True:
            began = perf_counter()
            state = self._coverage.state
            tail = await self._reader.tail(state.frontier.size, MOST)
            if self._audit_log.doubtful:
                return  # signed, and lost with this host, they would freeze whoever takes over
            if tail.fence != self.lease.fence or not await self.lease.continues():
                self._step_down()
                return
            stretch = certain(state, tail)
            if stretch is None:
                return
            note = await self._signed(stretch.after)
            self._unkept += completed_subtrees(stretch.batch)
            self._coverage.publish(stretch, note)
            self._observe(Signed(stretch.after.frontier.size, perf_counter() - began, time()))
            if self._others:
                self._keep_now.set()
            if stretch.after.frontier.size == tail.size and not self._coverage.awaits_more():
                return

    def _step_down(self) -> None:
        """Another host signs now; follow it, and tell it of what is appended here."""
        self._turned(signs=False)
        self.lease.lose()
        self._audit_log.announce = True
        self._coverage.wanted.set()

    def _turned(self, *, signs: bool) -> None:
        self.signs = signs
        self._observe(SignerState(signs))

    async def _signed(self, state: LogState) -> bytes:
        """Sign a checkpoint; raises as below, also where it was frozen while that was done."""
        if self._fast >= _FAST_TIMES:
            return self._remember_and_sign(state)
        note = await self._in_thread(self._remember_and_sign, state)
        self._require_unfrozen()
        return note

    def _require_unfrozen(self) -> None:
        """Raise LogDiverged if this log is frozen: the witnesses' messenger may say so any time."""
        if self._frozen is not None:
            raise LogDiverged(self._frozen)

    def _remember_and_sign(self, state: LogState) -> bytes:
        """Make the state durable in the signer's memory; only then sign it. Blocks.

        Raises:
            OSError: It may not be durable, or the right to sign has run out meanwhile.
            LogDiverged: It is frozen.
        """
        began, fast, self._fast = perf_counter(), self._fast, 0
        self._memory.remember(state)
        self._require_unfrozen()
        if not self.lease.runs():
            raise OSError("the right to sign has run out")
        frontier = state.frontier
        note = sign(Checkpoint(self._key.name, frontier.size, frontier.root()), self._key)
        if perf_counter() - began < _FAST_SECONDS:
            self._fast = fast + 1
        return note

    async def _in_thread(self, work: Callable[[LogState], T], state: LogState) -> T:
        """Run blocking work on the signer's own thread, to its end even when cancelled."""
        loop = asyncio.get_running_loop()
        return await asyncio.shield(loop.run_in_executor(self._disk, work, state))

    async def _keeping(self) -> None:
        """Keep checkpoints in the database: soon after a batch, never on an exchange's path.

        What fails is tried again at the next turn, whatever it was: followers live by this, and a
        driver's slip on a dying connection must not end it. An operator is told once a streak.
        """
        failures = 0
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_KEEP_SECONDS):
                    await self._keep_now.wait()
            self._keep_now.clear()
            if not self.signs:
                continue
            try:
                await self.lease.renew()
                await self._keep_newest()
            except Exception as error:  # noqa: BLE001  see above
                failures += 1
                if failures == _FAILURES_TOLD:
                    detail = f"checkpoints cannot be kept: {type(error).__name__}"
                    self._observe(AuditLogState(usable=False, detail=detail))
            else:
                failures = 0

    async def _keep_newest(self) -> None:
        size, note = self._coverage.state.frontier.size, self._coverage.checkpoint
        if size == self._kept_size or self.lease.fence is None:
            return
        unkept = list(self._unkept)
        await self._audit_log.keep_checkpoint(self.lease.fence, size, note, unkept)
        del self._unkept[: len(unkept)]
        self._kept_size = size

    async def keep_cosigned(self, note: bytes) -> None:
        """Keep what a quorum has cosigned in the database, where other hosts find it.

        Raises:
            Broken: It may not be kept.
        """
        if self.lease.fence is not None:
            await self._audit_log.keep_cosigned(self.lease.fence, note)

    def _others_append(self) -> None:
        """Another process appended to this log and waits for a checkpoint."""
        if self.signs:
            self._others = self._audit_log.announce = True
        self._coverage.wanted.set()

    async def _until_signed(self, index: int) -> None:
        """Wait until an entry is signed, if it is this process that signs.

        Who follows does not: it is by the next append that the one who signs is told again.
        """
        if self.signs:
            await self._coverage.covered(index)

    # --- following ---------------------------------------------------------------------------

    def _start_following(self) -> None:
        """Begin where the signing process's memory is; no need to read the log from its start."""
        self._audit_log.announce = True
        state = self._memory.recall()
        if state is not None:
            self._coverage.resume(state, b"")

    async def _follow(self) -> None:
        """Cover what the signing process has signed since, once it is found to be true."""
        kept = await self._stored.newest()
        if kept is None:
            return
        (note, checkpoint), state = kept, self._coverage.state
        if checkpoint.size < state.frontier.size:
            return
        stretch = await self._stored.stretch(state, checkpoint)
        if stretch.leaves and stretch.first == state.frontier.size:
            self._coverage.publish(stretch, note)
        else:  # nothing new, or more than its last part: whoever waits looks for himself
            self._coverage.resume(stretch.after, note)
        await self._remember_followed(stretch.after)

    async def _remember_followed(self, state: LogState) -> None:
        """Let this host's memory rise with what another host signs; now and then is enough.

        A host that never had a memory begins one only beside a signer at work: else whoever lost
        it would be believed whatever the database says.
        """
        now, size = perf_counter(), state.frontier.size
        if not self._memory.held or size == self._remembered or now < self._remember_at:
            return
        if self.lease.others_live or self._memory.recall() is not None:
            await self._in_thread(self._memory.remember, state)
            self._remembered, self._remember_at = size, now + _KEEP_SECONDS
