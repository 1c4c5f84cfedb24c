"""Every bad input: refused clearly, recorded if proven, and repeated nowhere.

Promises B2 (what cannot be logged is refused, and that is logged), B3 (no way past the log),
F1 (no injection) and F5 (errors carry no data).
"""

import asyncio
import gzip
import json
import secrets
import socket
import time

import pytest

from sharegate.errors import Unproven
from sharegate.model.decision import Reason
from sharegate.web import problems
from tests.security.asking import EXCHANGE, Asker, hold, unsecured
from tests.site import site_on

CANARY = "Kanarienvogel7"  # stands in every string that is sent
SETTLED = {  # by integration/test_settled_walk.py and test_rulings.py: they need sites of their own
    "consent-missing",
    "matter-unconfirmed",
    "not-yours-to-rule",
    "quota-exhausted",
    "referred",
    "ruling-refused",
}
# By unit/authorize/test_obligations.py: the requests here are all signed.
OVER_A_CHANNEL = {"assurance-too-low"}
EXERCISED = {  # by unit/web/test_routes.py: no input makes them come about
    "undecidable",
    "internal-error",
    "audit-unavailable",
    "too-many-requests",
}
DISBELIEVED = {"certificate", "officer-revoked"}  # by unit/identify/test_channel.py
NOBODYS = "0199d3a2-7c1e-7b60-9f4e-2a6d1c0b8e57"
NOBODYS_RECEIPT = f"/v1/receipts/{NOBODYS}"


def exercises(*kinds):
    """Say which problem types a test brings about."""
    EXERCISED.update(kinds)
    return lambda test: test


@pytest.fixture(scope="module")
def asker(postgres):
    with site_on(postgres) as site:
        gateway = site.gateway()
        with gateway.config.open("a", encoding="utf-8") as config:
            config.write("\n[limits]\nunproven_per_minute = 1000000\nbody_seconds = 2.0\n")
        gateway.start()
        yield Asker(site)


@pytest.fixture(scope="module")
def data(asker):
    """What the sources hold about the applicant: none of it may be in any refusal or entry."""
    applicant = asker.site.people.applicant
    homes = asker.superuser(
        "select certificate_no, address from estate.property where owner_id_number = $1",
        applicant.id_number,
        database="housing",
    )
    person = asker.superuser(
        "select phone, address from registry.person where id_number = $1",
        applicant.id_number,
        database="civil_affairs",
    )
    assert homes
    assert person
    values = [applicant.name, applicant.id_number, *(v for row in (*homes, *person) for v in row)]
    return [value.encode() for value in values if value]


@pytest.fixture(autouse=True)
def nothing_is_repeated(asker, data):
    """Whatever a test sent, neither the metrics nor the gateway's own lines hold any of it."""
    yield
    said = asker.gateway.output.read_bytes() + asker.gateway.metrics().encode()
    for word in (CANARY.encode(), *data):
        assert word not in said
    assert asker.gateway.readiness()[0] == 200


@pytest.fixture
def question(asker):
    """A question that would be answered, as JSON text with one member spelt by the test."""

    def spelt(member=None, text="", **changes):
        asked = asker.site.properties(matter=CANARY, **changes)
        asked.pop(member, None)
        rest = json.dumps(asked)[1:]
        return (f'{{"{member}":{text},{rest}' if member else "{" + rest).encode()

    return spelt


def refused(answered, data, kind, *, pointer=None):
    """Check a recorded refusal; give its entry."""
    assert answered.kind == kind, answered
    assert 400 <= answered.status < 500
    assert answered.problem.get("pointer") == pointer, answered.problem
    (entry,) = answered.entries
    assert entry["decision"]["reason"] == kind
    assert entry["kind"] == "refusal"
    assert answered.problem["entry"] == int(answered.headers["sharegate-entry"])
    assert answered.problem["instance"].endswith(answered.headers["sharegate-exchange"])
    for word in (CANARY.encode(), *data):
        assert word not in answered.body
        assert word not in answered.kept
    return entry


