"""The mirror: a full copy of somebody's log, fetched, hashed again, and kept as files.

What it has once verified it never gives up: a log that contradicts it is not followed, and both
checkpoints are kept as evidence, for a human.
"""

import shutil
from hashlib import sha256
from pathlib import Path
from typing import Final

import aiohttp

from sharegate.audit.checkpoint import Checkpoint
from sharegate.audit.note import VerifierKey
from sharegate.consortium import evidence
from sharegate.consortium.remote import NotFetched, RemoteLog, fetched_checkpoint
from sharegate.consortium.sealer import CHECKPOINT, Sealer
from sharegate.errors import LogDiverged

_EVIDENCE: Final = "evidence"
_INCOMING: Final = "incoming"


class Mirror:
    """One log's copy: the files under ``log``, as any web server can serve them on."""

    def __init__(self, directory: Path, key: VerifierKey, url: str) -> None:
        """Prepare.

        Args:
            directory: Where it is kept; nobody else writes there.
            key: The log's, named as its origin.
            url: The log's prefix.
        """
        self.key = key
        self.files = directory / "log"
        self.evidence = directory / _EVIDENCE
        self._incoming = directory / _INCOMING
        self._url = url.rstrip("/")

    @property
    def contradicted(self) -> bool:
        """Whether there is evidence against the log; only a human takes it away."""
        return self.evidence.is_dir() and any(self.evidence.iterdir())

    def published(self) -> Checkpoint | None:
        """How far the copy goes; None before the first pull.

        Raises:
            LogDiverged: The checkpoint there is not this log's.
        """
        return self._sealer(_Nothing()).published()

    async def pull(self, session: aiohttp.ClientSession) -> bytes:
        """Fetch what is new and verify it; give the newest note that the log shows.

        Raises:
            NotFetched: The log gives no checkpoint, or not its entries.
            LogDiverged: It contradicts the copy; the evidence is kept.
            OSError: A file may not be durable.
        """
        found = await fetched_checkpoint(
            session, f"{self._url}/{CHECKPOINT}", [self.key], self.key.name
        )
        if found is None:
            raise NotFetched("shows no checkpoint")
        note, state = found
        before = self.published()
        if before is not None and state.size <= before.size:
            self.judge(note, state)
            if state.size < before.size:
                return note  # an old one, by some cache
        shutil.rmtree(self._incoming, ignore_errors=True)
        self._incoming.mkdir(parents=True)
        self.files.mkdir(exist_ok=True)
        entries = RemoteLog(session, self._url, state.size, self._incoming)
        try:
            await self._sealer(entries).seal(note)
        except LogDiverged:
            self._keep(note)
            raise
        finally:
            shutil.rmtree(self._incoming, ignore_errors=True)
        return note

    def judge(self, note: bytes, state: Checkpoint) -> None:
        """Hold a checkpoint that the log signed, no larger than the copy, against the copy.

        Raises:
            LogDiverged: The copy had another root at that size; the evidence is kept.
        """
        if self._sealer(_Nothing()).root_at(state.size) != state.root:
            self._keep(note)
            raise LogDiverged(f"two histories of {state.size} entries are signed")

    def _keep(self, note: bytes) -> None:
        """Keep both sides: what was mirrored, and what contradicts it."""
        mirrored = self.files / CHECKPOINT
        for each in (note, *([mirrored.read_bytes()] if mirrored.exists() else [])):
            evidence.keep(self.evidence, f"{sha256(each).hexdigest()[:32]}.note", each)

    def _sealer(self, entries: "RemoteLog | _Nothing") -> Sealer:
        return Sealer(self.files, self.key, entries)


class _Nothing:
    """Stands where no entry is read."""

    async def leaves(self, _first: int, _most: int) -> list[bytes]:
        """Nothing."""
        return []
