"""A request as a department sends it: the headers that prove whose it is."""

import secrets
from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sharegate.identify.signature import content_digest, sign

_NONCE_BYTES: Final = 24


def signed_headers(
    key: Ed25519PrivateKey,
    key_id: str,
    *,
    now: int,
    method: str,
    authority: str,
    path: str,
    query: str,
    authorization: str,
    body: bytes,
) -> Mapping[str, str]:
    """Sign a request by the one profile; good for a minute, and once.

    Args:
        key: The private half of the key registered as `key_id`.
        key_id: Its name.
        now: Unix time in seconds.
        method: As it will be sent.
        path: Likewise.
        authority: The host[:port] that the gateway believes to be.
        query: Without the question mark; empty where there is none.
        authorization: ``Bearer`` and the officer's token.
        body: JSON.

    Returns:
        All headers it needs.

    Raises:
        ValueError: As :func:`sharegate.identify.signature.sign`.
    """
    digest = content_digest(body)
    signature = sign(
        key,
        key_id=key_id,
        nonce=secrets.token_urlsafe(_NONCE_BYTES),
        created=now,
        method=method,
        authority=authority,
        path=path,
        query=query,
        content_digest=digest,
        authorization=authorization,
    )
    return {
        "Host": authority,
        "Content-Type": "application/json",
        "Content-Digest": digest,
        "Authorization": authorization,
        **signature,
    }
