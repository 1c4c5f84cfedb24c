"""Where an auditor's entry is read: in the database, or in an archive."""

import asyncio
from pathlib import Path
from typing import Final, Protocol

from sharegate.audit.checkpoint import Checkpoint, open_checkpoint
from sharegate.audit.note import VerifierKey
from sharegate.audit.tiles import WIDTH
from sharegate.audit.verdict import Malformed, Unproven
from sharegate.consortium.archive import Archive, FilesReader
from sharegate.consortium.coverage import Nodes
from sharegate.consortium.reading import read_file
from sharegate.consortium.sealer import CHECKPOINT
from sharegate.errors import LogDiverged, ShareGateError
from sharegate.record.reader import PostgresReader
from sharegate.record.search import PostgresSearch, Stored

_TRIES: Final = 20
_PAUSE_SECONDS: Final = 0.25


class NotShown(ShareGateError):
    """There is no such entry, or it is not what was signed, or it does not open."""


class Source(Protocol):
    """Where an entry is read: the database, or an archive."""

    @property
    def nodes(self) -> Nodes:
        """What proofs are made from; not judged."""

    async def checkpoint(self, key: VerifierKey, index: int) -> Checkpoint:
        """A signed checkpoint that covers the entry."""

    async def entry(self, index: int) -> Stored | None:
        """The entry with what stands beside it; not judged."""

    async def close(self) -> None:
        """Read no more."""


class Database:
    """The database; every method may raise one of `record.reader.Broken`."""

    def __init__(self, dsn: str) -> None:
        """Prepare: a login for auditors."""
        self.nodes = self._reader = PostgresReader(dsn)
        self._beside = PostgresSearch(dsn)

    async def checkpoint(self, key: VerifierKey, index: int) -> Checkpoint:
        """The newest one kept."""
        return await _checkpoint_over(key, self._reader, index)

    async def entry(self, index: int) -> Stored | None:
        """The entry as it is stored."""
        return await self._beside.entry(index)

    async def close(self) -> None:
        """Disconnect."""
        await self._reader.close()
        await self._beside.close()


class InFiles:
    """A log's files, and the details that `audit archive` wrote beside them."""

    def __init__(self, files: Path, details: Path, key: VerifierKey) -> None:
        """Read the checkpoint.

        Raises:
            NotShown: It is missing, or not this log's.
        """
        try:
            note = read_file(files / CHECKPOINT)
            self._checkpoint = open_checkpoint(note, [key], key.name)
        except (OSError, Malformed, Unproven) as error:
            raise NotShown(f"{files}: its checkpoint is missing or not this log's") from error
        self._archive = Archive(files, details, self._checkpoint.size)
        self.nodes = FilesReader(self._archive)

    async def checkpoint(self, _key: VerifierKey, index: int) -> Checkpoint:
        """The one that the files have."""
        if index >= self._checkpoint.size:
            raise NotShown(f"the files have {self._checkpoint.size} entries")
        return self._checkpoint

    async def entry(self, index: int) -> Stored:
        """The entry with what stands beside it; not judged."""
        return self._archive.read(index // WIDTH)[index % WIDTH]

    async def close(self) -> None:
        """Nothing is open."""


async def _checkpoint_over(key: VerifierKey, reader: PostgresReader, index: int) -> Checkpoint:
    """The newest checkpoint kept; waits a little for one that covers the entry."""
    size, archived = (await reader.head())[1], (await reader.archived())[0]
    if index < archived:
        raise NotShown(f"entry {index} is among the {archived} that archives alone have")
    if index >= size:
        raise NotShown(f"the log has {size} entries, the last of them {size - 1}")
    for _ in range(_TRIES):
        note = await reader.checkpoint()
        if note is not None:
            try:
                checkpoint = open_checkpoint(note, [key], key.name)
            except (Malformed, Unproven) as error:
                raise LogDiverged(f"a stored checkpoint is not this log's: {error}") from error
            if index < checkpoint.size:
                return checkpoint
        await asyncio.sleep(_PAUSE_SECONDS)
    raise NotShown(f"no kept checkpoint covers entry {index} yet")