def unrecorded(answered, data, kind):
    """Check a refusal of somebody who proved nothing."""
    assert answered.kind == kind, answered
    assert answered.entries == []
    assert "entry" not in answered.problem
    assert not [word for word in (CANARY.encode(), *data) if word in answered.body]


# --- what the body is -------------------------------------------------------------------------

DEEP = "[" * 200 + "]" * 200
WHERE = "/where/owner_id_number"


def by(value):
    return f'{{"owner_id_number":{value}}}'


UNREADABLE = [  # member, its JSON text, the pointer
    *((member, "7", f"/{member}") for member in ("provider", "resource", "mode", "purpose")),
    *((member, "null", f"/{member}") for member in ("legal_basis", "matter", "where", "limit")),
    *((member, f'["{CANARY}"]', f"/{member}") for member in ("provider", "matter", "grant")),
    *((member, '""', f"/{member}") for member in ("provider", "purpose", "matter", "grant")),
    *((member, f'"{CANARY} x"', f"/{member}") for member in ("resource", "mode", "matter")),
    *((member, f'"{CANARY}\\n"', f"/{member}") for member in ("provider", "purpose", "matter")),
    *((member, f'"\\u0000{CANARY}"', f"/{member}") for member in ("provider", "purpose", "matter")),
    *((member, f'"\\ud800{CANARY}"', f"/{member}") for member in ("purpose", "matter", "grant")),
    *((member, f'"\\u001b[2J{CANARY}"', f"/{member}") for member in ("mode", "matter")),
    *((member, f'"\\u202e{CANARY}"', f"/{member}") for member in ("legal_basis", "matter")),
    *((member, DEEP, f"/{member}") for member in ("provider", "where", "limit")),
    *((member, "1e400", f"/{member}") for member in ("purpose", "limit", "where")),
    ("purpose", f'"{CANARY * 5}"', "/purpose"),
    ("purpose", f'"{CANARY * 4400}"', "/purpose"),
    ("matter", f'"{CANARY * 5}"', "/matter"),
    ("fields", "[]", "/fields"),
    ("fields", f'"{CANARY}"', "/fields"),
    ("fields", '["address","address"]', "/fields/1"),
    ("fields", f'["address","{CANARY} x"]', "/fields/1"),
    ("fields", DEEP, "/fields/0"),
    ("fields", json.dumps([f"{CANARY}{i}" for i in range(65)]), "/fields"),
    *(("limit", text, "/limit") for text in ("0", "-1", "10001", "true", '"5"', "1.0", "1e2")),
    ("limit", "9" * 400, "/limit"),
    ("limit", "NaN", "/limit"),
    ("where", "{}", "/where"),
    ("where", json.dumps({f"{CANARY}{i}": 1 for i in range(9)}), "/where"),
    ("where", by('""'), WHERE),
    ("where", by("null"), WHERE),
    ("where", by(f'["{CANARY}"]'), WHERE),
    ("where", by(f'{{"{CANARY}":1}}'), WHERE),
    ("where", by("1.5"), WHERE),
    ("where", by("1e400"), WHERE),
    ("where", by("9007199254740992"), WHERE),
    ("where", by("7"), WHERE),
    ("where", by("true"), WHERE),
    ("where", by(f'"{CANARY * 20}"'), WHERE),
    *(
        ("where", by(f'"{CANARY}{unfit}"'), WHERE)
        for unfit in ("\\u0000", "\\n", "\\r\\n", "\\u001b[31m", "\\u202e", "\\u2028", "\\udc00")
    ),
    *(("where", by(f'"{CANARY}{unfit}"'), WHERE) for unfit in ("\u202e", "\u200b", "\ufeff")),
    ("where", '{"owner_id_number":"1","owner_id_number":"2"}', WHERE),
    ("purpose", f'"{CANARY}","purpose":"{CANARY}"', "/purpose"),
    ("surplus", f'"{CANARY}"', "/surplus"),
    ("limits", "1", "/limits"),
]


