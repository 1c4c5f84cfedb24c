"""Verify a log from its files alone: entries, tiles, checkpoint and, if wanted, a quorum file."""

import ctypes
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from threading import active_count
from typing import Final, TypeVar

from sharegate.audit.chain import GENESIS, Fault, Verifier
from sharegate.audit.checkpoint import Checkpoint, open_checkpoint
from sharegate.audit.note import VerifierKey, open_note
from sharegate.audit.quorum import open_cosigned, read_quorum, require_quorum
from sharegate.audit.sm2 import Sm2Key
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
from sharegate.consortium.reading import read_file, read_tile
from sharegate.consortium.rows import Row, look
from sharegate.errors import ShareGateError

_PART: Final = 64  # bundles that one process takes at a time
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_T = TypeVar("_T")
_U = TypeVar("_U")


class NotRight(ShareGateError):
    """The files are not those of a log that was signed; names the first that is wrong."""


@dataclass(frozen=True, slots=True)
class Files:
    """A log's files, and what they are held against.

    Attributes:
        directory: With `checkpoint` and `tile/` in it.
        key: The log's, from a source one trusts.
        quorum: A quorum file, if enough witnesses must have cosigned.
        kept: Checkpoints of the log that somebody kept, or an authority stamped; the log must still
            have them.
        sm2: A key whose line must stand under the checkpoint too.
    """

    directory: Path
    key: VerifierKey
    quorum: Path | None = None
    kept: tuple[Checkpoint, ...] = ()
    sm2: Sm2Key | None = None

    def states(self) -> list[Checkpoint]:
        """The checkpoint of the files last, and before it those that were kept.

        Raises:
            Malformed, Unproven, OSError: One is missing or wrong, or the files are behind one.
        """
        note = read_file(self.directory / "checkpoint")
        newest = open_checkpoint(note, [self.key], self.key.name)
        if self.sm2 is not None:
            open_note(note, [self.sm2])
        if self.quorum is not None:
            rules = read_quorum(read_file(self.quorum))
            require_quorum(open_cosigned(note, rules), rules)
        for state in self.kept:
            if state.size > newest.size:
                known = f"a checkpoint of {state.size} entries is known"
                raise Unproven(f"{known}, the files have {newest.size}")
        return [*self.kept, newest]


def pool_of(processes: int) -> ProcessPoolExecutor:
    """Processes that hash; forking is quick, and safe where there are no threads."""
    way = "fork" if active_count() == 1 else "spawn"
    return ProcessPoolExecutor(
        processes, mp_context=get_context(way), initializer=_end_with, initargs=(os.getpid(),)
    )


