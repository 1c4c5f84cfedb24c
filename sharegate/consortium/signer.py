"""The signer: reads back what was appended, remembers it durably, and only then signs it.

One process at a time signs, the one that holds the signer's memory; the others follow its
checkpoints and stand ready to take over. What is signed was re-hashed from the bytes the database
gives back, so nothing is signed that is not stored, and a checkpoint never contradicts an earlier
one: if the log does, the signer stops, keeps everything, and waits for a human.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import perf_counter, time
from typing import Final, Protocol

from sharegate.audit.checkpoint import Checkpoint, open_checkpoint, sign
from sharegate.audit.note import SignerKey, VerifierKey
from sharegate.audit.tree import EMPTY_ROOT, Frontier, leaf_hash
from sharegate.audit.verdict import Malformed, Unproven
from sharegate.consortium.coverage import (
    STORED_LEVELS,
    Coverage,
    Stretch,
    completed_subtrees,
    extend,
)
from sharegate.consortium.memory import LogState, SignerMemory
from sharegate.errors import LogDiverged, Unavailable
from sharegate.observe import AuditLogState, Observer, Signed
from sharegate.record.reader import Broken, PostgresReader

_MOST: Final = 1024
_IDLE_SECONDS: Final = 0.25
_KEEP_SECONDS: Final = 1.0
_FANOUT: Final = 256
_FAILURES_TOLD: Final = 5

Subtrees = Sequence[tuple[int, int, bytes]]


class AnnouncedLog(Protocol):
    """What the signer needs of the log it signs."""

    announce: bool
    """Whether other processes are told of what this one appends and keeps."""

    async def keep_checkpoint(self, size: int, note: bytes, subtrees: Subtrees) -> None:
        """Keep a signed checkpoint; raises one of `reader.Broken` if it may not be kept."""


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
        self._key = key
        self._verifier = VerifierKey.parse(key.vkey)
        self._memory = memory
        self._reader = reader
        self._coverage = coverage
        self._audit_log = audit_log
        self._observe = observe
        self.compare_abroad: Callable[[int, bytes], Awaitable[None]] | None = None
        """Holds the log against what its witnesses have seen; raises LogDiverged."""
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="signer")
        self._unkept: list[tuple[int, int, bytes]] = []
        self._kept_size = -1
        self._others = False
        self._keep_now = asyncio.Event()
        self._frozen = False
        self._stumbled = False
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to sign, or to follow.

        Raises:
            LogDiverged: The database contradicts the signer's memory.
        """
        await self._reader.listen("sharegate_entries", self._others_append)
        await self._reader.listen("sharegate_checkpoint", self._coverage.wanted.set)
        with suppress(*Broken):
            await self._take_part()
        self._tasks = [asyncio.create_task(self._run()), asyncio.create_task(self._keeping())]

    async def stop(self) -> None:
        """Stop; keep the last checkpoint if the database is there."""
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        if self.signs:
            with suppress(*Broken):
                await self._keep_newest()
        self._coverage.suspend(Unavailable.DOWN, "stopping")
        self._disk.shutdown(wait=True)
        self._memory.release()

    async def _run(self) -> None:
        wanted = self._coverage.wanted
        try:
            while not self._frozen:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_IDLE_SECONDS):
                        await wanted.wait()
                wanted.clear()
                await self._take_turn()
        finally:
            if not self._frozen:
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
        except Broken as error:
            self._coverage.suspend(Unavailable.UNSIGNED, "the log cannot be signed now")
            if not self._stumbled:
                self._stumbled = True
                detail = f"the log cannot be signed now: {type(error).__name__}"
                self._observe(AuditLogState(usable=False, detail=detail))
            self._coverage.wanted.set()
            await asyncio.sleep(_IDLE_SECONDS)

    def freeze(self, detail: str) -> None:
        """Sign nothing any more and cover nothing; a human must look."""
        self._frozen = True
        self.signs = False
        self._coverage.suspend(Unavailable.FROZEN, detail)
        self._observe(AuditLogState(usable=False, detail=f"frozen: {detail}"))

    # --- taking part -----------------------------------------------------------------------

    async def _take_part(self) -> None:
        """Become the signer if nobody is; otherwise start to follow."""
        if not self._memory.seize():
            # Once: under load the memory is always ahead of the checkpoint kept last, and whoever
            # began anew at each turn would never meet it.
            if not self._coverage.state.frontier.size and not self._coverage.checkpoint:
                self._start_following()
            return
        try:
            state = await self._compare(self._memory.recall())
            if self.compare_abroad is not None:
                frontier = state.frontier
                root = frontier.root() if frontier.size else EMPTY_ROOT
                await self.compare_abroad(frontier.size, root)
            self._unkept += await self._missing_subtrees(state.frontier.size)
            note = await self._in_thread(self._remember_and_sign, state)
        except Exception:
            # Not when cancelled: the thread may still be writing, and `stop` waits for it first.
            self._memory.release()
            raise
        self._coverage.resume(state, note)
        self.signs = True
        self._audit_log.announce = self._others
        await self._sign_new()
        self._keep_now.set()

    async def _compare(self, remembered: LogState | None) -> LogState:
        """Hold the database against the signer's memory before anything is signed."""
        origin, size, last = await self._reader.head()
        if origin != self._key.name:
            raise LogDiverged(f"the database holds the log {origin!r}, not {self._key.name!r}")
        note = await self._reader.checkpoint()
        if remembered is None:
            if size or note:
                raise LogDiverged(f"the log has {size} entries, and the signer's memory is missing")
            return LogState.empty()
        known = remembered.frontier.size
        if size < known:
            raise LogDiverged(f"the database is behind: {size} entries, but {known} were signed")
        if note is not None:
            self._compare_newest(self._opened(note), remembered.frontier)
        if known:
            leaves = await self._reader.leaves(known - 1, 1)
            if not leaves or leaf_hash(leaves[0]) != remembered.last:
                raise LogDiverged(f"entry {known - 1} is not the one that was signed")
        if size == known and last != remembered.last:
            raise LogDiverged(f"the head is not that of the log signed at size {known}")
        return remembered

    @staticmethod
    def _compare_newest(newest: Checkpoint, remembered: Frontier) -> None:
        """Hold the newest checkpoint in the database against the signer's memory."""
        if newest.size > remembered.size:
            raise LogDiverged(
                f"the signer's memory is behind: it ends at {remembered.size}, but a checkpoint "
                f"of size {newest.size} was signed"
            )
        if newest.size == remembered.size and newest.root != remembered.root():
            raise LogDiverged(f"two checkpoints of size {newest.size} have different roots")

    async def _missing_subtrees(self, size: int) -> list[tuple[int, int, bytes]]:
        """Hash again the stored subtrees that a crash kept from being stored."""
        missing: list[tuple[int, int, bytes]] = []
        have: dict[tuple[int, int], bytes] = {}
        for level in STORED_LEVELS:
            known = await self._reader.stored_subtrees(level)
            for n in range(known, size >> level):
                if level == STORED_LEVELS[0]:
                    leaves = await self._reader.leaves(n * _FANOUT, _FANOUT)
                    row = [leaf_hash(leaf) for leaf in leaves]
                else:
                    below = level - STORED_LEVELS[0], n * _FANOUT, (n + 1) * _FANOUT
                    have |= await self._reader.subtrees([below])
                    row = [have[below[0], at] for at in range(below[1], below[2])]
                have[level, n] = Frontier.empty().extend(row).root()
                missing.append((level, n, have[level, n]))
        return missing

    # --- signing -----------------------------------------------------------------------------

    async def _sign_new(self) -> None:
        """Sign over everything that has been appended since the last checkpoint."""
        while True:
            began = perf_counter()
            state = self._coverage.state
            size, last, leaves = await self._reader.tail(state.frontier.size, _MOST)
            stretch = _certain(state, size, last, leaves)
            if stretch is None:
                return
            note = await self._in_thread(self._remember_and_sign, stretch.after)
            self._unkept += completed_subtrees(stretch.batch)
            self._coverage.publish(stretch, note)
            self._observe(Signed(stretch.after.frontier.size, perf_counter() - began, time()))
            if self._others:
                self._keep_now.set()
            if stretch.after.frontier.size == size and not self._coverage.awaits_more():
                return

    def _remember_and_sign(self, state: LogState) -> bytes:
        """Make the state durable in the signer's memory; only then sign it. Blocks."""
        self._memory.remember(state)
        frontier = state.frontier
        return sign(Checkpoint(self._key.name, frontier.size, frontier.root()), self._key)

    async def _in_thread(self, work: Callable[[LogState], bytes], state: LogState) -> bytes:
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
        if size == self._kept_size:
            return
        unkept = list(self._unkept)
        await self._audit_log.keep_checkpoint(size, note, unkept)
        del self._unkept[: len(unkept)]
        self._kept_size = size

    def _others_append(self) -> None:
        """Another process appended to this log and waits for a checkpoint."""
        if self.signs:
            self._others = self._audit_log.announce = True
        self._coverage.wanted.set()

    # --- following ---------------------------------------------------------------------------

    def _start_following(self) -> None:
        """Begin where the signing process's memory is; no need to read the log from its start."""
        self._audit_log.announce = True
        state = self._memory.recall()
        if state is not None:
            self._coverage.resume(state, b"")

    async def _follow(self) -> None:
        """Cover what the signing process has signed since, once it is found to be true."""
        note = await self._reader.checkpoint()
        if note is None:
            return
        checkpoint, state = self._opened(note), self._coverage.state
        if checkpoint.size < state.frontier.size:
            return
        leaves = await self._reader.leaves(
            state.frontier.size, checkpoint.size - state.frontier.size
        )
        stretch = extend(state, leaves)
        if stretch.after.frontier.root() != checkpoint.root:
            raise LogDiverged(f"the checkpoint of size {checkpoint.size} is not of this log")
        if leaves:
            self._coverage.publish(stretch, note)
        else:
            self._coverage.resume(state, note)

    def _opened(self, note: bytes) -> Checkpoint:
        try:
            return open_checkpoint(note, [self._verifier], self._key.name)
        except (Malformed, Unproven) as error:
            raise LogDiverged(f"a stored checkpoint is not this log's: {error}") from error


def _certain(state: LogState, size: int, last: bytes, leaves: Sequence[bytes]) -> Stretch | None:
    """Hash leaves onto the tree, each vouched for by what comes after it. Pure.

    A leaf's own bytes could have changed since they were appended. The leaf after it recorded
    their hash, and the head that of the newest; a leaf without such a witness waits.

    Args:
        state: What is signed.
        size: The log's size, by its head.
        last: The leaf hash of its newest entry, by its head.
        leaves: Read back in the same moment, from the end of `state` on.

    Returns:
        The stretch to sign; None where there is nothing new.

    Raises:
        LogDiverged: The log is shorter than what is signed, or its bytes are not what they were.
    """
    first = state.frontier.size
    if size < first:
        raise LogDiverged(f"the database is behind: {size} entries, but {first} were signed")
    stretch = extend(state, leaves)
    reached = stretch.after.frontier.size
    if reached == size:
        if stretch.after.last != last:
            raise LogDiverged(f"entry {size - 1} is not the one that was appended")
        return stretch if leaves else None
    if reached > size or len(leaves) < _MOST:
        raise LogDiverged(f"the entries end at {reached}, but the head says {size}")
    return extend(state, leaves[:-1])