@exercises("malformed-request")
@pytest.mark.parametrize(("member", "text", "pointer"), UNREADABLE)
def test_a_member_that_cannot_be_read(asker, data, question, member, text, pointer):
    entry = refused(asker.ask(question(member, text)), data, "malformed-request", pointer=pointer)
    assert "resource" not in entry or pointer.startswith("/where/")


@pytest.mark.parametrize(
    "member", ["provider", "resource", "mode", "purpose", "legal_basis", "matter", "where"]
)
def test_a_member_that_is_missing(asker, data, question, member):
    body = json.loads(question())
    del body[member]
    refused(asker.ask(body), data, "malformed-request", pointer=f"/{member}")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda body: b"",
        lambda body: b"{",
        lambda body: b"null",
        lambda body: b"[]",
        lambda body: f'"{CANARY}"'.encode(),
        lambda body: body[:-1],
        lambda body: body + b"," + body,
        lambda body: body + body,
        lambda body: b"\xef\xbb\xbf" + body,
        lambda body: body.decode().encode("utf-16"),
        lambda body: body.replace(b"housing", b"hous\xffing"),
        lambda body: body.replace(b"housing", b"hous\xed\xa0\x80ing"),
        lambda body: body.replace(b"housing", b"hous\xc0\xafing"),
        lambda body: body.replace(b"housing", b"hous\ning"),
        lambda body: body.replace(b"housing", b"hous\x00ing"),
        lambda body: body.replace(b'"housing"', b"'housing'"),
        lambda body: b"[" * 60_000,
        lambda body: b'{"where":' * 7_000,
        lambda body: b"[" + b"1," * 30_000 + b"1]",
        gzip.compress,
    ],
)
def test_a_body_that_is_no_object_of_json(asker, data, question, spoil):
    refused(asker.ask(spoil(question())), data, "malformed-request")


def test_a_name_that_is_not_safe_to_repeat_is_not_repeated(asker, data, question):
    for name in ("\\n" + CANARY, "\\u202e" + CANARY, CANARY * 9, "\\u0000", "郎"):
        refused(asker.ask(question(name, "1")), data, "malformed-request")
    body = question("where", f'{{"\\u001b[2J{CANARY}":"1"}}')
    refused(asker.ask(body), data, "malformed-request", pointer="/where")


# --- what it asks for -------------------------------------------------------------------------

CATALOGUE = [
    ("unknown-provider", {"provider": CANARY}, "/provider"),
    ("unknown-provider", {"provider": "*"}, "/provider"),
    ("unknown-resource", {"resource": CANARY}, "/resource"),
    ("unknown-resource", {"resource": "estate.property"}, "/resource"),
    ("unknown-resource", {"resource": "*"}, "/resource"),
    ("unknown-mode", {"mode": CANARY}, "/mode"),
    ("unknown-mode", {"mode": "submit"}, "/mode"),
    ("unknown-mode", {"mode": "*"}, "/mode"),
    ("unknown-purpose", {"purpose": CANARY}, "/purpose"),
    ("unknown-purpose", {"purpose": "*"}, "/purpose"),
    ("unknown-field", {"fields": [CANARY]}, "/fields/0"),
    ("unknown-field", {"fields": ["address", "*"]}, "/fields/1"),
    ("unknown-field", {"fields": ["pg_sleep(9)"]}, "/fields/0"),
    ("unknown-field", {"where": {"1=1--": CANARY}}, "/where/1=1--"),
    ("unknown-field", {"where": {"a/b~c": CANARY}}, "/where/a~1b~0c"),
    ("legal-basis-refused", {"legal_basis": CANARY}, "/legal_basis"),
    ("legal-basis-refused", {"legal_basis": "deed-tax-law-2021"}, "/legal_basis"),
    ("no-grant", {"grant": CANARY}, "/grant"),
    ("no-grant", {"grant": "tax-001"}, "/grant"),
    (
        "no-grant",
        {
            "purpose": "marriage-registration",
            "legal_basis": "marriage-registration-regulations-2025",
        },
        None,
    ),
    ("field-refused", {"fields": ["owner_name"]}, "/fields/0"),
    ("field-refused", {"where": {"address": CANARY}}, "/where/address"),
    ("field-refused", {"where": {"owner_name": CANARY}}, "/where/owner_name"),
    (
        "denied-by-rule",
        {
            "provider": "tax",
            "resource": "companies",
            "purpose": "marriage-registration",
            "legal_basis": "marriage-registration-regulations-2025",
            "where": {"credit_code": CANARY},
        },
        None,
    ),
    (
        "not-shared",
        {
            "provider": "civil-affairs",
            "resource": "marriage-certificates",
            "where": {"certificate_no": CANARY},
        },
        "/resource",
    ),
]


