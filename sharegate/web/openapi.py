"""This interface, described (OpenAPI 3.1), out of the lists that the code itself goes by.

What may be asked stands in :mod:`sharegate.authorize.read`, what may be answered in
:mod:`sharegate.web.problems`; a test holds this description to both. Every example is invented.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Final

from sharegate import __version__
from sharegate.identify.identify import MAX_AGE_MS, MAX_AHEAD_MS
from sharegate.identify.signature import COVERED
from sharegate.model.catalogue import Catalogue
from sharegate.model.decision import Reason
from sharegate.web import problems
from sharegate.web.problems import OF_REASON, ProblemType
from sharegate.web.rulings import heard_schema, referrals_schema, ruling_schema
from sharegate.web.schemas import (
    ASKED,
    EXAMPLE_ID,
    Json,
    access_request,
    answer,
    example,
    listed_resources,
    listing,
    problem,
    urn,
)

EXCHANGE_HEADER: Final = "ShareGate-Exchange"
ENTRY_HEADER: Final = "ShareGate-Entry"
RECEIPT_HEADER: Final = "ShareGate-Receipt"

_DIGEST: Final = "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"
_SIGNED: Final = (
    f'sharegate=({" ".join(COVERED)});created=1785312000;nonce="q1Yk3tqvJmWc0aZr";'
    'keyid="civil-affairs-2026";tag="sharegate"'
)
_ABOUT: Final = f"""\
One department asks, another department's source answers, and nothing leaves that was not first
written into an append-only audit log.

## How a request is signed

Every request of a department carries an officer token and **one** signature (RFC 9421, Ed25519),
in exactly this form; nothing is negotiated:

- `Content-Digest`: `sha-256=:…:` and nothing else (RFC 9530), of the body as sent; of no bytes
  where there is no body.
