"""Budgets as people write them, and their windows: half-open, on the calendar, every instant in exactly one."""

from __future__ import annotations

import bisect
import functools
import itertools
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.core.budgets import (
    ALWAYS_FROM_MS,
    ALWAYS_TO_MS,
    LONGEST_MS,
    Budget,
    BudgetPeriod,
    Span,
    clipped,
    parse_budget,
    span_of,
)
from app.core.clock import from_ms, to_ms
from app.core.money import AMOUNT_USD_MAX, PICODOLLARS_PER_USD
from app.core.windows import day_of

# An hour of daylight saving; clocks that jump at midnight (there and back; until 2019); at 00:01 (until 2011); half an
# hour; quarters of an hour; a day that never was; more than half a day away from UTC.
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/Havana",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Africa/Cairo",
    "Asia/Tehran",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "Pacific/Kiritimati",
)
_ZONES = st.sampled_from(ZONES).map(ZoneInfo)
_RESETTING = st.sampled_from([BudgetPeriod.DAY, BudgetPeriod.WEEK, BudgetPeriod.MONTH])
_FROM, _TO = (to_ms(datetime(year, 1, 1, tzinfo=UTC)) for year in (1990, 2038))
_AMOUNTS = st.integers(0, AMOUNT_USD_MAX * PICODOLLARS_PER_USD)
_BUDGETS = st.builds(Budget, _AMOUNTS, st.sampled_from(BudgetPeriod))


def _ms(text: str) -> int:
    return to_ms(datetime.fromisoformat(text).replace(tzinfo=UTC))


def _offset(minute: int, zone: ZoneInfo) -> timedelta | None:
    return from_ms(minute * 60_000).astimezone(zone).utcoffset()


def _change(day: int, next_day: int, zone: ZoneInfo) -> int:
    """The first minute between them that is as the next day begins."""
    after = _offset(next_day, zone)
    return bisect.bisect_left(range(next_day), True, lo=day, key=lambda minute: _offset(minute, zone) == after)


@functools.cache
def _changes(zone: ZoneInfo) -> list[int]:
    """The instants (to the minute) at which a zone's clocks change, between 2009 and 2028."""
    days = itertools.pairwise(range(_ms("2009-01-01") // 60_000, _ms("2028-01-01") // 60_000, 24 * 60))
    return [60_000 * _change(*two, zone) for two in days if _offset(two[0], zone) != _offset(two[1], zone)]


@st.composite
def _instants(draw: st.DrawFn, zones: st.SearchStrategy[ZoneInfo] = _ZONES) -> tuple[int, ZoneInfo]:
    """Any, but often within two days of a change of the clocks, or on the edge of a day."""
    zone = draw(zones)
    at_ms = draw(st.integers(_FROM, _TO))
    near_a_change = draw(st.booleans())
    if near_a_change and _changes(zone):
        at_ms = draw(st.sampled_from(_changes(zone))) + draw(st.integers(-2 * 86_400_000, 2 * 86_400_000))
    if draw(st.booleans()):
        at_ms = at_ms // 900_000 * 900_000 + draw(st.sampled_from([-1, 0, 1]))
    return at_ms, zone


# --- as people write them ------------------------------------------------------------------


@given(_BUDGETS)
@example(Budget(0, BudgetPeriod.DAY))
@example(Budget(1, BudgetPeriod.TOTAL))
def test_what_is_shown_can_be_written(budget: Budget) -> None:
    """To the last of twelve decimals."""
    assert parse_budget(str(budget)) == budget


@given(_BUDGETS, st.sampled_from(["", "$"]), *(st.sampled_from(["", " ", "  ", "\t"]) for _ in range(4)))
def test_spaces_capitals_and_a_dollar_sign_do_not_matter(
    budget: Budget, dollar: str, first: str, before: str, behind: str, last: str
) -> None:
    """`$45 / Month` is `45/month`."""
    amount, period = str(budget).split("/")
    assert parse_budget(f"{first}{dollar}{amount}{before}/{behind}{period.capitalize()}{last}") == budget


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not a budget: write AMOUNT/PERIOD"),
        ("45", "'45' is not a budget"),
        ("45 month", "is not a budget"),
        ("/month", "is not a budget"),
        ("45/", "is not a budget"),
        ("45/month/day", "is not a budget"),
        ("1 000/month", "is not a budget"),
        ("45/year", "'year' is not a period: write day, week, month or total"),
        ("45/months", "'months' is not a period"),
        ("-1/day", "'-1' is not an amount in USD"),
        ("1e3/day", "is not an amount"),
        ("NaN/day", "is not an amount"),
        ("1,5/day", "is not an amount"),
        ("٤/day", "is not an amount"),
        ("$$5/day", "'$5' is not an amount"),
        ("0.0000000000001/day", "at most 12 decimals"),
        ("1000001/total", "is too large an amount: at most 1000000 USD"),
        ("1000000.000000000001/total", "is too large an amount"),
    ],
)
def test_anything_else_is_refused_with_what_to_write(text: str, said: str) -> None:
    """No guess is made: a misread budget is no budget."""
    with pytest.raises(ValueError) as raised:
        parse_budget(text)
    assert said in str(raised.value)