@exercises(*(kind for kind, _, _ in CATALOGUE))
@pytest.mark.parametrize(("kind", "changes", "pointer"), CATALOGUE)
def test_what_may_not_be_asked(asker, data, kind, changes, pointer):
    asked = asker.site.properties(matter=CANARY) | changes
    refused(asker.ask(asked), data, kind, pointer=pointer)


@pytest.mark.parametrize(
    "payload",
    [
        "' or '1'='1",
        "'; drop table estate.property; --",
        "1) union select id_number, name from registry.person --",
        "$1",
        "%",
        "_%",
        "\\' or 1=1 --",
        "{{7*7}}",
        "${jndi:ldap://x}",
        "*",
        "1; select pg_sleep(9)",
        "r.sub.consumer == 'housing'",
    ],
)
def test_a_value_is_a_value(asker, payload):
    asked = asker.site.properties(where={"owner_id_number": payload})
    answered = asker.ask(asked)
    assert answered.status == 200
    assert json.loads(answered.body)["rows"] == []
    (entry,) = answered.entries
    assert (entry["kind"], entry["response"]["rows"]) == ("release", 0)
    assert len(payload) < 3 or payload.encode() not in answered.kept
    homes = asker.superuser("select count(*) from estate.property", database="housing")
    assert homes[0][0] > 0


# --- who asks ---------------------------------------------------------------------------------


def without(name):
    return lambda asker, body, **where: {
        k: v for k, v in asker.signed(body, **where).items() if k != name
    }


def replaced(name, change):
    def spoil(asker, body, **where):
        headers = asker.signed(body, **where)
        return headers | {name: change(headers[name])}

    return spoil


def signed(**how):
    return lambda asker, body, **where: asker.signed(body, **(where | how))


def bearing(make):
    return lambda asker, body, **where: asker.signed(body, token=make(asker), **where)


def elsewhere(asker, body, **where):
    return asker.signed(body, **where) | {"Host": "elsewhere.example"}


def of_another_body(asker, body, **where):
    return asker.signed(body + b" ", **where)


def flip(text):
    at = len(text) // 2
    return text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]


