"""What a department sees of a running gateway, and what its operator sees."""

import json
import secrets
import time
import urllib.error
import urllib.request
from dataclasses import replace

import jsonschema_rs
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from sharegate.audit.checkpoint import open_checkpoint
from sharegate.audit.note import VerifierKey
from sharegate.cli.call import prepare, send
from sharegate.cli.demo.stage import ORIGIN
from sharegate.identify.signature import content_digest, sign
from sharegate.model.catalogue import Catalogue
from sharegate.record.verified import verify_answer
from sharegate.web.openapi import openapi_document
from tests.site import site_on

BUDGET = 5


@pytest.fixture(scope="module")
def site(postgres):
    """A site whose gateway soon has enough of strangers."""
    with site_on(postgres) as made:
        gateway = made.gateway()
        with gateway.config.open("a", encoding="utf-8") as config:
            config.write(f"\n[limits]\nunproven_per_minute = {BUDGET}\n")
        gateway.start()
        yield made


def get(url):
    """Status, headers and body, whatever the status."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def fits(schema, document):
    described = json.loads(openapi_document(Catalogue({}, {})))
    validator = jsonschema_rs.validator_for(
        {"$ref": f"#/components/schemas/{schema}", **described}, validate_formats=True
    )
    return [error.message for error in validator.iter_errors(document)] == []


async def test_the_answer_is_what_the_description_says(site):
    question = site.properties(fields=["address", "area_m2"], limit=1)
    reply = await send(prepare(site.caller("civil-affairs"), question))
    assert reply.status == 200
    answer = json.loads(reply.body)
    assert fits("Answer", answer)
    assert not fits("Answer", answer | {"more": 1})
    assert [list(row) for row in answer["rows"]] == [["address", "area_m2"]]
    assert answer["exchange_id"] == reply.exchange_id
    assert (answer["grant"], answer["limit_reached"]) == ("housing-001", True)


async def test_the_receipt_fetched_later_proves_the_same_answer(site):
    caller = site.caller("civil-affairs")
    reply = await send(prepare(caller, site.properties()))
    path = f"/v1/receipts/{reply.exchange_id}"
    asked = urllib.request.Request(f"{caller.gateway}{path}", headers=signed_get(caller, path))
    with urllib.request.urlopen(asked, timeout=5) as answer:
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        later = verify_answer(reply.body, answer.read(), site.log_key)
    assert later.index == verify_answer(reply.body, reply.receipt, site.log_key).index


def signed_get(caller, path):
    key = load_pem_private_key(caller.key.read_bytes(), password=None)
    authorization = f"Bearer {caller.token.read_text(encoding='ascii')}"
    digest = content_digest(b"")
    signature = sign(
        key,
        key_id=caller.key_id,
        nonce=secrets.token_urlsafe(24),
        created=int(time.time()),
        method="GET",
        authority=caller.gateway.partition("://")[2],
        path=path,
        query="",
        content_digest=digest,
        authorization=authorization,
    )
    return {"Authorization": authorization, "Content-Digest": digest, **signature}


async def test_the_receipt_comes_only_when_asked_for(site):
    caller = site.caller("civil-affairs")
    asked = prepare(caller, site.properties())
    assert (await send(asked)).receipt is not None
    refused = await send(prepare(caller, site.properties(provider="nowhere")))
    assert (refused.status, refused.receipt is None) == (422, False)
    unsigned = replace(asked, url=asked.url.partition("?")[0])
    assert (await send(unsigned)).status == 401  # the query is signed too


async def test_the_checkpoint_is_signed_and_covers_what_was_answered(site):
    reply = await send(prepare(site.caller("civil-affairs"), site.properties()))
    index = verify_answer(reply.body, reply.receipt, site.log_key).index
    status, headers, note = get(f"{site.gateways[0].exchange_url}/log/checkpoint")
    assert (status, headers["Cache-Control"]) == (200, "no-cache")
    assert open_checkpoint(note, [VerifierKey.parse(site.log_key)], ORIGIN).size > index


def test_the_description_is_served_to_anyone(site):
    status, headers, body = get(f"{site.gateways[0].exchange_url}/openapi.json")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    described = json.loads(body)
    assert set(described["paths"]) == set(json.loads(openapi_document(Catalogue({}, {})))["paths"])
    assert "housing.properties.row" in described["components"]["schemas"]


async def test_strangers_are_throttled_and_the_proven_are_not(site):
    gateway, caller = site.gateways[0], site.caller("civil-affairs")
    good = prepare(caller, site.properties())
    bad = replace(good, headers={**good.headers, "Signature": "sharegate=:x:"})
    replies = [await send(bad) for _ in range(3 * BUDGET)]
    statuses = [reply.status for reply in replies]
    assert statuses[-1] == 429
    assert set(statuses) <= {401, 429}
    assert statuses.count(401) <= 2 * BUDGET  # the minute may have turned
    throttled = json.loads(replies[-1].body)
    assert throttled["type"] == "urn:sharegate:problem:too-many-requests"
    assert fits("Problem", throttled)
    for question in (site.properties(), site.properties(provider="nowhere")):
        reply = await send(prepare(caller, question))
        assert reply.status in {200, 422}
    metrics = gateway.metrics()
    assert f"sharegate_throttled_total {float(statuses.count(429))}" in metrics
    assert 'sharegate_unauthenticated_total{reason="signature-profile"}' in metrics


def test_health_and_metrics_are_not_where_departments_are(site):
    gateway = site.gateways[0]
    assert get(f"{gateway.admin_url}/livez")[0] == 200
    assert get(f"{gateway.admin_url}/readyz")[0] == 200
    for path in ("/livez", "/readyz", "/metrics"):
        assert get(gateway.exchange_url + path)[0] == 404
    for path in ("/v1/exchanges", "/log/checkpoint"):
        assert get(gateway.admin_url + path)[0] == 404
