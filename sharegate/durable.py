"""Files that a power cut leaves as they were or as they are to be."""

import os
from pathlib import Path


def replace(file: Path, data: bytes) -> None:
    """Replace a file whole, durably. Blocks for as long as the disk takes.

    Args:
        file: Its directory must exist; the same name with `.new` is used on the way.
        data: What it is to hold.

    Raises:
        OSError: It may not be durable.
    """
    fresh = file.with_suffix(".new")
    with fresh.open("wb") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())
    fresh.replace(file)
    directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
