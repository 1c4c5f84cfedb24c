"""Bring the log's checkpoints to its witnesses, and collect their cosignatures.

One process does it, the one that signs. Each witness is asked by a task of its own, so that one
that is slow or dead holds up no other; all are shown the same checkpoint, and once a quorum has
cosigned it, it is kept and the next one is shown. A witness that refuses is not believed by itself:
only a checkpoint that this log's own key signed, and that this log's tree does not have, stops the
log, and that is kept as evidence. So one witness that lies stops nothing.

C2SP tlog-witness (https://c2sp.org/tlog-witness), the client's side.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from time import time
from typing import Final, Protocol

import aiohttp

from sharegate.audit import note as notes
from sharegate.audit.checkpoint import Checkpoint, open_checkpoint
from sharegate.audit.note import Note, Signature, VerifierKey
from sharegate.audit.proof import consistency_path
from sharegate.audit.quorum import Quorum, Witness
from sharegate.audit.text import read_decimal
from sharegate.audit.tree import EMPTY_ROOT, range_root
from sharegate.audit.verdict import Malformed
from sharegate.audit.witnessing import SIZE_TYPE, Status, Submission, encode
from sharegate.consortium.coverage import Coverage, computed
from sharegate.consortium.evidence import keep
from sharegate.consortium.remote import NotFetched, seen_by, whole
from sharegate.consortium.witnessed import Witnessed, quorum_time
from sharegate.errors import AuditLogUnavailable, LogDiverged
from sharegate.observe import Observer, WitnessFailed
from sharegate.record.reader import Broken, PostgresReader

_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 1.0
_REFRESH_SECONDS: Final = 20.0
_MOST_BYTES: Final = 256_000
_TRIES: Final = 3


class Signing(Protocol):
    """The signer, as its witnesses' messenger needs it."""

    signs: bool
    """Whether this process is the one that signs."""

    def freeze(self, detail: str) -> None:
        """Sign nothing any more; a human must look."""

    async def keep_cosigned(self, note: bytes) -> None:
        """Keep it where other hosts find it; raises one of `reader.Broken` if it may not be."""


class _Failed(Exception):
    """A witness gave no cosignature; says why without what it sent."""


@dataclass(slots=True)
class _Worker:
    """What is known of one witness."""

    witness: Witness
    size: int = 0
    shown: "_Shown | None" = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    failing: bool = False


@dataclass(slots=True, eq=False)
class _Shown:
    """One checkpoint that the witnesses are shown, and the lines that came back."""

    note: Note
    data: bytes
    state: Checkpoint
    lines: dict[str, list[Signature]] = field(default_factory=dict)
    pending: set[str] = field(default_factory=set)
    moved: asyncio.Event = field(default_factory=asyncio.Event)