- `Authorization`: `Bearer` and the officer's token.
- `Signature-Input`: label `sharegate`; the components {", ".join(f"`{c[1:-1]}`" for c in COVERED)}
  in this order; the parameters `created`, `nonce`, `keyid`, `tag` in this order. `created` is
  Unix time in seconds, at most {MAX_AGE_MS // 1000} s ago and {MAX_AHEAD_MS // 1000} s ahead;
  `nonce` is 16 to 64 letters of base64url, never used before with this key; `keyid` is as in the
  registry; `tag` is `sharegate`. `@query` is `?` where there is no query.
- `Signature`: `sharegate=:…:`, 64 bytes in base64.

A signed request is good once. A second copy is refused as `{Reason.REPLAYED.value}`, whatever
became of the first: whoever got no answer signs anew.

## How a request is refused

Each refusal is a problem document (RFC 9457) whose `type` is from a closed list. One that carries
`entry` is recorded in the audit log like an answer. Nothing else is here: any other path is
`{problems.NOT_FOUND.name}`, any other method `{problems.NOT_ALLOWED.name}`.
"""

_ALWAYS: Final = (problems.UNAVAILABLE, problems.INTERNAL)
# Of whatever one has to prove who one is for.
_PROVING: Final = (
    problems.UNAUTHENTICATED,
    problems.TOO_MANY,
    *_ALWAYS,
    problems.TOO_LARGE,
    problems.TOO_SLOW,
)
_ABOUT_RECEIPTS: Final = (Reason.UNKNOWN_RECEIPT,)
_ABOUT_RULINGS: Final = (Reason.NOT_RULING,)
_ABOUT_REPLAY: Final = (Reason.REPLAYED, Reason.STALE)
_OF_OTHER_PATHS: Final = (*_ABOUT_RECEIPTS, *_ABOUT_RULINGS)


def openapi_document(catalogue: Catalogue) -> bytes:
    """The document, as served at ``/openapi.json``. ASCII, so no reader can take it otherwise.

    Args:
        catalogue: What the providers list; each resource that every member may know of is
            described with fields of its own.
    """
    document = _document(listed_resources(catalogue))
    return json.dumps(document, ensure_ascii=True, separators=(",", ":")).encode("ascii")


def _document(resources: Json) -> Json:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ShareGate",
            "version": __version__,
            "summary": "Exchanges between departments, each recorded before it is answered.",
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": {
            "/v1/exchanges": {"post": _exchange()},
            "/v1/referrals": {"get": _referrals()},
            "/v1/rulings": {"post": _ruling()},
            "/v1/receipts/{exchange_id}": {"get": _receipt()},
            "/v1/catalogue": {"get": _catalogue()},
            "/log/checkpoint": {"get": _checkpoint()},
            "/openapi.json": {"get": _this()},
        },
        "components": {
            "schemas": {
                "AccessRequest": access_request(),
                "Answer": answer(),
                "Problem": problem(),
                "Referrals": referrals_schema(),
                "SignedRuling": ruling_schema(),
                "Heard": heard_schema(),
                "Catalogue": listing(),
                **resources,
            },
            "parameters": _signature_parameters(),
            "headers": _headers(),
            "securitySchemes": {
                "officer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "Who acts, vouched for by the issuer of the department that "
                    "signs: a JWT of type officer+jwt with iss, sub, aud (this gateway), iat, exp "
                    "(a day at most) and department. It is part of what is signed.",
                }
            },
        },
    }


def _exchange() -> Json:
    kinds = (
        *(row for why, row in OF_REASON.items() if why not in _OF_OTHER_PATHS),
        *_PROVING,
    )
    return {
        "operationId": "exchange",
        "summary": "Ask another department's source one question",
        "description": "The body is UTF-8 without a byte order mark; no name occurs twice in one "
        "object, and no number has a fraction or an exponent.",
        "security": [{"officer": []}],
        "parameters": [
            *_signature(),
            _choice("receipt", "inline", "Whether the receipt is wanted along with the answer."),
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": _ref("schemas", "AccessRequest"),
                    "examples": {"a household's homes": {"value": ASKED}},
                }
            },
        },
        "responses": {
            "200": {
                "description": "What the grant lets out, masked, as the entry commits to it. "
                "Keep the exact bytes: the receipt is about them.",
                "headers": {
                    name: _ref("headers", name)
                    for name in (EXCHANGE_HEADER, ENTRY_HEADER, RECEIPT_HEADER)
                },
                "content": {"application/json": {"schema": _ref("schemas", "Answer")}},
            },
            **_refusals(kinds),
        },
    }


def _choice(name: str, value: str, description: str) -> Json:
    """A parameter of the query that has one value, or is not there."""
    return {"name": name, "in": "query", "description": description, "schema": {"enum": [value]}}


def _receipt() -> Json:
    kinds = (
        *(OF_REASON[why] for why in (Reason.MALFORMED, *_ABOUT_RECEIPTS, *_ABOUT_REPLAY)),
        *_PROVING,
    )
    return {
        "operationId": "receipt",
        "summary": "Get the receipt of one of one's own exchanges",
        "description": "A C2SP tlog-proof, which anyone can check without this gateway. Asking "
        "for somebody else's, or for one that is not there, is refused alike and recorded.",
        "security": [{"officer": []}],
        "parameters": [
            {
                "name": "exchange_id",
                "in": "path",
                "required": True,
                "schema": {"type": "string", "format": "uuid"},
                "example": EXAMPLE_ID,
            },
            *_signature(),
            _choice("min", "cosigned", "Whether a quorum of witnesses must have cosigned it."),
        ],
        "responses": {
            "200": {"description": "The receipt.", "content": _text("C2SP tlog-proof")},
            **_refusals(kinds),
        },
    }


def _catalogue() -> Json:
    return {
        "operationId": "catalogue",
        "summary": "See what the providers list, and on what terms for this officer",
        "description": "Not an exchange: nothing of a source is shown, and no entry is written; a "
        "copy of the request is answered like the first while it is fresh.",
        "security": [{"officer": []}],
        "parameters": _signature(),
        "responses": {
            "200": {
                "description": "The catalogue.",
                "headers": {"ETag": {"schema": {"type": "string"}}},
                "content": {"application/json": {"schema": _ref("schemas", "Catalogue")}},
            },
            "304": {"description": "As `If-None-Match` names it: nothing has changed."},
            **_refusals(_PROVING),
        },
    }


def _referrals() -> Json:
    kinds = (OF_REASON[why] for why in (*_ABOUT_RULINGS, *_ABOUT_REPLAY))
    return {
        "operationId": "referrals",
        "summary": "See what was referred to one's own department in the last 30 days",
        "description": "For officers who are persons of the registry with the role `rule`; of "
        "anybody else it is refused and recorded. The newest 50, newest first. The facts are in "
        "the sealed detail, which only the department's own key opens.",
        "security": [{"officer": []}],
        "parameters": _signature(),
        "responses": {
            "200": {
                "description": "What was referred.",
                "content": {"application/json": {"schema": _ref("schemas", "Referrals")}},
            },
            **_refusals((*kinds, *_PROVING)),
        },
    }


def _ruling() -> Json:
    kinds = (OF_REASON[why] for why in (Reason.MALFORMED, *_ABOUT_RULINGS, *_ABOUT_REPLAY))
    return {
        "operationId": "rule",
        "summary": "Bring a signed ruling on what was referred",
        "description": "Recorded, and only then in force. The consumer asks again with `ruling` "
        "set to its id, or to that of the exchange that was referred. It lets one exchange "
        "through. The same ruling may be brought again; it is in force once.",
        "security": [{"officer": []}],
        "parameters": _signature(),
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _ref("schemas", "SignedRuling")}},
        },
        "responses": {
            "200": {
                "description": "It is recorded and in force.",
                "content": {"application/json": {"schema": _ref("schemas", "Heard")}},
            },
            **_refusals((*kinds, *_PROVING)),
        },
    }


def _checkpoint() -> Json:
    return {
        "operationId": "checkpoint",
        "summary": "Get the newest signed checkpoint of the audit log",
        "security": [],
        "responses": {
            "200": {"description": "A signed note.", "content": _text("C2SP tlog-checkpoint")},
            **_refusals(_ALWAYS),
        },
    }


def _this() -> Json:
    return {
        "operationId": "openapi",
        "summary": "Get this document",
        "security": [],
        "responses": {
            "200": {
                "description": "OpenAPI 3.1.",
                "content": {"application/json": {"schema": {"type": "object"}}},
            },
            **_refusals((problems.INTERNAL,)),
        },
    }


def _refusals(kinds: Iterable[ProblemType]) -> Json:
    """The responses that are problems: one for each status, narrowed to the types it may have."""
    by_status: dict[int, list[ProblemType]] = {}
    for kind in kinds:
        by_status.setdefault(kind.status, []).append(kind)
    return {str(status): _refusal(by_status[status]) for status in sorted(by_status)}


def _refusal(kinds: list[ProblemType]) -> Json:
    headers: Json = {}
    if any(kind.recorded for kind in kinds):
        headers |= {name: _ref("headers", name) for name in (EXCHANGE_HEADER, ENTRY_HEADER)}
        if not all(kind.recorded for kind in kinds):
            headers = {name: {**_headers()[name], "required": False} for name in headers}
        headers[RECEIPT_HEADER] = _ref("headers", RECEIPT_HEADER)
    if problems.UNAVAILABLE in kinds or problems.TOO_MANY in kinds:
        headers["Retry-After"] = _ref("headers", "Retry-After")
    if problems.UNAUTHENTICATED in kinds:
        headers["WWW-Authenticate"] = {"required": True, "schema": {"type": "string"}}
    return {
        "description": "; ".join(f"`{kind.name}`: {kind.title}" for kind in kinds) + ".",
        "headers": headers,
        "content": {
            problems.CONTENT_TYPE: {
                "schema": {
                    "allOf": [
                        _ref("schemas", "Problem"),
                        {
                            "properties": {
                                "type": {"enum": [urn(kind) for kind in kinds]},
                                "status": {"const": kinds[0].status},
                            }
                        },
                    ]
                },
                "example": example(kinds[0]),
            }
        },
    }


def _signature_parameters() -> Json:
    def header(name: str, pattern: str, example: str) -> Json:
        return {
            "name": name,
            "in": "header",
            "required": True,
            "schema": {"type": "string", "pattern": pattern},
            "example": example,
        }

    return {
        "digest": header("Content-Digest", "^sha-256=:[A-Za-z0-9+/]{43}=:$", _DIGEST),
        "signed": header("Signature-Input", r"^sharegate=\(.*\);created=[0-9]+;nonce=", _SIGNED),
        "signature": header(
            "Signature", "^sharegate=:[A-Za-z0-9+/]{86}==:$", f"sharegate=:{'A' * 86}==:"
        ),
    }


def _signature() -> list[Json]:
    return [_ref("parameters", name) for name in _signature_parameters()]


def _headers() -> Mapping[str, Json]:
    return {
        EXCHANGE_HEADER: {
            "description": "The exchange's id, by which its receipt can be asked for.",
            "required": True,
            "schema": {"type": "string", "format": "uuid"},
        },
        ENTRY_HEADER: {
            "description": "The place of its entry in the audit log.",
            "required": True,
            "schema": {"type": "integer", "minimum": 0},
        },
        RECEIPT_HEADER: {
            "description": "With `receipt=inline`: the receipt, in base64.",
            "schema": {"type": "string", "contentEncoding": "base64"},
        },
        "Retry-After": {
            "description": "Seconds.",
            "required": True,
            "schema": {"type": "integer", "minimum": 1},
        },
    }


def _text(what: str) -> Json:
    return {"text/plain": {"schema": {"type": "string", "description": what}}}


def _ref(section: str, name: str) -> Json:
    return {"$ref": f"#/components/{section}/{name}"}
