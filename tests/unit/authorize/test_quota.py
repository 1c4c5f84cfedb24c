"""Which day and which month an answer belongs to, and under which key it is counted."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import structs

from sharegate.authorize.quota import counting_key, span_of, terms_of, time_zone, used_up
from sharegate.errors import Misconfigured
from sharegate.model.decision import Permit, RuleSetHash
from sharegate.model.grant import GrantId, Per, Period, Quota
from sharegate.model.party import Caller, DepartmentId, KeyId, OfficerId
from tests.unit.fetch.estate import resource

SHANGHAI = ZoneInfo("Asia/Shanghai")
KEY = counting_key(bytes(32))
SECOND = 1000
HOUR = 3600 * SECOND
CALLER = Caller(DepartmentId("civil-affairs"), OfficerId("zhang-wei"), KeyId("k1"), "issuer")
QUOTAS = tuple(Quota(per, period, 5) for per in Per for period in Period)
PERMIT = Permit(RuleSetHash("00"), GrantId("g1"), resource(), (), 1, quota=QUOTAS)
# Clocks put forward over midnight, back over it, back just after it, by half an hour; a day left
# out; a day twice as long ago; and zones without any of it.
ZONES = [
    "Asia/Shanghai", "UTC", "America/Sao_Paulo", "America/Havana", "Asia/Beirut", "Asia/Tehran",
    "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia", "Pacific/Kwajalein", "Europe/London",
    "America/New_York", "Asia/Kathmandu", "Africa/Cairo", "America/Scoresbysund",
]  # fmt: skip
MOMENTS = st.integers(0, 4_102_444_800_000)  # 1970 to 2100


def moment(text, zone=SHANGHAI):
    return round(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() * 1000)


def shown(at, zone):
    """The day a clock in the zone shows, reckoned by the offset alone."""
    offset = datetime.fromtimestamp(at // 1000, UTC).astimezone(zone).utcoffset()
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at) + offset).date()


def names(at, zone=SHANGHAI):
    return tuple(span_of(at, period, zone).name for period in Period)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("2026-11-20T23:59:59.999", "2026-11-21"),
        ("2026-11-30T23:59:59.999", "2026-12-01"),
        ("2026-12-31T23:59:59.999", "2027-01-01"),
        ("2028-02-28T23:59:59.999", "2028-02-29"),
        ("2028-02-29T23:59:59.999", "2028-03-01"),
        ("2027-02-28T23:59:59.999", "2027-03-01"),
        ("2100-02-28T23:59:59.999", "2100-03-01"),
    ],
)
def test_a_day_ends_at_midnight_in_shanghai(before, after):
    at = moment(before)
    assert names(at) == (before[:10], before[:7])
    assert names(at + 1) == (after, after[:7])
    assert span_of(at, Period.DAY, SHANGHAI).until == at + 1
    assert span_of(at + 1, Period.DAY, SHANGHAI).until == at + 1 + 24 * HOUR


def test_midnight_in_shanghai_is_not_midnight_elsewhere():
    at = moment("2026-11-21T00:00:00")
    assert names(at, ZoneInfo("UTC")) == ("2026-11-20", "2026-11")
    assert span_of(at, Period.DAY, ZoneInfo("UTC")).until == at + 8 * HOUR


@given(at=MOMENTS, zone=st.sampled_from(ZONES).map(ZoneInfo))
@example(
    at=moment("2018-11-04T01:00:00", ZoneInfo("America/Sao_Paulo")) - 1,
    zone=ZoneInfo("America/Sao_Paulo"),
)
@example(at=1_194_150_660_000, zone=ZoneInfo("America/St_Johns"))
@example(at=moment("2011-12-29T23:59:59.999", ZoneInfo("Pacific/Apia")),
         zone=ZoneInfo("Pacific/Apia"))  # fmt: skip
def test_every_moment_is_in_the_day_and_month_its_clock_shows(at, zone):
    today = shown(at, zone)
    assert names(at, zone) == (today.isoformat(), today.isoformat()[:7])


@given(at=MOMENTS, zone=st.sampled_from(ZONES).map(ZoneInfo), period=st.sampled_from(Period))
@example(at=1_541_300_399_999, zone=ZoneInfo("America/Sao_Paulo"), period=Period.DAY)
@example(at=1_325_239_199_999, zone=ZoneInfo("Pacific/Apia"), period=Period.DAY)
@example(at=1_194_150_660_000, zone=ZoneInfo("America/St_Johns"), period=Period.DAY)
@example(at=1_194_147_060_000, zone=ZoneInfo("America/St_Johns"), period=Period.DAY)
@example(at=1_194_143_460_000, zone=ZoneInfo("America/St_Johns"), period=Period.DAY)
def test_a_period_is_over_when_it_is_said_to_be_and_never_comes_again(at, zone, period):
    span = span_of(at, period, zone)
    assert at < span.until <= at + (50 if period is Period.DAY else 24 * 33) * HOUR
    assert type(span.until) is int
    last, first = (shown(when, zone) for when in (span.until - 1, span.until))
    assert first > last
    for later in (0, 1, 30 * 60 * SECOND, HOUR, 2 * HOUR, 26 * HOUR):
        assert span_of(span.until + later, period, zone).name > span.name


@given(at=MOMENTS, other=MOMENTS)
def test_two_moments_share_a_month_exactly_if_their_dates_do(at, other):
    one, two = (
        date.fromisoformat(span_of(each, Period.DAY, SHANGHAI).name) for each in (at, other)
    )
    same = span_of(at, Period.MONTH, SHANGHAI) == span_of(other, Period.MONTH, SHANGHAI)
    assert same == ((one.year, one.month) == (two.year, two.month))


@pytest.mark.parametrize("name", ["Asia/Shangai", "", "../../etc/passwd", "/etc/passwd", "Asia"])
def test_a_time_zone_nobody_knows_is_refused(name):
    with pytest.raises(Misconfigured) as refused:
        time_zone(name)
    assert refused.value.place == "quotas.time_zone"
    assert refused.value.detail == "this machine knows no such time zone"
    assert time_zone("Asia/Shanghai") is SHANGHAI


# --- what is counted together ----------------------------------------------------------------


def keys(permit=PERMIT, caller=CALLER, at=0, key=KEY):
    return tuple(term.key for term in terms_of(permit, caller, at, SHANGHAI, key))


def test_terms_stand_in_the_order_of_the_grant_each_with_a_key_of_its_own():
    terms = terms_of(PERMIT, CALLER, 0, SHANGHAI, KEY)
    assert [term.most for term in terms] == [5] * 4
    assert len({term.key for term in terms}) == 4
    assert {len(term.key) for term in terms} == {32}
    assert [term.until for term in terms] == [
        span_of(0, quota.period, SHANGHAI).until for quota in QUOTAS
    ]


def test_what_differs_is_counted_apart():
    other_provider = structs.replace(PERMIT, resource=resource_of("tax"))
    for changed in (
        keys(at=40 * 24 * HOUR),
        keys(permit=structs.replace(PERMIT, grant=GrantId("g2"))),
        keys(permit=other_provider),
        keys(caller=structs.replace(CALLER, consumer=DepartmentId("tax"))),
        keys(key=counting_key(b"1" * 32)),
    ):
        assert not set(changed) & set(keys())
    # Of another officer only the officer's own counts are others.
    other = keys(caller=structs.replace(CALLER, officer=OfficerId("li-na")))
    assert [one == two for one, two in zip(keys(), other, strict=True)] == [
        quota.per is Per.DEPARTMENT for quota in QUOTAS
    ]


def resource_of(provider):
    from dataclasses import replace

    return replace(resource(), provider=DepartmentId(provider))


def test_what_does_not_matter_is_counted_together():
    same = structs.replace(CALLER, key_id=KeyId("k2"), issuer="another", posts=("chief",))
    assert keys(caller=same) == keys()
    assert keys(permit=structs.replace(PERMIT, row_limit=7, rule_set=RuleSetHash("11"))) == keys()


@given(st.tuples(st.sampled_from(["a", "ab", "abb"]), st.text("ab-", max_size=3)),
       st.tuples(st.sampled_from(["a", "ab", "abb"]), st.text("ab-", max_size=3)))  # fmt: skip
def test_no_two_officers_share_a_key(one, two):
    def of(pair):
        return keys(caller=Caller(DepartmentId(pair[0]), OfficerId(pair[1]), KeyId("k"), "i"))

    assert (of(one)[0] == of(two)[0]) == (one == two)


def test_a_key_says_nothing_without_the_secret():
    import hashlib

    plain = b"\0".join(
        part.encode()
        for part in ("housing", "g1", "officer", "1970-01-01", "civil-affairs", "zhang-wei")
    )
    assert hashlib.sha256(plain).digest() not in keys()
    assert all(b"zhang-wei" not in key for key in keys())
    assert counting_key(b"a" * 32) != b"a" * 32


def test_it_says_which_quota_is_used_up_and_until_when():
    quota = Quota(Per.OFFICER, Period.DAY, 50)
    at = moment("2026-11-21T09:00:00")
    assert used_up(quota, span_of(at, Period.DAY, SHANGHAI), SHANGHAI) == (
        "The grant allows one officer 50 answers a day, and there were as many; "
        "ask again from 2026-11-22T00:00:00+08:00."
    )
    quota = Quota(Per.DEPARTMENT, Period.MONTH, 9)
    assert used_up(quota, span_of(at, Period.MONTH, SHANGHAI), SHANGHAI) == (
        "The grant allows one department 9 answers a month, and there were as many; "
        "ask again from 2026-12-01T00:00:00+08:00."
    )
