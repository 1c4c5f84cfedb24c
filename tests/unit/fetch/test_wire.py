from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharegate.authorize import authorize
from sharegate.fetch.wire import Unrepresentable, bindable, carried
from sharegate.model.catalogue import FieldType

ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(exclude_categories=())),
    st.binary(),
    st.dates(),
    st.decimals(),
)


@pytest.mark.parametrize(
    ("kind", "asked", "bound"),
    [
        (FieldType.TEXT, "'; DROP TABLE x --", "'; DROP TABLE x --"),
        (FieldType.TEXT, "a\0b", None),
        (FieldType.TEXT, "\ud800", None),
        (FieldType.TEXT, 5, None),
        (FieldType.INTEGER, 2**63 - 1, 2**63 - 1),
        (FieldType.INTEGER, 2**63, None),
        (FieldType.INTEGER, True, None),
        (FieldType.INTEGER, "5", None),
        (FieldType.BOOLEAN, True, True),
        (FieldType.BOOLEAN, 1, None),
        (FieldType.DECIMAL, "-12.50", Decimal("-12.50")),
        (FieldType.DECIMAL, "NaN", None),
        (FieldType.DECIMAL, "1e400", None),
        (FieldType.DECIMAL, "１２", None),
        (FieldType.DATE, "2024-02-29", date(2024, 2, 29)),
        (FieldType.DATE, "2023-02-29", None),
        (FieldType.DATE, "infinity", None),
        (FieldType.DATE, "20240229", None),
        (FieldType.TIMESTAMP, "2024-02-29T01:02:03Z", datetime(2024, 2, 29, 1, 2, 3, tzinfo=UTC)),
        (FieldType.TIMESTAMP, "2024-02-29T25:02:03Z", None),
        (FieldType.TIMESTAMP, "2024-02-29T01:02:03", datetime(2024, 2, 29, 1, 2, 3, tzinfo=UTC)),
        (
            FieldType.TIMESTAMP,
            "2024-02-29T09:02:03+08:00",
            datetime(2024, 2, 29, 1, 2, 3, tzinfo=UTC),
        ),
        (
            FieldType.TIMESTAMP,
            "2024-02-29T01:02:03-00:00",
            datetime(2024, 2, 29, 1, 2, 3, tzinfo=UTC),
        ),
        (FieldType.TIMESTAMP, "0001-01-01T00:00:00+08:00", None),
        (FieldType.TIMESTAMP, "now", None),
    ],
)
def test_what_is_bound(kind, asked, bound):
    assert bindable(kind, asked) == bound
    assert type(bindable(kind, asked)) is type(bound)


@pytest.mark.parametrize(
    ("kind", "found", "leaves"),
    [
        (FieldType.TEXT, "中文", "中文"),
        (FieldType.INTEGER, -(2**53) + 1, -(2**53) + 1),
        (FieldType.DECIMAL, "0.10", "0.10"),
        (FieldType.BOOLEAN, False, False),
        (FieldType.DATE, "0001-01-01", "0001-01-01"),
        (FieldType.TIMESTAMP, "2024-01-01 01:02:03.5+00", "2024-01-01T01:02:03.5Z"),
        (FieldType.TIMESTAMP, "2024-01-01 01:02:03", "2024-01-01T01:02:03"),
    ],
)
def test_what_leaves(kind, found, leaves):
    assert carried(kind)(found) == leaves


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        (FieldType.TEXT, b"\xff"),
        (FieldType.TEXT, "\udfff"),
        (FieldType.TEXT, "长" * 16_385),
        (FieldType.INTEGER, 2**53),
        (FieldType.INTEGER, Decimal(1)),
        (FieldType.INTEGER, True),
        (FieldType.DECIMAL, "NaN"),
        (FieldType.DECIMAL, "Infinity"),
        (FieldType.DECIMAL, 0.1),
        (FieldType.BOOLEAN, "true"),
        (FieldType.DATE, "infinity"),
        (FieldType.DATE, "0044-03-15 BC"),
        (FieldType.DATE, "10000-01-01"),
        (FieldType.TIMESTAMP, "-infinity"),
        (FieldType.TIMESTAMP, "2024-01-01 01:02:03+08"),
    ],
)
def test_what_has_no_form_is_not_bent_into_one(kind, found):
    with pytest.raises(Unrepresentable) as said:
        carried(kind)(found)
    assert str(found) not in str(said.value)


@given(kind=st.sampled_from(FieldType), found=ANYTHING)
def test_whatever_leaves_is_json(kind, found):
    try:
        leaves = carried(kind)(found)
    except Unrepresentable:
        return
    assert msgspec.json.decode(msgspec.json.encode(leaves)) == leaves


@given(
    st.integers(0, 10**9).map(
        lambda n: datetime.fromisoformat("1970-01-01T00:00:00") + timedelta(seconds=n * 3)
    ),
    st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59)),
)
def test_what_a_request_may_say_of_a_moment_is_bound_as_that_moment(local, offset):
    moment = local.replace(tzinfo=timezone(timedelta(minutes=offset // timedelta(minutes=1))))
    asked = moment.isoformat()
    assert authorize._is_timestamp(asked)
    assert bindable(FieldType.TIMESTAMP, asked) == moment


@given(kind=st.sampled_from(FieldType), asked=ANYTHING)
def test_nothing_asked_by_raises(kind, asked):
    bindable(kind, asked)
