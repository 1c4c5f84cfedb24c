"""Two departments with keys and issuers, and requests as they would send them."""

import base64
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from joserfc.jwk import OKPKey
from msgspec.structs import replace

from sharegate.identify.identify import Identify
from sharegate.identify.officer import issue_token
from sharegate.identify.signature import content_digest, sign
from sharegate.model.party import Department, DepartmentId, KeyId, MemberKey, Registry, TokenIssuer
from sharegate.model.passage import Arrived

AUTHORITY = "gateway.example:8443"
AUDIENCE = "https://gateway.example:8443"
NOW_S = 1_750_000_000  # long ago, so that no oracle with a clock finds it in the future
NOW = NOW_S * 1000
DAY = 86_400_000
EXCHANGE = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
BODY = '{"matter":"DB-2026-000123","purpose":"最低生活保障"}'.encode()
NONCE = "n-0123456789_ABCdef"


@dataclass(frozen=True)
class Member:
    """A department, with the private halves of its keys."""

    id: str
    signing: Ed25519PrivateKey
    tokens: Ed25519PrivateKey

    @property
    def key_id(self):
        return f"{self.id}-2026"

    @property
    def issuer(self):
        return f"https://officers.{self.id}.example"

    @property
    def jwk(self):
        return OKPKey.import_key(self.tokens.public_key()).as_dict(private=False)

    def token(self, **changes):
        made = {
            "issuer": self.issuer,
            "officer": "officer-17",
            "department": self.id,
            "audience": AUDIENCE,
            "now": NOW_S - 60,
            "lifetime_s": 3600,
        }
        return issue_token(self.tokens, **(made | changes))

    def ask(self, *, token=None, body=BODY, path="/v1/exchanges", query="", **changes):
        """A request that is proven, unless `changes` (arguments of `sign`) spoil it."""
        authorization = f"Bearer {token or self.token()}"
        signed = {
            "key_id": self.key_id,
            "nonce": NONCE,
            "created": NOW_S,
            "method": "POST",
            "authority": AUTHORITY,
            "path": path,
            "query": query,
            "content_digest": content_digest(body),
            "authorization": authorization,
        } | changes
        headers = {
            "Content-Type": "application/json",
            "Content-Digest": signed["content_digest"],
            "Authorization": authorization,
        } | sign(self.signing, **signed)
        return Arrived(
            exchange_id=EXCHANGE,
            at=NOW,
            method="POST",
            authority=AUTHORITY,
            path=path,
            query=query,
            headers={name.lower(): value for name, value in headers.items()},
            body=body,
        )


def _key(seed):
    return Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)


CIVIL_AFFAIRS = Member("civil-affairs", _key(1), _key(2))
HOUSING = Member("housing", _key(3), _key(4))
MEMBERS = (CIVIL_AFFAIRS, HOUSING)


def registry(*, jwk=None, algorithm="EdDSA"):
    """The two members; `jwk` and `algorithm` replace those of civil affairs' issuer."""
    return Registry(
        departments={
            DepartmentId(m.id): Department(DepartmentId(m.id), "部门", "Department", None)
            for m in MEMBERS
        },
        keys={
            KeyId(m.key_id): MemberKey(
                KeyId(m.key_id),
                DepartmentId(m.id),
                m.signing.public_key().public_bytes_raw(),
                NOW - 30 * DAY,
                NOW + 30 * DAY,
            )
            for m in MEMBERS
        },
        issuers={
            m.issuer: TokenIssuer(
                m.issuer,
                DepartmentId(m.id),
                algorithm if m is CIVIL_AFFAIRS else "EdDSA",
                (jwk if m is CIVIL_AFFAIRS else None) or m.jwk,
            )
            for m in MEMBERS
        },
        audit_office_key=bytes(32),
    )


def identify(**changes):
    return Identify(registry(**changes), authority=AUTHORITY, audience=AUDIENCE)


def with_header(arrived, name, value):
    """The same request with one header changed, or left out for None."""
    headers = {n: v for n, v in arrived.headers.items() if n != name.lower()}
    if value is not None:
        headers[name.lower()] = value
    return replace(arrived, headers=headers)


def b64(data):
    return base64.b64encode(data).decode()


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def registry_text():
    """The same two members as a registry file."""
    lines = [f'audit_office_key = "{b64(_x25519(9))}"']
    for n, m in enumerate(MEMBERS):
        lines += [
            "[[department]]",
            f'id = "{m.id}"',
            'name_zh = "部门"',
            f'name_en = "Department {n}"',
            f'detail_key = "{b64(_x25519(10 + n))}"',
            "[[department.key]]",
            f'key_id = "{m.key_id}"',
            f'public = "{b64(m.signing.public_key().public_bytes_raw())}"',
            "not_before = 2026-01-01T00:00:00Z",
            "not_after = 2027-01-01T08:00:00+08:00",
            "[[department.issuer]]",
            f'issuer = "{m.issuer}"',
            'algorithm = "EdDSA"',
            f'jwk = {{ kty = "OKP", crv = "Ed25519", x = "{m.jwk["x"]}" }}',
        ]
    return "\n".join(lines) + "\n"


def _x25519(seed):
    return X25519PrivateKey.from_private_bytes(bytes([seed]) * 32).public_key().public_bytes_raw()


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path