@given(st.text(max_size=200) | st.from_regex(r"\$?[0-9.]{0,20} ?/ ?[a-z]{0,6}", fullmatch=True))
def test_every_text_is_a_budget_or_gets_a_short_sentence(text: str) -> None:
    """Nothing else is raised, and nobody's megabyte comes back."""
    try:
        budget = parse_budget(text)
    except ValueError as error:
        assert 20 < len(str(error)) < 400  # noqa: PT017 - or it is a budget
        return
    assert 0 <= budget.amount_picodollars <= AMOUNT_USD_MAX * PICODOLLARS_PER_USD


# --- calendar windows ----------------------------------------------------------------------


def _label(period: BudgetPeriod, at_ms: int, zone: ZoneInfo) -> tuple[int, ...]:
    """What a calendar on the wall calls the window."""
    day = day_of(from_ms(at_ms), zone)
    if period is BudgetPeriod.WEEK:
        return day.isocalendar()[:2]  # ISO weeks begin on Monday
    return (day.year, day.month, day.day) if period is BudgetPeriod.DAY else (day.year, day.month)


@given(_instants(), _RESETTING)
def test_a_window_is_all_of_its_day_week_or_month_and_nothing_else(
    instant: tuple[int, ZoneInfo], period: BudgetPeriod
) -> None:
    """From its first millisecond to its last the calendar calls it the same; one before and one behind it does not."""
    at_ms, zone = instant
    span = span_of(period, at_ms, zone)
    assert span.holds(at_ms)
    name = _label(period, at_ms, zone)
    assert _label(period, span.starts_at_ms, zone) == name == _label(period, span.ends_at_ms - 1, zone)
    assert _label(period, span.starts_at_ms - 1, zone) < name < _label(period, span.ends_at_ms, zone)


@given(_instants(), _RESETTING)
def test_windows_follow_one_another_without_a_gap(instant: tuple[int, ZoneInfo], period: BudgetPeriod) -> None:
    """The last millisecond of one and the first of the next; every instant within gives the same edges."""
    at_ms, zone = instant
    span = span_of(period, at_ms, zone)
    before, behind = (span_of(period, edge, zone) for edge in (span.starts_at_ms - 1, span.ends_at_ms))
    assert (before.ends_at_ms, behind.starts_at_ms) == (span.starts_at_ms, span.ends_at_ms)
    assert span_of(period, span.starts_at_ms, zone) == span == span_of(period, span.ends_at_ms - 1, zone)


@given(_instants(), _RESETTING)
def test_windows_lie_on_the_edges_that_usage_is_kept_by(instant: tuple[int, ZoneInfo], period: BudgetPeriod) -> None:
    """Multiples of 15 minutes, so that what a window has spent is a sum of whole buckets; and as long as calendars."""
    span = span_of(period, *instant)
    assert (span.starts_at_ms % 900_000, span.ends_at_ms % 900_000) == (0, 0)
    days = (span.ends_at_ms - span.starts_at_ms) / 86_400_000
    least, most = {BudgetPeriod.DAY: (1, 1), BudgetPeriod.WEEK: (6, 7), BudgetPeriod.MONTH: (28, 31)}[period]
    assert least - 1 / 12 <= days <= most + 1 / 12
    assert span.ends_at_ms - span.starts_at_ms <= LONGEST_MS[period]


@given(_instants())
def test_the_total_never_resets(instant: tuple[int, ZoneInfo]) -> None:
    """One window for every instant there is."""
    assert span_of(BudgetPeriod.TOTAL, *instant) == Span(ALWAYS_FROM_MS, ALWAYS_TO_MS)


