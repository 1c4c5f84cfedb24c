"""Files that others wrote are read as far as they can rightly go, and no further."""

import os

import pytest

from sharegate.audit.tiles import WIDTH, Tile
from sharegate.audit.verdict import Malformed
from sharegate.consortium.archive import Archive, NotWhole
from sharegate.consortium.reading import read_file, read_tile
from sharegate.consortium.rows import look

ENDLESS = 2**40  # bytes, none of which is on the disk


@pytest.fixture
def endless(tmp_path):
    """Makes a file that is too long to be read whole."""

    def made(name):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        os.truncate(file, ENDLESS)
        return file

    return made


def test_a_file_is_read_whole_up_to_its_limit(tmp_path, endless):
    file = tmp_path / "file"
    for size in (0, 1, 99, 100):
        file.write_bytes(bytes(size))
        assert read_file(file, 100) == bytes(size)
    file.write_bytes(bytes(101))
    for one in (file, endless("endless")):
        with pytest.raises(Malformed, match="more than 100 bytes"):
            read_file(one, 100)


def test_what_does_not_say_how_long_it_is_is_read_as_well(tmp_path):
    read, write = os.pipe()
    os.write(write, b"a line\n")
    os.close(write)
    (tmp_path / "pipe").symlink_to(f"/dev/fd/{read}")
    assert read_file(tmp_path / "pipe") == b"a line\n"
    os.close(read)
    (tmp_path / "zeros").symlink_to("/dev/zero")
    with pytest.raises(Malformed):
        read_file(tmp_path / "zeros")


@pytest.mark.parametrize(
    ("tile", "most"),
    [
        (Tile(0, 0), 256 * 32), (Tile(1, 0, 3), 3 * 32),
        (Tile(None, 0), 256 * 65_537), (Tile(None, 0, 1), 65_537),
    ],
)  # fmt: skip
def test_a_tile_is_no_longer_than_its_width_allows(tmp_path, endless, tile, most):
    file = endless(tile.path)
    with pytest.raises(Malformed, match=f"{tile.path} has more than {most} bytes"):
        read_tile(tmp_path, tile)
    os.truncate(file, most)
    assert len(read_tile(tmp_path, tile)) == most


def test_a_bundle_without_end_is_no_bundle(tmp_path, endless):
    endless("tile/entries/000")
    with pytest.raises(Malformed, match="more than"):
        look(tmp_path, frozenset(), [Tile(None, 0)])
    with pytest.raises(NotWhole, match="tile/entries/000 is missing or damaged"):
        Archive(tmp_path, tmp_path / "details", WIDTH).leaves(0)


def test_a_row_of_hashes_without_end_is_no_row(tmp_path, endless):
    endless("tile/1/000.p/1")
    with pytest.raises(NotWhole, match=r"tile/1/000\.p/1 is missing or damaged"):
        Archive(tmp_path, tmp_path / "details", WIDTH).subtree(8, 0)
