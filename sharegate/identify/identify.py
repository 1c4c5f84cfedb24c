"""Who is asking: the department by its signature or its connection, the officer by his token."""

from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from sharegate.errors import Unauthenticated, Unproven
from sharegate.identify.jws import MAX_TOKEN
from sharegate.identify.officer import OfficerTokens, Published
from sharegate.identify.signature import (
    Claimed,
    parse_content_digest,
    parse_profile,
    parse_signature,
    profile_base,
)
from sharegate.model.party import (
    Caller,
    Certificate,
    DepartmentId,
    KeyId,
    Known,
    MemberKey,
    Registry,
)
from sharegate.model.passage import Arrived, Identified

MAX_AGE_MS = 60_000
MAX_AHEAD_MS = 5_000
_BEARER = "Bearer "


class Identify:
    """The first room of the walk.

    Checks run from cheap to dear, so a stranger costs little: form, key, freshness, digest and
    authority before the signature, the signature before the token. Not for use by several
    threads at once.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        authority: str,
        audience: str,
        published: Published | None = None,
    ) -> None:
        """Prepare every key once.

        Args:
            registry: The members.
            authority: The host[:port] that departments sign.
            audience: The ``aud`` of officer tokens for this gateway.
            published: The keys of issuers that publish them themselves.
        """
        self._keys = {
            key_id: (key, Ed25519PublicKey.from_public_bytes(key.public))
            for key_id, key in registry.keys.items()
        }
        self._authority = authority.lower()
        self._tokens = OfficerTokens(registry.issuers, audience=audience, published=published)
        self._certificates = registry.certificates
        self._revoked = registry.revoked_officers

    def __call__(self, arrived: Arrived) -> Identified:
        """Say who asks, if it is proven.

        A request that carries a signature is judged by it, whatever its connection is. One that
        carries none is believed only on a connection with a registered certificate.

        Raises:
            Unauthenticated: It is not.
        """
        if arrived.peer and "signature-input" not in arrived.headers:
            return self._by_channel(arrived)
        authorization = _header(arrived, "Authorization", Unproven.TOKEN_MISSING)
        signature_input = _header(arrived, "Signature-Input", Unproven.SIGNATURE_MISSING)
        signature_text = _header(arrived, "Signature", Unproven.SIGNATURE_MISSING)
        digest_text = _header(arrived, "Content-Digest", Unproven.SIGNATURE_MISSING)
        claimed = parse_profile(signature_input)
        signature = parse_signature(signature_text)
        digest = parse_content_digest(digest_text)
        token = _bearer(authorization)
        key, public = self._key(claimed, arrived.at)
        _require_fresh(claimed, arrived.at)
        body_digest = sha256(arrived.body).digest()
        _require_digest(digest, body_digest)
        self._require_addressed(arrived.authority)
        try:
            base = profile_base(
                method=arrived.method,
                authority=self._authority,
                path=arrived.path,
                query=arrived.query,
                content_digest=digest_text,
                authorization=authorization,
                params=claimed.params,
            )
            public.verify(signature, base)
        except (InvalidSignature, ValueError):
            raise Unauthenticated(
                Unproven.SIGNATURE_WRONG,
                "Signature",
                "Signature is not this key's signature over this request",
            ) from None
        if arrived.peer and self._certificate(arrived).department != key.department:
            raise Unauthenticated(
                Unproven.CERTIFICATE,
                "keyid",
                "keyid is of a department other than the connection's certificate",
            )
        return Identified(
            exchange_id=arrived.exchange_id,
            at=arrived.at,
            caller=self._caller(token, arrived.at, key.department, key.key_id, Known.SIGNED),
            signed_at=claimed.created * 1000,
            # Neither part holds a zero byte, so no two pairs run together into one text.
            replay_key=sha256(
                f"sharegate-replay{key.key_id}\0{claimed.nonce}".encode("ascii")
            ).digest(),
            body=arrived.body,
            body_digest=body_digest,
        )

    def _by_channel(self, arrived: Arrived) -> Identified:
        """Take the department from the connection; the officer still proves himself each time."""
        token = _bearer(_header(arrived, "Authorization", Unproven.TOKEN_MISSING))
        certificate = self._certificate(arrived)
        body_digest = sha256(arrived.body).digest()
        digest_text = arrived.headers.get("content-digest")
        if digest_text is not None:
            _require_digest(parse_content_digest(digest_text), body_digest)
        self._require_addressed(arrived.authority)
        department, key_id = certificate.department, certificate.key_id
        return Identified(
            exchange_id=arrived.exchange_id,
            at=arrived.at,
            caller=self._caller(token, arrived.at, department, key_id, Known.CHANNEL),
            signed_at=arrived.at,
            # TLS keeps off replays by itself: each request is one of its own.
            replay_key=sha256(b"sharegate-channel" + arrived.exchange_id.bytes).digest(),
            body=arrived.body,
            body_digest=body_digest,
        )

    def _certificate(self, arrived: Arrived) -> Certificate:
        """Find the connection's certificate, looked up anew for each request."""
        for name in arrived.peer:
            found = self._certificates.get(name)
            if found is not None:
                if found.not_before <= arrived.at < found.not_after:
                    return found
                raise Unauthenticated(
                    Unproven.CERTIFICATE,
                    "certificate",
                    "the connection's certificate is registered, but not valid now",
                )
        raise Unauthenticated(
            Unproven.CERTIFICATE, "certificate", "the connection's certificate is not registered"
        )

    def _caller(
        self, token: str, at: int, department: DepartmentId, key_id: KeyId, known: Known
    ) -> Caller:
        officer = self._tokens.officer(token, at)
        if officer.department != department:
            raise Unauthenticated(
                Unproven.TOKEN_FOREIGN,
                "Authorization",
                "the officer token is from a department other than the one that asks",
            )
        if (department, officer.id) in self._revoked:
            raise Unauthenticated(
                Unproven.OFFICER_REVOKED, "Authorization", "this officer may not ask any more"
            )
        return Caller(department, officer.id, key_id, officer.issuer, officer.posts, known)

    def _key(self, claimed: Claimed, at: int) -> tuple[MemberKey, Ed25519PublicKey]:
        known = self._keys.get(claimed.key_id)
        if known is None:
            raise Unauthenticated(
                Unproven.SIGNATURE_KEY, "keyid", "keyid names no key in the registry"
            )
        if not known[0].not_before <= at < known[0].not_after:
            raise Unauthenticated(
                Unproven.SIGNATURE_KEY, "keyid", "keyid names a key that is not valid now"
            )
        return known

    def _require_addressed(self, authority: str) -> None:
        # Host names have no case (RFC 9110 4.2.3). `lower` alone would also fold the Kelvin sign.
        if authority != self._authority and not (
            authority.isascii() and authority.lower() == self._authority
        ):
            raise Unauthenticated(
                Unproven.SIGNATURE_WRONG,
                "@authority",
                "@authority (the Host header) is not this gateway's",
            )


