"""Who the officer is, on the word of his own department's issuer (RFC 7519).

An officer token is a JWT of type ``officer+jwt``, made for this gateway and nobody else, good
for a day at most.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Protocol

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc.jwk import Key, OKPKey, import_key
from joserfc.jws import JWSRegistry
from msgspec import Meta, Struct

from sharegate.errors import Unauthenticated, Unproven
from sharegate.identify.jws import (
    IssuerKey,
    Unverified,
    issuer_key,
    read_object,
    refuse,
    take_apart,
)
from sharegate.model.party import DepartmentId, OfficerId, TokenIssuer

TOKEN_TYPE = "officer+jwt"  # noqa: S105  a media type
MAX_LIFETIME_S = 86_400
LEEWAY_S = 5
_REMEMBERED = 10_000
_USUAL_ALGORITHM = {"OKP": "EdDSA", "EC": "ES256", "RSA": "RS256"}


_Post = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,62}\Z")]


class _Claims(Struct, frozen=True, kw_only=True):
    """What a token must claim. Further claims are ignored, as RFC 7519 section 4 asks."""

    iss: str
    # Letters a log reader cannot be deceived by: no control, no direction marks, no look-alikes.
    sub: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@+-]{0,127}\Z")]
    aud: str | tuple[str]
    exp: int
    iat: int
    nbf: int = 0
    department: str | None = None
    posts: Annotated[tuple[_Post, ...], Meta(max_length=16)] = ()


@dataclass(frozen=True, slots=True)
class Officer:
    """An officer and who vouches for him.

    Attributes:
        since: First millisecond (Unix time) at which the token is believed.
        until: First millisecond at which it no longer is.
        posts: Those the token names.
    """

    id: OfficerId
    department: DepartmentId
    issuer: str
    since: int
    until: int
    posts: tuple[str, ...]


class Published(Protocol):
    """The keys that issuers publish themselves (`discovery`)."""

    def generation(self, issuer: str) -> int:
        """A number that changes with the issuer's keys."""

    def key(self, issuer: str, kid: str) -> IssuerKey | None:
        """The issuer's key of this name, if it is known to publish one."""


