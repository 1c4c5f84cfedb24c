"""Reading files that others wrote: never more of one than it can rightly have.

A log's files may come from anywhere, and their sizes are nobody's word. It imports nothing but
`audit`: see `rows`.
"""

import os
from pathlib import Path
from typing import Final

from sharegate.audit.note import MAX_NOTE_BYTES
from sharegate.audit.tiles import Tile
from sharegate.audit.verdict import Malformed

MOST_SIGNED: Final = MAX_NOTE_BYTES
"""Bytes of a note, a receipt, a quorum file or a key."""


def read_file(file: Path, most: int = MOST_SIGNED) -> bytes:
    """Read a file of at most so many bytes.

    Raises:
        Malformed: It has more.
        OSError: It cannot be read.
    """
    with file.open("rb") as opened:
        # A buffer of what it is said to have costs less; what is no file on a disk says nothing.
        said = os.fstat(opened.fileno()).st_size or most
        data = opened.read(min(said, most) + 1)
    if len(data) > most:
        raise Malformed(f"{file} has more than {most} bytes")
    return data


def read_tile(directory: Path, tile: Tile) -> bytes:
    """Read the file of a tile or bundle of a log; not judged.

    Raises:
        Malformed: It is longer than one of its width can be.
        OSError: It cannot be read.
    """
    return read_file(directory / tile.path, tile.most_bytes)
