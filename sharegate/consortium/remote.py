"""Asking over HTTP for what others publish: checkpoints, and the log as files (C2SP tlog-tiles)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp

from sharegate.audit.checkpoint import Checkpoint, open_checkpoint
from sharegate.audit.note import MAX_NOTE_BYTES, VerifierKey
from sharegate.audit.tiles import WIDTH, Tile, encode_bundle, parse_bundle
from sharegate.audit.verdict import Malformed, Unproven
from sharegate.consortium.witness_memory import origin_hash
from sharegate.errors import ShareGateError

_SECONDS: Final = 10.0
_OK: Final = 200
_ABSENT: Final = (404, 410)
_MOST_BUNDLE: Final = WIDTH * (2 + 65_535)


class NotFetched(OSError):
    """Somebody gave no answer, or not one of what he was asked for; says why."""


class NothingToBeginFrom(ShareGateError):
    """A peer gives no checkpoint that the log has signed."""


@asynccontextmanager
async def asking(seconds: float = _SECONDS) -> AsyncIterator[aiohttp.ClientSession]:
    """A session that remembers nothing and waits no longer than this."""
    session = aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=seconds)
    )
    try:
        yield session
    finally:
        await session.close()


async def fetched(session: aiohttp.ClientSession, url: str, most: int) -> bytes | None:
    """What stands at an address; None where nothing does. No redirection is followed.

    Raises:
        NotFetched: There is no answer, another one, or one of more than `most` bytes.
    """
    try:
        async with session.get(url, allow_redirects=False) as answer:
            if answer.status in _ABSENT:
                return None
            if answer.status != _OK:
                raise NotFetched(f"answers {answer.status}")
            return await whole(answer, most)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise NotFetched(f"gives no answer ({type(error).__name__})") from error


async def whole(answer: aiohttp.ClientResponse, most: int) -> bytes:
    """All of an answer's body.

    Raises:
        NotFetched: It is more than `most` bytes.
        aiohttp.ClientError: It breaks off.
    """
    data = bytearray()
    async for part in answer.content.iter_any():
        data += part
        if len(data) > most:
            raise NotFetched("answers without end")
    return bytes(data)


async def fetched_checkpoint(
    session: aiohttp.ClientSession, url: str, keys: list[VerifierKey], origin: str
) -> tuple[bytes, Checkpoint] | None:
    """A checkpoint that the log has signed, with whatever lines it has; None where there is none.

    Raises:
        NotFetched: There is no answer, or it is not one that the log has signed.
    """
    data = await fetched(session, url, MAX_NOTE_BYTES)
    if data is None:
        return None
    try:
        return data, open_checkpoint(data, keys, origin)
    except (Malformed, Unproven) as error:
        raise NotFetched(str(error)) from error


async def seen_by(
    session: aiohttp.ClientSession, witness_url: str, keys: list[VerifierKey], origin: str
) -> tuple[bytes, Checkpoint] | None:
    """The newest checkpoint of a log that a witness has cosigned (C2SP tlog-witness).

    Raises:
        NotFetched: As for :func:`fetched_checkpoint`.
    """
    url = f"{witness_url.rstrip('/')}/{origin_hash(origin)}/checkpoint"
    return await fetched_checkpoint(session, url, keys, origin)


async def furthest(
    urls: list[str], origin: str, keys: list[VerifierKey]
) -> tuple[bytes, Checkpoint] | None:
    """The largest checkpoint of a log that these witnesses have cosigned; None where none has.

    Every one of them is asked, and has to answer: who is left out could be the one who knows.

    Raises:
        NothingToBeginFrom: One does not answer, or not with what the log has signed; or two
            of them hold two branches.
    """
    found: list[tuple[bytes, Checkpoint]] = []
    async with asking() as session:
        for url in urls:
            try:
                seen = await seen_by(session, url, keys, origin)
            except OSError as error:
                raise NothingToBeginFrom(f"{url} {error}") from error
            if seen is not None:
                found.append(seen)
    if not found:
        return None
    note, state = max(found, key=lambda each: each[1].size)
    if any(one.size == state.size and one.root != state.root for _, one in found):
        raise NothingToBeginFrom(f"the peers hold two branches of {origin} at size {state.size}")
    return note, state


class RemoteLog:
    """Reads a log's entries from its bundles, for a sealer; what it gives is not judged."""

    def __init__(self, session: aiohttp.ClientSession, url: str, size: int, spool: Path) -> None:
        """Prepare.

        Args:
            session: As :func:`asking` gives it.
            url: The log's prefix.
            size: Of the checkpoint whose entries are wanted.
            spool: An empty directory of the caller's, for what is read more than once.
        """
        self._session = session
        self._url = url.rstrip("/")
        self._size = size
        self._spool = spool

    async def leaves(self, first: int, most: int) -> list[bytes]:
        """At most `most` leaves in order, from the beginning of a bundle on.

        Raises:
            NotFetched: A bundle is not there, or not one.
        """
        found: list[bytes] = []
        end = min(first + most, self._size)
        for n in range(first // WIDTH, -(-end // WIDTH)):
            found += await self._bundle(n)
        return found[: end - first]

    async def _bundle(self, n: int) -> tuple[bytes, ...]:
        width = min(WIDTH, self._size - n * WIDTH)
        tile, kept = Tile(None, n, width), self._spool / str(n)
        try:
            if kept.exists():
                return parse_bundle(tile, kept.read_bytes())
            data = await fetched(self._session, f"{self._url}/{tile.path}", _MOST_BUNDLE)
            if data is None and width < WIDTH:
                # SPEC: If a partial tile is not available, the client may fetch the full tile.
                whole = Tile(None, n)
                data = await fetched(self._session, f"{self._url}/{whole.path}", _MOST_BUNDLE)
                if data is not None:
                    data = encode_bundle(parse_bundle(whole, data)[:width])
            if data is None:
                raise NotFetched(f"{tile.path} is not there")
            entries = parse_bundle(tile, data)
        except Malformed as error:
            raise NotFetched(str(error)) from error
        kept.write_bytes(data)
        return entries
