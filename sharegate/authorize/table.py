"""Read the policy tables: plain comma-separated values, with nothing left to guess.

A rule that a reader drops, splits or trims is a lost denial, so there is one spelling only:
UTF-8 without byte order mark, the exact header, as many values on every line as in the header,
no quoting (a value has no comma), no empty line, and a line feed after the last line, without
which the file was cut off.
"""

import re
from collections.abc import Iterator, Sequence

from sharegate.errors import Misconfigured

ID = re.compile(r"[a-z][a-z0-9-]{0,62}")  # departments, resources, purposes, bases, grants

# Quotes, every control but the line feed, and what is invisible or reorders text.
_STRAY = re.compile(
    '["\x00-\x09\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]'
)
_PIECE = 65_536
_HINTS = {
    '"': "a quotation mark (values are never quoted)",
    "\r": "a carriage return (save the file with line feeds only)",
    "\ufeff": "a byte order mark (save the file as UTF-8 without one)",
}


def read_text(place: str, content: bytes) -> str:
    """Decode a policy file.

    Raises:
        Misconfigured: It is not UTF-8.
    """
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Misconfigured(f"{place}:{line}", "is not UTF-8") from None


def _stray(text: str) -> re.Match[str] | None:
    """Find the first stray character, in pieces: one search of 10 MB would stop everyone else."""
    pieces = (_STRAY.search(text, at, at + _PIECE) for at in range(0, len(text), _PIECE))
    return next(filter(None, pieces), None)


def read_table(
    place: str, content: bytes, header: Sequence[str]
) -> Iterator[tuple[int, list[str]]]:
    """Yield each line after the header: its number, from 2, and its values.

    Raises:
        Misconfigured: The file is not such a table; names the line.
    """
    text = read_text(place, content)
    if stray := _stray(text):
        line = text.count("\n", 0, stray.start()) + 1
        found = _HINTS.get(stray[0], f"the character U+{ord(stray[0]):04X}")
        raise Misconfigured(f"{place}:{line}", f"contains {found}")
    if not text.endswith("\n"):
        raise Misconfigured(f"{place}:{text.count(chr(10)) + 1}", "the last line is cut off")
    lines = text[:-1].split("\n")  # not splitlines(), which cuts at more than line feeds
    if lines[0] != ",".join(header):
        raise Misconfigured(f"{place}:1", f"the header must be {','.join(header)}")
    width = len(header)
    for number in range(1, len(lines)):
        values = lines[number].split(",")
        if len(values) != width:
            raise Misconfigured(
                f"{place}:{number + 1}", f"has {len(values)} values where {width} belong"
            )
        yield number + 1, values
