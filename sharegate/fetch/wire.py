"""One value, there and back: from JSON to what is bound, from the source to JSON.

Pure. Each field type has one form on the wire and one at the source; what has no form on the
other side is never bent into one.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal

from sharegate.errors import ShareGateError
from sharegate.model.catalogue import MAX_TEXT, FieldType
from sharegate.model.passage import Value
from sharegate.model.request import Scalar

Bound = str | int | bool | Decimal | date | datetime

_INT64 = 2**63
_SAFE = 2**53 - 1  # the largest integer every JSON reader keeps exactly (RFC 7493 section 2.2)
_DECIMAL = re.compile(r"-?[0-9]{1,131072}(?:\.[0-9]{1,16383})?")  # PostgreSQL's numeric, table 8.2
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_ASKED_TIMESTAMP = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?"
    r"(Z|[+-][0-9]{2}(:?[0-9]{2})?)?"
)
_TIMESTAMP = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[ T]([0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?)"
    r"(Z|\+00(?::?00)?)?"
)


class Unrepresentable(ShareGateError):
    """A source gave a value that has no form on the wire, as NaN or infinity. Names no value."""


def bindable(kind: FieldType, asked: Scalar) -> Bound | None:  # noqa: PLR0911  one per type
    """What to bind for a value that a consumer asks by.

    Args:
        kind: The field's type.
        asked: The JSON value.

    Returns:
        The value to bind, or None where no value of that type can equal it, as the 30th of
        February: so it never reaches the source, which might answer with an error. A timestamp
        without an offset is UTC.
    """
    if kind is FieldType.BOOLEAN:
        return asked if isinstance(asked, bool) else None
    if kind is FieldType.INTEGER:
        whole = isinstance(asked, int) and not isinstance(asked, bool)
        return asked if whole and -_INT64 <= asked < _INT64 else None  # type: ignore[operator]
    if not isinstance(asked, str):
        return None
    if kind is FieldType.TEXT:
        return asked if "\0" not in asked and _is_unicode(asked) else None
    if kind is FieldType.DECIMAL:
        return Decimal(asked) if _DECIMAL.fullmatch(asked) else None
    try:
        if kind is FieldType.DATE:
            return date.fromisoformat(asked) if _DATE.fullmatch(asked) else None
        if _ASKED_TIMESTAMP.fullmatch(asked) is None:
            return None
        moment = datetime.fromisoformat(asked)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):  # an offset may lead out of the years 1 to 9999
        return None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


def _text(found: object) -> str:
    if isinstance(found, str) and (found.isascii() or _is_unicode(found)):
        if len(found) <= MAX_TEXT:
            return found
        raise Unrepresentable(f"text of more than {MAX_TEXT} characters")
    raise Unrepresentable("not text")


def _integer(found: object) -> int:
    if type(found) is int and -_SAFE <= found <= _SAFE:
        return found
    raise Unrepresentable("not an integer every reader keeps exactly")


def _boolean(found: object) -> bool:
    if isinstance(found, bool):
        return found
    raise Unrepresentable("not a boolean")


def _decimal(found: object) -> str:
    if isinstance(found, str) and _DECIMAL.fullmatch(found):
        return found
    raise Unrepresentable("not a finite decimal")


def _date(found: object) -> str:
    if isinstance(found, str) and _DATE.fullmatch(found):
        return found
    raise Unrepresentable("not a date of the years 0001 to 9999")


def _timestamp(found: object) -> str:
    parts = _TIMESTAMP.fullmatch(found) if isinstance(found, str) else None
    if parts is None:
        raise Unrepresentable("not a timestamp of the years 0001 to 9999, in UTC")
    return f"{parts[1]}T{parts[2]}{'Z' if parts[3] else ''}"


_CARRIED: Mapping[FieldType, Callable[[object], Value]] = {
    FieldType.TEXT: _text,
    FieldType.INTEGER: _integer,
    FieldType.DECIMAL: _decimal,
    FieldType.BOOLEAN: _boolean,
    FieldType.DATE: _date,
    FieldType.TIMESTAMP: _timestamp,
}


def carried(kind: FieldType) -> Callable[[object], Value]:
    """How a value of that type, never null, gets from the source onto the wire.

    Dates are ``YYYY-MM-DD``; timestamps RFC 3339 in UTC with ``Z``, or without an offset where
    the source keeps none; decimals are digits, never an exponent.

    Returns:
        A function that raises Unrepresentable for a value without a form on the wire.
    """
    return _CARRIED[kind]