@pytest.mark.parametrize(
    ("zone", "period", "starts", "ends"),
    [
        ("UTC", "day", "2024-02-29T00:00", "2024-03-01T00:00"),
        ("UTC", "week", "2026-12-28T00:00", "2027-01-04T00:00"),  # over the new year
        ("UTC", "month", "2024-02-01T00:00", "2024-03-01T00:00"),
        ("UTC", "month", "2026-12-01T00:00", "2027-01-01T00:00"),
        ("Europe/Berlin", "day", "2026-03-28T23:00", "2026-03-29T22:00"),  # 23 hours
        ("Europe/Berlin", "day", "2026-10-24T22:00", "2026-10-25T23:00"),  # 25 hours
        ("Europe/Berlin", "week", "2026-03-22T23:00", "2026-03-29T22:00"),
        ("Europe/Berlin", "month", "2026-02-28T23:00", "2026-03-31T22:00"),
        ("Europe/Berlin", "month", "2026-09-30T22:00", "2026-10-31T23:00"),
        ("America/Havana", "day", "2026-03-08T05:00", "2026-03-09T04:00"),  # begins at 01:00
        ("America/Havana", "day", "2026-11-01T04:00", "2026-11-02T05:00"),  # 00:00 to 01:00 comes twice
        ("Australia/Lord_Howe", "day", "2026-04-04T13:00", "2026-04-05T13:30"),  # half an hour more
        ("Australia/Lord_Howe", "day", "2026-10-03T13:30", "2026-10-04T13:00"),
        ("America/St_Johns", "day", "2010-11-06T02:30", "2010-11-07T02:30"),  # a date that returns for an hour
        ("Pacific/Apia", "day", "2011-12-29T10:00", "2011-12-30T10:00"),
        ("Pacific/Apia", "day", "2011-12-30T10:00", "2011-12-31T10:00"),  # the 31st follows the 29th
        ("Pacific/Apia", "week", "2011-12-26T10:00", "2012-01-01T10:00"),  # six days
        ("Pacific/Apia", "month", "2011-12-01T10:00", "2011-12-31T10:00"),
    ],
)
def test_windows_of_known_calendars(zone: str, period: str, starts: str, ends: str) -> None:
    """Exact to the millisecond: the last one before an edge and the edge itself belong to different windows."""
    span = Span(_ms(starts), _ms(ends))
    kind, calendar = BudgetPeriod(period), ZoneInfo(zone)
    assert span_of(kind, span.starts_at_ms, calendar) == span == span_of(kind, span.ends_at_ms - 1, calendar)
    assert span_of(kind, span.starts_at_ms - 1, calendar).ends_at_ms == span.starts_at_ms
    assert span_of(kind, span.ends_at_ms, calendar).starts_at_ms == span.ends_at_ms


@pytest.mark.parametrize("zone", ZONES)
def test_a_decade_of_days_weeks_and_months_leaves_no_instant_out(zone: str) -> None:
    """One window after the other, from 2009 to 2028: as many as the calendar has, each week from a Monday."""
    calendar = ZoneInfo(zone)
    skipped = {"Pacific/Apia": 1}.get(zone, 0)
    expected = {BudgetPeriod.DAY: (date(2028, 1, 1) - date(2009, 1, 1)).days - skipped, BudgetPeriod.MONTH: 19 * 12}
    for period in (BudgetPeriod.DAY, BudgetPeriod.WEEK, BudgetPeriod.MONTH):
        at_ms, count = to_ms(datetime(2009, 1, 1, tzinfo=calendar)), 0
        while at_ms < to_ms(datetime(2028, 1, 1, tzinfo=calendar)):
            span = span_of(period, at_ms, calendar)
            assert span.starts_at_ms == at_ms or (count == 0 and period is BudgetPeriod.WEEK)
            first = day_of(from_ms(span.starts_at_ms), calendar)
            assert first.weekday() == 0 or period is not BudgetPeriod.WEEK
            at_ms, count = span.ends_at_ms, count + 1
        assert count == expected.get(period, count)


# --- beside windows that stand --------------------------------------------------------------


@given(
    _RESETTING,
    st.lists(st.tuples(st.integers(-40 * 24 * 4, 40 * 24 * 4), st.integers(-1, 1), _ZONES), max_size=12),
    st.sampled_from([_ms("2011-12-30T10:00"), _ms("2026-03-29T01:00"), _ms("2026-10-25T01:00")]),
)
def test_windows_never_overlap_whatever_becomes_of_the_zone(
    period: BudgetPeriod, asked: list[tuple[int, int, ZoneInfo]], around_ms: int
) -> None:
    """Each instant, in any order and zone, lies in one window: one that stands, or a new one between its neighbours.

    The new one is as long as its calendar and its neighbours let it be.
    """
    standing: list[Span] = []
    for quarters, beside, zone in asked:
        at_ms = around_ms + quarters * 900_000 + beside
        if any(span.holds(at_ms) for span in standing):
            continue
        whole = span_of(period, at_ms, zone)
        new = clipped(whole, at_ms, standing)
        assert new.holds(at_ms)
        assert whole.starts_at_ms <= new.starts_at_ms
        assert new.ends_at_ms <= whole.ends_at_ms
        for span in standing:
            assert span.ends_at_ms <= new.starts_at_ms or new.ends_at_ms <= span.starts_at_ms
        assert new.starts_at_ms in {whole.starts_at_ms, *(span.ends_at_ms for span in standing)}
        assert new.ends_at_ms in {whole.ends_at_ms, *(span.starts_at_ms for span in standing)}
        standing.append(new)


@given(_instants(), _RESETTING, st.lists(st.integers(-3, 3), unique=True))
def test_without_a_change_of_the_zone_nothing_is_cut(
    instant: tuple[int, ZoneInfo], period: BudgetPeriod, others: list[int]
) -> None:
    """Windows of one calendar are whole beside one another, in whatever order they begin."""
    at_ms, zone = instant
    whole = span_of(period, at_ms, zone)
    apart = timedelta(days=32) // timedelta(milliseconds=1)
    standing = [span_of(period, at_ms + number * apart, zone) for number in others]
    beside = [span for span in standing if span != whole]
    neighbours = [span_of(period, edge, zone) for edge in (whole.starts_at_ms - 1, whole.ends_at_ms)]
    assert clipped(whole, at_ms, beside + neighbours) == whole
