"""Buckets, days and periods are half-open and leave no instant out, in every calendar."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.core.windows import BUCKET_SECONDS, Period, bucket_start, day_of, day_start, days, period_of

# UTC; one hour of daylight saving; clocks that jumped at midnight (until 2019); half an hour of daylight saving;
# 5:45; a date that came twice for an hour (until 2010); a date that never was (30 December 2011).
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/Sao_Paulo",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/St_Johns",
    "Pacific/Apia",
)
BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 22, 23, 53, 3, 123_000, tzinfo=UTC)  # in Berlin it is the 23rd
BUCKET = timedelta(seconds=BUCKET_SECONDS)
DAY = timedelta(days=1)
INSTANT = timedelta(microseconds=1)

_ZONES = st.sampled_from(ZONES).map(ZoneInfo)
_TIMES = st.datetimes(datetime(1990, 1, 1), datetime(2037, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
_DAYS = st.dates(date(1990, 1, 1), date(2037, 12, 31))


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# --- buckets -----------------------------------------------------------------------------


@given(_TIMES)
@example(datetime(2026, 11, 22, 23, 45, tzinfo=UTC))
@example(datetime(2026, 11, 22, 23, 59, 59, 999_999, tzinfo=UTC))
def test_every_instant_is_in_exactly_one_bucket(at: datetime) -> None:
    """15 minutes of UTC, half-open; a bucket's start names it and lies in it."""
    start = bucket_start(at)
    assert start <= at < start + BUCKET
    assert bucket_start(start) == start == bucket_start(start + BUCKET - INSTANT)
    assert bucket_start(start + BUCKET) == start + BUCKET
    assert (start.minute % 15, start.second, start.microsecond) == (0, 0, 0)


@given(_TIMES, _ZONES)
def test_a_bucket_is_the_same_in_every_zone(at: datetime, zone: ZoneInfo) -> None:
    """Changing the gateway's time zone leaves roll-ups where they are."""
    assert bucket_start(at.astimezone(zone)) == bucket_start(at)


# --- days --------------------------------------------------------------------------------


@given(_TIMES, _ZONES)
@example(_utc("2026-10-25T00:30"), BERLIN)
@example(_utc("2010-11-07T02:31"), ZoneInfo("America/St_Johns"))
@example(_utc("2011-12-30T10:00"), ZoneInfo("Pacific/Apia"))
@example(_utc("2018-11-04T03:00"), ZoneInfo("America/Sao_Paulo"))
def test_every_instant_is_in_exactly_one_day(at: datetime, zone: ZoneInfo) -> None:
    """A day reaches from its midnight to the next, half-open, and no other day holds the instant."""
    day = day_of(at, zone)
    assert day_start(day, zone) <= at < day_start(day + DAY, zone)
    for other in (day - DAY, day + DAY):
        assert not day_start(other, zone) <= at < day_start(other + DAY, zone)


@given(_DAYS, _ZONES)
@example(date(2018, 11, 4), ZoneInfo("America/Sao_Paulo"))  # began at 01:00
@example(date(2026, 10, 4), ZoneInfo("Australia/Lord_Howe"))
@example(date(2011, 12, 30), ZoneInfo("Pacific/Apia"))
def test_days_follow_each_other_on_bucket_edges(day: date, zone: ZoneInfo) -> None:
    """So that days are sums of whole buckets; between 22 and 26 hours long, but for the one that never was."""
    start, end = day_start(day, zone), day_start(day + DAY, zone)
    assert bucket_start(start) == start
    assert start.tzinfo is UTC
    assert timedelta(hours=22) <= end - start <= timedelta(hours=26) or (start == end and day == date(2011, 12, 30))
    if start < end:
        assert day_of(start, zone) == day == day_of(end - INSTANT, zone)
        assert day_of(start - INSTANT, zone) < day


