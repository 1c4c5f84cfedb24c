"""Tiles: a log's tree and its entries as files that never change. Pure.

The layout is C2SP tlog-tiles (https://c2sp.org/tlog-tiles): a tile is a row of up to 256 hashes, a
bundle up to 256 entries, each at a path of its own. A full one never changes; a partial one belongs
to one size of the log.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sharegate.audit.text import MAX_SIZE
from sharegate.audit.tree import HASH_BYTES
from sharegate.audit.verdict import Malformed

WIDTH: Final = 256
_BITS: Final = 8
# SPEC: `<L>` [...] MUST be a decimal ASCII integer between 0 and 63.
_LEVELS: Final = 64
_MOST_ENTRY: Final = 2**16 - 1
_ENTRIES: Final = "entries"
_PATH: Final = re.compile(
    r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?"
)


@dataclass(frozen=True, slots=True)
class Tile:
    """One file: a tile of hashes, or a bundle of entries.

    Attributes:
        level: 0 to 63; None for a bundle.
        n: Its place in its level, from 0.
        width: How many hashes or entries it has, 1 to 256.
    """

    level: int | None
    n: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """Where it is, under the log's prefix."""
        # SPEC: zero-padded 3-digit path elements. All but the last path element MUST begin
        # with an `x`.
        digits = str(self.n)
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        *groups, last = (digits[at : at + 3] for at in range(0, len(digits), 3))
        name = "/".join([*(f"x{group}" for group in groups), last])
        partial = "" if self.width == WIDTH else f".p/{self.width}"
        return f"tile/{_ENTRIES if self.level is None else self.level}/{name}{partial}"

    @property
    def most_bytes(self) -> int:
        """How long its file can be."""
        return self.width * (2 + _MOST_ENTRY if self.level is None else HASH_BYTES)


def parse_path(path: str) -> Tile:
    """Read the path of a tile or bundle in its one spelling.

    Raises:
        Malformed: Not one.
    """
    found = _PATH.fullmatch(path)
    if found is None:
        raise Malformed("not the path of a tile")
    level, digits, width = found.groups()
    n = int(digits.replace("x", "").replace("/", ""))
    tile = Tile(
        None if level == _ENTRIES else int(level), n, WIDTH if width is None else int(width)
    )
    # SPEC: `<W>` is the width of the tile, a decimal ASCII integer between 1 and 255
    narrow = width is None or tile.width < WIDTH
    if tile.path != path or not narrow or (tile.level or 0) >= _LEVELS or n > MAX_SIZE:
        raise Malformed("not the path of a tile")
    return tile


def tiles_of(size: int, since: int = 0) -> Iterator[Tile]:
    """List the tiles of hashes that a log of this size has, lowest level first.

    Args:
        size: Entries.
        since: Leave out the full tiles that a log of this size had already.
    """
    level = 0
    while count := size >> (_BITS * level):
        first = (since >> (_BITS * level)) // WIDTH
        yield from (Tile(level, n) for n in range(first, count // WIDTH))
        if count % WIDTH:
            yield Tile(level, count // WIDTH, count % WIDTH)
        level += 1


def bundles_of(size: int, since: int = 0) -> Iterator[Tile]:
    """List the bundles of a log of this size; `since` as for `tiles_of`."""
    for tile in tiles_of(size, since):
        if tile.level == 0:
            yield Tile(None, tile.n, tile.width)


def encode_hashes(hashes: Sequence[bytes]) -> bytes:
    """Write a tile of hashes."""
    return b"".join(hashes)


def parse_hashes(tile: Tile, data: bytes) -> tuple[bytes, ...]:
    """Read a tile of hashes.

    Raises:
        Malformed: It has not as many as it must.
    """
    if len(data) != tile.width * HASH_BYTES:
        raise Malformed(f"{tile.path} has {len(data)} bytes, not {tile.width * HASH_BYTES}")
    return tuple(data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES))


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Write a bundle.

    Raises:
        Malformed: An entry is longer than a bundle can hold.
    """
    # SPEC: sequences of big-endian uint16 length-prefixed log entries.
    if any(len(entry) > _MOST_ENTRY for entry in entries):
        raise Malformed(f"an entry has at most {_MOST_ENTRY} bytes")
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def parse_bundle(tile: Tile, data: bytes) -> tuple[bytes, ...]:
    """Read a bundle.

    Raises:
        Malformed: It is cut off, or has not as many entries as it must.
    """
    entries: list[bytes] = []
    at = 0
    while at < len(data):
        if len(entries) == tile.width:  # of zeros every two would be one more, without end
            raise Malformed(f"{tile.path} has more than {tile.width} entries")
        length = int.from_bytes(data[at : at + 2], "big")
        entry = data[at + 2 : at + 2 + length]
        if len(data) - at < 2 + length:
            raise Malformed(f"{tile.path} is cut off")
        entries.append(entry)
        at += 2 + length
    if len(entries) != tile.width:
        raise Malformed(f"{tile.path} has {len(entries)} entries, not {tile.width}")
    return tuple(entries)