STRANGERS = [  # reason, part, how
    ("token-missing", "Authorization", without("Authorization")),
    ("signature-missing", "Content-Digest", without("Content-Digest")),
    ("signature-missing", "Signature-Input", without("Signature-Input")),
    ("signature-missing", "Signature", without("Signature")),
    *(
        ("signature-profile", name, replaced(name, lambda _: CANARY))
        for name in ("Content-Digest", "Signature-Input", "Signature")
    ),
    *(
        ("signature-profile", name, replaced(name, lambda value: [value, value]))
        for name in ("Content-Digest", "Signature-Input", "Signature")
    ),
    *(
        (
            "signature-profile",
            "Signature-Input",
            replaced("Signature-Input", lambda v, a=a, b=b: v.replace(a, b)),
        )
        for a, b in (
            ("sharegate=", "sig1="),
            (' "authorization"', ""),
            ('"@query"', '"@query";req'),
            ('tag="sharegate"', 'tag="other"'),
            (";created=", ";expires=1;created="),
            ('nonce="', f'nonce="{CANARY} '),
            (";keyid=", f';alg="{CANARY}";keyid='),
        )
    ),
    ("signature-profile", "Signature", replaced("Signature", lambda v: v.replace("==:", "=:"))),
    ("signature-key", "keyid", signed(key_id=CANARY.lower())),
    ("signature-stale", "created", signed(age=62)),
    ("signature-stale", "created", signed(age=-60)),
    ("signature-stale", "created", signed(age=10**9)),
    ("signature-wrong", "Signature", replaced("Signature", flip)),
    ("signature-wrong", "Signature", signed(key="housing")),
    ("signature-wrong", "Signature", signed(key_id="housing-demo")),
    ("signature-wrong", "Signature", signed(method="PUT")),
    ("signature-wrong", "Signature", signed(path="/v1/exchange")),
    ("signature-wrong", "Signature", signed(query="receipt=inline")),
    ("signature-wrong", "Signature", signed(authority="elsewhere.example")),
    ("signature-wrong", "@authority", elsewhere),
    ("digest-wrong", "Content-Digest", of_another_body),
    ("token-wrong", "Authorization", signed(authorization=f"Basic {CANARY}")),
    ("token-wrong", "Authorization", bearing(lambda a: CANARY)),
    ("token-wrong", "Authorization", bearing(lambda a: "a" * 4097)),
    ("token-wrong", "Authorization", bearing(lambda a: flip(a.token()))),
    ("token-wrong", "Authorization", bearing(lambda a: unsecured(a.token()))),
    ("token-wrong", "Authorization", bearing(lambda a: a.token(audience=CANARY))),
    ("token-wrong", "Authorization", bearing(lambda a: a.token(issuer=CANARY))),
    ("token-wrong", "Authorization", bearing(lambda a: a.token(officer=f"{CANARY}\n"))),
    ("token-wrong", "Authorization", bearing(lambda a: a.token(lifetime_s=90_000))),
    ("token-wrong", "Authorization", bearing(lambda a: a.token(now=int(time.time()) + 300))),
    ("token-expired", "Authorization", bearing(lambda a: a.token(now=int(time.time()) - 700))),
    ("token-foreign", "Authorization", bearing(lambda a: a.token("housing"))),
    ("token-foreign", "Authorization", bearing(lambda a: a.token(department="housing"))),
]
DISBELIEVED.update(reason for reason, _, _ in STRANGERS)


@exercises("unauthenticated")
@pytest.mark.parametrize(("method", "target"), [("POST", EXCHANGE), ("GET", NOBODYS_RECEIPT)])
@pytest.mark.parametrize(("reason", "part", "spoil"), STRANGERS)
def test_whoever_proves_nothing_leaves_no_entry(
    asker, data, question, reason, part, spoil, method, target
):
    body = question() if method == "POST" else b""
    headers = spoil(asker, body, method=method, target=target)
    answered = asker.send(headers, body, method=method, target=target)
    unrecorded(answered, data, "unauthenticated")
    assert (answered.problem["reason"], answered.problem["part"]) == (reason, part)
    assert answered.headers["www-authenticate"].startswith("Bearer")


def test_what_was_not_signed_cannot_be_changed(asker, data, question):
    headers = asker.signed(question(), target=f"{EXCHANGE}?receipt=inline")
    unrecorded(asker.send(headers, question()), data, "unauthenticated")
    headers = asker.signed(question())
    other = question().replace(b"properties", b"transfers")
    unrecorded(asker.send(headers, other), data, "unauthenticated")


# --- once, and in time ------------------------------------------------------------------------


