"""A row says what the core says in clear, and no entry keeps another from being found."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharegate.audit.chain import GENESIS, encode_leaf
from sharegate.record.blind import Token, token
from sharegate.record.entry import read_core
from sharegate.record.projection import UNREADABLE, SearchRow, search_row, tokens
from tests.unit.record.exchanges import NOW, denied, disclosed, entry_core, exchanges

KEY = bytes(32)
OFFICER, MATTER, PERSON, OTHER = (
    token(KEY, kind, value)
    for kind, value in (
        (Token.OFFICER, "a"), (Token.MATTER, "b"), (Token.PERSON, "c"), (Token.PERSON, "d"),
    )
)  # fmt: skip


def leaf(core):
    return encode_leaf(7, GENESIS, core)


def test_an_exchange_is_found_by_what_its_core_says():
    core, _ = entry_core(disclosed(), answer=b"{}")
    assert search_row(7, leaf(core), PERSON + OFFICER + OTHER + MATTER) == SearchRow(
        seq=7,
        time=NOW,
        kind="release",
        consumer="civil-affairs",
        officer=OFFICER[1:],
        matter=MATTER[1:],
        provider="housing",
        resource="properties",
        mode="query",
        purpose="review",
        effect="permit",
        rule="housing-001",
    )
    assert search_row(7, leaf(entry_core(denied())[0]), None).reason == "no-grant"


@given(exchanges(), st.none() | st.binary(max_size=60))
def test_every_exchange_has_a_row_of_its_core(exchange, blind):
    known, fetched = exchange
    data, _ = entry_core(fetched, known=known, answer=b"{}")
    core, row = read_core(data), search_row(7, leaf(data), blind)
    if row.kind == UNREADABLE:
        assert b"\\u0000" in data  # which PostgreSQL cannot hold
        return
    assert (row.kind, row.time) == (core["kind"], core["time"])
    assert row.consumer == core["caller"]["consumer"]
    assert row.provider == core.get("provider")
    assert row.resource == core.get("resource", {}).get("id")
    assert row.purpose == core.get("purpose", {}).get("code")
    assert (row.effect, row.reason, row.rule) == tuple(
        core["decision"].get(name) for name in ("effect", "reason", "rule")
    )


@given(st.binary(min_size=1, max_size=200), st.binary(max_size=60))
def test_any_bytes_have_a_row(core, blind):
    row = search_row(7, leaf(core), blind)
    assert row.seq == 7
    assert isinstance(row.kind, str)
    assert all(len(each) == 16 for each in (row.officer, row.matter) if each is not None)


def test_an_act_is_found_by_who_did_it():
    core = msgspec.json.encode({"kind": "policy", "time": 5, "by": "tax", "facts": {"a": 1}})
    assert search_row(7, leaf(core), None) == SearchRow(7, 5, "policy", by="tax")


@pytest.mark.parametrize(
    ("blind", "people"),
    [
        (None, []),
        (b"", []),
        (PERSON, [PERSON[1:]]),
        (PERSON + OFFICER + OTHER, [PERSON[1:], OTHER[1:]]),
        (PERSON + OTHER[:-1], [PERSON[1:]]),
        (b"x" + PERSON[1:] + OTHER, [OTHER[1:]]),
        (PERSON[:-1], []),
    ],
)
def test_tokens_are_whole_and_of_their_kind(blind, people):
    assert tokens(blind, Token.PERSON) == people
