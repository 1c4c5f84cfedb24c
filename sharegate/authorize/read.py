"""Read the body of an access request, strictly, and never fail on any bytes.

The body is JSON (RFC 8259) as I-JSON narrows it (RFC 7493): UTF-8, no name twice in one object,
integers that every reader holds exactly. Whatever else it is comes back as a value that says
where (RFC 6901), because a refused body is recorded like any other refusal.

Text is taken as sent and never normalised. Values need not be in Unicode normalisation form C:
nine ideographs that legacy GBK data contains (U+F92C 郎 among them) are not, so demanding it
would make the people whose names are stored that way impossible to ask for. Codes and names are
ASCII, so for them the question does not arise.
"""

import json
import re
from base64 import urlsafe_b64decode
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from sharegate.model.catalogue import FieldName
from sharegate.model.request import AccessRequest, Scalar, Unreadable

MAX_CODE = 63
MAX_VALUE = 256
MAX_FIELDS = 64
MAX_WHERE = 8
MAX_LIMIT = 10_000
# No readable body has more, even were every value nothing but commas: what has more is not decoded,
# so that 64 KiB of tiny numbers cannot hold up everyone else.
MAX_COMMAS = 4096
MAX_INTEGER = 2**53 - 1  # what every JSON reader holds exactly (RFC 7493 section 2.2)

_CODES = ("provider", "resource", "mode", "purpose", "legal_basis")
_REQUIRED = (*_CODES, "matter", "where")
_OPTIONAL = ("fields", "limit", "grant", "ruling", "consent", "consumer_entry")
_MEMBERS = frozenset((*_REQUIRED, *_OPTIONAL))

_CODE = re.compile(rf"[!-~]{{1,{MAX_CODE}}}")
_MATTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{3,63}")
# 32 bytes as base64url without padding, each in its one spelling.
_HASH = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")
_ECHOED = re.compile(r"[ -~]{0,64}")
_INTEGER = re.compile(r"-?[0-9]{1,16}")
# Controls, zero-width and bidirectional marks, line separators, surrogates, tags: what forges a
# log line, hides in one, or cannot be stored. Unassigned and private-use characters stay: rare
# family names are written with them.
_UNFIT = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"
)


@dataclass(frozen=True, slots=True)
class _Unfit:
    """What stands in the decoded tree where JSON allowed something we do not."""

    detail: str
    member: str | None = None


class _Refused(Exception):
    def __init__(self, pointer: str | None, detail: str) -> None:
        super().__init__(detail)
        self.pointer = pointer
        self.detail = detail


