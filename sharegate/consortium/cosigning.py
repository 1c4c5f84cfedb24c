"""Bring the log's checkpoints to its witnesses, and collect their cosignatures.

One process does it, the one that signs. Each witness is asked by tasks of its own, so that one
that is slow or dead holds up no other; all are shown the same checkpoint, and once a quorum has
cosigned it, it is kept and the next one is shown. Where the witnesses are far, the next one follows
when half of the way is over: whoever waits waits for one round and a quarter, not for one and a
half. A witness that refuses is heard out (see `abroad`) before the log is stopped for it.

C2SP tlog-witness (https://c2sp.org/tlog-witness), the client's side.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, time
from typing import Final, Protocol

import aiohttp

from sharegate.audit import note as notes
from sharegate.audit.checkpoint import Checkpoint, open_checkpoint
from sharegate.audit.note import Note, Signature, VerifierKey
from sharegate.audit.proof import consistency_path
from sharegate.audit.quorum import Quorum, Witness
from sharegate.audit.text import read_decimal
from sharegate.audit.verdict import Malformed
from sharegate.audit.witnessing import SIZE_TYPE, Status, Submission, encode
from sharegate.consortium.abroad import Abroad, prefix
from sharegate.consortium.coverage import Coverage, computed
from sharegate.consortium.memory import LogState
from sharegate.consortium.remote import NotFetched, whole
from sharegate.consortium.witnessed import Witnessed, quorum_time
from sharegate.errors import AuditLogUnavailable, LogDiverged
from sharegate.observe import Observer, WitnessFailed
from sharegate.record.reader import PostgresReader

_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 1.0
_REFRESH_SECONDS: Final = 20.0
_MOST_BYTES: Final = 256_000
_TRIES: Final = 3
# At most so many checkpoints are on their way to one witness, the later one half the time of a
# round behind, and never closer than this: near witnesses are shown one after the other.
_LANES: Final = 2
_LEAST_HALF_SECONDS: Final = 0.005


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


class _Overtaken(Exception):
    """A later checkpoint came to the witness first."""


@dataclass(slots=True)
class _Worker:
    """What is known of one witness.

    Attributes:
        size: How far it is.
        soon: How far it is once it has taken what is on its way to it.
        shown: The newest checkpoint that was taken to it.
    """

    witness: Witness
    size: int = 0
    soon: int = 0
    shown: "_Shown | None" = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    failing: bool = False


@dataclass(slots=True, eq=False)
class _Shown:
    """One checkpoint that the witnesses are shown, and the lines that came back."""

    note: Note
    data: bytes
    state: Checkpoint
    began: float
    lines: dict[str, list[Signature]] = field(default_factory=dict)
    pending: set[str] = field(default_factory=set)
    met: bool = False
    """Whether a quorum has cosigned it."""

    @property
    def settled(self) -> bool:
        """Whether nothing more need be waited for."""
        return self.met or not self.pending


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
        self._abroad = Abroad(key, coverage, reader, evidence)
        self._observe = observe
        self._signer = signer
        self._workers = [
            _Worker(witness) for witness in quorum.witnesses.values() if witness.url is not None
        ]
        self._shown: _Shown | None = None
        self._moved = asyncio.Event()
        self._half = _LEAST_HALF_SECONDS
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
        lanes = self._workers * _LANES
        self._tasks += [asyncio.create_task(self._ask_always(worker)) for worker in lanes]

    async def stop(self) -> None:
        """Stop asking."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def compare(self, state: LogState) -> None:
        """Hold what the witnesses have seen against this log; see :meth:`Abroad.compare`."""
        assert self._session is not None
        witnesses = [worker.witness for worker in self._workers]
        await self._abroad.compare(self._session, witnesses, state)

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
            if self._fresh(state) or self._on_its_way(state):
                continue
            before, names = self._shown, {worker.witness.name for worker in self._workers}
            self._shown = shown = _Shown(note, data, state, perf_counter(), pending=names)
            for worker in self._workers:
                worker.wake.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(_SECONDS):
                    await self._until_next(before, shown)

    async def _follow(self) -> None:
        """Take up what the process that signs has had cosigned, on this host or on another."""
        self._witnessed.look()
        with suppress(Exception):  # a driver's slip on a dying connection too
            note = await self._reader.cosigned()
            if note is not None and self._witnessed.is_behind(note):
                await self._witnessed.keep(note)

    def _fresh(self, state: Checkpoint) -> bool:
        """Whether this checkpoint was cosigned a moment ago."""
        known = self._witnessed.cosigned
        if known is None or known.checkpoint != state:
            return False
        return time() - quorum_time(self._quorum, known) < _REFRESH_SECONDS

    def _on_its_way(self, state: Checkpoint) -> bool:
        """Whether the witnesses are being shown this one, and there is time left for them."""
        shown = self._shown
        if shown is None or shown.settled or shown.state != state:
            return False
        return perf_counter() - shown.began < _SECONDS

    async def _until_next(self, before: _Shown | None, shown: _Shown) -> None:
        """Until it is settled; or the one before it is, and half of the way is over."""
        while not shown.settled:
            left = shown.began + self._half - perf_counter()
            ahead = before is not None and not before.settled
            if left <= 0 and not ahead:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(None if ahead else left):
                    await self._moved.wait()
                    self._moved.clear()

    async def _ask_always(self, worker: _Worker) -> None:
        """One lane to a witness: take it the newest checkpoint that nobody has taken there."""
        while True:
            await worker.wake.wait()
            worker.wake.clear()
            while (shown := self._shown) is not None and worker.shown is not shown:
                worker.shown = shown
                await self._ask_once(worker, shown)
                name = worker.witness.name
                if name in shown.lines and self._quorum.met_by(shown.lines):
                    self._take_up(shown)
                shown.pending.discard(name)
                self._moved.set()
                answered = shown.met or name in shown.lines
                if not answered and self._shown is shown and self._signer.signs:
                    # It slipped; where another one is slow, there is time to ask it again.
                    await asyncio.sleep(_PAUSE_SECONDS)
                    if worker.shown is shown:
                        worker.shown = None

    async def _ask_once(self, worker: _Worker, shown: _Shown) -> None:
        try:
            shown.lines[worker.witness.name] = await self._cosigned(worker, shown)
        except (_Overtaken, AuditLogUnavailable):
            pass  # none of it is the witness's fault
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
        if not shown.met:
            shown.met = True
            self._half = max(_LEAST_HALF_SECONDS, (perf_counter() - shown.began) / 2)
        lines = [line for lines in shown.lines.values() for line in lines]
        whole = Note(shown.note.text, (*shown.note.signatures, *lines)[: notes.MAX_SIGNATURES])
        if self._witnessed.take_up(notes.encode(whole)):
            self._taken.set()

    async def _keeping(self) -> None:
        """Keep the newest that was taken up, for other processes and hosts."""
        while True:
            await self._taken.wait()
            self._taken.clear()
            # What fails here, a driver's slip too, stops the signer as well, which says so.
            with suppress(Exception):
                await self._witnessed.store()
                await self._signer.keep_cosigned(self._witnessed.note)

    # --- one witness ------------------------------------------------------------------------------

    async def _cosigned(self, worker: _Worker, shown: _Shown) -> list[Signature]:
        """Show it a checkpoint, from where it is; give its lines, checked."""
        size = shown.state.size
        for _ in range(_TRIES):
            old = worker.soon
            self._require_ahead(size, old)
            path = await self._path(old, shown.state)
            worker.soon, status = size, 0
            try:
                status, kind, body = await self._post(
                    worker.witness, encode(Submission(old, path, shown.data))
                )
            finally:
                if status != Status.COSIGNED:
                    worker.soon = worker.size
            if status == Status.COSIGNED:
                lines = self._checked(worker.witness, shown, body)
                worker.size = max(worker.size, size)  # the later one's answer may be here already
                return lines
            # SPEC: "409 Conflict" [...] the tree size of the latest cosigned checkpoint. Some
            # witnesses answer so, without the content type, also where the roots differ.
            known = _size(body) if status == Status.STALE and kind == SIZE_TYPE else None
            if known is not None:
                self._require_ahead(size, known)
            if known is None or known > size:
                assert self._session is not None
                holds = await self._abroad.hear_out(self._session, worker.witness)
                if holds > size:
                    raise _Overtaken  # by another host
            if known is None:
                raise _Failed(f"answers {status}")
            if known > size:
                raise _Failed("is further than what it is shown")
            worker.size = worker.soon = known
        raise _Failed("does not say where it is")

    def _require_ahead(self, size: int, known: int) -> None:
        """Raise _Overtaken where a witness is further than this, by what it was shown later."""
        assert self._shown is not None
        if size < known <= self._shown.state.size:
            raise _Overtaken

    async def _path(self, old: int, state: Checkpoint) -> tuple[bytes, ...]:
        if old in {0, state.size}:
            return ()
        late = self._coverage.grown(old, state)
        if late is not None:
            return late
        return await computed(self._reader, lambda fetch: consistency_path(old, state.size, fetch))

    async def _post(self, witness: Witness, body: bytes) -> tuple[int, str, bytes]:
        assert self._session is not None
        url = f"{prefix(witness)}/add-checkpoint"
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
        # One is enough, and of more than one the others would ride in every receipt.
        found = [line for line in lines if (line.name, line.key_id) == own][:1]
        text = shown.note.text.encode()
        if not found or not witness.key.accepts(text, found[0].signature):
            raise _Failed("answers without its cosignature")
        return found


def _size(body: bytes) -> int | None:
    try:
        return read_decimal(body.decode("ascii").removesuffix("\n"))
    except (Malformed, UnicodeDecodeError):
        return None