@pytest.mark.parametrize(
    ("zone", "day", "start", "hours"),
    [
        ("UTC", "2026-03-29", "2026-03-29T00:00", 24),
        ("Europe/Berlin", "2026-03-29", "2026-03-28T23:00", 23),
        ("Europe/Berlin", "2026-10-25", "2026-10-24T22:00", 25),
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00", 23),  # midnight did not exist
        ("America/Sao_Paulo", "2018-02-17", "2018-02-17T02:00", 25),  # 23:00 came twice
        ("America/Sao_Paulo", "2026-11-01", "2026-11-01T03:00", 24),
        ("Australia/Lord_Howe", "2026-10-04", "2026-10-03T13:30", 23.5),
        ("Australia/Lord_Howe", "2026-04-05", "2026-04-04T13:00", 24.5),
        ("Asia/Kathmandu", "2026-06-01", "2026-05-31T18:15", 24),
        ("America/St_Johns", "2010-11-07", "2010-11-07T02:30", 25),  # at 00:01 back to 23:01 of the day before
    ],
)
def test_days_of_the_changing_clocks(zone: str, day: str, start: str, hours: float) -> None:
    """Known calendars, hour by hour."""
    found = day_start(date.fromisoformat(day), ZoneInfo(zone))
    assert found == _utc(start)
    assert day_start(date.fromisoformat(day) + DAY, ZoneInfo(zone)) - found == timedelta(hours=hours)


@given(_TIMES, st.integers(0, 40 * 24 * 60), _ZONES)
def test_the_days_of_a_period_are_the_period(from_at: datetime, minutes: int, zone: ZoneInfo) -> None:
    """They join without a gap or an overlap from its start to its end, none empty, each under its own date."""
    period = Period(from_at, from_at + timedelta(minutes=minutes))
    parts = list(days(period, zone))
    edges = [period.from_at, *(part.to_at for _, part in parts)]
    assert edges == [*(part.from_at for _, part in parts), period.to_at]
    assert all(part.from_at < part.to_at for _, part in parts)
    for day, part in parts:
        assert day_of(part.from_at, zone) == day == day_of(part.to_at - INSTANT, zone)
    assert [day for day, _ in parts] == sorted({day for day, _ in parts})


def test_a_date_that_a_zone_left_out_is_no_day() -> None:
    """Samoa went from 29 to 31 December 2011."""
    found = [day.day for day, _ in days(Period(_utc("2011-12-29"), _utc("2012-01-01")), ZoneInfo("Pacific/Apia"))]
    assert found == [28, 29, 31, 1]


def test_a_period_holds_its_start_and_not_its_end() -> None:
    """Half-open: of two periods that meet, one holds the instant between them."""
    period = Period(_utc("2026-10-01"), _utc("2026-11-01"))
    assert period.from_at in period
    assert period.to_at - INSTANT in period
    assert period.to_at not in period
    assert period.from_at - INSTANT not in period


# --- periods as people ask for them -----------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "from_at", "to_at"),
    [
        ({"last": "24h"}, "2026-11-21T23:45", "2026-11-23T00:00"),
        ({"last": "1h"}, "2026-11-22T22:45", "2026-11-23T00:00"),
        ({"last": "1d"}, "2026-11-22T23:00", "2026-11-23T00:00"),
        ({"last": "7d"}, "2026-11-16T23:00", "2026-11-23T00:00"),
        ({"last": "1w"}, "2026-11-16T23:00", "2026-11-23T00:00"),
        ({"last": "30d"}, "2026-10-24T22:00", "2026-11-23T00:00"),  # begins before the change of clocks
        ({}, "2026-10-24T22:00", "2026-11-23T00:00"),
        ({"last": "99999w"}, "1970-01-01", "2026-11-23T00:00"),
        ({"last": "99999d"}, "1970-01-01", "2026-11-23T00:00"),
        ({"last": "21000d"}, "1970-01-01", "2026-11-23T00:00"),
        ({"month": "2026-10"}, "2026-09-30T22:00", "2026-10-31T23:00"),
        ({"month": "2026-12"}, "2026-11-30T23:00", "2026-12-31T23:00"),
        ({"from_": "2026-10-01", "to": "2026-10-31"}, "2026-09-30T22:00", "2026-10-31T23:00"),
        ({"from_": "2026-10-01", "to": "2026-10-01"}, "2026-09-30T22:00", "2026-10-01T22:00"),
        ({"from_": "2026-11-01"}, "2026-10-31T23:00", "2026-11-23T00:00"),
        ({"to": "2026-11-01"}, "1970-01-01", "2026-11-01T23:00"),
        ({"from_": "2026-11-01T12:00:00+01:00", "to": "2026-11-01T11:15:00Z"}, "2026-11-01T11:00", "2026-11-01T11:15"),
        ({"from_": "2026-11-01t11:00:00z", "to": "2026-11-01"}, "2026-11-01T11:00", "2026-11-01T23:00"),
    ],
)
def test_a_period_is_what_a_person_means_by_it(asked: dict[str, str], from_at: str, to_at: str) -> None:
    """Days and months are the calendar's in the gateway's zone, today is among the last days, a day as the end is
    included, and every edge is a bucket's."""
    assert period_of(zone=BERLIN, now=NOW, **asked) == Period(_utc(from_at), _utc(to_at))