class OfficerTokens:
    """Tells the officer from the token.

    Remembers the last tokens it verified, by their SHA-256 so that none can be read out of
    memory, and judges their times anew at every use. Not for use by several threads at once.
    """

    def __init__(
        self,
        issuers: Mapping[str, TokenIssuer],
        *,
        audience: str,
        remembered: int = _REMEMBERED,
        published: Published | None = None,
    ) -> None:
        self._issuers: dict[str, tuple[TokenIssuer, IssuerKey | None]] = {
            name: (
                issuer,
                None if issuer.discovery else issuer_key(issuer.algorithm, issuer.jwk),
            )
            for name, issuer in issuers.items()
        }
        self._audience = audience
        self._remembered = remembered
        self._published = published
        self._verified: dict[bytes, tuple[Officer, int]] = {}

    def officer(self, token: str, at: int) -> Officer:
        """Say whom a token vouches for.

        Args:
            token: As it stands in the ``Authorization`` header after ``Bearer``.
            at: Unix time in milliseconds.

        Raises:
            Unauthenticated: The token is not genuine, not for this gateway, or not valid now.
        """
        try:
            digest = sha256(token.encode("ascii")).digest()
        except UnicodeEncodeError:
            refuse("is not ASCII")
        held = self._verified.get(digest)
        if held is not None and held[0].since <= at < held[0].until:
            officer, generation = held
            if generation == self._generation(officer.issuer):
                return officer
        officer = self._verify(token)
        if at >= officer.until:
            raise Unauthenticated(
                Unproven.TOKEN_EXPIRED, "Authorization", "the officer token has expired"
            )
        if at < officer.since:
            refuse("is not valid yet")
        if len(self._verified) >= self._remembered:
            del self._verified[next(iter(self._verified))]
        self._verified[digest] = officer, self._generation(officer.issuer)
        return officer

    def _published_key(self, issuer: str, parts: Unverified) -> IssuerKey:
        kid = parts.header.get("kid")
        if kid is None:
            refuse("names no key (kid)")
        key = None if self._published is None else self._published.key(issuer, kid)
        if key is None:
            refuse("is signed with a key its issuer is not known to publish; ask again in a moment")
        return key

    def _generation(self, issuer: str) -> int:
        """What was verified by a key that is no longer published is verified anew."""
        return 0 if self._published is None else self._published.generation(issuer)

    def _verify(self, token: str) -> Officer:
        parts = take_apart(token)
        try:
            claims = msgspec.convert(read_object(parts.claims, "payload"), _Claims)
        except msgspec.ValidationError as error:
            refuse(f"lacks a claim or has a wrong one: {error}")  # msgspec names types, not values
        if claims.iss not in self._issuers:
            refuse("has an issuer that is not registered")
        issuer, key = self._issuers[claims.iss]
        wanted = issuer.discovery
        kind = TOKEN_TYPE if wanted is None else wanted.typ
        # RFC 7515 4.1.9: `application/` may be left out. Else any JWT of the issuer would do.
        if str(parts.header.get("typ", "")).removeprefix("application/") != kind:
            refuse(f"is not of type {kind}")
        (key or self._published_key(claims.iss, parts)).verify(parts)
        # One audience: whoever else it were made for could use it here.
        audience = self._audience if wanted is None else wanted.audience
        if claims.aud not in (audience, (audience,)):
            refuse("was not made for this gateway (aud)")
        department = claims.department
        if department is None and wanted is None:
            refuse("lacks a claim or has a wrong one: department")
        if department not in {None, issuer.department}:
            raise Unauthenticated(
                Unproven.TOKEN_FOREIGN,
                "Authorization",
                "the officer token claims a department other than its issuer's",
            )
        if not 0 < claims.exp - claims.iat <= MAX_LIFETIME_S:
            refuse(f"is not limited to {MAX_LIFETIME_S // 3600} hours (iat, exp)")
        return Officer(
            id=OfficerId(claims.sub),
            department=issuer.department,
            issuer=issuer.issuer,
            since=(max(claims.iat, claims.nbf) - LEEWAY_S) * 1000,
            until=claims.exp * 1000,
            posts=claims.posts,
        )


def issue_token(
    private: Ed25519PrivateKey | Key | Mapping[str, str],
    *,
    issuer: str,
    officer: str,
    department: str,
    audience: str,
    now: int,
    lifetime_s: int,
    algorithm: str | None = None,
    posts: Sequence[str] = (),
) -> str:
    """Make an officer token, as a department's identity provider does.

    For the demo, the command line and tests; the gateway itself never makes one.

    Args:
        private: The issuer's private key: Ed25519, a joserfc key, or a JSON Web Key as a map.
        issuer: The ``iss`` under which it is registered.
        officer: The ``sub``: who acts.
        department: The issuer's department.
        audience: The gateway it is for.
        now: Unix time in seconds.
        lifetime_s: Seconds until it expires; the gateway believes at most `MAX_LIFETIME_S`.
        algorithm: As registered; by default EdDSA, ES256 or RS256 by the key's type.
        posts: The posts the officer holds.
    """
    if isinstance(private, Ed25519PrivateKey):
        key: Key = OKPKey.import_key(private)
    else:
        key = import_key(dict(private)) if isinstance(private, Mapping) else private
    algorithm = algorithm or _USUAL_ALGORITHM[key.key_type]
    header = {"alg": algorithm, "typ": TOKEN_TYPE}
    if key.kid is not None:
        header["kid"] = key.kid
    claims = {
        "iss": issuer,
        "sub": officer,
        "aud": audience,
        "iat": now,
        "exp": now + lifetime_s,
        "department": department,
        **({"posts": list(posts)} if posts else {}),
    }
    signed = f"{_encode(_json(header))}.{_encode(_json(claims))}"
    signature = JWSRegistry.algorithms[algorithm].sign(signed.encode("ascii"), key)
    return f"{signed}.{_encode(signature)}"


def _json(members: Mapping[str, object]) -> bytes:
    return json.dumps(members, separators=(",", ":")).encode("ascii")


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
