"""What replaces a value before it leaves. A mask is not anonymisation.

Pure and total: every rule takes every value, and a value too short to keep anything hidden is
hidden whole. The run of asterisks has one length, whatever it hides, so that not even the length
leaves; null stays null, except under `redact`, which says nothing at all.
"""

import re
from collections.abc import Callable, Mapping

from sharegate.model.catalogue import MaskRule
from sharegate.model.passage import Value

HIDDEN = "****"
_YEAR = re.compile(r"([0-9]{4})-[0-9]{2}-[0-9]{2}.*", re.DOTALL)


def _kept(head: int, tail: int, shortest: int) -> Callable[[Value], Value]:
    def mask(value: Value) -> Value:
        if value is None:
            return None
        text = HIDDEN if isinstance(value, bool) else str(value)
        if len(text) < shortest or text == HIDDEN:
            return HIDDEN
        return f"{text[:head]}{HIDDEN}{text[-tail:] if tail else ''}"

    return mask


def _unmasked(value: Value) -> Value:
    return value


def _year(value: Value) -> Value:
    if value is None:
        return None
    found = _YEAR.fullmatch(value) if isinstance(value, str) else None
    return found[1] if found else HIDDEN


def _redacted(_: Value) -> Value:
    return None


# The shortest that keeps anything: an ID number has 15 or 18 characters, a mobile number 11.
# Of a name the first character stays: 欧阳娜 and 欧小阳 leave alike, since no list of compound
# family names tells them apart for certain, and the shorter form is the safe one.
_MASKS: Mapping[MaskRule, Callable[[Value], Value]] = {
    MaskRule.NONE: _unmasked,
    MaskRule.YEAR: _year,
    MaskRule.REDACT: _redacted,
    MaskRule.NAME: _kept(head=1, tail=0, shortest=2),
    MaskRule.ID_NUMBER: _kept(head=6, tail=2, shortest=15),
    MaskRule.PHONE: _kept(head=3, tail=4, shortest=11),
    MaskRule.TAIL: _kept(head=0, tail=4, shortest=8),
}


def mask(rule: MaskRule) -> Callable[[Value], Value]:
    """What a rule does to a value."""
    return _MASKS[rule]
