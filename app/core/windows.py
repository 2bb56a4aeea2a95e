"""Calendars: the 15-minute buckets of the roll-ups, and the half-open periods that reports are asked for.

Buckets are UTC; every day of every time zone in use begins on one of their edges (offsets
are multiples of 15 minutes). Periods and days follow the gateway's time zone, with its
daylight-saving changes: a day is the half-open span between two midnights, so that every instant
has exactly one, also where clocks go back over midnight and a date returns for an hour.
Called by the store (buckets) and the reports (periods, days).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from app.core.clock import parse_time
from app.core.value import Value

BUCKET_SECONDS = 15 * 60
_BUCKET = timedelta(seconds=BUCKET_SECONDS)
_DAY_STEP = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_YEARS = range(1970, 9999)  # nothing is older; the last year lacks the day behind its end

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_LAST = re.compile(r"([1-9][0-9]{0,4})([hdw])")
_MONTH = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])")


class Period(Value, frozen=True):
    """`from_at` ≤ t < `to_at`, both aware UTC and on bucket edges."""

    from_at: datetime
    to_at: datetime

    def __contains__(self, at: datetime) -> bool:
        return self.from_at <= at < self.to_at


def bucket_start(at: datetime) -> datetime:
    """The bucket that an instant falls into, named by its start."""
    return _EPOCH + (at - _EPOCH) // _BUCKET * _BUCKET


@functools.lru_cache(maxsize=1024)  # reports by day ask for the same midnights once per bucket
def day_start(day: date, zone: ZoneInfo) -> datetime:
    """The first instant of a calendar day, in UTC (a day may begin at 01:00 when clocks jump at midnight)."""
    local = datetime.combine(day, time(), tzinfo=zone)
    return local.astimezone(UTC)


def day_of(at: datetime, zone: ZoneInfo) -> date:
    """The calendar day whose span holds an instant."""
    day = at.astimezone(zone).date()
    following = day + _DAY_STEP
    return following if at >= day_start(following, zone) else day


def month_of(at: datetime, zone: ZoneInfo) -> str:
    """The calendar month whose span holds an instant, as `2026-10`."""
    return day_of(at, zone).isoformat()[:7]


def days(period: Period, zone: ZoneInfo) -> Iterator[tuple[date, Period]]:
    """The calendar days of a period in order; the first and last may be cut short. A day a zone left out is absent."""
    day = day_of(period.from_at, zone)
    start = period.from_at
    while start < period.to_at:
        following = day + _DAY_STEP
        end = min(day_start(following, zone), period.to_at)
        if start < end:
            yield day, Period(start, end)
        day, start = following, end


def period_of(
    *,
    zone: ZoneInfo,
    now: datetime,
    last: str | None = None,
    month: str | None = None,
    from_: str | None = None,
    to: str | None = None,
) -> Period:
    """The period that a person asked for; without any wish the last 30 days.

    `last`: `24h` (that many hours, and the bucket they begin in), `7d` or `4w` (so many calendar
    days, today among them). `month`: `2026-10`. `from_`, `to`: days `2026-10-01` (`to` is the last
    day, inclusive) or times with an offset (`to` is exclusive). Raises: `ValueError` with a sentence.
    """
    if sum((last is not None, month is not None, from_ is not None or to is not None)) > 1:
        raise ValueError("ask for one of last, month, or from and to")
    if month is not None:
        return _month(month, zone)
    end = bucket_start(now) + _BUCKET
    if from_ is not None or to is not None:
        start_at = _edge(from_, zone, "from", last_day=False) if from_ is not None else _EPOCH
        end_at = _edge(to, zone, "to", last_day=True) if to is not None else end
        if start_at >= end_at:
            raise ValueError("the period is empty: from must be before to")
        return Period(start_at, end_at)
    return _last("30d" if last is None else last, zone, now, end)


def _last(text: str, zone: ZoneInfo, now: datetime, end: datetime) -> Period:
    found = _LAST.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:60]!r} is not a span of time: write 24h, 7d or 4w")
    count = int(found[1])
    if found[2] == "h":
        start = bucket_start(now - timedelta(hours=count))
    else:
        first = day_of(now, zone) - timedelta(days=count * (7 if found[2] == "w" else 1) - 1)
        start = day_start(first, zone) if first.year in _YEARS else _EPOCH
    return Period(max(start, _EPOCH), end)


def _month(text: str, zone: ZoneInfo) -> Period:
    found = _MONTH.fullmatch(text)
    if found is None or int(found[1]) not in _YEARS:
        raise ValueError(f"{text[:60]!r} is not a month: write it as 2026-10")
    year, number = int(found[1]), int(found[2])
    following = date(year + number // 12, number % 12 + 1, 1)
    return Period(day_start(date(year, number, 1), zone), day_start(following, zone))


def _edge(text: str, zone: ZoneInfo, name: str, *, last_day: bool) -> datetime:
    """One edge of a period: a whole day in the zone, or an instant on a bucket's edge."""
    if _DAY.fullmatch(text):
        try:
            day = date.fromisoformat(text)
        except ValueError:
            raise ValueError(f"{name}: there is no day {text}") from None
        if day.year not in _YEARS:
            raise ValueError(f"{name}: {text!r} is not a day of the years {_YEARS[0]} to {_YEARS[-1]}")
        return day_start(day + _DAY_STEP if last_day else day, zone)
    try:
        at = parse_time(text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}; a whole day is written as 2026-10-01") from None
    if bucket_start(at) != at:
        raise ValueError(f"{name}: {text!r} does not fall on a quarter of an hour, which is how usage is kept")
    return at
