"""The keys that OpenID providers publish themselves, fetched beside the walk.

OpenID Connect Discovery 1.0 and RFC 7517. Nothing is fetched while a request waits: a token whose
key is not known is refused, and that makes its issuer be asked soon; asked again a moment later,
it is known. What a provider last published is kept while it cannot be reached, but not for ever.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

import aiohttp

from sharegate.identify.jws import ALGORITHMS, IssuerKey, issuer_key
from sharegate.identify.registry_file import is_safe
from sharegate.model.party import Discovery, TokenIssuer

REFRESH_SECONDS: Final = 300.0
SOONEST_SECONDS: Final = 5.0
KEEP_SECONDS: Final = 24 * 3600.0
_PATH: Final = "/.well-known/openid-configuration"
_TIMEOUT: Final = aiohttp.ClientTimeout(total=5)
_MOST_BYTES: Final = 256 * 1024
_MOST_KEYS: Final = 32

Told = Callable[[str, str], None]


class Unpublished(Exception):
    """An issuer did not publish what it must; the sentence says what."""


@dataclass(slots=True)
class _Issuer:
    """What is known of one issuer.

    Attributes:
        generation: Changes with the keys, so that whoever remembers a verdict can tell.
        asked, answered: When last, by the monotonic clock.
    """

    discovery: Discovery
    keys: Mapping[str, IssuerKey] = field(default_factory=dict)
    generation: int = 0
    asked: float = float("-inf")
    answered: float = float("-inf")
    wanted: bool = True
    failed: bool = False


class PublishedKeys:
    """Knows the keys of every registered issuer with discovery; follows the registry."""

    def __init__(self, told: Told, clock: Callable[[], float] = monotonic) -> None:
        """Know nothing yet; :meth:`start` begins to ask.

        Args:
            told: Told the issuer, and why it gave no keys, once a streak; or "" when it does again.
            clock: Seconds.
        """
        self._told = told
        self._clock = clock
        self._issuers: dict[str, _Issuer] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def follow(self, issuers: Mapping[str, TokenIssuer]) -> None:
        """From now on know these; what is known of them is kept."""
        following: dict[str, _Issuer] = {}
        for name, issuer in issuers.items():
            if issuer.discovery is not None:
                known = self._issuers.get(name)
                same = known is not None and known.discovery == issuer.discovery
                following[name] = known if known and same else _Issuer(issuer.discovery)
        self._issuers = following
        self._wake.set()

    def generation(self, issuer: str) -> int:
        """A number that changes with the issuer's keys."""
        known = self._issuers.get(issuer)
        return -1 if known is None or self._is_stale(known) else known.generation

    def key(self, issuer: str, kid: str) -> IssuerKey | None:
        """The key of this name; None, and the issuer is asked soon, where there is none."""
        known = self._issuers.get(issuer)
        if known is None:
            return None
        found = None if self._is_stale(known) else known.keys.get(kid)
        if found is None:
            known.wanted = True
            self._wake.set()
        return found

    def start(self) -> None:
        """Begin to ask."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Ask no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def _is_stale(self, known: _Issuer) -> bool:
        return self._clock() - known.answered > KEEP_SECONDS

    async def _run(self) -> None:
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
            while True:
                self._wake.clear()
                await self._ask_those_due(session)
                with suppress(TimeoutError):
                    async with asyncio.timeout(SOONEST_SECONDS):
                        await self._wake.wait()

    async def _ask_those_due(self, session: aiohttp.ClientSession) -> None:
        """Ask all at once whose keys are wanted or old, never one twice in a moment."""
        now = self._clock()
        due = [
            (name, known)
            for name, known in self._issuers.items()
            if (since := now - known.asked) >= SOONEST_SECONDS
            and (known.wanted or since >= REFRESH_SECONDS)
        ]
        await asyncio.gather(*(self._ask(session, name, known) for name, known in due))

    async def _ask(self, session: aiohttp.ClientSession, name: str, known: _Issuer) -> None:
        known.asked, known.wanted = self._clock(), False
        try:
            keys = await published(session, name, known.discovery)
        except Exception as error:  # noqa: BLE001  nonsense from one issuer must not stop the others
            why = str(error) if isinstance(error, Unpublished) else type(error).__name__
            if not known.failed:
                self._told(name, why)
            known.failed = True
            return
        if known.failed:
            self._told(name, "")
        known.failed, known.answered = False, self._clock()
        if keys != known.keys:
            known.keys, known.generation = keys, known.generation + 1


async def published(
    session: aiohttp.ClientSession, issuer: str, discovery: Discovery
) -> Mapping[str, IssuerKey]:
    """Ask an issuer for its keys.

    Raises:
        Unpublished: It does not answer, is another one, or publishes none that can be used.
    """
    metadata = await _document(session, issuer.rstrip("/") + _PATH)
    # OpenID Connect Discovery 4.3: the issuer must be exactly the one that was asked.
    if metadata.get("issuer") != issuer:
        raise Unpublished("its metadata is of another issuer")
    place = metadata.get("jwks_uri")
    if not isinstance(place, str) or not is_safe(place):
        raise Unpublished("its jwks_uri is missing or not https")
    if issuer.startswith("https:") and not place.startswith("https:"):
        # Else an issuer could have this machine's own services asked.
        raise Unpublished("its jwks_uri is not https, and it is")
    listed = (await _document(session, place)).get("keys")
    if not isinstance(listed, list) or len(listed) > _MOST_KEYS:
        raise Unpublished(f"its key set is not a list of at most {_MOST_KEYS} keys")
    keys: dict[str, IssuerKey] = {}
    for jwk in listed:
        made = _key(jwk, discovery.algorithms)
        if made is None or made.kid is None:
            continue  # RFC 7517 5: what one does not understand is passed over
        if made.kid in keys:
            raise Unpublished("it publishes two keys of one name")
        keys[made.kid] = made
    if not keys:
        raise Unpublished("it publishes no key of an accepted algorithm")
    return keys


async def _document(session: aiohttp.ClientSession, url: str) -> dict[str, object]:
    try:
        async with session.get(url, allow_redirects=False) as answer:
            if answer.status != 200:  # noqa: PLR2004
                raise Unpublished(f"it answers {answer.status}")
            content = await answer.content.read(_MOST_BYTES + 1)
            while len(content) <= _MOST_BYTES and not answer.content.at_eof():
                content += await answer.content.read(_MOST_BYTES + 1 - len(content))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise Unpublished(f"it cannot be reached: {type(error).__name__}") from error
    if len(content) > _MOST_BYTES:
        raise Unpublished("it answers more than anybody needs")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Unpublished("it does not answer in JSON") from error
    if not isinstance(document, dict):
        raise Unpublished("it does not answer with a JSON object")
    return document


def _key(jwk: object, algorithms: tuple[str, ...]) -> IssuerKey | None:
    """The first accepted algorithm that a published key is for; None where there is none."""
    if not isinstance(jwk, dict) or jwk.get("use", "sig") != "sig":
        return None
    for algorithm in algorithms:
        fixed, numbers = ALGORITHMS[algorithm]
        if jwk.get("alg", algorithm) != algorithm:
            continue
        needed = {name: jwk[name] for name in ("kid", *fixed, *numbers) if name in jwk}
        with suppress(ValueError):
            return issuer_key(algorithm, needed)
    return None