@exercises("replayed")
@pytest.mark.parametrize("changes", [{}, {"provider": CANARY}])
def test_a_copy_is_refused_and_recorded_once(asker, data, changes):
    body = json.dumps(asker.site.properties(matter=CANARY) | changes).encode()
    headers = asker.signed(body)
    first = asker.send(headers, body)
    assert len(first.entries) == 1
    second, third = (asker.send(headers, body) for _ in range(2))
    refused(second, data, "replayed")
    assert (third.kind, third.entries) == ("replayed", [])
    assert third.problem["entry"] == second.problem["entry"]


@exercises("stale-request")
def test_what_was_signed_before_anyone_remembers_is_refused(asker, data, question):
    asker.superuser(
        "update sharegate.head set remembers_from ="
        " (extract(epoch from now()) * 1000)::bigint - 20000"
    )
    refused(asker.ask(question(), age=40), data, "stale-request")
    assert asker.ask(asker.site.properties()).status == 200


# --- receipts ---------------------------------------------------------------------------------


@exercises("unknown-receipt", "not-found")
def test_a_receipt_is_its_owners(asker, data):
    ours = asker.ask(asker.site.properties())
    target = f"/v1/receipts/{ours.headers['sharegate-exchange']}"
    assert asker.ask(b"", method="GET", target=target).status == 200
    theirs = asker.ask(b"", method="GET", target=target, consumer="housing")
    nobodys = asker.ask(b"", method="GET", target=NOBODYS_RECEIPT, consumer="housing")
    for answered in (theirs, nobodys):
        entry = refused(answered, data, "unknown-receipt")
        assert entry["caller"]["consumer"] == "housing"
    alike = [
        {
            name: value
            for name, value in answered.problem.items()
            if name not in ("instance", "entry")
        }
        for answered in (theirs, nobodys)
    ]
    assert alike[0] == alike[1]


def test_a_copy_of_a_refused_receipt_request_is_a_copy(asker, data):
    target = NOBODYS_RECEIPT
    headers = asker.signed(b"", method="GET", target=target)
    refused(asker.send(headers, method="GET", target=target), data, "unknown-receipt")
    refused(asker.send(headers, method="GET", target=target), data, "replayed")


# --- the source -------------------------------------------------------------------------------


@exercises("source-unavailable")
def test_a_source_that_refuses_us_tells_nothing(asker, data, question):
    revoke = "revoke select on estate.property from housing_gateway"
    asker.superuser(revoke, database="housing")
    try:
        answered = asker.ask(question())
    finally:
        asker.superuser("grant select on estate.property to housing_gateway", database="housing")
    failed(answered, data, "source-unavailable", 502)


@exercises("source-timeout")
async def test_a_source_that_does_not_answer_tells_nothing(asker, data, question):
    started, release = asyncio.Event(), asyncio.Event()
    lock = "lock table estate.property in access exclusive mode"
    holding = asyncio.create_task(hold(asker.site.server.dsn("housing"), lock, started, release))
    await started.wait()
    try:
        answered = await asyncio.to_thread(asker.ask, question())
    finally:
        release.set()
        await holding
    failed(answered, data, "source-timeout", 504)


def failed(answered, data, kind, status):
    assert (answered.kind, answered.status) == (kind, status)
    (entry,) = answered.entries
    assert (entry["kind"], entry["decision"]["reason"]) == ("failure", kind)
    assert entry["decision"]["effect"] == "permit"
    for word in (CANARY.encode(), b"estate", b"permission", *data):
        assert word not in answered.body
        assert word not in answered.kept


# --- HTTP -------------------------------------------------------------------------------------

