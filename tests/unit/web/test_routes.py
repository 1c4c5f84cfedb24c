"""The routes over a walk that gives what a test wants."""

import asyncio
import json
import logging
from uuid import UUID

import pytest
from aiohttp.test_utils import TestClient, TestServer

from sharegate.errors import AuditLogUnavailable, Unauthenticated, Unavailable, Unproven
from sharegate.model.decision import Reason
from sharegate.model.passage import Failure, Refusal, Released
from sharegate.observe import NotBelieved, Throttled
from sharegate.settings import Limits
from sharegate.web import exchange, problems
from sharegate.web.exchange import ExchangeRoutes
from sharegate.web.witness import WitnessRoutes

ID = UUID("0199d3a2-7c1e-7b60-9f4e-2a6d1c0b8e57")
JSON = {"Content-Type": "application/json"}
EXCHANGE = "/v1/exchanges"
RECEIPT = f"/v1/receipts/{ID}"


class Walk:
    """Stands for the gateway: raises or gives what it was told to."""

    def __init__(self):
        self.gives = Unauthenticated(Unproven.TOKEN_MISSING, "Authorization", "it is missing")
        self.arrived = []

    async def exchange(self, arrived, *, receipt):
        self.arrived.append(arrived)
        if isinstance(self.gives, Exception):
            raise self.gives
        return self.gives

    async def refuse(self, arrived, detail):
        return await self.exchange(arrived, receipt=False)

    async def receipt(self, arrived, exchange_id, *, cosigned=False):
        return await self.exchange(arrived, receipt=False)

    def catalogue(self, arrived):
        self.arrived.append(arrived)
        return self.gives


@pytest.fixture
def walk():
    return Walk()


@pytest.fixture
def observed():
    return []


@pytest.fixture
async def client(walk, observed):
    limits = Limits(body_bytes=300, body_seconds=0.1, unproven_per_minute=3)
    routes = ExchangeRoutes(walk, lambda: b"", limits, observed.append)
    async with TestClient(TestServer(routes.application())) as client:
        yield client


async def problem_of(response):
    assert response.content_type == problems.CONTENT_TYPE
    document = json.loads(await response.read())
    assert document["status"] == response.status
    return document["type"].removeprefix(problems.TYPE_PREFIX), document


@pytest.mark.parametrize("path", [EXCHANGE, RECEIPT])
@pytest.mark.parametrize("reason", Reason)
async def test_every_reason_reaches_the_wire(client, walk, path, reason):
    failed = reason in {Reason.SOURCE_UNAVAILABLE, Reason.SOURCE_TIMEOUT}
    outcome = Failure(reason, "No.") if failed else Refusal(reason, "/x", "No.")
    walk.gives = Released(ID, outcome, 7, None, None)
    ask = client.post if path == EXCHANGE else client.get
    response = await ask(path, data=b"{}", headers=JSON)
    name, document = await problem_of(response)
    assert (name, document["entry"]) == (reason.value, 7)
    assert response.headers["ShareGate-Exchange"] == str(ID)
    assert response.headers["ShareGate-Entry"] == "7"
    assert "ShareGate-Receipt" not in response.headers


@pytest.mark.parametrize("reason", Unavailable)
async def test_what_cannot_be_recorded_is_answered_503(client, walk, reason):
    walk.gives = AuditLogUnavailable(reason, "the database is away")
    response = await client.post(EXCHANGE, data=b"{}", headers=JSON)
    name, document = await problem_of(response)
    assert (response.status, name) == (503, "audit-unavailable")
    assert document["reason"] == reason.value
    assert response.headers["Retry-After"] == "1"


async def test_no_checkpoint_yet(client):
    name, _ = await problem_of(await client.get("/log/checkpoint"))
    assert name == "audit-unavailable"


@pytest.mark.parametrize("error", [ValueError("canary 110101"), KeyError("canary"), OSError("c")])
async def test_a_bug_fails_closed_and_tells_nobody_about_whom(client, walk, error, caplog):
    walk.gives = error
    with caplog.at_level(logging.DEBUG):
        response = await client.post(EXCHANGE, data=b"{}", headers=JSON)
    name, document = await problem_of(response)
    assert (response.status, name) == (500, "internal-error")
    assert "canary" not in json.dumps(document) + caplog.text
    assert type(error).__name__ in caplog.text


@pytest.mark.parametrize("reason", Unproven)
async def test_whoever_is_not_believed_is_told_which_part(client, walk, reason):
    walk.gives = Unauthenticated(reason, "keyid", "keyid names no key")
    response = await client.post(EXCHANGE, data=b"{}", headers=JSON)
    name, document = await problem_of(response)
    assert (response.status, name) == (401, "unauthenticated")
    assert (document["reason"], document["part"]) == (reason.value, "keyid")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert "entry" not in document


