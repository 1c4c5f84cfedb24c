"""Whatever somebody wrote, it is shown as what it is, on one line."""

import argparse
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharegate.cli.plain import (
    as_json,
    given_moment,
    given_text,
    moment,
    outline,
    plain,
    spelt_otherwise,
)
from sharegate.cli.policy.replay import Replayed, line
from sharegate.model.decision import Deny, Reason, RuleSetHash


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("housing", "housing"),
        ("张伟·李", "张伟·李"),
        ("\U00020000", "\U00020000"),
        ("ｔａｘ", "\\uff54\\uff41\\uff58"),
        ("tаx", "t\\u0430x"),
        ("a\nentry 9", "a\\u000aentry 9"),
        ("a\u2028b\x85c", "a\\u2028b\\u0085c"),
        ("\u202egnp", "\\u202egnp"),
        ("\x1b[2J", "\\u001b[2J"),
        ("\u3000\u200b\ufeff", "\\u3000\\u200b\\ufeff"),
        ("\\u0041", "\\\\u0041"),
        ("\U0001f600", "\\U0001f600"),
        (7, "7"),
        (None, "None"),
    ],
)
def test_it_is_shown_as_what_it_is(value, shown):
    assert plain(value) == shown


@given(st.text(), st.text())
def test_two_values_never_look_the_same(one, other):
    assert (plain(one) == plain(other)) == (one == other)


@given(st.text())
def test_it_is_one_printable_line(text):
    shown = plain(text)
    assert shown.isprintable()
    assert len(f"a{shown}b".splitlines()) == 1


@given(st.dictionaries(st.text(), st.text() | st.lists(st.text()) | st.integers()))
def test_json_is_ascii_and_says_the_same(value):
    assert as_json(value).isascii()
    assert "\n" not in as_json(value)
    assert json.loads(as_json(value)) == value


def test_a_map_is_written_line_by_line():
    value = {"a": {"b": "x\ny", "c": ["1", "\u202e"]}, "d\n": 1}
    assert list(outline(value)) == ["a.b: x\\u000ay", "a.c: 1, \\u202e", "d\\u000a: 1"]


def test_a_moment_is_read_and_written():
    assert given_moment("2026-03-01T00:00+08:00") == 1_772_294_400_000
    assert moment(1_772_294_400_001) == "2026-02-28T16:00:00.001Z"
    assert moment(2**53) == f"{2**53} ms"


@pytest.mark.parametrize("text", ["", "a\n", "\u202e", "\x00", "x" * 501, "\ud800"])
def test_what_cannot_be_shown_is_no_argument(text):
    with pytest.raises(argparse.ArgumentTypeError) as refused:
        given_text(text)
    assert text not in str(refused.value) or not text


def test_full_width_letters_are_noticed():
    assert spelt_otherwise("１１０１")
    assert not spelt_otherwise("1101 张伟")


def test_a_recorded_decision_is_told_on_one_line():
    deny = Deny(RuleSetHash("rules"), Reason.NO_GRANT, None, None, "No.")
    said = line(Replayed(7, "permit\nentry 8", "\x1b[8m", deny))
    assert said == "entry 7: was permit\\u000aentry 8 \\u001b[8m; would be deny, no-grant: No."