TARGETS = [
    ("POST", f"{EXCHANGE}/", 404, "not-found"),
    ("POST", f"/{EXCHANGE}", 404, "not-found"),
    ("POST", f"{EXCHANGE}%00", 404, "not-found"),
    ("POST", "/v1%2Fexchanges", 404, "not-found"),
    ("POST", "/v1/./exchanges", 404, "not-found"),
    ("POST", f"/{CANARY}/..{EXCHANGE}", 404, "not-found"),
    ("POST", f"/{CANARY}/%2e%2e{EXCHANGE}", 404, "not-found"),
    ("POST", f"/%0a{CANARY}", 404, "not-found"),
    ("POST", f"/%zz{CANARY}", 404, "not-found"),
    ("POST", f"{EXCHANGE};{CANARY}", 404, "not-found"),
    ("GET", "/metrics", 404, "not-found"),
    ("GET", "/readyz", 404, "not-found"),
    ("GET", f"/v1/receipts/%2e%2e/{NOBODYS}", 404, "not-found"),
    ("GET", EXCHANGE, 405, "method-not-allowed"),
    ("PUT", EXCHANGE, 405, "method-not-allowed"),
    ("OPTIONS", EXCHANGE, 405, "method-not-allowed"),
    ("TRACE", EXCHANGE, 405, "method-not-allowed"),
    ("DELETE", NOBODYS_RECEIPT, 405, "method-not-allowed"),
    ("POST", "/log/checkpoint", 405, "method-not-allowed"),
    ("PATCH", "/openapi.json", 405, "method-not-allowed"),
]


@exercises(*(kind for _, _, _, kind in TARGETS))
@pytest.mark.parametrize(("method", "target", "status", "kind"), TARGETS)
def test_what_is_not_here_is_a_problem_even_when_signed(
    asker, data, question, method, target, status, kind
):
    answered = asker.ask(question(), method=method, target=target)
    unrecorded(answered, data, kind)
    assert answered.status == status
    assert ("allow" in answered.headers) == (status == 405)


def test_head_has_no_body_and_no_way_past_the_log(asker):
    for target, status in ((EXCHANGE, 405), (NOBODYS_RECEIPT, 405), ("/x", 404)):
        answered = asker.ask(b"", method="HEAD", target=target)
        assert (answered.status, answered.body, answered.entries) == (status, b"", [])
        assert answered.headers["content-type"] == problems.CONTENT_TYPE
    assert asker.send({}, method="HEAD", target="/log/checkpoint").status == 200