async def test_without_proof_too_often_is_429_and_closes(client, observed):
    for _ in range(3):
        assert (await client.post(EXCHANGE, data=b"{}", headers=JSON)).status == 401
    response = await client.post(EXCHANGE, data=b"{}", headers=JSON)
    name, document = await problem_of(response)
    assert (response.status, name) == (429, "too-many-requests")
    assert set(document) == {"type", "title", "status", "detail"}  # not even which part
    assert response.headers["Retry-After"] == "60"
    assert response.headers["Connection"] == "close"
    assert observed == [NotBelieved(Unproven.TOKEN_MISSING)] * 4 + [Throttled()]


async def test_a_proven_request_from_a_throttled_address_passes(client, walk):
    for _ in range(5):
        await client.post(EXCHANGE, data=b"{}", headers=JSON)
    unproven = walk.gives
    walk.gives = Released(ID, Refusal(Reason.NO_GRANT, None, "No."), 0, None, None)
    assert (await client.post(EXCHANGE, data=b"{}", headers=JSON)).status == 403
    walk.gives = unproven
    assert (await client.post(EXCHANGE, data=b"{}", headers=JSON)).status == 429


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "expected"),
    [
        ("POST", EXCHANGE, JSON, b"x" * 301, "too-large"),
        ("GET", RECEIPT, {}, b"x" * 301, "too-large"),
        ("GET", RECEIPT + "/", {}, b"", "not-found"),
        ("GET", "/", {}, b"", "not-found"),
        ("GET", EXCHANGE + "/", {}, b"", "not-found"),
        ("DELETE", EXCHANGE, {}, b"", "method-not-allowed"),
        ("POST", RECEIPT, {}, b"", "method-not-allowed"),
        ("OPTIONS", "/openapi.json", {}, b"", "method-not-allowed"),
        ("PUT", "/log/checkpoint", {}, b"", "method-not-allowed"),
    ],
)
async def test_what_is_not_a_request_of_this_interface(
    client, walk, method, path, headers, body, expected
):
    response = await client.request(method, path, data=body, headers=headers)
    name, _ = await problem_of(response)
    assert name == expected
    assert walk.arrived == []
    if expected == "method-not-allowed":
        allowed = response.headers["Allow"].split(", ")
        assert method not in allowed
        again = await client.request(allowed[0], path, data=b"{}", headers=JSON)
        assert again.status not in {404, 405}


async def stalls():
    yield b"{"
    await asyncio.Event().wait()


async def test_a_witness_waits_for_no_body_for_ever(monkeypatch):
    monkeypatch.setattr("sharegate.web.witness._BODY_SECONDS", 0.1)
    routes = WitnessRoutes(None)  # nothing is asked of the witness itself
    async with TestClient(TestServer(routes.application())) as client:
        assert (await client.post("/add-checkpoint", data=stalls())).status == 408


async def test_a_body_that_does_not_arrive_in_time(client, walk):
    response = await client.post(EXCHANGE, data=stalls(), headers=JSON)
    name, _ = await problem_of(response)
    assert (response.status, name) == (408, "too-slow")
    assert response.headers["Connection"] == "close"
    assert walk.arrived == []


async def test_a_body_that_comes_in_parts_is_read_whole(client, walk):
    async def parts():
        for each in (b"{", b'"a"', b":1}"):
            yield each
            await asyncio.sleep(0.001)

    await client.post(EXCHANGE, data=parts(), headers=JSON)
    assert walk.arrived[0].body == b'{"a":1}'


async def test_what_is_signed_arrives_as_it_was_sent(client, walk):
    headers = {**JSON, "Signature": "a", "Signature-Input": "b", "X-Other": "c"}
    await client.post(EXCHANGE + "?receipt=inline", data=b'{"a": 1}', headers=headers)
    (arrived,) = walk.arrived
    assert (arrived.method, arrived.path, arrived.query) == ("POST", EXCHANGE, "receipt=inline")
    assert arrived.headers == {"signature": "a", "signature-input": "b"}
    assert arrived.body == b'{"a": 1}'


async def test_a_catalogue_is_written_once_and_another_is_another(client, walk, monkeypatch):
    written = []

    def encode(document):
        written.append(document)
        return json.dumps(document).encode()

    monkeypatch.setattr(exchange, "_encode", encode)
    walk.gives = {"resources": []}
    tags = set()
    for _ in range(3):
        answer = await client.get("/v1/catalogue")
        tags.add(answer.headers["ETag"])
        assert await answer.json() == walk.gives
    unchanged = await client.get("/v1/catalogue", headers={"If-None-Match": tags.copy().pop()})
    assert (unchanged.status, len(tags), len(written)) == (304, 1, 1)
    monkeypatch.setattr(exchange, "_MOST_BYTES", 200)
    given = [{"resources": [n]} for n in range(100)]
    for walk.gives in (*given, given[0]):  # the first was forgotten meanwhile
        answer = await client.get("/v1/catalogue")
        assert await answer.json() == walk.gives
    assert len(written) == 102
