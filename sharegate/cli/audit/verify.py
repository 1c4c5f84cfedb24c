"""``sharegate audit verify``: re-hash the whole audit log from what is stored."""

import argparse
import asyncio
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from sharegate.app import audit_log_logins, load_signing_key
from sharegate.audit.chain import Fault, Verifier
from sharegate.audit.checkpoint import Checkpoint, open_checkpoint
from sharegate.audit.note import VerifierKey
from sharegate.audit.sm2 import Sm2Key
from sharegate.audit.verdict import Malformed, Unproven
from sharegate.cli.audit.sealed import Files, NotRight, dealt, pool_of, verify_files
from sharegate.cli.keys import NEEDS_SM
from sharegate.cli.options import Verbs, config_argument
from sharegate.cli.verify import load_log_key
from sharegate.consortium.archive import Archive, says_archived
from sharegate.consortium.coverage import prove
from sharegate.consortium.memory import LogState, SignerMemory
from sharegate.consortium.reading import read_file
from sharegate.consortium.signed_log import MEMORY_FILE
from sharegate.consortium.stamps import read_roots, read_stamps
from sharegate.consortium.stored import beginning
from sharegate.errors import (
    AuditLogUnavailable,
    LogDiverged,
    Misconfigured,
    ShareGateError,
    Unavailable,
)
from sharegate.record.hashed import look
from sharegate.record.reader import Broken, PostgresReader
from sharegate.settings import AuditLogSettings, load_settings

_AT_ONCE: Final = 4096
_WORTH_PROCESSES: Final = 4 * _AT_ONCE  # before that they cost more than they save
_ONLY_CONFIG: Final = ("resume",)
_ONLY_FILES: Final = ("log_key", "quorum", "kept", "stamp_roots", "sm2_key", "details")


class LogUnreadable(ShareGateError):
    """The audit log's database gives no answer."""


class DetailGone(ShareGateError):
    """Every hash agrees, but what was sealed beside an entry was taken away without a word."""


def add_to(acts: Verbs) -> None:
    """Add the act."""
    act = acts.add_parser("verify", help="re-hash every entry; name the first that is not right")
    files = "a log's files (`sharegate seal`), to be verified without network"
    act.add_argument("files", type=Path, nargs="?", metavar="DIR", help=files)
    config_argument(act, required=False)
    act.add_argument("--resume", type=Path, metavar="FILE", help="go on from where the last run "
                     "with this file found everything right; with --config")  # fmt: skip
    act.add_argument("--log-key", metavar="KEY", help="the log's verifier key, or a file of it; "
                     "with DIR")  # fmt: skip
    act.add_argument("--quorum", type=Path, metavar="FILE", help="a quorum file: enough witnesses "
                     "must have cosigned; with DIR")  # fmt: skip
    act.add_argument("--kept", type=Path, action="append", default=[], metavar="NOTE",
                     help="a checkpoint that somebody kept, which the log must still have; with "
                     "DIR")  # fmt: skip
    act.add_argument("--stamp-roots", type=Path, metavar="FILE", help="certificates of time-"
                     "stamping authorities (PEM): every stamp must hold; with DIR")  # fmt: skip
    act.add_argument("--sm2-key", metavar="KEY", help="an SM2 verifier key: its line must stand "
                     "under the checkpoint too; with DIR")  # fmt: skip
    act.add_argument("--details", type=Path, metavar="DETAILS", help="what `audit archive` wrote "
                     "beside them: held against the entries; with DIR")  # fmt: skip
    act.add_argument("--processes", type=int, choices=range(1, 65), default=2,
                     metavar="N", help="read and hash with so many at once, 1 to 64")  # fmt: skip
    act.set_defaults(run=_run)


async def verify_log(
    settings: AuditLogSettings,
    resume: Path | None = None,
    archived: Callable[[int], None] = lambda _: None,
    unsigned: Callable[[int], None] = lambda _: None,
    processes: int = 1,
) -> Fault | int:
    """Read every entry and hold it against the chain, the checkpoints and the signer's memory.

    Args:
        settings: Which log.
        resume: Where it is remembered how far the log was found right; it is read on from there,
            and a run that was broken off goes on. Absent: from the beginning.
        archived: Told how many of the first entries are not there, but in archives.
        unsigned: Told how many of the last entries no checkpoint covers that is known here.
        processes: How many read and hash at once; a small log is read here.

    Returns:
        The first fault, or how many entries are right.

    Raises:
        LogDiverged: A checkpoint is not this log's, or two contradict each other, or what was
            found right before is not there any more.
        DetailGone: All is right but that.
        LogUnreadable: The database gives no answer.
        Misconfigured: What was remembered cannot be used, or is in use.
        PostgresUnavailable: The embedded PostgreSQL, where it is used, does not start.
    """
    async with audit_log_logins(settings) as (_, read_dsn):
        reader = PostgresReader(read_dsn)
        try:
            first = await beginning(reader)
            archived(first.frontier.size)
            work = _Work(settings, reader, read_dsn, unsigned, processes)
            if resume is None:
                return await work.verify(first, lambda _: None)
            return await _verify_on(work, first, resume)
        except Broken as error:
            detail = f"the audit log cannot be read: {type(error).__name__}"
            raise LogUnreadable(detail) from error
        finally:
            await reader.close()