@given(_TIMES, _ZONES, st.integers(1, 60), st.sampled_from("hdw"))
def test_the_last_days_hold_now_and_lie_on_bucket_edges(now: datetime, zone: ZoneInfo, count: int, unit: str) -> None:
    """Usage is kept in buckets, so a period that cuts one could not be answered exactly."""
    period = period_of(zone=zone, now=now, last=f"{count}{unit}")
    assert now in period
    assert bucket_start(period.from_at) == period.from_at
    assert bucket_start(period.to_at) == period.to_at
    if unit == "h":
        assert timedelta(0) <= now - timedelta(hours=count) - period.from_at < BUCKET
    else:
        first = day_of(period.from_at, zone)
        assert (day_of(now, zone) - first).days == count * (7 if unit == "w" else 1) - 1 or zone.key == "Pacific/Apia"
        assert day_start(first, zone) == period.from_at


@given(st.integers(1990, 2037), st.integers(1, 12), _ZONES)
def test_months_follow_each_other(year: int, month: int, zone: ZoneInfo) -> None:
    """Twelve a year, each beginning where the one before ends."""
    period = period_of(zone=zone, now=NOW, month=f"{year}-{month:02}")
    following = period_of(zone=zone, now=NOW, month=f"{year + month // 12}-{month % 12 + 1:02}")
    assert period.to_at == following.from_at
    assert day_of(period.from_at, zone) == date(year, month, 1)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"last": "7d", "month": "2026-10"}, "ask for one of"),
        ({"month": "2026-10", "from_": "2026-10-01"}, "ask for one of"),
        ({"last": "7d", "to": "2026-10-01"}, "ask for one of"),
        ({"last": "7"}, "write 24h, 7d or 4w"),
        ({"last": "0d"}, "write 24h, 7d or 4w"),
        ({"last": "-1d"}, "write 24h, 7d or 4w"),
        ({"last": "1m"}, "write 24h, 7d or 4w"),
        ({"last": "7d\n"}, "write 24h, 7d or 4w"),
        ({"last": "\u0667d"}, "write 24h, 7d or 4w"),
        ({"last": "9" * 100_000 + "d"}, "write 24h, 7d or 4w"),
        ({"last": ""}, "write 24h, 7d or 4w"),
        ({"month": "2026-13"}, "write it as 2026-10"),
        ({"month": "2026-1"}, "write it as 2026-10"),
        ({"month": "october"}, "write it as 2026-10"),
        ({"month": "9999-12"}, "write it as 2026-10"),
        ({"month": "0001-01"}, "write it as 2026-10"),
        ({"from_": "2026-02-30"}, "from: there is no day"),
        ({"to": "9999-12-31"}, "to: .* years 1970 to 9998"),
        ({"from_": "0001-01-01"}, "from: .* years 1970 to 9998"),
        ({"from_": "20261001"}, "a whole day is written as 2026-10-01"),
        ({"from_": "2026-W40-4"}, "a whole day is written as 2026-10-01"),
        ({"from_": "yesterday"}, "a whole day is written as 2026-10-01"),
        ({"from_": "2026-10-01x12:00:00Z"}, "a whole day is written as 2026-10-01"),
        ({"from_": "2026-10-01T12:00:00"}, "has no time zone"),
        ({"from_": "2026-10-01T12:07:00Z"}, "quarter of an hour"),
        ({"to": "2026-10-01T12:00:00.001Z"}, "quarter of an hour"),
        ({"from_": "2026-10-02", "to": "2026-10-01"}, "the period is empty"),
        ({"from_": "2026-10-01T12:00:00Z", "to": "2026-10-01T12:00:00Z"}, "the period is empty"),
        ({"from_": "2027-01-01"}, "the period is empty"),
    ],
)
def test_a_wish_that_is_unclear_is_refused_with_a_sentence(asked: dict[str, str], sentence: str) -> None:
    """It says what to write instead, and does not repeat a page of what was written."""
    with pytest.raises(ValueError, match=sentence) as caught:
        period_of(zone=BERLIN, now=NOW, **asked)
    assert len(str(caught.value)) < 250
