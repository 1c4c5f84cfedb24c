"""Ask case systems and consent registers over HTTP."""

import asyncio
from collections.abc import Callable, Container, Mapping
from typing import Final

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sharegate.audit.text import read_base64
from sharegate.authorize.matters import (
    HEADER,
    MOST_BYTES,
    NONCE_BYTES,
    QUESTION,
    Asks,
    Inquiry,
    Keeper,
    Trouble,
    Unanswered,
    confirmed,
    question,
    signature,
)
from sharegate.errors import Misconfigured
from sharegate.model.party import DepartmentId
from sharegate.settings import KeeperSettings

_AT_ONCE: Final = 64
# Shorter than servers keep one: a question sent into a connection that is being closed is lost.
_IDLE_SECONDS: Final = 5.0
_OK: Final = 200


def keepers(
    named: Mapping[str, KeeperSettings], departments: Container[DepartmentId], place: str
) -> dict[DepartmentId, Keeper]:
    """Read who is asked in whose stead.

    Raises:
        Misconfigured: There is no such department; names the place.
    """
    found = {}
    for name, keeper in named.items():
        department = DepartmentId(name)
        if department not in departments:
            raise Misconfigured(f"{place}.{name}", "the registry has no such department")
        found[department] = Keeper(keeper.url, read_base64(keeper.public))
    return found


class HttpKeepers:
    """Keeps what :class:`~sharegate.authorize.matters.Confirm` promises, over HTTP.

    Follows no redirection, uses no proxy of the environment, keeps no cookie, reads no more than an
    answer needs, and never asks twice.
    """

    def __init__(
        self,
        case_systems: Mapping[DepartmentId, Keeper],
        consent_registers: Mapping[DepartmentId, Keeper],
        key: Ed25519PrivateKey,
        *,
        random: Callable[[int], bytes],
        seconds: float,
    ) -> None:
        """Prepare; needs a running event loop.

        Args:
            case_systems: By the consumer whose they are.
            consent_registers: By the provider whose they are.
            key: Signs the questions.
            random: Gives so many bytes that nobody can guess.
            seconds: How long an answer may take, waiting for a connection included.
        """
        self._keepers = {Asks.MATTER: case_systems, Asks.CONSENT: consent_registers}
        self._key = key
        self._random = random
        self._seconds = seconds
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, limit_per_host=_AT_ONCE, keepalive_timeout=_IDLE_SECONDS
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),  # ours is around everything
            auto_decompress=False,
        )

    async def close(self) -> None:
        """Cut every connection."""
        await self._session.close()

    async def __call__(self, inquiry: Inquiry) -> bool:
        """Ask, as the port promises."""
        keeper = self._keepers[inquiry.asks].get(inquiry.keeper)
        if keeper is None:
            raise Unanswered(Trouble.NOT_CONFIGURED)
        asked = question(inquiry, self._random(NONCE_BYTES))
        try:
            async with asyncio.timeout(self._seconds):
                body, signed = await self._post(keeper.url, asked)
        except TimeoutError:
            raise Unanswered(Trouble.SLOW) from None
        except (aiohttp.ClientError, OSError, ValueError):
            # Its text may carry what the other side sent.
            raise Unanswered(Trouble.DOWN) from None
        return confirmed(keeper, asked, body, signed)

    async def _post(self, url: str, asked: bytes) -> tuple[bytes, str | None]:
        headers = {
            "Content-Type": "application/json",
            HEADER: signature(QUESTION, asked, self._key),
        }
        async with self._session.post(
            url, data=asked, headers=headers, allow_redirects=False
        ) as answer:
            if answer.status != _OK:
                raise Unanswered(Trouble.DOWN)
            body = b""
            async for part in answer.content.iter_any():
                body += part
                if len(body) > MOST_BYTES:
                    raise Unanswered(Trouble.UNREADABLE)
            return body, answer.headers.get(HEADER)