class Cosigning:
    """Asks the witnesses, for as long as it runs."""

    def __init__(
        self,
        quorum: Quorum,
        key: VerifierKey,
        coverage: Coverage,
        reader: PostgresReader,
        witnessed: Witnessed,
        evidence: Path,
        observe: Observer,
        signer: Signing,
    ) -> None:
        """Put it together; :meth:`start` begins.

        Args:
            quorum: The witnesses and their URLs; those without are not asked.
            key: The log's.
            coverage: The newest checkpoint.
            reader: Reads the stored tree, to prove that the log only grew.
            witnessed: Keeps what a quorum cosigned.
            evidence: A folder for what shows that the log contradicted itself.
            observe: Told of witnesses that fail and come back.
            signer: Whether this process signs; and stops the log.
        """
        self._quorum = quorum
        self._key = key
        self._coverage = coverage
        self._reader = reader
        self._witnessed = witnessed
        self._evidence = evidence
        self._observe = observe
        self._signer = signer
        self._workers = [
            _Worker(witness) for witness in quorum.witnesses.values() if witness.url is not None
        ]
        self._shown: _Shown | None = None
        self._taken = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Begin to ask."""
        self._session = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=_SECONDS),
            auto_decompress=False,
        )
        self._tasks = [asyncio.create_task(self._run()), asyncio.create_task(self._keeping())]
        self._tasks += [asyncio.create_task(self._ask_always(worker)) for worker in self._workers]

    async def stop(self) -> None:
        """Stop asking."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def compare(self, size: int, root: bytes) -> None:
        """Hold what the witnesses have seen against what this log has, before anything is signed.

        A witness that does not answer cannot say anything against it.

        Args:
            size: How far the signer remembers.
            root: The root there.

        Raises:
            LogDiverged: A witness holds a checkpoint of this log that this log does not have.
            OSError: The log cannot be read now.
        """
        found = await asyncio.gather(
            *(self._newest(worker) for worker in self._workers), return_exceptions=True
        )
        for worker, seen in zip(self._workers, found, strict=True):
            if isinstance(seen, tuple):
                try:
                    await self._judge(worker.witness.name, *seen, size, root)
                except AuditLogUnavailable as error:
                    raise OSError(str(error)) from error

    # --- the rounds -------------------------------------------------------------------------------

    async def _run(self) -> None:
        """Show one checkpoint after the other."""
        wanted = self._witnessed.wanted
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_PAUSE_SECONDS):
                    await wanted.wait()
            wanted.clear()
            self._witnessed.tell()
            data = self._coverage.checkpoint
            if not self._signer.signs or not data:
                await self._follow()
                continue
            note = notes.parse(data)
            state = open_checkpoint(data, [self._key], self._key.name)
            if self._fresh(state):
                continue
            names = {worker.witness.name for worker in self._workers}
            self._shown = shown = _Shown(note, data, state, pending=names)
            for worker in self._workers:
                worker.wake.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(_SECONDS):
                    await self._until_quorum(shown)

    async def _follow(self) -> None:
        """Take up what the process that signs has had cosigned, on this host or on another."""
        self._witnessed.look()
        with suppress(*Broken):
            note = await self._reader.cosigned()
            if note is not None and self._witnessed.is_behind(note):
                await self._witnessed.keep(note)

    def _fresh(self, state: Checkpoint) -> bool:
        """Whether this checkpoint was cosigned a moment ago."""
        known = self._witnessed.cosigned
        if known is None or known.checkpoint != state:
            return False
        return time() - quorum_time(self._quorum, known) < _REFRESH_SECONDS

    async def _until_quorum(self, shown: _Shown) -> None:
        while shown.pending and not self._quorum.met_by(shown.lines):
            await shown.moved.wait()
            shown.moved.clear()

    async def _ask_always(self, worker: _Worker) -> None:
        while True:
            await worker.wake.wait()
            worker.wake.clear()
            while (shown := self._shown) is not None and worker.shown is not shown:
                await self._ask_once(worker, shown)
                name, met = worker.witness.name, self._quorum.met_by(shown.lines)
                if met and name in shown.lines:
                    self._take_up(shown)
                shown.pending.discard(name)
                shown.moved.set()
                if met or name in shown.lines or not self._signer.signs:
                    worker.shown = shown
                else:  # it slipped; where another one is slow, there is time to ask it again
                    await asyncio.sleep(_PAUSE_SECONDS)

    async def _ask_once(self, worker: _Worker, shown: _Shown) -> None:
        try:
            shown.lines[worker.witness.name] = await self._cosigned(worker, shown)
        except LogDiverged as diverged:
            self._signer.freeze(str(diverged))
        except Exception as error:  # noqa: BLE001  whatever it sent, it is asked again
            known = isinstance(error, _Failed | NotFetched)
            kind = str(error) if known else type(error).__name__
            if not worker.failing:
                worker.failing = True
                self._observe(WitnessFailed(worker.witness.name, usable=False, detail=kind))
        else:
            if worker.failing:
                worker.failing = False
                self._observe(WitnessFailed(worker.witness.name, usable=True, detail="cosigns"))

    def _take_up(self, shown: _Shown) -> None:
        """Go on from what a quorum has cosigned; that it is kept, nobody has to wait for."""
        lines = [line for lines in shown.lines.values() for line in lines]
        whole = Note(shown.note.text, (*shown.note.signatures, *lines))
        if self._witnessed.take_up(notes.encode(whole)):
            self._taken.set()

    async def _keeping(self) -> None:
        """Keep the newest that was taken up, for other processes and hosts."""
        while True:
            await self._taken.wait()
            self._taken.clear()
            # What fails here stops the signer too, which says so.
            with suppress(*Broken):
                await self._witnessed.store()
                await self._signer.keep_cosigned(self._witnessed.note)

    # --- one witness ------------------------------------------------------------------------------

    async def _cosigned(self, worker: _Worker, shown: _Shown) -> list[Signature]:
        """Show it a checkpoint, from where it is; give its lines, checked."""
        for _ in range(_TRIES):
            size = shown.state.size
            path = await self._path(worker.size, size)
            status, kind, body = await self._post(
                worker.witness, encode(Submission(worker.size, path, shown.data))
            )
            if status == Status.COSIGNED:
                lines = self._checked(worker.witness, shown, body)
                worker.size = size
                return lines
            # SPEC: "409 Conflict" [...] the tree size of the latest cosigned checkpoint. Some
            # witnesses answer so, without the content type, also where the roots differ.
            known = _size(body) if status == Status.STALE and kind == SIZE_TYPE else None
            if known is None or known > size:
                await self._hear_out(worker)
            if known is None:
                raise _Failed(f"answers {status}")
            if known > size:
                raise _Failed("is further than what it is shown")
            worker.size = known
        raise _Failed("does not say where it is")

    async def _hear_out(self, worker: _Worker) -> None:
        """It refused: see whether it holds what this log signed and does not have.

        Raises:
            LogDiverged: It does.
        """
        found = await self._newest(worker)
        if found is not None:
            frontier = self._coverage.state.frontier
            root = frontier.root() if frontier.size else EMPTY_ROOT
            await self._judge(worker.witness.name, *found, frontier.size, root)

    async def _newest(self, worker: _Worker) -> tuple[bytes, Checkpoint] | None:
        """The newest checkpoint it cosigned, if this log has signed it; None where it has none."""
        assert self._session is not None
        try:
            url = _prefix(worker.witness)
            return await seen_by(self._session, url, [self._key], self._key.name)
        except OSError:
            return None

    async def _judge(
        self, name: str, data: bytes, seen: Checkpoint, size: int, root: bytes
    ) -> None:
        """Hold a checkpoint that this log's key signed against this log.

        Raises:
            LogDiverged: It is not this log's.
        """
        if seen.size > size:
            detail = f"the log is behind: {size} entries, but witness {name} holds a checkpoint of "
            detail += f"{seen.size}"
        elif seen.root == (root if seen.size == size else await self._root(seen.size)):
            return
        else:
            detail = f"witness {name} holds another checkpoint of {seen.size} entries"
        keep(self._evidence, f"{sha256(data).hexdigest()[:32]}.note", data)
        raise LogDiverged(detail)

    async def _root(self, size: int) -> bytes:
        """The root this log had at a size."""
        if not size:
            return EMPTY_ROOT
        return await computed(self._reader, lambda fetch: range_root(0, size, fetch))

    async def _path(self, old: int, size: int) -> tuple[bytes, ...]:
        if old in {0, size}:
            return ()
        return await computed(self._reader, lambda fetch: consistency_path(old, size, fetch))

    async def _post(self, witness: Witness, body: bytes) -> tuple[int, str, bytes]:
        assert self._session is not None
        url = f"{_prefix(witness)}/add-checkpoint"
        async with self._session.post(url, data=body, allow_redirects=False) as answer:
            kind = answer.headers.get("Content-Type", "")
            return answer.status, kind, await whole(answer, _MOST_BYTES)

    @staticmethod
    def _checked(witness: Witness, shown: _Shown, body: bytes) -> list[Signature]:
        """The lines by the witness's known key; others are passed over."""
        own = witness.key.name, witness.key.key_id
        try:
            lines = [Signature.parse(line) for line in body.decode().split("\n")[:-1]]
        except (Malformed, UnicodeDecodeError):
            raise _Failed("answers without cosignatures") from None
        found = [line for line in lines if (line.name, line.key_id) == own]
        text = shown.note.text.encode()
        if not found or not all(witness.key.accepts(text, line.signature) for line in found):
            raise _Failed("answers without its cosignature")
        return found


def _prefix(witness: Witness) -> str:
    assert witness.url is not None
    return witness.url.rstrip("/")


def _size(body: bytes) -> int | None:
    try:
        return read_decimal(body.decode("ascii").removesuffix("\n"))
    except (Malformed, UnicodeDecodeError):
        return None
