"""Following the keys of several issuers: what one does wrong is no other's trouble."""

import asyncio
import json
import socket
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from joserfc.jwk import OKPKey

from sharegate.identify import discovery
from sharegate.identify.discovery import PublishedKeys
from sharegate.model.party import DepartmentId, Discovery, TokenIssuer

GOOD = OKPKey.generate_key("Ed25519").as_dict(private=False) | {"kid": "k1", "alg": "EdDSA"}


@asynccontextmanager
async def provider(metadata, keys):
    """An OpenID provider; `metadata` may say another thing than the truth."""
    application = web.Application()
    server = TestServer(application)

    async def configuration(_):
        issuer = str(server.make_url("")).rstrip("/")
        said = {"issuer": issuer, "jwks_uri": f"{issuer}/jwks", **metadata}
        return web.Response(body=json.dumps(said), content_type="application/json")

    async def jwks(_):
        return web.Response(body=json.dumps({"keys": keys}), content_type="application/json")

    application.router.add_get("/.well-known/openid-configuration", configuration)
    application.router.add_get("/jwks", jwks)
    await server.start_server()
    try:
        yield str(server.make_url("")).rstrip("/")
    finally:
        await server.close()


def registered(*names):
    wanted = Discovery("gateway", "at+jwt", ("EdDSA",))
    return {name: TokenIssuer(name, DepartmentId("tax"), "", {}, wanted) for name in names}


@pytest.mark.parametrize(
    ("metadata", "keys"),
    [
        ({"jwks_uri": "https://[::"}, [GOOD]),
        ({"jwks_uri": 7}, [GOOD]),
        ({}, [{**GOOD, "kid": ["k1"]}]),
        ({}, [{**GOOD, "x": 5}]),
        ({}, [[], 5, None, {}]),
        ({}, {"kid": "k1"}),
        ({}, [GOOD, GOOD]),
        ({"issuer": "https://another.example"}, [GOOD]),
    ],
)
async def test_an_issuer_that_publishes_nonsense_stops_nobody(metadata, keys):
    told = []
    async with provider(metadata, keys) as bad, provider({}, [GOOD]) as good:
        following = PublishedKeys(lambda issuer, why: told.append((issuer, bool(why))))
        following.follow(registered(bad, good))
        following.start()
        async with asyncio.timeout(5):
            while following.key(good, "k1") is None or not told:
                await asyncio.sleep(0.01)
        assert told == [(bad, True)]
        assert following.key(bad, "k1") is None
        await following.stop()


@pytest.mark.parametrize("place", ["http://127.0.0.1:1/keys", "http://localhost/keys"])
async def test_an_issuer_elsewhere_has_nothing_of_this_machine_asked(monkeypatch, place):
    asked = []

    async def document(_session, url):
        asked.append(url)
        return {"issuer": "https://issuer.example", "jwks_uri": place, "keys": [GOOD]}

    monkeypatch.setattr(discovery, "_document", document)
    with pytest.raises(discovery.Unpublished, match="not https"):
        await discovery.published(None, "https://issuer.example", Discovery("g", "t", ("EdDSA",)))
    assert len(asked) == 1


async def test_an_issuer_that_does_not_answer_holds_up_nobody():
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connects, and is never accepted
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with provider({}, [GOOD]) as good:
            following = PublishedKeys(lambda *_: None)
            following.follow(registered(address, good))
            following.start()
            async with asyncio.timeout(4):
                while following.key(good, "k1") is None:
                    await asyncio.sleep(0.01)
            await following.stop()
