"""Budgets: how they are written, and the calendar window in which one counts.

A window is half-open and follows the gateway's time zone with its daylight-saving changes; a
request counts in the window that holds its creation. Windows that stand in the ledger keep their
edges when the zone changes: new ones begin where they end. Times are milliseconds since
1970, UTC, as the ledger keeps them. Called by the store (windows) and the accounts (what people write).
"""

from __future__ import annotations

import functools
import re
from datetime import date, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from app.core.clock import from_ms, to_ms
from app.core.money import format_usd, parse_usd
from app.core.value import Value
from app.core.windows import day_of, day_start

# Before and after every request there is: the edges of a budget without a period.
ALWAYS_FROM_MS = 0
ALWAYS_TO_MS = 253_370_764_800_000  # 9999-01-01

_BUDGET = re.compile(r"\$?([^/\s]+)\s*/\s*([A-Za-z]+)")


class BudgetPeriod(StrEnum):
    """Calendar periods; weeks begin on Monday. `total` never resets."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    TOTAL = "total"


# No window is longer, in any calendar: not in one whose clocks change, nor where a date came twice.
LONGEST_MS = {
    BudgetPeriod.DAY: 2 * 86_400_000,
    BudgetPeriod.WEEK: 8 * 86_400_000,
    BudgetPeriod.MONTH: 32 * 86_400_000,
}


class Budget(Value, frozen=True):
    amount_picodollars: int
    period: BudgetPeriod

    def __str__(self) -> str:
        return f"{format_usd(self.amount_picodollars)}/{self.period}"


class Span(Value, frozen=True):
    """`starts_at_ms` ≤ t < `ends_at_ms`."""

    starts_at_ms: int
    ends_at_ms: int

    def holds(self, at_ms: int) -> bool:
        return self.starts_at_ms <= at_ms < self.ends_at_ms


def parse_budget(text: str) -> Budget:
    """`45/month`, `0.50/day`. Raises: `ValueError` with a sentence."""
    found = _BUDGET.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text[:60]!r} is not a budget: write AMOUNT/PERIOD, such as 45/month or 5/day")
    try:
        period = BudgetPeriod(found[2].lower())
    except ValueError:
        raise ValueError(f"{found[2][:20]!r} is not a period: write day, week, month or total") from None
    return Budget(parse_usd(found[1]), period)


@functools.lru_cache(maxsize=4096)  # a day's requests ask for the same few windows
def _calendar_span(period: BudgetPeriod, day: date, zone: ZoneInfo) -> Span:
    if period is BudgetPeriod.DAY:
        first, following = day, day + timedelta(days=1)
    elif period is BudgetPeriod.WEEK:
        first = day - timedelta(days=day.weekday())
        following = first + timedelta(days=7)
    else:
        first = day.replace(day=1)
        following = (first + timedelta(days=32)).replace(day=1)
    return Span(to_ms(day_start(first, zone)), to_ms(day_start(following, zone)))


def span_of(period: BudgetPeriod, at_ms: int, zone: ZoneInfo) -> Span:
    """The calendar window that holds an instant."""
    if period is BudgetPeriod.TOTAL:
        return Span(ALWAYS_FROM_MS, ALWAYS_TO_MS)
    return _calendar_span(period, day_of(from_ms(at_ms), zone), zone)


def clipped(span: Span, at_ms: int, standing: list[Span]) -> Span:
    """A new window around an instant, between those that stand already, none of which holds it."""
    starts = max([span.starts_at_ms, *(one.ends_at_ms for one in standing if one.ends_at_ms <= at_ms)])
    ends = min([span.ends_at_ms, *(one.starts_at_ms for one in standing if one.starts_at_ms > at_ms)])
    return Span(starts, ends)