@exercises("too-large")
@pytest.mark.parametrize("length", [65_537, 2**20])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large(asker, data, length, chunked):
    body = json.dumps({"purpose": CANARY * (length // len(CANARY))}).encode().ljust(length)
    headers = asker.signed(body)
    if chunked:
        headers["Transfer-Encoding"] = "chunked"
    answered = asker.send(headers, body)
    unrecorded(answered, data, "too-large")
    assert answered.status == 413


@exercises("too-slow")
def test_a_body_that_stops_arriving(asker, data, question):
    body = question()
    answered = asker.send(asker.signed(body), body, missing=1)
    unrecorded(answered, data, "too-slow")
    assert (answered.status, answered.headers["connection"]) == (408, "close")


def test_the_largest_body_is_read(asker, data, question):
    refused(asker.ask(b"\x00" + question().ljust(65_535)), data, "malformed-request")
    answered = asker.ask(question().ljust(65_536))
    assert answered.status == 200


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", CANARY, "", "application/json-x"]
)
def test_another_kind_of_body(asker, data, question, kind):
    answered = asker.send(asker.signed(question()) | {"Content-Type": kind}, question())
    refused(answered, data, "malformed-request")


@pytest.mark.parametrize(
    "query",
    [
        "receipt=inline&receipt=inline",
        f"receipt={CANARY}",
        f"{CANARY}=1&receipt=inline",
        "receipt=%69nline",
    ],
)
def test_another_query(asker, data, question, query):
    answered = asker.ask(question(), target=f"{EXCHANGE}?{query}")
    refused(answered, data, "malformed-request")


@pytest.mark.parametrize("what", ["7", CANARY, f"urn:uuid:{NOBODYS}", NOBODYS.replace("-", "")])
def test_a_receipt_of_what_is_no_id(asker, data, what):
    answered = asker.ask(b"", method="GET", target=f"/v1/receipts/{what}")
    refused(answered, data, "unknown-receipt")


def test_a_chunked_body_is_a_body(asker):
    body = json.dumps(asker.site.properties()).encode()
    answered = asker.send(asker.signed(body) | {"Transfer-Encoding": "chunked"}, body)
    assert answered.status == 200
    assert len(answered.entries) == 1


def test_a_compressed_body_is_not_unpacked(asker, data):
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < 65_536
    headers = asker.signed(bomb) | {"Content-Encoding": "gzip"}
    refused(asker.send(headers, bomb), data, "malformed-request")


NOT_HTTP = [
    f"{CANARY}\x1b[31m / HTTP/1.1\r\nHost: a\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: a\r\n{CANARY}\x00: x\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: a\r\nX-Long: {CANARY * 1000}\r\n\r\n",
    f"GET /{CANARY * 1000} HTTP/1.1\r\nHost: a\r\n\r\n",
    f"GET http://[{CANARY}/ HTTP/1.1\r\nHost: a\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: a\r\nHost: {CANARY}\r\n\r\n",
    (
        f"POST {EXCHANGE} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
        f"Transfer-Encoding: chunked\r\n\r\n{CANARY}"
    ),
    f"POST {EXCHANGE} HTTP/1.1\r\nHost: a\r\nContent-Length: {CANARY}\r\n\r\n",
    f"POST {EXCHANGE} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz{CANARY}\r\n",
    f"{CANARY} {CANARY}\r\n\r\n",
]


@pytest.mark.parametrize("sent", NOT_HTTP)
def test_what_is_not_http_is_refused_and_not_written_down(asker, sent):
    before = asker.size()
    lines = asker.gateway.output.read_bytes()
    assert asker.raw(sent.encode()).startswith(b"HTTP/1.0 400 ")
    assert asker.size() == before
    assert asker.gateway.output.read_bytes() == lines


def test_a_peer_that_hangs_up_is_not_written_down(asker, question):
    lines = asker.gateway.output.read_bytes()
    head = f"POST {EXCHANGE} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    host, _, port = asker.authority.partition(":")
    for pause in (0, 0.5):
        with socket.create_connection((host, int(port))) as peer:
            peer.sendall(f"{head}Content-Length: 900\r\n\r\n".encode() + question())
            time.sleep(pause)
    time.sleep(0.5)  # until it was noticed
    assert asker.gateway.readiness()[0] == 200
    assert asker.gateway.output.read_bytes() == lines


def test_headers_nobody_asked_for_change_nothing(asker):
    body = json.dumps(asker.site.properties()).encode()
    surplus = {"X-Forwarded-Host": CANARY, "Forwarded": f"for={CANARY}", "Cookie": CANARY}
    answered = asker.send(asker.signed(body) | surplus | {"X-HTTP-Method-Override": "GET"}, body)
    assert answered.status == 200
    assert CANARY.encode() not in answered.body + answered.kept


# --- nothing is left out ----------------------------------------------------------------------


def test_every_problem_type_and_every_reason_is_brought_about():
    assert {row.name for row in problems.EVERY} == EXERCISED | SETTLED | OVER_A_CHANNEL
    assert {reason.value for reason in Reason} <= EXERCISED | SETTLED | OVER_A_CHANNEL
    assert {reason.value for reason in Unproven} == DISBELIEVED


def test_a_nonce_is_used_once_whatever_else_is_signed(asker, data):
    nonce = secrets.token_urlsafe(24)
    assert asker.ask(asker.site.properties(), nonce=nonce).status == 200
    again = asker.ask(asker.site.properties(matter="DB-2026-000124"), nonce=nonce)
    refused(again, data, "replayed")
