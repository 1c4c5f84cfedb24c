"""The sealer: writes the log as files that any web server can serve, and that never change.

It re-reads every entry, hashes it again, and writes nothing before the hashes lead to a signed
checkpoint's root. Files appear whole and durably, the checkpoint last, so whoever reads it finds
all that it needs. What is there already is compared, never overwritten. C2SP tlog-tiles.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

from sharegate import durable
from sharegate.audit.chain import GENESIS, Verifier
from sharegate.audit.checkpoint import Checkpoint, open_checkpoint
from sharegate.audit.note import VerifierKey
from sharegate.audit.tiles import (
    WIDTH,
    Tile,
    bundles_of,
    encode_bundle,
    encode_hashes,
    parse_hashes,
    tiles_of,
)
from sharegate.audit.tree import Frontier, leaf_hash, range_nodes
from sharegate.audit.verdict import Malformed, Unproven
from sharegate.consortium.reading import read_tile
from sharegate.errors import LogDiverged

CHECKPOINT: Final = "checkpoint"
_BITS: Final = 8
_AT_ONCE: Final = 16 * WIDTH


class Leaves(Protocol):
    """Where entries are read from; not believed."""

    async def leaves(self, first: int, most: int) -> list[bytes]:
        """At most `most` leaves in order, from index `first`; some, if there are any."""


class Sealer:
    """One log's files."""

    def __init__(self, directory: Path, key: VerifierKey, reader: Leaves) -> None:
        """Prepare.

        Args:
            directory: Where they go; nobody else writes there.
            key: The log's, named as its origin.
            reader: Reads the entries.
        """
        self._directory = directory
        self._key = key
        self._reader = reader

    def published(self) -> Checkpoint | None:
        """The checkpoint that is published; None where none is.

        Raises:
            LogDiverged: What stands there is not this log's.
        """
        file = self._directory / CHECKPOINT
        return self._opened(file.read_bytes()) if file.exists() else None

    async def seal(self, note: bytes, vouched: Callable[[bytes], bytes] = lambda note: note) -> int:
        """Write what a checkpoint adds, then the checkpoint; give its size.

        Args:
            note: A checkpoint that the log has signed, with cosignatures or without.
            vouched: Adds lines to it, once the entries are found to be those it was signed over.

        Raises:
            LogDiverged: It contradicts what is published, or the log is not what was signed.
            Exception: Whatever the reader raises, where it gives no answer.
            OSError: A file may not be durable.
        """
        state, before = self._opened(note), self.published()
        if before is not None and before.size > state.size:
            raise LogDiverged(f"{before.size} entries are published, more than {state.size}")
        if before is not None and before.size == state.size and before.root != state.root:
            raise LogDiverged(f"another checkpoint of {state.size} entries is published")
        since = 0 if before is None else before.size
        if before is None or since < state.size:
            first = since // WIDTH * WIDTH
            hashes = await self._hashed(first, before, state)
            await self._write_bundles(first, since, state.size, hashes)
            self._write_tiles(first, since, state.size, hashes)
        vouched_for = await asyncio.to_thread(vouched, note)
        durable.replace(self._directory / CHECKPOINT, vouched_for)
        self._remove_outgrown(since, state.size)
        return state.size

    def root_at(self, size: int) -> bytes:
        """The root that what is published had when it had so many entries.

        Raises:
            LogDiverged: There are not so many, or a file is missing or damaged.
        """
        published = self.published()
        if published is None or size > published.size:
            raise LogDiverged(f"fewer than {size} entries are published")
        first = size // WIDTH * WIDTH
        known = published.size - first
        rest: tuple[bytes, ...] = ()
        if size > first:
            rest = self._row(Tile(0, first // WIDTH, min(WIDTH, known)))[: size - first]
        return Frontier(first, self._frontier(first)).extend(rest).root()

    async def _hashed(
        self, first: int, before: Checkpoint | None, state: Checkpoint
    ) -> Sequence[bytes]:
        """The leaf hashes from a full tile's end on, once they lead to the checkpoint's root."""
        known = [each for each in (before, state) if each is not None and each.size >= first]
        prev = self._row(Tile(0, first // WIDTH - 1))[-1] if first else GENESIS
        try:
            verifier = Verifier(known, Frontier(first, self._frontier(first)), prev)
        except (Malformed, Unproven) as error:
            raise LogDiverged(f"the files are not those of the log: {error}") from error
        hashes: list[bytes] = []
        async for leaves in self._leaves(first, state.size):
            if verifier.feed(leaves) is not None:
                break
            hashes += map(leaf_hash, leaves)
        fault = verifier.finish()
        if fault is not None:
            raise LogDiverged(str(fault))
        return hashes

    async def _write_bundles(
        self, first: int, since: int, size: int, hashes: Sequence[bytes]
    ) -> None:
        bundles = bundles_of(size, since)
        async for leaves in self._leaves(first, size):
            for at in range(0, len(leaves), WIDTH):
                part, tile = leaves[at : at + WIDTH], next(bundles, None)
                # Cut short it would stand as a full bundle, and in the way of every later seal.
                if tile is None or len(part) != tile.width:
                    raise LogDiverged("entries vanished while they were read")
                start = tile.n * WIDTH - first
                if [*map(leaf_hash, part)] != [*hashes[start : start + len(part)]]:
                    raise LogDiverged(f"entries of {tile.path} changed while they were read")
                self._write(tile, encode_bundle(part))

    def _write_tiles(self, first: int, since: int, size: int, hashes: Sequence[bytes]) -> None:
        for tile in tiles_of(size, since):
            start = tile.n * WIDTH
            if tile.level == 0:
                row = hashes[start - first : start - first + tile.width]
            else:
                assert tile.level is not None
                below = (Tile(tile.level - 1, n) for n in range(start, start + tile.width))
                row = [Frontier.empty().extend(self._row(each)).root() for each in below]
            self._write(tile, encode_hashes(row))

    def _write(self, tile: Tile, data: bytes) -> None:
        file = self._directory / tile.path
        if file.exists():
            if file.read_bytes() != data:
                raise LogDiverged(f"{tile.path} is published otherwise")
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        durable.replace(file, data)

    def _remove_outgrown(self, since: int, size: int) -> None:
        """Partial tiles whose full tile is there are not needed any more."""
        for tile in (*tiles_of(size, since), *bundles_of(size, since)):
            if tile.width == WIDTH:
                file = self._directory / tile.path
                shutil.rmtree(file.with_name(f"{file.name}.p"), ignore_errors=True)

    def _row(self, tile: Tile) -> tuple[bytes, ...]:
        """The hashes of a tile that is there."""
        try:
            return parse_hashes(tile, read_tile(self._directory, tile))
        except (OSError, Malformed) as error:
            raise LogDiverged(f"{tile.path} is missing or damaged") from error

    def _frontier(self, size: int) -> tuple[bytes, ...]:
        """The maximal complete subtrees of so many entries, all of them in full tiles."""
        hashes = []
        for level, n in range_nodes(0, size):
            row, up = divmod(level, _BITS)
            place = n << up
            found = self._row(Tile(row, place // WIDTH)) if self._is_full(row, place, size) else ()
            part = found[place % WIDTH : place % WIDTH + (1 << up)]
            if not part:  # the newest of its level, computed from the full tiles below
                below = (Tile(row - 1, each) for each in range(place, place + (1 << up)))
                part = tuple(Frontier.empty().extend(self._row(each)).root() for each in below)
            hashes.append(Frontier.empty().extend(part).root())
        return tuple(hashes)

    @staticmethod
    def _is_full(row: int, place: int, size: int) -> bool:
        return (place // WIDTH + 1) * WIDTH <= size >> (_BITS * row)

    async def _leaves(self, first: int, size: int) -> AsyncIterator[list[bytes]]:
        """The entries, so many whole tiles at once."""
        while first < size:
            leaves = await self._reader.leaves(first, min(_AT_ONCE, size - first))
            if not leaves:
                raise LogDiverged(f"the log ends at {first} entries, but {size} were signed")
            yield leaves
            first += len(leaves)

    def _opened(self, note: bytes) -> Checkpoint:
        try:
            return open_checkpoint(note, [self._key], self._key.name)
        except (Malformed, Unproven) as error:
            raise LogDiverged(f"a checkpoint is not this log's: {error}") from error
