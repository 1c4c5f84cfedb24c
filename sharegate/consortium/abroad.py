"""What the witnesses hold of this log, held against the log itself.

A witness is not believed by itself. Only a checkpoint that this log's own key signed, and that this
log's tree does not have, stops the log; it is kept as evidence. So one witness that lies stops
nothing.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import aiohttp

from sharegate.audit.checkpoint import Checkpoint, open_checkpoint
from sharegate.audit.note import VerifierKey
from sharegate.audit.quorum import Witness
from sharegate.audit.tree import EMPTY_ROOT, range_root
from sharegate.audit.verdict import Malformed, Unproven
from sharegate.consortium.coverage import Coverage, computed
from sharegate.consortium.evidence import keep, kept
from sharegate.consortium.memory import LogState
from sharegate.consortium.remote import seen_by
from sharegate.consortium.stored import StoredLog
from sharegate.errors import AuditLogUnavailable, LogDiverged, Unavailable
from sharegate.record.reader import Broken, PostgresReader


class Abroad:
    """Asks witnesses for the newest checkpoint they have cosigned of one log."""

    def __init__(
        self, key: VerifierKey, coverage: Coverage, reader: PostgresReader, evidence: Path
    ) -> None:
        """Put it together.

        Args:
            key: The log's.
            coverage: How far the log is signed.
            reader: Reads the stored tree.
            evidence: A folder for what shows that the log contradicted itself.
        """
        self._key = key
        self._coverage = coverage
        self._reader = reader
        self._stored = StoredLog(reader, key)
        self._evidence = evidence

    async def compare(
        self, session: aiohttp.ClientSession, witnesses: Sequence[Witness], state: LogState
    ) -> None:
        """Hold what the witnesses have seen against what this log has, before anything is signed.

        A witness that does not answer cannot say anything against it; what stopped the log before
        is kept, and does.

        Args:
            session: What they are asked with.
            witnesses: Those with a URL.
            state: How far the signer remembers.

        Raises:
            LogDiverged: There is a checkpoint of this log that this log does not have.
            OSError: The log, or what is kept, cannot be read now.
        """
        answers = await asyncio.gather(
            *(self._newest(session, witness) for witness in witnesses), return_exceptions=True
        )
        found = [
            (_holds(witness), *seen)
            for witness, seen in zip(witnesses, answers, strict=True)
            if isinstance(seen, tuple)
        ]
        for file, data in kept(self._evidence):
            with suppress(Malformed, Unproven):  # what somebody else put there shows nothing
                seen = open_checkpoint(data, [self._key], self._key.name)
                found.append((f"{file} is", data, seen))
        for each in found:
            try:
                await self._judge(*each, state)
            except AuditLogUnavailable as error:
                raise OSError(str(error)) from error

    async def hear_out(self, session: aiohttp.ClientSession, witness: Witness) -> int:
        """It refused: see whether it holds what this log signed and does not have.

        Returns:
            How far it holds this log; 0 where it does not say so.

        Raises:
            LogDiverged: It does.
            AuditLogUnavailable: The log cannot be read now.
        """
        found = await self._newest(session, witness)
        if found is None:
            return 0
        await self._judge(_holds(witness), *found, self._coverage.state)
        return found[1].size

    async def _newest(
        self, session: aiohttp.ClientSession, witness: Witness
    ) -> tuple[bytes, Checkpoint] | None:
        """The newest checkpoint it cosigned, if this log has signed it; None where it has none."""
        try:
            return await seen_by(session, prefix(witness), [self._key], self._key.name)
        except OSError:
            return None

    async def _judge(self, holds: str, data: bytes, seen: Checkpoint, state: LogState) -> None:
        """Hold a checkpoint that this log's key signed against this log.

        It may be of more than is known here: then another host signed since, and kept it or died
        before it could.

        Raises:
            LogDiverged: It is not this log's.
            AuditLogUnavailable: The log cannot be read now.
        """
        detail = f"{holds} another checkpoint of {seen.size} entries"
        try:
            if seen.size <= state.frontier.size:
                if seen.root == await self._root(seen.size, state):
                    return
            elif (size := (await self._reader.head())[1]) >= seen.size:
                with suppress(LogDiverged):
                    await self._stored.stretch(state, seen)
                    return
            else:
                detail = f"the log is behind: {size} entries, but {holds} a checkpoint of "
                detail += f"{seen.size}"
        except Broken as error:
            raise AuditLogUnavailable(
                Unavailable.DOWN, "the audit log cannot be read now"
            ) from error
        with suppress(OSError):  # a full disk is no reason to go on
            keep(self._evidence, f"{sha256(data).hexdigest()[:32]}.note", data)
        raise LogDiverged(detail)

    async def _root(self, size: int, state: LogState) -> bytes:
        """The root this log had at a size, at most that of the state."""
        if not size:
            return EMPTY_ROOT
        if size == state.frontier.size:
            return state.frontier.root()
        return await computed(self._reader, lambda fetch: range_root(0, size, fetch))


def _holds(witness: Witness) -> str:
    return f"witness {witness.name} holds"


def prefix(witness: Witness) -> str:
    """The URL before a witness's paths; it must have one."""
    assert witness.url is not None
    return witness.url.rstrip("/")
