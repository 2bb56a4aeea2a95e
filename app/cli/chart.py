"""A bar per day, for eyes only: drawn on a terminal, never into a pipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import typer

from app.cli.nouns import sum_of
from app.core.windows import Period, days

# More days than that are a table's.
DAYS_MAX = 92

WIDTH = 40

_EIGHTHS = " ▏▎▍▌▋▊▉"


def print_chart(report: Mapping[str, Any]) -> None:
    """What each day of a period was charged, also where there was nothing. `report`: usage by day."""
    for line in lines(report):
        typer.echo(line)


def lines(report: Mapping[str, Any]) -> Iterator[str]:
    """A bar's length is exact to an eighth of a character; a sum that lacks something ends in `?`."""
    groups = {group["day"]: group for group in report["groups"]}
    shown = _days(report, sorted(groups)) if groups else []
    if not 0 < len(shown) <= DAYS_MAX:
        return
    most = max(_charged(group) for group in groups.values())
    yield "charged per day"
    for day in shown:
        if (group := groups.get(day)) is None:
            yield f"{day}  -"
            continue
        mark = "?" if group["charged_unknown"] else ""
        yield f"{day}  {bar(_charged(group), most)}{mark} {sum_of(group, 'charged')}"


def bar(value: Decimal, most: Decimal) -> str:
    """At least the thinnest line for anything above nothing."""
    if value <= 0 or most <= 0:
        return ""
    eighths = max(1, int(value * WIDTH * 8 / most))
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _charged(group: Mapping[str, Any]) -> Decimal:
    return Decimal(group["charged"])


def _days(report: Mapping[str, Any], named: list[str]) -> list[str]:
    """Every day of the period; of a long one those from the first to the last that has something."""
    zone = ZoneInfo(report["timezone"])
    period = Period(datetime.fromisoformat(report["from"]), datetime.fromisoformat(report["to"]))
    if period.to_at - period.from_at <= timedelta(days=DAYS_MAX):
        return [day.isoformat() for day, _ in days(period, zone)]
    first, last = date.fromisoformat(named[0]), date.fromisoformat(named[-1])
    return [(first + timedelta(days=number)).isoformat() for number in range((last - first).days + 1)]