class _Usual(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """A body as nearly all are. What is left out of it has a value that no body can give it."""

    provider: str
    resource: str
    mode: str
    purpose: str
    legal_basis: str
    matter: str
    where: Annotated[
        dict[FieldName, Annotated[str, Meta(min_length=1, max_length=MAX_VALUE)]],
        Meta(min_length=1, max_length=MAX_WHERE),
    ]
    fields: Annotated[tuple[FieldName, ...], Meta(min_length=1, max_length=MAX_FIELDS)] = ()
    limit: Annotated[int, Meta(ge=1, le=MAX_LIMIT)] = 0


_decode_usual = msgspec.json.Decoder(_Usual).decode


def read_request(body: bytes) -> AccessRequest | Unreadable:
    """Read one access request, or say where it is not one.

    Unknown members are refused, so that a misspelt ``limit`` does not silently widen a question.
    No input raises, and the work is linear in the length of the body.
    """
    usual = _usual_request(body)
    if usual is not None:
        return usual
    try:
        return _access_request(_decoded(body))
    except _Refused as refused:
        return Unreadable(refused.pointer, refused.detail)


def _usual_request(body: bytes) -> AccessRequest | None:
    """Read a body that is beyond doubt at a quarter of the price; None: read it the long way.

    What this takes, the long way takes too, as the same request.
    """
    if len(body) > MAX_COMMAS:
        return None
    try:
        said = _decode_usual(body)
    except (ValueError, RecursionError):
        return None
    where, fields, limit = said.where, said.fields, said.limit
    # Each member has its colon: where there are no more of those, no name occurs twice.
    members = len(_REQUIRED) + len(where) + (1 if fields else 0) + (1 if limit else 0)
    codes = (
        said.provider, said.resource, said.mode, said.purpose, said.legal_basis, *where, *fields
    )  # fmt: skip
    if (
        body.count(b":") != members
        or _codes(len(codes)).fullmatch(" ".join(codes)) is None
        or _MATTER.fullmatch(said.matter) is None
        or not "".join(where.values()).isprintable()  # what is `_UNFIT` never is
        or len(set(fields)) != len(fields)
    ):
        return None
    return AccessRequest(
        said.provider, said.resource, said.mode, said.purpose, said.legal_basis, said.matter,
        fields, where, limit or None, None,
    )  # fmt: skip


@cache  # at most 5 + MAX_WHERE + MAX_FIELDS of them
def _codes(count: int) -> re.Pattern[str]:
    """So many codes with one space between them."""
    return re.compile(rf"{_CODE.pattern}(?: {_CODE.pattern}){{{count - 1}}}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Unfit:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    occurrences = Counter(name for name, _ in pairs)
    twice = next(name for name, count in occurrences.items() if count > 1)
    return _Unfit("a name occurs twice in one object", twice)


def _integer(digits: str) -> int | _Unfit:
    if _INTEGER.fullmatch(digits) is None or abs(number := int(digits)) > MAX_INTEGER:
        return _Unfit("an integer beyond 2^53 - 1")
    return number


def _fraction(_: str) -> _Unfit:
    return _Unfit("a number with a fraction or an exponent, or one that is none")


_decode = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=_integer,
    parse_float=_fraction,
    parse_constant=_fraction,
).decode


def _decoded(body: bytes) -> object:
    if body.startswith(b"\xef\xbb\xbf"):
        raise _Refused(None, "the body begins with a byte order mark")
    if body.count(b",") > MAX_COMMAS:
        raise _Refused(None, "the body has more members than an access request")
    try:
        return _decode(body.decode("utf-8"))
    except UnicodeDecodeError:
        raise _Refused(None, "the body is not UTF-8") from None
    except RecursionError:
        raise _Refused(None, "the body is nested too deep") from None
    except ValueError:
        # The decoder's own sentence quotes the body.
        raise _Refused(None, "the body is not JSON") from None


def _access_request(tree: object) -> AccessRequest:
    members = _members(tree, "")
    for name in members:
        if name not in _MEMBERS:
            raise _Refused(_pointer("", name), "there is no such member")
    for name in _REQUIRED:
        if name not in members:
            raise _Refused(f"/{name}", "this member is missing")
    provider, resource, mode, purpose, legal_basis = (
        _code(members[name], f"/{name}") for name in _CODES
    )
    matter = _text(members["matter"], "/matter")
    if _MATTER.fullmatch(matter) is None:
        raise _Refused("/matter", "a matter number is 4 to 64 ASCII letters, digits and hyphens")
    return AccessRequest(
        provider=provider,
        resource=resource,
        mode=mode,
        purpose=purpose,
        legal_basis=legal_basis,
        matter=matter,
        fields=_fields(members["fields"]) if "fields" in members else (),
        where=_where(members["where"]),
        limit=_limit(members["limit"]) if "limit" in members else None,
        grant=_code(members["grant"], "/grant") if "grant" in members else None,
        ruling=_code(members["ruling"], "/ruling") if "ruling" in members else None,
        consent=_code(members["consent"], "/consent") if "consent" in members else None,
        consumer_entry=_hash(members) if "consumer_entry" in members else None,
    )


def _members(value: object, pointer: str) -> Mapping[str, object]:
    if isinstance(value, _Unfit) and value.member is not None:
        raise _Refused(_pointer(pointer, value.member), value.detail)
    if not isinstance(value, dict):
        raise _Refused(pointer or None, "this must be an object")
    return value


def _pointer(parent: str, name: str) -> str | None:
    """Point at a member (RFC 6901), or at its parent where its name is not safe to repeat."""
    if _ECHOED.fullmatch(name) is None:
        return parent or None
    return f"{parent}/{name.replace('~', '~0').replace('/', '~1')}"


def _text(value: object, pointer: str) -> str:
    if isinstance(value, str):
        return value
    raise _Refused(pointer, "this must be a string")


def _code(value: object, pointer: str) -> str:
    text = _text(value, pointer)
    if _CODE.fullmatch(text) is None:
        raise _Refused(pointer, f"a code is 1 to {MAX_CODE} visible ASCII characters")
    return text


def _hash(members: Mapping[str, object]) -> bytes:
    text = _text(members["consumer_entry"], "/consumer_entry")
    if _HASH.fullmatch(text) is None:
        raise _Refused("/consumer_entry", "a leaf hash is 43 letters of base64url")
    return urlsafe_b64decode(text + "=")


def _fields(value: object) -> tuple[FieldName, ...]:
    if not isinstance(value, list):
        raise _Refused("/fields", "this must be a list")
    if not 1 <= len(value) <= MAX_FIELDS:
        # An empty list is not read as "all": nobody should get more by asking for less.
        raise _Refused("/fields", f"ask for 1 to {MAX_FIELDS} fields, or leave this member out")
    names = tuple(FieldName(_code(name, f"/fields/{i}")) for i, name in enumerate(value))
    for i, name in enumerate(names):
        if name in names[:i]:
            raise _Refused(f"/fields/{i}", "this field is asked for twice")
    return names


def _where(value: object) -> Mapping[FieldName, Scalar]:
    members = _members(value, "/where")
    if not 1 <= len(members) <= MAX_WHERE:
        raise _Refused("/where", f"ask by 1 to {MAX_WHERE} key fields")
    where: dict[FieldName, Scalar] = {}
    for name, asked in members.items():
        pointer = _pointer("/where", name) or "/where"
        where[FieldName(_code(name, pointer))] = _scalar(asked, pointer)
    return where


def _scalar(value: object, pointer: str) -> Scalar:
    if isinstance(value, _Unfit):
        raise _Refused(pointer, value.detail)
    if isinstance(value, bool | int):
        return value
    text = _text(value, pointer)
    # The empty string is refused: it asks for every row whose key was never filled in.
    if not 1 <= len(text) <= MAX_VALUE:
        raise _Refused(pointer, f"a value is 1 to {MAX_VALUE} characters")
    if _UNFIT.search(text) is not None:
        raise _Refused(pointer, "a value has no control, invisible or surrogate characters")
    return text


def _limit(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_LIMIT:
        raise _Refused("/limit", f"a limit is an integer from 1 to {MAX_LIMIT}")
    return value
