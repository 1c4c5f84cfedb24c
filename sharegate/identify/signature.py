"""How a department signs a request, and what exactly it signs (RFC 9421, RFC 9530).

RFC 9421 lets a signature cover anything, even nothing. ShareGate accepts one profile, character
for character: one signature labelled ``sharegate``, over the six components of `COVERED` in that
order, with the parameters created, nonce, keyid and tag in that order. What is not spelt so is
refused, so there is nothing to negotiate and nothing to strip.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sharegate.errors import Unauthenticated, Unproven
from sharegate.model.party import KeyId

COVERED = (
    '"@method"',
    '"@authority"',
    '"@path"',
    '"@query"',
    '"content-digest"',
    '"authorization"',
)

# `fullmatch` throughout: `$` would let a line feed follow. The last letter of each base64 text is
# one whose unused bits are zero, so every accepted value has exactly one spelling.
_INPUT = re.compile(
    r"sharegate=("
    + re.escape(f"({' '.join(COVERED)})")
    + r";created=([1-9][0-9]{0,11})"
    + r';nonce="([A-Za-z0-9_-]{16,64})"'
    + r';keyid="([a-z][a-z0-9-]{0,62})"'
    + r';tag="sharegate")'
)
_SIGNATURE = re.compile(r"sharegate=:([A-Za-z0-9+/]{85}[AQgw]==):")
_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=):")
_FOLD = re.compile(r"[ \t]*\r\n[ \t]+")
_SIGNABLE = bytes([0x09, 0x0A, *range(0x20, 0x7F)])


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a ``Signature-Input`` says of itself; nothing of it is proven.

    Attributes:
        created: Unix time in seconds at which the consumer says it signed.
        nonce: 16 to 64 letters of base64url.
        params: The text after the label, which is signed as ``"@signature-params"``.
    """

    created: int
    nonce: str
    key_id: KeyId
    params: str


def field_value(*lines: str) -> str:
    """Combine the lines of one header field into the value that is signed (RFC 9421 2.1)."""
    return ", ".join(_FOLD.sub(" ", line).strip(" \t") for line in lines)


def signature_base(covered: Sequence[tuple[str, str]], params: str) -> bytes:
    """Write the text that is signed (RFC 9421 2.5).

    Args:
        covered: Each component's identifier as serialised, quotes and parameters included, with
            its value.
        params: The value of ``"@signature-params"``.

    Raises:
        ValueError: An identifier occurs twice, or a character is not printable ASCII. A line
            feed in a value would let one request pass for another.
    """
    lines = [*map(": ".join, covered), f'"@signature-params": {params}']
    base = "\n".join(lines).encode("ascii")
    if base.count(b"\n") != len(covered) or base.translate(None, _SIGNABLE):
        raise ValueError("a component holds a control character")
    if len(dict(covered)) != len(covered):
        raise ValueError("a component is covered twice")
    return base


def profile_base(  # noqa: D417  the components are those of COVERED
    *,
    method: str,
    authority: str,
    path: str,
    query: str,
    content_digest: str,
    authorization: str,
    params: str,
) -> bytes:
    """Write what the profile signs.

    Args:
        query: Without the question mark; empty where there is none.

    Raises:
        ValueError: As :func:`signature_base`.
    """
    values = (method, authority, path or "/", f"?{query}", content_digest, authorization)
    return signature_base(tuple(zip(COVERED, values, strict=True)), params)


def sign(
    private_key: Ed25519PrivateKey,
    *,
    key_id: str,
    nonce: str,
    created: int,
    method: str,
    authority: str,
    path: str,
    query: str,
    content_digest: str,
    authorization: str,
) -> dict[str, str]:
    """Sign one request as a department does.

    Args:
        private_key: The private half of the key registered as `key_id`.
        key_id: As in the registry.
        nonce: 16 to 64 letters of base64url, never used before with this key.
        created: Unix time in seconds.
        method: In capitals, as sent.
        authority: The gateway's host[:port].
        path: As sent, undecoded.
        query: Without the question mark; empty where there is none.
        content_digest: The ``Content-Digest`` header, as :func:`content_digest` writes it.
        authorization: The ``Authorization`` header.

    Returns:
        The two headers to add: ``Signature-Input`` and ``Signature``.

    Raises:
        ValueError: The key id or the nonce is outside the profile, or a component cannot be
            signed.
    """
    params = f'({" ".join(COVERED)});created={created};nonce="{nonce}";keyid="{key_id}"'
    params += ';tag="sharegate"'
    if _INPUT.fullmatch(f"sharegate={params}") is None:
        raise ValueError("created, nonce or key_id is outside the signature profile")
    base = profile_base(
        method=method,
        authority=authority.lower(),
        path=path,
        query=query,
        content_digest=field_value(content_digest),
        authorization=field_value(authorization),
        params=params,
    )
    signature = base64.b64encode(private_key.sign(base)).decode("ascii")
    return {"Signature-Input": f"sharegate={params}", "Signature": f"sharegate=:{signature}:"}


def parse_profile(signature_input: str) -> Claimed:
    """Read a ``Signature-Input`` header of the profile.

    Raises:
        Unauthenticated: It is anything but the one accepted form.
    """
    found = _INPUT.fullmatch(signature_input)
    if found is None:
        raise Unauthenticated(
            Unproven.SIGNATURE_PROFILE,
            "Signature-Input",
            "Signature-Input is not the one accepted form: a single signature labelled sharegate "
            "over @method, @authority, @path, @query, content-digest and authorization, with "
            "created, nonce (16 to 64 letters of base64url), keyid and tag, in that order",
        )
    params, created, nonce, key_id = found.groups()
    return Claimed(created=int(created), nonce=nonce, key_id=KeyId(key_id), params=params)


def parse_signature(signature: str) -> bytes:
    """Read a ``Signature`` header of the profile: 64 bytes.

    Raises:
        Unauthenticated: It is anything but one signature labelled sharegate.
    """
    found = _SIGNATURE.fullmatch(signature)
    if found is None:
        raise Unauthenticated(
            Unproven.SIGNATURE_PROFILE,
            "Signature",
            "Signature is not one Ed25519 signature labelled sharegate: "
            "sharegate=:<88 letters of base64>:",
        )
    return base64.b64decode(found[1])


def content_digest(body: bytes) -> str:
    """Write the ``Content-Digest`` header of a body (RFC 9530)."""
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode("ascii")
    return f"sha-256=:{digest}:"


def parse_content_digest(value: str) -> bytes:
    """Read a ``Content-Digest`` header with exactly one member, sha-256: 32 bytes.

    Raises:
        Unauthenticated: It is anything else.
    """
    found = _DIGEST.fullmatch(value)
    if found is None:
        raise Unauthenticated(
            Unproven.SIGNATURE_PROFILE,
            "Content-Digest",
            "Content-Digest is not one sha-256 member: sha-256=:<44 letters of base64>:",
        )
    return base64.b64decode(found[1])