def _header(arrived: Arrived, name: str, missing: Unproven) -> str:
    value = arrived.headers.get(name.lower())
    if value is None:
        raise Unauthenticated(missing, name, f"{name} is missing")
    return value


def _require_digest(claimed: bytes, actual: bytes) -> None:
    if claimed != actual:
        raise Unauthenticated(
            Unproven.DIGEST_WRONG,
            "Content-Digest",
            "Content-Digest is not the SHA-256 of the body",
        )


def _bearer(authorization: str) -> str:
    token = authorization.removeprefix(_BEARER)
    if not authorization.startswith(_BEARER) or len(token) > MAX_TOKEN:
        raise Unauthenticated(
            Unproven.TOKEN_WRONG,
            "Authorization",
            f"Authorization is not Bearer and one officer token of at most {MAX_TOKEN} letters",
        )
    return token


def _require_fresh(claimed: Claimed, at: int) -> None:
    age = at - claimed.created * 1000
    if age > MAX_AGE_MS:
        raise Unauthenticated(
            Unproven.SIGNATURE_STALE,
            "created",
            f"created is more than {MAX_AGE_MS // 1000} seconds ago",
        )
    if age < -MAX_AHEAD_MS:
        raise Unauthenticated(
            Unproven.SIGNATURE_STALE,
            "created",
            f"created is more than {MAX_AHEAD_MS // 1000} seconds ahead of this gateway's clock",
        )
