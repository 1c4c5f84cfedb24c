"""Problem documents (RFC 9457): one table from what went wrong to what goes on the wire.

Types are stable: a consumer may act on them. No problem carries a provider's data.
"""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

import msgspec
from aiohttp import web

from sharegate.model.decision import Reason
from sharegate.model.passage import Disclosure, Released

TYPE_PREFIX: Final = "urn:sharegate:problem:"
CONTENT_TYPE: Final = "application/problem+json"
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One row of the table.

    Attributes:
        name: What follows :data:`TYPE_PREFIX`.
        recorded: Whether an exchange that ends so has an entry.
    """

    name: str
    status: int
    title: str
    recorded: bool = False


def _recorded(reason: Reason, status: int, title: str) -> ProblemType:
    return ProblemType(reason.value, status, title, recorded=True)


OF_REASON: Final = {
    reason: _recorded(reason, status, title)
    for reason, status, title in (
        (Reason.MALFORMED, 400, "The request cannot be read"),
        (Reason.UNKNOWN_PROVIDER, 422, "There is no such provider"),
        (Reason.UNKNOWN_RESOURCE, 422, "The provider lists no such resource"),
        (Reason.UNKNOWN_MODE, 422, "The resource has no such mode"),
        (Reason.UNKNOWN_PURPOSE, 422, "There is no such purpose"),
        (Reason.UNKNOWN_FIELD, 422, "The resource has no such field"),
        (Reason.UNKNOWN_RECEIPT, 404, "There is no such exchange of yours"),
        (Reason.LEGAL_BASIS, 403, "The legal basis does not allow this purpose"),
        (Reason.NO_GRANT, 403, "No grant permits this"),
        (Reason.DENIED, 403, "A rule denies this"),
        (Reason.FIELD_REFUSED, 403, "The grant does not let this field out"),
        (Reason.NOT_SHARED, 403, "The resource is not shared"),
        (Reason.UNDECIDABLE, 403, "The rules could not decide"),
        (Reason.ASSURANCE, 403, "The department must sign this request"),
        (Reason.REFERRED, 403, "An officer of the provider must decide"),
        (Reason.RULING_REFUSED, 403, "The ruling does not permit this"),
        (Reason.NOT_RULING, 403, "This is not yours to rule on"),
        (Reason.CONSENT, 403, "The person concerned must consent"),
        (Reason.MATTER, 403, "The matter is not confirmed"),
        (Reason.QUOTA, 403, "The quota is used up"),
        (Reason.REPLAYED, 409, "This request was sent before"),
        (Reason.STALE, 409, "This request is too old"),
        (Reason.SOURCE_UNAVAILABLE, 502, "The source gave no answer"),
        (Reason.SOURCE_TIMEOUT, 504, "The source gave no answer in time"),
    )
}
UNAUTHENTICATED: Final = ProblemType("unauthenticated", 401, "It is not proven who asks")
TOO_MANY: Final = ProblemType("too-many-requests", 429, "Too many requests without proof")
UNAVAILABLE: Final = ProblemType("audit-unavailable", 503, "Nothing can be recorded now")
NOT_FOUND: Final = ProblemType("not-found", 404, "There is nothing here")
NOT_ALLOWED: Final = ProblemType("method-not-allowed", 405, "This is not done here")
TOO_LARGE: Final = ProblemType("too-large", 413, "The request is too large")
TOO_SLOW: Final = ProblemType("too-slow", 408, "The request did not arrive in time")
INTERNAL: Final = ProblemType("internal-error", 500, "The gateway failed")
EVERY: Final = (
    *OF_REASON.values(),
    UNAUTHENTICATED,
    TOO_MANY,
    UNAVAILABLE,
    NOT_FOUND,
    NOT_ALLOWED,
    TOO_LARGE,
    TOO_SLOW,
    INTERNAL,
)


def problem(
    kind: ProblemType,
    detail: str,
    *,
    headers: dict[str, str] | None = None,
    **members: str | int,
) -> web.Response:
    """Answer with a problem document.

    Args:
        kind: The row of the table.
        detail: One sentence about this occurrence.
        headers: Further header fields.
        members: Extension members.
    """
    document = {
        "type": TYPE_PREFIX + kind.name,
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        **members,
    }
    return web.Response(
        body=_encode(document), status=kind.status, content_type=CONTENT_TYPE, headers=headers
    )


def refused(released: Released, headers: dict[str, str]) -> web.Response:
    """Answer a recorded refusal or failure; `pointer` names the member of the request at fault."""
    outcome = released.outcome
    assert not isinstance(outcome, Disclosure)
    members: dict[str, str | int] = {
        "instance": _urn(released.exchange_id),
        "entry": released.index,
    }
    pointer = getattr(outcome, "pointer", None)
    if pointer is not None:
        members["pointer"] = pointer
    return problem(OF_REASON[outcome.reason], outcome.detail, headers=headers, **members)


def _urn(exchange_id: UUID) -> str:
    return f"urn:uuid:{exchange_id}"
