"""``sharegate audit prove-fork`` and ``check-fork``: that a log contradicted itself."""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sharegate.app import audit_log_logins
from sharegate.audit import fork
from sharegate.audit.checkpoint import Checkpoint, open_checkpoint
from sharegate.audit.note import VerifierKey
from sharegate.audit.proof import consistency_path
from sharegate.audit.tree import Frontier, leaf_hash
from sharegate.audit.verdict import Malformed, Unproven
from sharegate.cli.audit.sealed import published_hashes
from sharegate.cli.audit.verify import LogUnreadable
from sharegate.cli.options import Verbs
from sharegate.cli.verify import load_log_key
from sharegate.consortium.reading import MOST_SIGNED, read_file
from sharegate.errors import ShareGateError
from sharegate.record.reader import Broken, PostgresReader
from sharegate.settings import AuditLogSettings, load_settings

_AT_ONCE: Final = 4096
_MOST_PROOF: Final = 4 * MOST_SIGNED  # two notes, as JSON


class NoFork(ShareGateError):
    """The log is not shown to have contradicted itself."""


def add_to(acts: Verbs) -> None:
    """Add the acts."""
    act = acts.add_parser("prove-fork", help="prove that a log contradicted itself")
    act.add_argument("first", type=Path, metavar="A", help="one checkpoint's note")
    act.add_argument("second", type=Path, metavar="B", help="the other's")
    _log_key_argument(act)
    act.add_argument("--files", type=Path, metavar="DIR", help="the files of the log that the "
                     "larger checkpoint is of, where the sizes differ")  # fmt: skip
    act.add_argument("--config", type=Path, metavar="FILE",
                     help="or the settings of the gateway that has it")  # fmt: skip
    act.add_argument("--out", type=Path, metavar="FILE", help="where the proof goes, not stdout")
    act.set_defaults(run=_prove)
    act = acts.add_parser("check-fork", help="check such a proof; needs nothing but the log's key")
    act.add_argument("proof", type=Path)
    _log_key_argument(act)
    act.set_defaults(run=_check)


def _log_key_argument(act: argparse.ArgumentParser) -> None:
    act.add_argument("--log-key", metavar="KEY", required=True,
                     help="the log's verifier key, or a file of it")  # fmt: skip


def _prove(chosen: argparse.Namespace) -> int:
    key = load_log_key(chosen.log_key, chosen.first)
    notes = [_read(chosen.first), _read(chosen.second)]
    try:
        states = sorted((open_checkpoint(note, [key], key.name) for note in notes),
                        key=lambda state: state.size)  # fmt: skip
        root: bytes | None = None
        path: tuple[bytes, ...] = ()
        if states[0].size != states[1].size:
            root, path = beginning(_hashes(chosen, key, states[1].size), *states)
        proof = fork.prove(notes, [key], key.name, root=root, path=path)
    except (Malformed, Unproven) as error:
        raise NoFork(str(error)) from error
    data = fork.encode(proof)
    if chosen.out is None:
        sys.stdout.write(data.decode())
    else:
        chosen.out.write_bytes(data)
        print(_told(fork.verify(proof, [key], key.name)))
    return 0


def _hashes(chosen: argparse.Namespace, key: VerifierKey, size: int) -> Sequence[bytes]:
    if chosen.files is not None:
        return published_hashes(chosen.files, key)
    if chosen.config is not None:
        return asyncio.run(stored_hashes(load_settings(chosen.config).audit_log, size))
    raise NoFork("the sizes differ: give --files or --config, to show how the larger tree began")


def _check(chosen: argparse.Namespace) -> int:
    key = load_log_key(chosen.log_key, chosen.proof)
    try:
        found = fork.verify(fork.parse(_read(chosen.proof, _MOST_PROOF)), [key], key.name)
    except (Malformed, Unproven) as error:
        raise NoFork(str(error)) from error
    print(_told(found))
    return 0


async def stored_hashes(settings: AuditLogSettings, size: int) -> list[bytes]:
    """The leaf hashes of the first entries of the stored log.

    Raises:
        LogUnreadable: The database gives no answer, or has fewer entries.
    """
    hashes: list[bytes] = []
    async with audit_log_logins(settings) as (_, read_dsn):
        reader = PostgresReader(read_dsn)
        try:
            while len(hashes) < size:
                leaves = await reader.leaves(len(hashes), min(_AT_ONCE, size - len(hashes)))
                if not leaves:
                    raise LogUnreadable(f"the log there has {len(hashes)} entries")
                hashes += map(leaf_hash, leaves)
        except Broken as error:
            raise LogUnreadable(f"the log cannot be read: {type(error).__name__}") from error
        finally:
            await reader.close()
    return hashes


def beginning(
    hashes: Sequence[bytes], first: Checkpoint, second: Checkpoint
) -> tuple[bytes, tuple[bytes, ...]]:
    """The root that the log of a checkpoint had at a smaller size, and the path that shows it.

    Args:
        hashes: Its leaf hashes, at least up to the second size.
        first: The smaller one.
        second: The log's own.

    Raises:
        NoFork: They are not those of the second checkpoint.
    """

    def root_of(start: int, end: int) -> bytes:
        return Frontier.empty().extend(hashes[start:end]).root()

    if root_of(0, second.size) != second.root:
        raise NoFork("the log there is not the one that the larger checkpoint is of")
    path = consistency_path(
        first.size, second.size, lambda level, n: root_of(n << level, n + 1 << level)
    )
    return root_of(0, first.size), path


def _told(found: fork.Fork) -> str:
    first, second = found.first, found.second
    return (
        f"FORK  {first.origin} signed a checkpoint of {first.size} entries with the root "
        f"{first.root.hex()[:16]}…\n"
        f"      and one of {second.size} entries with the root {second.root.hex()[:16]}…: no one "
        "log has both"
    )


def _read(file: Path, most: int = MOST_SIGNED) -> bytes:
    try:
        return read_file(file, most)
    except OSError as error:
        raise NoFork(f"{file}: {error.strerror}") from error
    except Malformed as error:
        raise NoFork(str(error)) from error
