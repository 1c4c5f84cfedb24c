"""Asking a running gateway byte for byte, well or badly, and looking at what it kept."""

import asyncio
import http.client
import json
import secrets
import socket
import time
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from sharegate.audit.chain import parse_leaf
from sharegate.identify.officer import issue_token
from sharegate.identify.signature import content_digest, sign
from sharegate.record.entry import read_core
from sharegate.web import problems
from tests.postgres import on_a_thread
from tests.site import Site

EXCHANGE = "/v1/exchanges"
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Answered:
    """What came back, and what of it was recorded."""

    status: int
    headers: dict[str, str]
    body: bytes
    entries: list[dict[str, Any]] = field(default_factory=list)
    kept: bytes = b""

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["content-type"] == problems.CONTENT_TYPE, self
        document = json.loads(self.body)
        assert document["status"] == self.status
        return document

    @property
    def kind(self) -> str:
        return self.problem["type"].removeprefix(problems.TYPE_PREFIX)


@dataclass
class Asker:
    """Asks the one gateway of a site."""

    site: Site

    @property
    def gateway(self):
        return self.site.gateways[0]

    @property
    def authority(self) -> str:
        return self.gateway.exchange_url.partition("://")[2]

    def key(self, name: str):
        file = self.site.place / "keys" / f"{name}.pem"
        return load_pem_private_key(file.read_bytes(), password=None)

    def token(self, department: str = "civil-affairs", **changes: Any) -> str:
        claims = {
            "issuer": f"https://officers.{department}.example",
            "officer": "zhang.wei",
            "department": department,
            "audience": self.authority,
            "now": int(time.time()),
            "lifetime_s": 600,
        } | changes
        return issue_token(self.key(f"{department}.issuer"), **claims)

    def signed(
        self,
        body: bytes,
        *,
        consumer: str = "civil-affairs",
        key: str | None = None,
        token: str | None = None,
        method: str = "POST",
        target: str = EXCHANGE,
        age: int = 0,
        **changes: Any,
    ) -> dict[str, str]:
        """The headers of a request as a department signs it, or nearly so."""
        path, _, query = target.partition("?")
        said = {
            "key_id": f"{consumer}-demo",
            "nonce": secrets.token_urlsafe(24),
            "created": int(time.time()) - age,
            "method": method,
            "authority": self.authority,
            "path": path,
            "query": query,
            "content_digest": content_digest(body),
            "authorization": f"Bearer {token or self.token(consumer)}",
        } | changes
        return {
            **JSON,
            "Content-Digest": said["content_digest"],
            "Authorization": said["authorization"],
            **sign(self.key(key or consumer), **said),
        }

    def send(
        self,
        headers: dict[str, Any],
        body: bytes = b"",
        *,
        method: str = "POST",
        target: str = EXCHANGE,
        missing: int = 0,
    ) -> Answered:
        """Send exactly this, but the body's last bytes; look at what was recorded meanwhile."""
        before = self.size()
        connection = http.client.HTTPConnection(self.authority, timeout=20)
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in {"Host": self.authority, **headers}.items():
            for line in value if isinstance(value, list) else [value]:
                connection.putheader(name, line)
        chunked = "Transfer-Encoding" in headers
        if not chunked:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[: len(body) - missing], encode_chunked=chunked)
        response = connection.getresponse()
        got = {name.lower(): value for name, value in response.getheaders()}
        content = response.read()
        connection.close()
        leaves = self.leaves(before)
        return Answered(
            response.status,
            got,
            content,
            [dict(read_core(parse_leaf(leaf).core)) for leaf in leaves],
            b"\n".join(leaves),
        )

    def ask(self, body: bytes | dict[str, Any], **how: Any) -> Answered:
        """Sign it properly, whatever it is, and send it."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        target, method = how.get("target", EXCHANGE), how.get("method", "POST")
        return self.send(self.signed(raw, **how), raw, method=method, target=target)

    def raw(self, *parts: bytes) -> bytes:
        """Send bytes that need not be HTTP; give what came until the gateway hung up."""
        host, _, port = self.authority.partition(":")
        with socket.create_connection((host, int(port)), timeout=2) as peer:
            for part in parts:
                peer.sendall(part)
            got = b""
            while chunk := peer.recv(65_536):
                got += chunk
        return got

    def size(self) -> int:
        return self.superuser("select size from sharegate.head")[0][0]

    def leaves(self, first: int) -> list[bytes]:
        rows = self.superuser(
            "select leaf from sharegate.entry where seq >= $1 order by seq", first
        )
        return [row[0] for row in rows]

    def superuser(self, statement: str, *values: Any, database: str | None = None):
        dsn = self.site.audit_dsn() if database is None else self.site.server.dsn(database)
        return on_a_thread(_fetch(dsn, statement, values))


async def _fetch(dsn, statement, values):
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetch(statement, *values)
    finally:
        await connection.close()


def unsecured(token: str) -> str:
    """The same claims in a token that says it needs no signature."""
    header = b64encode(b'{"alg":"none","typ":"officer+jwt"}', altchars=b"-_").decode().rstrip("=")
    return f"{header}.{token.split('.')[1]}.{'A' * 86}"


async def hold(dsn: str, statement: str, started: asyncio.Event, release: asyncio.Event) -> None:
    """Run a statement in a transaction that stays open until released."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            await connection.execute(statement)
            started.set()
            await release.wait()
    finally:
        await connection.close()
