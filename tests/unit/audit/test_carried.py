"""A receipt carries its leaf whole, or is refused; what it needs for that is documented."""

import contextlib
import json
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharegate.audit.carried import WORDS, pack, unpack
from sharegate.audit.chain import MAX_LEAF_BYTES
from sharegate.audit.verdict import Malformed

FORMAT = Path(__file__).parents[3] / "docs" / "format.md"


@given(st.binary(max_size=2000))
def test_a_leaf_comes_back_as_it_went(leaf):
    assert unpack(pack(leaf)) == leaf


def test_the_longest_leaf_fits_and_no_longer_one():
    assert len(unpack(pack(bytes(MAX_LEAF_BYTES)))) == MAX_LEAF_BYTES
    for longer in (MAX_LEAF_BYTES + 1, 100_000_000):  # the latter is 100 KB of receipt
        with pytest.raises(Malformed):
            unpack(pack(bytes(longer)))


@pytest.mark.parametrize(
    "extra",
    [
        b"",
        b"SGL1",
        pack(b"leaf")[:-1],
        pack(b"leaf") + b"x",
        pack(b"leaf") + pack(b"leaf"),
        pack(b"leaf")[:-1] + b"\0",  # another sum
    ],
)
def test_what_is_not_exactly_one_leaf_is_refused(extra):
    with pytest.raises(Malformed):
        unpack(extra)


def test_a_stream_over_other_words_is_refused():
    other = zlib.compressobj(zdict=b"other words")
    with pytest.raises(Malformed):
        unpack(other.compress(b"leaf") + other.flush())


@given(st.binary(max_size=200))
def test_whatever_is_sent_is_a_leaf_or_malformed(extra):
    with contextlib.suppress(Malformed):
        assert len(unpack(extra)) <= MAX_LEAF_BYTES


def test_anyone_can_read_the_words_in_the_format():
    """As a JSON string there, so that every language has a reader for it."""
    lines = [line for line in FORMAT.read_text(encoding="utf-8").splitlines() if "SGL1\\u" in line]
    assert [json.loads(line).encode() for line in lines] == [WORDS]
