"""Old entries outside the database: their bundles as published, and what stands beside them.

The leaves are where `sealer` wrote them. What was beside them is personal, if sealed, and lies in
a folder of its own that no web server shows: one file for each bundle, one line of JSON for each
entry. What is in it is held against what the leaves commit to.
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from sharegate import durable
from sharegate.audit.chain import GENESIS, parse_leaf
from sharegate.audit.tiles import WIDTH, Tile, parse_bundle, parse_hashes
from sharegate.audit.tree import Frontier, Node, leaf_hash
from sharegate.audit.verdict import Malformed
from sharegate.consortium.memory import LogState
from sharegate.consortium.reading import read_tile
from sharegate.errors import ShareGateError
from sharegate.model.act import ActKind
from sharegate.record.entry import read_core
from sharegate.record.opening import require_sealed, says_erased
from sharegate.record.search import Stored

_TILE_LEVELS: Final = 8
_ARCHIVE: Final = b'"kind":"archive"'  # as canonical JSON has it
_encode: Final = msgspec.json.Encoder(order="sorted").encode


class NotWhole(ShareGateError):
    """An archive is not that of its log; names the first file or entry that is wrong."""


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    sealed: str
    wrapped: str | None
    blind: str | None
    erased_by: int | None


class FilesReader:
    """A log's files in the database's place, where `coverage.prove` reads."""

    def __init__(self, archive: "Archive") -> None:
        """Prepare; what it gives is not judged."""
        self._archive = archive

    async def leaves(self, first: int, most: int) -> list[bytes]:
        """At most `most` leaves in order, from the beginning of a bundle on; `most` of a bundle."""
        return list(self._archive.leaves(first // WIDTH)[:most])

    async def subtrees(self, ranges: Sequence[tuple[int, int, int]]) -> dict[Node, bytes]:
        """Subtree hashes, for ranges of (level, first, after)."""
        wanted = ((level, n) for level, first, after in ranges for n in range(first, after))
        return {node: self._archive.subtree(*node) for node in wanted}


class Archive:
    """A log's files, which were verified, and the details that belong to them."""

    def __init__(self, files: Path, details: Path, size: int) -> None:
        """Prepare.

        Args:
            files: With `tile/` in it.
            details: Where the details are, or are to be.
            size: How many entries the files have.
        """
        self._files = files
        self._details = details
        self._size = size

    def leaves(self, n: int) -> tuple[bytes, ...]:
        """A bundle's leaves.

        Raises:
            NotWhole: It is not there, or none.
        """
        tile = Tile(None, n, min(WIDTH, self._size - n * WIDTH))
        try:
            return parse_bundle(tile, read_tile(self._files, tile))
        except (OSError, Malformed) as error:
            raise NotWhole(f"{tile.path} is missing or damaged") from error

    def subtree(self, level: int, n: int) -> bytes:
        """The hash of a complete subtree of 2^level leaves; level is a multiple of 8.

        Raises:
            NotWhole: Its tile is not there, or none.
        """
        row = level // _TILE_LEVELS
        width = min(WIDTH, (self._size >> level) - n // WIDTH * WIDTH)
        tile = Tile(row, n // WIDTH, width)
        try:
            return parse_hashes(tile, read_tile(self._files, tile))[n % WIDTH]
        except (OSError, Malformed) as error:
            raise NotWhole(f"{tile.path} is missing or damaged") from error

    def write(self, n: int, rows: Sequence[Stored]) -> None:
        """Write what stands beside a bundle, durably.

        Raises:
            NotWhole: The files have other entries, or their details stand there.
            OSError: It may not be durable.
        """
        file = self._file(n)
        if tuple(row.leaf for row in rows) != self.leaves(n):
            raise NotWhole(f"the files have other entries from {n * WIDTH} on")
        if file.exists() and [each.entry_id for each in self.read(n)] != [
            each.entry_id for each in rows
        ]:
            raise NotWhole(f"{file} has the details of other entries")
        data = b"".join(_encode(_line(row)) + b"\n" for row in rows)
        file.parent.mkdir(parents=True, exist_ok=True)
        durable.replace(file, data)

    def read(self, n: int) -> list[Stored]:
        """A bundle's entries with what stands beside them; not judged.

        Raises:
            NotWhole: They are not there, or of another form.
        """
        file = self._file(n)
        try:
            lines = file.read_bytes().splitlines()
            return [
                _stored(leaf, msgspec.json.decode(line, type=_Line))
                for leaf, line in zip(self.leaves(n), lines, strict=True)
            ]
        except (OSError, msgspec.MsgspecError, ValueError) as error:
            raise NotWhole(f"{file} is missing or damaged") from error

    def told(self) -> int:
        """Of how many entries there must be details: as the log says, or as the last file has it.

        The second where the files end before the entry that says so.

        Raises:
            NotWhole: Of none.
        """
        size = 0
        for n in range(-(-self._size // WIDTH)):
            if self._file(n).exists():
                size = max(size, (n + 1) * WIDTH)
            for leaf in self.leaves(n):
                if _ARCHIVE in leaf:  # few; reading a core costs a hundred times as much
                    size = max(size, says_archived(leaf))
        if not size:
            raise NotWhole(f"{self._details} has no details, and no entry says that any left")
        return size

    def hold(self, size: int) -> LogState:
        """Hold the details of the first `size` entries, whole bundles, against their leaves.

        Returns:
            The tree and the chain there.

        Raises:
            NotWhole: One is missing, or not what its leaf commits to.
        """
        tree, last = Frontier.empty(), GENESIS
        for n in range(size // WIDTH):
            rows = self.read(n)
            for index, row in enumerate(rows, start=n * WIDTH):
                self._hold_one(index, row)
            hashes = [leaf_hash(row.leaf) for row in rows]
            tree, last = tree.extend(hashes), hashes[-1]
        return LogState(tree, last)

    def _hold_one(self, index: int, row: Stored) -> None:
        try:
            require_sealed(read_core(parse_leaf(row.leaf).core), row.entry_id, row.sealed)
        except (Malformed, ValueError) as error:
            raise NotWhole(f"entry {index}: {error}") from error
        told = row.erased_by
        if row.wrapped is None and told is not None and told >= self._size:
            raise NotWhole(f"entry {index}: erased, as entry {told} says; the files end before")
        if row.wrapped is None and not self._says_erased(told, index):
            raise NotWhole(f"entry {index}: its detail is gone, and no entry says why")

    def _says_erased(self, told: int | None, index: int) -> bool:
        if told is None or told < 0:
            return False
        leaf = self.leaves(told // WIDTH)[told % WIDTH]
        return says_erased(_core(leaf), index)

    def _file(self, n: int) -> Path:
        return self._details / Tile(None, n).path.replace("tile/entries", "detail", 1)


def _core(leaf: bytes) -> Mapping[str, object]:
    """What a leaf says; nothing where it is not canonical, for a log may hold any bytes."""
    try:
        return read_core(parse_leaf(leaf).core)
    except ValueError:
        return {}


def says_archived(leaf: bytes) -> int:
    """How many entries an entry says are archived; 0 where it says something else."""
    core = _core(leaf)
    facts = core.get("facts")
    if core.get("kind") != ActKind.ARCHIVE or not isinstance(facts, dict):
        return 0
    to = facts.get("to")
    return to if isinstance(to, int) else 0


def _line(row: Stored) -> _Line:
    return _Line(
        id=b64encode(row.entry_id).decode(),
        sealed=b64encode(row.sealed).decode(),
        wrapped=None if row.wrapped is None else b64encode(row.wrapped).decode(),
        blind=None if row.blind is None else b64encode(row.blind).decode(),
        erased_by=row.erased_by,
    )


def _stored(leaf: bytes, line: _Line) -> Stored:
    return Stored(
        entry_id=b64decode(line.id, validate=True),
        leaf=leaf,
        sealed=b64decode(line.sealed, validate=True),
        wrapped=None if line.wrapped is None else b64decode(line.wrapped, validate=True),
        blind=None if line.blind is None else b64decode(line.blind, validate=True),
        erased_by=line.erased_by,
    )
