"""Counting requests without proof."""

from hypothesis import given
from hypothesis import strategies as st

from sharegate.web import unproven
from sharegate.web.unproven import UnprovenCount


def test_the_budget_itself_is_within_the_budget():
    count = UnprovenCount(3)
    assert [count.over("a", 0.0) for _ in range(5)] == [False, False, False, True, True]


def test_addresses_do_not_share_a_budget():
    count = UnprovenCount(1)
    assert [count.over(address, 0.0) for address in "abab"] == [False, False, True, True]


def test_a_new_minute_is_a_new_budget():
    count = UnprovenCount(1)
    assert [count.over("a", at) for at in (5.0, 64.9, 65.0, 65.1)] == [False, True, False, True]


def test_many_addresses_take_bounded_memory():
    count = UnprovenCount(1)
    for number in range(3 * unproven._MOST_ADDRESSES):
        count.over(f"2001:db8::{number:x}", 0.0)
        assert len(count._counts) <= unproven._MOST_ADDRESSES


@given(
    st.integers(1, 5),
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 20)), max_size=60),
)
def test_it_agrees_with_a_plain_model(budget, steps):
    count = UnprovenCount(budget)
    now, until, passed = 0.0, 0.0, {}
    for address, wait in steps:
        now += wait
        if now >= until:  # the model: windows of a minute, from the first request after the last
            until, passed = now + 60, {}
        over = count.over(address, now)
        assert over is (passed.get(address, 0) >= budget)
        passed[address] = passed.get(address, 0) + 1
