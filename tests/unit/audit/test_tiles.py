"""Tiles and bundles: their paths, which of them a log has, and their bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharegate.audit.tiles import (
    WIDTH,
    Tile,
    bundles_of,
    encode_bundle,
    encode_hashes,
    parse_bundle,
    parse_hashes,
    parse_path,
    tiles_of,
)
from sharegate.audit.verdict import Malformed


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(3, 1234067), "tile/3/x001/x234/067"),
        (Tile(0, 999), "tile/0/999"),
        (Tile(0, 1000), "tile/0/x001/000"),
        (Tile(0, 273, 112), "tile/0/273.p/112"),
        (Tile(2, 0, 1), "tile/2/000.p/1"),
        (Tile(None, 1234067), "tile/entries/x001/x234/067"),
        (Tile(None, 5, 255), "tile/entries/005.p/255"),
        (Tile(63, 0), "tile/63/000"),
    ],
)
def test_a_path_as_the_specification_has_it(tile, path):
    assert tile.path == path
    assert parse_path(path) == tile


@pytest.mark.parametrize(
    "path",
    ["tile/0/0", "tile/0/00", "tile/00/000", "tile/64/000", "tile/-1/000", "tile/0/x000/000",
     "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000.p/", "tile/0/001/000",
     "tile/0/x001", "/tile/0/000", "tile/0/000/", "tile/0/../0/000", "tile/data/000", "tile/0/٠٠٠",
     "tile/0/000\n", "tile/0/x999/x999/x999/x999/x999/x999/x999/999", "tile/0/000.p/999"],
)  # fmt: skip
def test_no_other_spelling_is_a_path(path):
    with pytest.raises(Malformed):
        parse_path(path)


@given(st.none() | st.integers(0, 63), st.integers(0, 2**50), st.integers(1, WIDTH))
def test_every_path_is_read_back(level, n, width):
    tile = Tile(level, n, width)
    assert parse_path(tile.path) == tile


def test_the_specifications_example():
    tiles = list(tiles_of(70_000))
    assert len([tile for tile in tiles if tile.level == 0 and tile.width == WIDTH]) == 273
    assert [tile for tile in tiles if tile.width < WIDTH] == [
        Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1),
    ]  # fmt: skip
    assert Tile(1, 0) in tiles
    assert len(tiles) == 273 + 1 + 1 + 1 + 1
    assert list(tiles_of(256)) == [Tile(0, 0), Tile(1, 0, 1)]
    assert list(tiles_of(0)) == []


@given(st.integers(0, 200_000), st.integers(0, 200_000))
def test_what_a_log_gains_is_what_it_has_and_had_not(one, other):
    since, size = sorted((one, other))
    had = {tile for tile in tiles_of(since) if tile.width == WIDTH}
    now = list(tiles_of(size))
    assert list(tiles_of(size, since)) == [tile for tile in now if tile not in had]
    assert [tile.n for tile in bundles_of(size, since)] == [
        tile.n for tile in tiles_of(size, since) if tile.level == 0
    ]
    assert sum(tile.width for tile in bundles_of(size)) == size


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=WIDTH))
def test_a_bundle_is_read_back_and_no_part_of_it(entries):
    tile = Tile(None, 0, len(entries))
    data = encode_bundle(entries)
    assert parse_bundle(tile, data) == tuple(entries)
    for wrong in (data[:-1], data + b"\0", data + b"\0\0", b""):
        with pytest.raises(Malformed):
            parse_bundle(tile, wrong)


def test_the_longest_entry_and_one_byte_more():
    longest = b"x" * 65_535
    assert parse_bundle(Tile(None, 0, 1), encode_bundle([longest])) == (longest,)
    with pytest.raises(Malformed, match="65535"):
        encode_bundle([longest + b"x"])
    assert encode_bundle([b"ab", b""]) == b"\0\2ab\0\0"


def test_a_tile_has_as_many_hashes_as_its_path_says():
    hashes = [bytes([n]) * 32 for n in range(3)]
    data = encode_hashes(hashes)
    assert parse_hashes(Tile(0, 0, 3), data) == tuple(hashes)
    for width in (2, 4, 256):
        with pytest.raises(Malformed):
            parse_hashes(Tile(0, 0, width), data)


def test_a_bundle_that_is_too_long_is_no_bundle():
    """It is read no further than it is wide: zeros would be an entry in every two bytes."""
    for width in (1, 255, WIDTH):
        with pytest.raises(Malformed, match=f"more than {width} entries"):
            parse_bundle(Tile(None, 0, width), bytes(2 * WIDTH + 2))
