"""What shows that a log contradicted itself: kept for a human, within bounds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sharegate import durable

_MOST: Final = 64


def keep(folder: Path, name: str, data: bytes) -> None:
    """Keep a piece of evidence; what is there already, or is too much, is passed over. Blocks.

    Raises:
        OSError: It may not be durable.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder / name
    if not file.exists() and sum(1 for _ in folder.iterdir()) < _MOST:
        durable.replace(file, data)


def kept(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Read every piece that is kept. Blocks.

    Raises:
        OSError: One cannot be read.
    """
    if folder.is_dir():
        for file in sorted(folder.iterdir()):
            yield file, file.read_bytes()
