"""The answer's bytes, and that an entry commits to exactly them."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharegate.model.passage import Disclosure
from sharegate.record.answer import encode_answer, open_answer
from sharegate.record.entry import b64, read_core
from tests.unit.record.exchanges import (
    EXCHANGE,
    SALTS,
    denied,
    disclosed,
    entry_core,
    exchanges,
    request,
)

many = settings(deadline=None, max_examples=60)


def made(fetched, **changes):
    answer = encode_answer(fetched, fetched.outcome, SALTS.response)
    return answer, entry_core(fetched, answer=answer, **changes)[0]


def test_an_answer_is_this_document():
    assert json.loads(made(disclosed(rows=(("甲路1号",), (None,))))[0]) == {
        "exchange_id": str(EXCHANGE),
        "provider": "housing",
        "resource": "properties",
        "version": 1,
        "grant": "housing-001",
        "rule_set": "rules-hash",
        "rows": [{"address": "甲路1号"}, {"address": None}],
        "limit_reached": False,
        "salt": b64(SALTS.response),
    }


@many
@given(exchanges())
def test_an_answer_opens_against_its_own_entry(pair):
    known, fetched = pair
    if isinstance(fetched.outcome, Disclosure):
        answer, core = made(fetched, known=known)
        entry = open_answer(answer, core)
        assert entry == read_core(core)
        assert entry["response"]["bytes"] == len(answer)
        assert entry["response"]["rows"] == len(json.loads(answer)["rows"])


ANSWER, CORE = made(disclosed())


@many
@given(st.integers(0, len(ANSWER) - 1), st.integers(1, 255))
def test_an_answer_with_one_byte_changed_is_refused(at, flip):
    with pytest.raises(ValueError):
        open_answer(ANSWER[:at] + bytes([ANSWER[at] ^ flip]) + ANSWER[at + 1 :], CORE)


@many
@given(st.integers(0, len(ANSWER)), st.sampled_from([b" ", b"\n", b"0", b"\0"]))
def test_an_answer_with_a_byte_more_or_less_is_refused(at, extra):
    with pytest.raises(ValueError):
        open_answer(ANSWER[:at] + extra + ANSWER[at:], CORE)
    if at < len(ANSWER):
        with pytest.raises(ValueError):
            open_answer(ANSWER[:at] + ANSWER[at + 1 :], CORE)


def test_the_same_answer_spelt_otherwise_is_refused():
    for spelt in (
        json.dumps(json.loads(ANSWER)),
        json.dumps(json.loads(ANSWER), sort_keys=True, separators=(",", ":")),
    ):
        with pytest.raises(ValueError):
            open_answer(spelt.encode(), CORE)


def test_an_answer_does_not_open_against_another_entry():
    refused, _ = entry_core(denied(request()))
    other = made(disclosed(rows=()))[1]
    for core in (refused, other, b"{}", b"", b'{"response":1}', b'{"response":{}}'):
        with pytest.raises(ValueError):
            open_answer(ANSWER, core)


@pytest.mark.parametrize(
    "answer", [b"", b"1", b"null", b"[]", b'{"salt":1}', b'{"salt":"*"}', b"{}", b"[" * 99_999]
)
def test_what_is_no_answer_is_refused(answer):
    with pytest.raises(ValueError):
        open_answer(answer, CORE)
