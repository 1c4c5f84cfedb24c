"""Officers vouched for by a real OpenID provider: npm ``oidc-provider``, installed by this test."""

import asyncio
import base64
import dataclasses
import json
import os
import shutil
import subprocess
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from sharegate.errors import Unauthenticated, Unproven
from sharegate.identify import discovery
from sharegate.identify.discovery import PublishedKeys, Unpublished, is_safe, published
from sharegate.identify.officer import OfficerTokens
from sharegate.model.party import Discovery, TokenIssuer
from tests.site import free_port

PACKAGE = "oidc-provider@9.5.2"
AUDIENCE = "https://sharegate.example"
CACHE = Path(__file__).parents[2] / ".cache" / "oidc-provider"
SCRIPT = Path(__file__).with_name("openid_provider.mjs")
WANTED = Discovery(AUDIENCE, "at+jwt", ("ES256",))


def install():
    """Install the provider once; without node and npm, say aloud that this was skipped."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        if os.environ.get("CI"):
            pytest.fail("node and npm are needed here")
        pytest.skip("SKIPPED ALOUD: no node and npm, so no real OpenID provider was asked")
    if not (CACHE / "node_modules" / "oidc-provider").exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        (CACHE / "package.json").write_text('{"private": true, "type": "module"}')
        subprocess.run(
            ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", PACKAGE],
            cwd=CACHE,
            check=True,
            capture_output=True,
        )


class Provider:
    """The provider as a process; it ends with its input."""

    def __init__(self, audience=AUDIENCE):
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        shutil.copy(SCRIPT, CACHE / SCRIPT.name)
        self.process = subprocess.Popen(
            ["node", SCRIPT.name, str(self.port), audience],
            cwd=CACHE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.expect("ready")

    def expect(self, word):
        while line := self.process.stdout.readline():
            if line.strip() == word:
                return
        raise AssertionError("the provider ended")

    def rotate(self):
        self.process.stdin.write("rotate\n")
        self.process.stdin.flush()
        self.expect("rotated")

    def stop(self):
        self.process.stdin.close()
        self.process.wait(timeout=20)
        self.process.stdout.close()

    async def token(self):
        basic = base64.b64encode(b"zhang.wei:secret").decode()
        asked = {"grant_type": "client_credentials"}
        async with (
            aiohttp.ClientSession(headers={"Authorization": f"Basic {basic}"}) as session,
            session.post(f"{self.issuer}/token", data=asked) as got,
        ):
            said = await got.json()
            assert got.status == 200, said
            return said["access_token"]


@pytest.fixture
def provider():
    install()
    made = Provider()
    yield made
    made.stop()


@pytest.fixture
async def keys(monkeypatch):
    monkeypatch.setattr(discovery, "SOONEST_SECONDS", 0.05)
    told = []
    made = PublishedKeys(lambda issuer, why: told.append((issuer, why)))
    made.told = told
    made.start()
    yield made
    await made.stop()


def issuers(provider, wanted=WANTED):
    return {provider.issuer: TokenIssuer(provider.issuer, "civil-affairs", "", {}, wanted)}


def tokens(keys, provider, wanted=WANTED):
    registered = issuers(provider, wanted)
    keys.follow(registered)
    return OfficerTokens(registered, audience="unused", published=keys)


def claims(token):
    middle = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))


async def believed(room, token):
    """Ask until the keys are there, as a department would."""
    at = claims(token)["iat"] * 1000 + 1
    for _ in range(200):
        try:
            return room.officer(token, at)
        except Unauthenticated as nobody:
            if "ask again" not in str(nobody):
                raise
            await asyncio.sleep(0.05)
    raise AssertionError("never believed")


async def test_an_officer_of_a_discovered_issuer_is_believed_with_his_posts(provider, keys):
    token = await provider.token()
    officer = await believed(tokens(keys, provider), token)
    assert (officer.id, officer.department) == ("zhang.wei", "civil-affairs")
    assert officer.posts == ("clerk", "section-chief")
    assert officer.issuer == provider.issuer


async def test_rotated_keys_are_found_and_the_old_ones_end(provider, keys):
    room = tokens(keys, provider)
    old = await provider.token()
    await believed(room, old)
    provider.rotate()
    new = await provider.token()
    await believed(room, new)
    with pytest.raises(Unauthenticated, match="ask again"):
        room.officer(old, claims(old)["iat"] * 1000 + 1)  # though it was believed before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"audience": "https://another.example"}, "aud"),
        ({"typ": "officer+jwt"}, "not of type"),
        ({"algorithms": ("EdDSA",)}, "ask again"),
    ],
)
async def test_a_token_for_something_else_is_refused(provider, keys, changes, said):
    room = tokens(keys, provider, dataclasses.replace(WANTED, **changes))
    token = await provider.token()
    if said == "ask again":
        await asyncio.sleep(0.3)  # as long as an accepted key takes to be known
        with pytest.raises(Unauthenticated, match=said) as caught:
            room.officer(token, claims(token)["iat"] * 1000 + 1)
    else:
        with pytest.raises(Unauthenticated, match=said) as caught:
            await believed(room, token)
    assert caught.value.reason is Unproven.TOKEN_WRONG


async def test_another_providers_token_is_nobodys(provider, keys):
    foreign = Provider()
    try:
        token = await foreign.token()
    finally:
        foreign.stop()
    with pytest.raises(Unauthenticated, match="not registered"):
        tokens(keys, provider).officer(token, claims(token)["iat"] * 1000 + 1)


async def test_keys_are_kept_while_the_provider_is_down_but_not_for_ever(provider, keys):
    room = tokens(keys, provider)
    token = await provider.token()
    await believed(room, token)
    provider.process.kill()
    keys._issuers[provider.issuer].wanted = True
    keys._wake.set()
    for _ in range(100):
        if keys.told:
            break
        await asyncio.sleep(0.05)
    assert keys.told
    assert keys.told[0][0] == provider.issuer
    at = claims(token)["iat"] * 1000 + 1
    assert room.officer(token, at)
    keys._issuers[provider.issuer].answered -= discovery.KEEP_SECONDS + 1
    with pytest.raises(Unauthenticated, match="ask again"):
        room.officer(token, at)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"issuer": "http://127.0.0.1:1/"}, "another issuer"),
        ({"jwks_uri": "http://keys.example/jwks"}, "not https"),
        ({"jwks_uri": None}, "not https"),
        ({"keys": []}, "no key"),
        ({"keys": "none"}, "not a list"),
        ({"keys": [{}] * 33}, "not a list"),
        ({"keys": [{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "a"}]}, "no key"),
        ({"pad": "x" * 300_000}, "more than anybody needs"),
    ],
)
async def test_what_an_issuer_must_not_publish(changed, said):
    app = web.Application()
    port = free_port()
    issuer = f"http://127.0.0.1:{port}"
    document = {"issuer": issuer, "jwks_uri": f"{issuer}/jwks", "keys": []} | changed

    async def show(_):
        return web.json_response(document)

    app.router.add_get("/{any:.*}", show)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(Unpublished, match=said):
                await published(session, issuer, WANTED)
    finally:
        await runner.cleanup()


def test_only_https_or_this_machine_is_asked():
    assert is_safe("https://keys.example/jwks")
    assert is_safe("http://127.0.0.1:9/jwks")
    for url in ("http://keys.example", "file:///etc/passwd", "ftp://127.0.0.1/", "https", ""):
        assert not is_safe(url)