async def _verify_on(work: "_Work", first: LogState, resume: Path) -> Fault | int:
    """Go on from where the file says that all was right, or from the first entry that is there."""
    memory = SignerMemory(resume, work.settings.origin)

    def remember(state: LogState) -> None:
        try:
            memory.remember(state)
        except OSError as error:
            raise _unusable(resume, error) from error

    try:
        try:
            if not memory.seize():
                raise Misconfigured(str(resume), "is used by another run")
            start = memory.recall() or first
        except OSError as error:
            raise _unusable(resume, error) from error
        if start.frontier.size < first.frontier.size:
            start = first
        return await work.verify(start, remember)
    finally:
        memory.release()


def _unusable(file: Path, error: OSError) -> Misconfigured:
    return Misconfigured(str(file), error.strerror or "cannot be used")


@dataclass(frozen=True, slots=True)
class _Work:
    """One verification."""

    settings: AuditLogSettings
    reader: PostgresReader
    dsn: str
    unsigned: Callable[[int], None]
    processes: int

    async def verify(self, start: LogState, remember: Callable[[LogState], None]) -> Fault | int:
        """Read on from a state that is right; remember each later one that is signed."""
        reader, read = self.reader, start.frontier.size
        try:
            checkpoints = await self._checkpoints(read)
            verifier = Verifier(checkpoints, start.frontier, start.last)
            size = await self._size(read, signed=bool(checkpoints))
            gone: list[int] = []
            ends = sorted(checkpoint.size for checkpoint in checkpoints)

            def passed(more: Sequence[int]) -> None:
                gone.extend(more)
                # Only what is signed: the rest may yet turn out to have been written anew.
                if verifier.agrees and not gone:
                    remember(LogState(verifier.frontier, verifier.prev))

            if self.processes > 1 and size - read >= _WORTH_PROCESSES:
                await self._at_once(verifier, _parts(ends, read, size), passed)
                read = verifier.frontier.size
            # The rest of it; and what does not fit, once more, entry by entry.
            while leaves := await reader.leaves(read, _most(ends, read)):
                if verifier.feed(leaves) is not None:
                    break
                passed(await reader.vanished(read, read + len(leaves)))
                read += len(leaves)
            if verifier.finish() is None:
                await self._require_told(verifier)
                self.unsigned(verifier.frontier.size - (ends[-1] if ends else 0))
            return _verdict(verifier, size, gone)
        except (Malformed, Unproven) as error:
            raise LogDiverged(str(error)) from error

    async def _size(self, read: int, *, signed: bool) -> int:
        """How many entries there are, by the head.

        Raises:
            LogDiverged: It is not this log's head, there are fewer than were found right before,
                or nothing at all tells whether they are this log's.
        """
        origin, size, _ = await self.reader.head()
        if origin != self.settings.origin:
            raise LogDiverged(f"the database holds the log {origin!r}")
        if size < read:
            raise LogDiverged(f"{read} entries were found right before; there are fewer now")
        if size and not signed:
            # Whatever the database says would be believed, the entries in archives first of all.
            raise LogDiverged(f"no checkpoint is known of {max(read, 1)} entries or more")
        return size

    async def _require_told(self, verifier: Verifier) -> None:
        """See that an entry, proven here, says of those that are not here that archives have them.

        Raises:
            LogDiverged: None does: whoever removed them went past the functions for it.
        """
        archived, tree = (await self.reader.archived())[0], verifier.frontier
        told = await self.reader.archived_by() if archived else None
        leaf = b""
        if told is not None and 0 <= told < tree.size:
            try:
                leaf, _ = await prove(self.reader, told, tree.size, tree.root())
            except AuditLogUnavailable as error:
                if error.reason is Unavailable.DOWN:
                    raise LogUnreadable(str(error)) from error
        if archived and says_archived(leaf) < archived:
            raise LogDiverged(f"the first {archived} entries are gone, and no entry says why")

    async def _checkpoints(self, size: int) -> list[Checkpoint]:
        """What was signed of at least this size: kept in the database, or remembered."""
        settings = self.settings
        key = VerifierKey.parse(load_signing_key(settings).vkey)
        notes = await self.reader.checkpoints(size)
        found = [open_checkpoint(note, [key], settings.origin) for note in notes]
        for each in found:
            if each.size < size:
                detail = f"a checkpoint of {each.size} entries is kept as one of {size} or more"
                raise LogDiverged(detail)
        remembered = SignerMemory(settings.state / MEMORY_FILE, settings.origin).recall()
        if remembered is not None and remembered.frontier.size >= size:
            frontier = remembered.frontier
            found.append(Checkpoint(settings.origin, frontier.size, frontier.root()))
        return found

    async def _at_once(
        self,
        verifier: Verifier,
        parts: Iterator[tuple[int, int]],
        passed: Callable[[Sequence[int]], None],
    ) -> None:
        """Have processes read and hash the parts, and join them in order, while all of it fits."""
        pool = pool_of(self.processes)
        try:
            for coming in dealt(pool, partial(look, self.dsn), parts, self.processes):
                found = await asyncio.wrap_future(coming)
                if found is None or not verifier.take(found.prev, found.hashes):
                    return
                passed(found.gone)
        except BrokenExecutor:
            return  # a process died; what is left is read here
        finally:
            pool.shutdown(cancel_futures=True)