def _end_with(parent: int) -> None:
    """Have the kernel end this process with the one that made it.

    Otherwise, were that one killed, it would wait for work for ever, and hold what it inherited:
    the lock of ``--resume`` for one.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def verify_files(files: Files, progress: Callable[[int, int], None], processes: int) -> Fault | int:
    """Hash every entry again, from its bundle, and hold all files against the checkpoints.

    Args:
        files: What to verify.
        progress: Told how many entries of how many are read.
        processes: How many hash at once; a small log is hashed here.

    Returns:
        The first fault of the entries, or how many are right.

    Raises:
        NotRight: A checkpoint, or a file that is not an entry, is wrong or missing; or a process
            died.
    """
    try:
        states = files.states()
        size = states[-1].size
        if not _hold(files.directory, states, progress, processes):
            return _named(files.directory, states)
    except OSError as error:
        raise NotRight(f"{error.filename}: {error.strerror}") from error
    except (Malformed, Unproven) as error:
        raise NotRight(str(error)) from error
    except BrokenExecutor as error:
        raise NotRight("a process was ended while it hashed: nothing is known") from error
    return size


def _hold(
    directory: Path,
    states: Sequence[Checkpoint],
    progress: Callable[[int, int], None],
    processes: int,
) -> bool:
    """Whether the entries lead to every checkpoint, and the tiles are those of the entries."""
    size = states[-1].size
    wanted = frozenset(state.size // WIDTH for state in states)
    tiles = bundles_of(size)  # no list: a checkpoint may speak of 2^62 entries
    parts = iter(lambda: [*islice(tiles, _PART)], [])
    rows, prev, done = _Rows(directory), GENESIS, 0
    tree = Frontier.empty()  # of the roots of full rows
    with ExitStack() as stack:
        hashing = partial(look, directory, wanted)
        found: Iterable[list[Row] | None]
        if processes > 1 and size > _PART * WIDTH:
            pool = pool_of(processes)
            stack.callback(pool.shutdown, cancel_futures=True)
            found = (each.result() for each in dealt(pool, hashing, parts, processes))
        else:
            found = map(hashing, parts)
        for part in found:
            if part is None:
                return False
            for row in part:
                if row.prev != prev or not _has(states, tree, row):
                    return False
                prev, done = row.last, done + row.width
                if row.width == WIDTH:
                    tree = tree.extend([row.root])
                    rows.add([row.root])
            progress(done, size)
    rows.finish(size)
    return size % WIDTH > 0 or _has(states, tree, Row(prev, prev, b"", 0))


def dealt(
    pool: Executor, do: Callable[[_T], _U], parts: Iterator[_T], processes: int
) -> Iterator[Future[_U]]:
    """What becomes of each part, in order; `Executor.map` would take them all before the first.

    Whoever asks for the next one must have waited for the last: two for each process are out.
    """
    waiting = deque(pool.submit(do, part) for part in islice(parts, 2 * processes))
    while waiting:
        yield waiting.popleft()
        waiting.extend(pool.submit(do, part) for part in islice(parts, 1))


def _has(states: Sequence[Checkpoint], tree: Frontier, row: Row) -> bool:
    """Whether the log has the checkpoints that begin or end in this row."""
    first = tree.size * WIDTH
    before = Frontier(first, tree.hashes)
    return all(
        before.extend(row.hashes[: state.size - first]).root() == state.root
        for state in states
        if state.size // WIDTH == tree.size
    )


def _named(directory: Path, states: Sequence[Checkpoint]) -> Fault:
    """The first fault, found entry by entry; where there is none, the first tile that is wrong."""
    verifier, wrong = Verifier(states), ""
    for tile in bundles_of(states[-1].size):
        entries = parse_bundle(tile, read_tile(directory, tile))
        if verifier.feed(entries) is not None:
            break
        row = Tile(0, tile.n, tile.width)
        if read_tile(directory, row) != encode_hashes([leaf_hash(entry) for entry in entries]):
            wrong = wrong or row.path
    fault = verifier.finish()
    if fault is None:
        raise Unproven(f"{wrong or 'a tile'}: the hashes are not those of the entries")
    return fault


def published_hashes(directory: Path, key: VerifierKey) -> list[bytes]:
    """The leaf hashes that the files have, as far as their checkpoint goes; not judged.

    Raises:
        NotRight: The checkpoint, or a file, is wrong or missing.
    """
    hashes: list[bytes] = []
    try:
        state = open_checkpoint(read_file(directory / "checkpoint"), [key], key.name)
        for tile in tiles_of(state.size):
            if tile.level == 0:
                hashes += parse_hashes(tile, read_tile(directory, tile))
    except OSError as error:
        raise NotRight(f"{error.filename}: {error.strerror}") from error
    except (Malformed, Unproven) as error:
        raise NotRight(str(error)) from error
    return hashes


class _Rows:
    """The hashes of each level from 1 on, held against its tiles as they become full."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._rows: dict[int, list[bytes]] = {}
        self._full: dict[int, int] = {}

    def add(self, hashes: list[bytes], level: int = 1) -> None:
        """Take the next hashes of a level, no more than fill its tile."""
        row = self._rows.setdefault(level, [])
        row += hashes
        if len(row) == WIDTH:
            n = self._full.get(level, 0)
            self._require(Tile(level, n), row)
            self._rows[level], self._full[level] = [], n + 1
            self.add([Frontier.empty().extend(row).root()], level + 1)

    def finish(self, size: int) -> None:
        """Hold the partial tiles against what is left."""
        for tile in tiles_of(size):
            if tile.level and tile.width < WIDTH:
                self._require(tile, self._rows[tile.level])

    def _require(self, tile: Tile, row: list[bytes]) -> None:
        if read_tile(self._directory, tile) != encode_hashes(row):
            raise Unproven(f"{tile.path}: the hashes are not those of the entries")
