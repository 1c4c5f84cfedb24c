"""Writing what others wrote so that it looks like what it is. Pure.

A name in full-width letters, a Cyrillic letter, a direction mark or a line break in a value could
make one line look like another, or hide one. Shown as they are: ASCII, Chinese characters, and
the dot inside names. Everything else is written as its code point.
"""

import argparse
import json
import unicodedata
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

_CHINESE: Final = (
    range(0x3400, 0x4DC0),
    range(0x4E00, 0xA000),
    range(0x20000, 0x323B0),
)
_DOT: Final = 0xB7  # in the names of many peoples of China
_LONGEST: Final = 500


def plain(value: object) -> str:
    """Write a value on one line; a backslash is doubled, so that nothing else reads like it."""
    return "".join(map(_shown, str(value)))


def as_json(value: object) -> str:
    """Write JSON in ASCII alone: whoever prints it prints nothing else."""
    return json.dumps(value, ensure_ascii=True, sort_keys=True)


def outline(value: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    """Write a map line by line, as ``name.name: value``."""
    for name, each in value.items():
        if isinstance(each, Mapping):
            yield from outline(each, f"{prefix}{name}.")
        elif isinstance(each, (list, tuple)):
            yield f"{plain(prefix + name)}: {', '.join(map(plain, each))}"
        else:
            yield f"{plain(prefix + name)}: {plain(each)}"


def moment(milliseconds: int) -> str:
    """Write milliseconds of Unix time as UTC."""
    try:
        at = datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{milliseconds} ms"
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def given_text(text: str) -> str:
    """Read one argument: printable, on one line.

    Raises:
        argparse.ArgumentTypeError: It is not; says nothing of what it is.
    """
    if not 0 < len(text) <= _LONGEST or not text.isprintable():
        raise argparse.ArgumentTypeError(f"1 to {_LONGEST} characters, all of them printable")
    return text


def given_moment(text: str) -> int:
    """Read one argument: ISO 8601 with an offset, as milliseconds of Unix time.

    Raises:
        argparse.ArgumentTypeError: It is not that.
    """
    try:
        at = datetime.fromisoformat(text) if text.isascii() else None
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise argparse.ArgumentTypeError("a moment with its offset, as 2026-03-01T00:00+08:00")
    return int(at.timestamp() * 1000)


def spelt_otherwise(text: str) -> bool:
    """Whether the text has full-width letters or other forms that look like plainer ones."""
    return unicodedata.normalize("NFKC", text) != text


def _shown(char: str) -> str:
    point = ord(char)
    if char == "\\":
        return "\\\\"
    chinese = any(point in block for block in _CHINESE) and char.isprintable()  # assigned
    if " " <= char <= "~" or point == _DOT or chinese:
        return char
    return f"\\u{point:04x}" if point <= 0xFFFF else f"\\U{point:08x}"  # noqa: PLR2004  4 digits