def _verdict(verifier: Verifier, size: int, gone: Sequence[int]) -> Fault | int:
    fault, read = verifier.finish(), verifier.frontier.size
    if fault is None and read < size:
        raise LogDiverged(f"the entries end at {read}, but the head says {size}")
    if fault is None and gone:
        raise DetailGone(f"the detail of entry {gone[0]} is gone, and no entry says why")
    return fault or read


def _parts(ends: Sequence[int], read: int, size: int) -> Iterator[tuple[int, int]]:
    """Parts that together are the entries from `read` to before `size`: (first, after)."""
    while read < size:
        after = min(read + _most(ends, read), size)
        yield read, after
        read = after


def _most(ends: Sequence[int], read: int) -> int:
    """How many entries to read next: up to a checkpoint's last, where there is one in reach."""
    at = bisect_right(ends, read + _AT_ONCE) - 1
    return ends[at] - read if at >= 0 and ends[at] > read else _AT_ONCE


def _run(chosen: argparse.Namespace) -> int:
    if (chosen.files is None) == (chosen.config is None):
        raise Misconfigured("audit verify", "needs either DIR or --config")
    others = _ONLY_CONFIG if chosen.config is None else _ONLY_FILES
    for option in others:
        if getattr(chosen, option):  # passed over, it would seem to have been held against
            raise Misconfigured(f"--{option.replace('_', '-')}", "does not go with this")
    if chosen.files is None:
        settings = load_settings(chosen.config).audit_log
        return _told(
            settings.origin,
            asyncio.run(
                verify_log(settings, chosen.resume, _say_archived, _say_unsigned, chosen.processes)
            ),
        )
    if chosen.log_key is None:
        raise Misconfigured("--log-key", "is needed with DIR")
    key = load_log_key(chosen.log_key, chosen.files)
    stamps = []
    if chosen.stamp_roots is not None:
        stamps = read_stamps(chosen.files, key, read_roots(chosen.stamp_roots))
    kept = [*(_kept(path, key) for path in chosen.kept), *(stamp.checkpoint for stamp in stamps)]
    sm2 = None if chosen.sm2_key is None else _sm2(chosen.sm2_key)
    files = Files(chosen.files, key, chosen.quorum, tuple(kept), sm2)
    found = verify_files(files, _progress, chosen.processes)
    code = _told(key.name, found)
    if code == 0 and chosen.details is not None:
        assert isinstance(found, int)
        archive = Archive(chosen.files, chosen.details, found)
        size = archive.told()
        archive.hold(size)
        print(f"details    of the first {size} entries are theirs")
    for stamp in stamps if code == 0 else []:
        print(f"stamped    {stamp.checkpoint.size} entries were there at {stamp.at.isoformat()}")
    return code


def _sm2(vkey: str) -> Sm2Key:
    try:
        return Sm2Key.parse(vkey)
    except ImportError as error:
        raise Misconfigured("--sm2-key", NEEDS_SM) from error
    except Malformed as error:
        raise Misconfigured("--sm2-key", str(error)) from error


def _kept(path: Path, key: VerifierKey) -> Checkpoint:
    try:
        return open_checkpoint(read_file(path), [key], key.name)
    except OSError as error:
        raise NotRight(f"{path}: {error.strerror}") from error
    except (Malformed, Unproven) as error:
        raise NotRight(f"{path}: {error}") from error


def _say_archived(count: int) -> None:
    if count:
        print(f"archived   the first {count} entries: verify their files")


def _say_unsigned(count: int) -> None:
    if count:
        print(f"unsigned   the last {count} entries: no checkpoint covers them yet")


def _told(origin: str, found: Fault | int) -> int:
    if isinstance(found, Fault):
        print(f"NOT RIGHT  {origin}: {found}")
        return 1
    print(f"right      {origin}: {found} entries, every hash and every checkpoint agree")
    return 0


def _progress(done: int, whole: int) -> None:
    """A line that is written over, where somebody is looking."""
    if sys.stderr.isatty():
        end = "\n" if done == whole else ""
        print(f"\r{done:,} of {whole:,} entries", end=end, file=sys.stderr, flush=True)
