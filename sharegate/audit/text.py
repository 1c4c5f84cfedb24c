"""Strict readers for the words of signed text: numbers, base64, plain lines.

Python's own readers forgive too much for signed text: `int` takes `+5`, `1_0`
and digits of any script, `b64decode` drops foreign letters and stray bits, and
`splitlines` cuts at U+2028. Here every value has exactly one spelling, so what
was read encodes back to the bytes that were signed.
"""

import binascii
import re

from sharegate.audit.verdict import Malformed

# Sizes and indexes must fit a signed 64-bit integer: Go's tlog and PostgreSQL's
# bigint hold no more, and a frontier then has at most 63 hashes.
MAX_SIZE = 2**63 - 1

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")
# A lone surrogate has no UTF-8.
_LINE = re.compile(r"[^\x00-\x1f\ud800-\udfff]+")
_KEY_NAME = re.compile(r"[^\s+\x00-\x1f\ud800-\udfff]+")


def read_decimal(text: str) -> int:
    """Read a size or an index: ASCII digits, no sign, no leading zero, below 2^63.

    Raises:
        Malformed: any other spelling, or too large.
    """
    if _DECIMAL.fullmatch(text) is None or (number := int(text)) > MAX_SIZE:
        raise Malformed(f"not a decimal number below 2^63: {text[:40]!r}")
    return number


def read_base64(text: str) -> bytes:
    """Read standard base64 (RFC 4648 section 4) with padding, in its one canonical form.

    Raises:
        Malformed: a foreign letter, missing padding, or stray bits after the last byte.
    """
    try:
        data = binascii.a2b_base64(text.encode("ascii"))
    except ValueError:
        raise Malformed(f"not base64: {text[:40]!r}") from None
    # The decoder skips foreign letters and unused bits; what is left encodes otherwise.
    if write_base64(data) != text:
        raise Malformed(f"not canonical base64: {text[:40]!r}")
    return data


def write_base64(data: bytes) -> str:
    """Write standard base64 with padding, on one line."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def is_line(text: str) -> bool:
    """Say whether a text is one non-empty line of a note: UTF-8 and no control characters."""
    return _LINE.fullmatch(text) is not None


def is_key_name(text: str) -> bool:
    """Say whether a text may name a key: one line, no Unicode space, no plus sign."""
    return _KEY_NAME.fullmatch(text) is not None
