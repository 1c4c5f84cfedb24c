"""The follower that fills the projection from the log, as far as signed checkpoints reach.

It believes nothing: each stretch is hashed again from the bytes stored, onto the tree it had
before, and goes in only where the result is the root of a checkpoint the log has signed.
"""

import asyncio
from time import perf_counter
from typing import Final

from sharegate.audit.chain import Verifier
from sharegate.audit.checkpoint import Checkpoint, open_checkpoint
from sharegate.audit.note import VerifierKey
from sharegate.audit.tree import Frontier
from sharegate.audit.verdict import Malformed, Unproven
from sharegate.errors import LogDiverged
from sharegate.observe import Observer, Projected, ProjectionState
from sharegate.record.blind import Token
from sharegate.record.projected import Place, PostgresProjection, Turn
from sharegate.record.projection import search_row, tokens
from sharegate.record.reader import Broken

_REACH: Final = 4096
_AT_ONCE: Final = 128  # a few milliseconds of the event loop
_IDLE_SECONDS: Final = 0.5
# For each second of work so many of rest: exchanges share the machine and the database.
_REST: Final = 2.0


class ProjectionFollower:
    """Fills one log's projection."""

    def __init__(self, key: VerifierKey, projection: PostgresProjection, observe: Observer) -> None:
        """Prepare.

        Args:
            key: The log's, named as its origin.
            projection: Where it goes.
            observe: Told how far it reaches, and when it stops.
        """
        self._key = key
        self._projection = projection
        self._observe = observe
        self._stumbled = False

    async def run(self, rest: float = _REST) -> None:
        """Follow until cancelled; a database that gives no answer is asked again.

        Args:
            rest: Seconds of rest for each second of work.

        Raises:
            LogDiverged: The log is not what was signed; a human only.
        """
        try:
            while True:
                began = perf_counter()
                moved = await self._try()
                worked = perf_counter() - began
                await asyncio.sleep(worked * rest if moved else _IDLE_SECONDS)
        except LogDiverged as diverged:
            self._observe(ProjectionState(usable=False, detail=str(diverged)))
            raise

    async def catch_up(self) -> int:
        """Project all that is signed now; give the projection's size.

        Raises:
            LogDiverged: The log is not what was signed.
            Broken: The database gives no answer.
        """
        while await self.step():
            pass
        async with self._projection.turn() as turn:
            return 0 if turn is None else turn.place.size

    async def rebuild(self) -> None:
        """Forget everything projected; the next step begins with the first entry.

        Raises:
            Broken: The database gives no answer.
        """
        while True:
            async with self._projection.turn() as turn:
                if turn is not None:
                    await turn.empty()
                    return
            await asyncio.sleep(_IDLE_SECONDS)

    async def step(self) -> bool:
        """Project one stretch, up to a signed checkpoint; say whether there was one.

        Raises:
            LogDiverged: The log is not what was signed; nothing of the stretch is put in.
            Broken: The database gives no answer.
        """
        async with self._projection.turn() as turn:
            if turn is None:
                return False
            if turn.place.size < turn.archived:  # what it has not seen has left meanwhile
                await turn.empty()
                return True
            note = await turn.target(_REACH)
            if note is None:
                if await turn.newest() < turn.place.size:
                    raise LogDiverged(f"{turn.place.size} entries were projected, fewer are signed")
                return False
            checkpoint = self._opened(note)
            verifier = self._verifier(turn.place, checkpoint)
            await _project(turn, verifier, checkpoint.size)
            edge = verifier.frontier.edge
            await turn.move(Place(checkpoint.size, verifier.prev, edge, note))
        self._observe(Projected(checkpoint.size))
        return True

    async def _try(self) -> bool:
        try:
            moved = await self.step()
        except Broken as error:
            if not self._stumbled:
                self._stumbled = True
                detail = f"the projection cannot be filled now: {type(error).__name__}"
                self._observe(ProjectionState(usable=False, detail=detail))
            return False
        if self._stumbled:
            self._stumbled = False
            self._observe(ProjectionState(usable=True, detail="the projection is filled again"))
        return moved

    def _opened(self, note: bytes) -> Checkpoint:
        try:
            return open_checkpoint(note, [self._key], self._key.name)
        except (Malformed, Unproven) as error:
            raise LogDiverged(f"a stored checkpoint is not this log's: {error}") from error

    def _verifier(self, place: Place, target: Checkpoint) -> Verifier:
        """What holds the next entries against both checkpoints, the one before and the one after.

        Raises:
            LogDiverged: The projection's own memory of the tree is not what was signed.
        """
        known = [] if place.note is None else [self._opened(place.note)]
        try:
            frontier = Frontier.of(place.size, place.frontier)
            return Verifier([*known, target], frontier, place.last)
        except (Malformed, Unproven, ValueError) as error:
            raise LogDiverged(f"the projection's place is not of this log: {error}") from error


async def _project(turn: Turn, verifier: Verifier, size: int) -> None:
    """Put entries in until there are so many.

    Raises:
        LogDiverged: They are not those that were signed.
    """
    first = turn.place.size
    while first < size and verifier.fault is None:
        entries = await turn.entries(first, min(_AT_ONCE, size - first))
        if not entries:
            break
        verifier.feed(leaf for leaf, _ in entries)
        rows = [
            search_row(seq, leaf, blind) for seq, (leaf, blind) in enumerate(entries, start=first)
        ]
        people = [
            (token, row.time, row.seq)
            for row, (_, blind) in zip(rows, entries, strict=True)
            for token in sorted(set(tokens(blind, Token.PERSON)))
        ]
        await turn.add(rows, people)
        first += len(entries)
    fault = verifier.finish()
    if fault is not None:
        raise LogDiverged(str(fault))
