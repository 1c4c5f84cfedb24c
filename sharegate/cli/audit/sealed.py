"""Verify a log from its files alone: entries, tiles, checkpoint and, if wanted, a quorum file."""

from collections.abc import Callable
from pathlib import Path

from sharegate.audit.chain import Fault, Verifier
from sharegate.audit.checkpoint import open_checkpoint
from sharegate.audit.note import VerifierKey
from sharegate.audit.quorum import open_cosigned, read_quorum, require_quorum
from sharegate.audit.tiles import (
    WIDTH,
    Tile,
    bundles_of,
    encode_hashes,
    parse_bundle,
    parse_hashes,
    tiles_of,
)
from sharegate.audit.tree import Frontier, leaf_hash
from sharegate.audit.verdict import Malformed, Unproven
from sharegate.errors import ShareGateError


class NotRight(ShareGateError):
    """The files are not those of a log that was signed; names the first that is wrong."""


def verify_files(
    directory: Path,
    key: VerifierKey,
    quorum: Path | None,
    progress: Callable[[int, int], None],
) -> Fault | int:
    """Hash every entry again, from its bundle, and hold all files against the checkpoint.

    Args:
        directory: With `checkpoint` and `tile/` in it.
        key: The log's, from a source one trusts.
        quorum: A quorum file, if enough witnesses must have cosigned.
        progress: Told how many entries of how many are read.

    Returns:
        The first fault of the entries, or how many are right.

    Raises:
        NotRight: The checkpoint, or a file that is not an entry, is wrong or missing.
    """
    try:
        note = _read(directory, "checkpoint")
        state = open_checkpoint(note, [key], key.name)
        if quorum is not None:
            rules = read_quorum(quorum.read_bytes())
            require_quorum(open_cosigned(note, rules), rules)
        verifier, rows = Verifier([state]), _Rows(directory)
        for tile in bundles_of(state.size):
            entries = parse_bundle(tile, _read(directory, tile.path))
            if verifier.feed(entries) is not None:
                break
            rows.add([leaf_hash(entry) for entry in entries])
            progress(tile.n * WIDTH + tile.width, state.size)
        fault = verifier.finish()
        if fault is not None:
            return fault
        rows.finish(state.size)
    except OSError as error:
        raise NotRight(f"{error.filename}: {error.strerror}") from error
    except (Malformed, Unproven) as error:
        raise NotRight(str(error)) from error
    return state.size


def published_hashes(directory: Path, key: VerifierKey) -> list[bytes]:
    """The leaf hashes that the files have, as far as their checkpoint goes; not judged.

    Raises:
        NotRight: The checkpoint, or a file, is wrong or missing.
    """
    hashes: list[bytes] = []
    try:
        state = open_checkpoint(_read(directory, "checkpoint"), [key], key.name)
        for tile in tiles_of(state.size):
            if tile.level == 0:
                hashes += parse_hashes(tile, _read(directory, tile.path))
    except OSError as error:
        raise NotRight(f"{error.filename}: {error.strerror}") from error
    except (Malformed, Unproven) as error:
        raise NotRight(str(error)) from error
    return hashes


class _Rows:
    """The hashes of each level, held against its tiles as they become full."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._rows: list[list[bytes]] = []
        self._full: list[int] = []

    def add(self, hashes: list[bytes], level: int = 0) -> None:
        """Take the next hashes of a level, no more than fill its tile."""
        if level == len(self._rows):
            self._rows.append([])
            self._full.append(0)
        row = self._rows[level]
        row += hashes
        if len(row) == WIDTH:
            self._require(Tile(level, self._full[level]), row)
            root = Frontier.empty().extend(row).root()
            self._rows[level] = []
            self._full[level] += 1
            self.add([root], level + 1)

    def finish(self, size: int) -> None:
        """Hold the partial tiles against what is left."""
        for tile in tiles_of(size):
            if tile.width < WIDTH:
                assert tile.level is not None
                self._require(tile, self._rows[tile.level])

    def _require(self, tile: Tile, row: list[bytes]) -> None:
        if _read(self._directory, tile.path) != encode_hashes(row):
            raise NotRight(f"{tile.path}: the hashes are not those of the entries")


def _read(directory: Path, path: str) -> bytes:
    return (directory / path).read_bytes()
