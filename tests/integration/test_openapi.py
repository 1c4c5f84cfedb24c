"""The interface against its own description, on a running gateway, by schemathesis."""

import asyncio
import json
import secrets
import time
import urllib.request
import warnings
from collections import Counter

import pytest
import requests
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from sharegate.cli.audit import verify_log
from sharegate.identify.signature import content_digest, sign
from sharegate.settings import load_settings
from tests.site import site_on

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own dependencies, when they are first imported
    import schemathesis
    from schemathesis.engine import Status, events, from_schema

EXAMPLES = 120
SEED = 809
# What a request that fits its schema may still be refused for, and what one that does not may be.
REFUSED = ["400", "401", "403", "404", "405", "409", "413", "415", "422", "429"]


class Signed(requests.auth.AuthBase):
    """Signs each request as it will be sent, so that it gets behind authentication."""

    def __init__(self, caller):
        self._key = load_pem_private_key(caller.key.read_bytes(), password=None)
        self._bearer = f"Bearer {caller.token.read_text(encoding='ascii')}"
        self._key_id = caller.key_id

    def __call__(self, request):
        body = request.body or b""
        body = body.encode() if isinstance(body, str) else body
        path, _, query = request.path_url.partition("?")
        digest = content_digest(body)
        signature = sign(
            self._key,
            key_id=self._key_id,
            nonce=secrets.token_urlsafe(24),
            created=int(time.time()),
            method=request.method,
            authority=request.url.split("/")[2],
            path=path,
            query=query,
            content_digest=digest,
            authorization=self._bearer,
        )
        request.headers.update(
            {"Content-Digest": digest, "Authorization": self._bearer, **signature}
        )
        return request


def schema_of(gateway, *, signed_by=None):
    with urllib.request.urlopen(f"{gateway.exchange_url}/openapi.json", timeout=5) as answer:
        document = json.load(answer)
    if signed_by is not None:  # the signature's headers are the hook's to send, or to leave out
        for operation in (each for path in document["paths"].values() for each in path.values()):
            operation["parameters"] = [
                parameter
                for parameter in operation.get("parameters", ())
                if "$ref" not in parameter
            ]
    config = schemathesis.Config.from_dict(
        {
            "seed": SEED,
            "base-url": gateway.exchange_url,
            "generation": {
                "max-examples": EXAMPLES,
                "deterministic": True,
                "database": "none",
            },
            "checks": {
                "positive_data_acceptance": {"expected-statuses": ["2xx", *REFUSED]},
                "negative_data_rejection": {"expected-statuses": REFUSED},
                "missing_required_header": {"expected-statuses": REFUSED},
                # It takes the proof away and looks for a refusal; the hook would sign anew.
                "ignored_auth": {"enabled": signed_by is None},
            },
            "phases": {"stateful": {"enabled": False}},
        }
    )
    schema = schemathesis.openapi.from_dict(document, config=config)
    if signed_by is not None:
        schema.auth.set_from_requests(Signed(signed_by))
    return schema


def run(schema):
    """Every request it thinks of; gives the statuses, and every failure in words."""
    statuses, failures = Counter(), []
    for event in from_schema(schema).execute():
        if isinstance(event, (events.NonFatalError, events.FatalError)):
            failures.append(str(getattr(event, "info", event)))
        if isinstance(event, events.ScenarioFinished):
            for exchanged in event.recorder.interactions.values():
                if exchanged.response is not None:
                    statuses[exchanged.response.status_code] += 1
            for case_id, checks in event.recorder.checks.items():
                failures += [
                    f"{event.label}: {check.failure_info.failure}: "
                    f"{event.recorder.cases[case_id].value.as_curl_command()}"
                    for check in checks
                    if check.status == Status.FAILURE
                ]
    return statuses, failures


@pytest.fixture(scope="module")
def running(postgres):
    """A site with a gateway that lets one address send as much without proof as it likes."""
    with site_on(postgres) as site:
        gateway = site.gateway()
        with gateway.config.open("a", encoding="utf-8") as config:
            config.write("\n[limits]\nunproven_per_minute = 1000000\n")
        gateway.start()
        yield site


def in_words(failures):
    return "\n\n".join(failures[:5])


def test_signed_requests_get_what_the_description_promises(running):
    (gateway,) = running.gateways
    schema = schema_of(gateway, signed_by=running.caller("civil-affairs"))
    statuses, failures = run(schema)
    assert not failures, in_words(failures)
    # It was behind authentication, and not only at the reader: questions were answered.
    assert {200, 400, 403, 404, 405, 422} <= set(statuses), statuses
    assert max(statuses) < 500, statuses
    assert sum(statuses.values()) >= 200, statuses
    assert gateway.readiness()[0] == 200
    entries = asyncio.run(verify_log(load_settings(gateway.config).audit_log))
    assert entries >= statuses[422]


def test_unsigned_requests_get_what_the_description_promises(running):
    (gateway,) = running.gateways
    before = asyncio.run(verify_log(load_settings(gateway.config).audit_log))
    statuses, failures = run(schema_of(gateway))
    assert not failures, in_words(failures)
    assert set(statuses) <= {200, 400, 401, 404, 405, 415}, statuses
    assert statuses[401] >= 50, statuses
    assert gateway.readiness()[0] == 200
    assert asyncio.run(verify_log(load_settings(gateway.config).audit_log)) == before
