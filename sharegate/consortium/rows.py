"""Hashing the entries of a sealed log, bundle by bundle: what several processes do at once.

It imports nothing but `audit` and `reading`: each process begins by importing it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sharegate.audit.chain import linked
from sharegate.audit.tiles import WIDTH, Tile, encode_hashes, parse_bundle
from sharegate.audit.tree import Frontier
from sharegate.consortium.reading import read_tile


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of a bundle whose entries follow one another.

    Attributes:
        prev: What its first entry records as the hash before it.
        last: The hash of its last entry.
        root: Of its entries.
        width: How many there are.
        hashes: All of them, where a checkpoint is looked for among them.
    """

    prev: bytes
    last: bytes
    root: bytes
    width: int
    hashes: tuple[bytes, ...] = ()


def look(directory: Path, wanted: frozenset[int], tiles: Sequence[Tile]) -> list[Row] | None:
    """Hash bundles, and hold their rows of hashes against them; None where these do not fit."""
    rows = []
    for tile in tiles:
        entries = parse_bundle(tile, read_tile(directory, tile))
        found = linked(entries, tile.n * WIDTH)
        if found is None:
            return None
        prev, hashes = found
        row = Tile(0, tile.n, tile.width)
        if read_tile(directory, row) != encode_hashes(hashes):
            return None
        root = Frontier.empty().extend(hashes).root()
        kept = tuple(hashes) if tile.n in wanted else ()
        rows.append(Row(prev, hashes[-1], root, tile.width, kept))
    return rows
