"""Whether an issuer really signed a token (RFC 7515, compact form).

Nothing a token says of itself chooses how it is checked: algorithm and key are the issuer's in
the registry, and the header may only agree. A header that points at a key, brings one along or
demands an extension is refused unread, so no token can make the gateway fetch anything.
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Never

from joserfc.errors import JoseError
from joserfc.jwk import Key, import_key
from joserfc.jws import JWSRegistry

from sharegate.errors import Unauthenticated, Unproven

MAX_TOKEN = 4096
# By algorithm: what its JSON Web Key must say, and which numbers it must have.
ALGORITHMS: Mapping[str, tuple[dict[str, str], set[str]]] = {
    "EdDSA": ({"kty": "OKP", "crv": "Ed25519"}, {"x"}),
    "Ed25519": ({"kty": "OKP", "crv": "Ed25519"}, {"x"}),
    "ES256": ({"kty": "EC", "crv": "P-256"}, {"x", "y"}),
    "RS256": ({"kty": "RSA"}, {"n", "e"}),
}
_MIN_RSA_BITS = 2048
_MAX_RSA_BITS = 4096

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_HEADER = {"alg", "typ", "kid"}


@dataclass(frozen=True, slots=True)
class Unverified:
    """A token taken apart. Nothing about it is proven.

    Attributes:
        signed: The ASCII bytes the signature is over.
    """

    header: Mapping[str, Any]
    claims: bytes
    signed: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """An issuer's public key, with the one algorithm it is used for."""

    algorithm: str
    kid: str | None
    key: Key

    def verify(self, token: Unverified) -> None:
        """Return if this key signed the token.

        Raises:
            Unauthenticated: It did not, or the header disagrees with the registry.
        """
        if token.header["alg"] != self.algorithm:
            refuse("is not signed with the algorithm registered for its issuer")
        if "kid" in token.header and token.header["kid"] != self.kid:
            refuse("names a key other than the one registered for its issuer")
        try:
            genuine = JWSRegistry.algorithms[self.algorithm].verify(
                token.signed, token.signature, self.key
            )
        except (JoseError, ValueError):  # whatever cannot be checked is not genuine
            genuine = False
        if not genuine:
            refuse("is not signed by its issuer")


def refuse(why: str) -> Never:
    """Refuse an officer token.

    Raises:
        Unauthenticated: Always; `why` completes "the officer token ...".
    """
    raise Unauthenticated(Unproven.TOKEN_WRONG, "Authorization", f"the officer token {why}")


def issuer_key(algorithm: str, jwk: Mapping[str, object]) -> IssuerKey:
    """Prepare the public key of an issuer.

    Args:
        algorithm: One of `ALGORITHMS`.
        jwk: A public JSON Web Key (RFC 7517): what its type needs and no more, except `kid`,
            `use` "sig" and `alg`.

    Raises:
        ValueError: It is not such a key; the sentence says why.
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm is not one of {', '.join(ALGORITHMS)}")
    fixed, numbers = ALGORITHMS[algorithm]
    members = {name: value for name, value in jwk.items() if isinstance(value, str)}
    if len(members) != len(jwk) or set(members) - {"kid", "use", "alg"} != {*fixed, *numbers}:
        needed = ", ".join(sorted({*fixed, *numbers}))
        raise ValueError(f"the JSON Web Key needs exactly {needed}, as text")
    # joserfc looks at neither `use` nor `alg` when it is handed a key.
    for name, word in {**fixed, "use": "sig", "alg": algorithm}.items():
        if members.get(name, word) != word:
            raise ValueError(f"{name} of the JSON Web Key is not {word}")
    try:
        bits = len(_unpadded(members["n"])) * 8 if "n" in numbers else _MIN_RSA_BITS
        if not _MIN_RSA_BITS <= bits <= _MAX_RSA_BITS:
            raise ValueError(f"an RSA key has {_MIN_RSA_BITS} to {_MAX_RSA_BITS} bits")
        key = import_key({**fixed, **{name: members[name] for name in numbers}})
    except JoseError as error:
        raise ValueError("the JSON Web Key is not a usable public key") from error
    return IssuerKey(algorithm, members.get("kid"), key)


def take_apart(token: str) -> Unverified:
    """Read a token's outer form strictly; prove nothing.

    Raises:
        Unauthenticated: It is too long, not three parts of canonical base64url, or its header is
            not JSON with text for `alg` and for at most `typ` and `kid` besides.
    """
    if len(token) > MAX_TOKEN:
        refuse(f"is longer than {MAX_TOKEN} letters")
    found = _COMPACT.fullmatch(token)
    if found is None:
        refuse("is not three parts of base64url (a JWS in compact form)")
    header = read_object(_decode(found[1]), "header")
    if not {"alg"} <= set(header) <= _HEADER:
        refuse("has a header with members other than alg, typ and kid")
    if not all(isinstance(value, str) for value in header.values()):
        refuse("has a header with a member that is not text")
    return Unverified(
        header=header,
        claims=_decode(found[2]),
        signed=f"{found[1]}.{found[2]}".encode("ascii"),
        signature=_decode(found[3]),
    )


def read_object(text: bytes, part: str) -> dict[str, Any]:
    """Read a JSON object in which no name occurs twice.

    Raises:
        Unauthenticated: It is not one. Two readers may take a repeated name differently.
    """
    try:
        value = json.loads(
            text.decode("utf-8"), object_pairs_hook=_named_once, parse_constant=_no_number
        )
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        refuse(f"has a {part} that is not a JSON object with each name once")
    return value


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name occurs twice")
    return members


def _no_number(word: str) -> Never:
    raise ValueError(f"{word} is not JSON")  # Python alone reads NaN and Infinity


def _decode(segment: str) -> bytes:
    try:
        return _unpadded(segment)
    except ValueError:
        refuse("is not canonical base64url")


def _unpadded(text: str) -> bytes:
    # Python drops unused bits and foreign letters; one token must have one spelling.
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii") != text:
        raise ValueError("not canonical base64url")
    return data
