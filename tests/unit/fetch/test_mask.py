import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharegate.fetch.mask import HIDDEN, mask
from sharegate.model.catalogue import MaskRule

VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.text())
# head and tail that each rule lets out, and the shortest text of which it lets out anything
KEPT = {
    MaskRule.NAME: (1, 0, 2),
    MaskRule.ID_NUMBER: (6, 2, 15),
    MaskRule.PHONE: (3, 4, 11),
    MaskRule.TAIL: (0, 4, 8),
}


@pytest.mark.parametrize(
    ("rule", "value", "leaves"),
    [
        (MaskRule.NAME, "", HIDDEN),
        (MaskRule.NAME, "张", HIDDEN),
        (MaskRule.NAME, "张三", "张****"),
        (MaskRule.NAME, "王小明", "王****"),
        (MaskRule.NAME, "欧阳娜娜", "欧****"),
        (MaskRule.ID_NUMBER, "110101199003070019", "110101****19"),
        (MaskRule.ID_NUMBER, "11010119900307", HIDDEN),
        (MaskRule.PHONE, "13800138000", "138****8000"),
        (MaskRule.PHONE, "8008208820", HIDDEN),
        (MaskRule.PHONE, 13800138000, "138****8000"),
        (MaskRule.TAIL, "6222020200012345", "****2345"),
        (MaskRule.TAIL, "1234567", HIDDEN),
        (MaskRule.YEAR, "1990-03-07", "1990"),
        (MaskRule.YEAR, "1990-03-07T01:02:03Z", "1990"),
        (MaskRule.YEAR, "7th of March 1990", HIDDEN),
        (MaskRule.YEAR, 1990, HIDDEN),
        (MaskRule.REDACT, "anything", None),
        (MaskRule.NONE, "anything", "anything"),
        (MaskRule.NONE, False, False),
    ],
)
def test_examples(rule, value, leaves):
    assert mask(rule)(value) == leaves


@given(rule=st.sampled_from(MaskRule), value=VALUES)
def test_every_rule_takes_every_value_and_null_says_no_more(rule, value):
    mask(rule)(value)
    assert mask(rule)(None) is None


@given(rule=st.sampled_from(sorted(KEPT)), kept=st.text(), hidden=st.text(), other=st.text())
def test_what_is_hidden_makes_no_difference(rule, kept, hidden, other):
    """Not even by its length: two values alike where they show are alike when masked."""
    head, tail, shortest = KEPT[rule]
    start, end = kept[:head].ljust(head, "甲"), kept[:tail].rjust(tail, "乙")
    room = shortest - head - tail
    first, second = (start + middle.ljust(room, "丙") + end for middle in (hidden, other))
    assert mask(rule)(first) == mask(rule)(second)


@given(rule=st.sampled_from(sorted(KEPT)), value=st.text(alphabet="0123456789X张三李四"))
def test_the_remainder_never_leaves(rule, value):
    head, tail, shortest = KEPT[rule]
    leaves = mask(rule)(value)
    shown = leaves.replace(HIDDEN, "")
    assert len(shown) == (head + tail if len(value) >= shortest else 0)
    assert len(value) - len(shown) >= 1 or not value


@given(rule=st.sampled_from([rule for rule in MaskRule if rule is not MaskRule.NONE]))
def test_of_a_truth_value_nothing_leaves(rule):
    assert mask(rule)(True) == mask(rule)(False)
