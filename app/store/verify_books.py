"""The rest of the proof: days are the sums of their buckets, and every adjustment keeps the rules.

`verify` compares rows with buckets; this goes on from there. Called by the reports, each step
over a snapshot of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Connection, Select, and_, case, func, literal_column, or_, select

from app.core.clock import format_time, from_ms, to_ms
from app.core.views import Difference
from app.core.windows import Period, day_of, day_start
from app.store.calendar import day_from_buckets, days_made
from app.store.schema import USAGE_KEY, USAGE_SUMS, adjustments, requests, usage, usage_days
from app.store.seals import is_let_go
from app.store.verify import DIFFERENCES_MAX, Step

DAYS_PER_STEP = 31
ADJUSTMENTS_PER_STEP = 5_000

_said = adjustments.c
_its = requests.c

_RULES: dict[str, ColumnElement[bool]] = {
    "an adjustment is about an unknown cost": or_(_its.state.is_(None), _its.state != "unknown"),  # or let go of
    "an adjustment names the owner of its request": or_(
        _said.key_id != _its.key_id,
        _said.team_id.is_distinct_from(_its.team_id),
        _said.tags != _its.tags,
        _said.model != _its.model,
    ),
    "an adjustment has an author and a reason": or_(_said.author == "", _said.reason == ""),
    "an adjustment is made after its request": and_(_said.late == 1, _said.at < _its.created_at),
}


def verify_days(connection: Connection, start_ms: int = 0) -> Step:
    """Compares the roll-ups by day with their buckets, a month at a time. `start_ms`: the beginning of a day."""
    zone_key, until_ms = days_made(connection) or ("UTC", 0)
    zone = ZoneInfo(zone_key)
    span = _span(connection, start_ms)
    if span is None:
        return Step(0, (), None)
    found: list[Difference] = []
    day = day_of(from_ms(span[0]), zone)
    for _ in range(DAYS_PER_STEP):
        period = Period(day_start(day, zone), day_start(day + timedelta(days=1), zone))
        found += _day_differences(connection, period, over=to_ms(period.to_at) <= until_ms)
        if to_ms(period.to_at) > span[1]:
            return Step(0, tuple(found[:DIFFERENCES_MAX]), None)
        day += timedelta(days=1)
    return Step(0, tuple(found[:DIFFERENCES_MAX]), to_ms(period.to_at))


def _span(connection: Connection, start_ms: int) -> tuple[int, int] | None:
    """The first and the last place from `start_ms` on that either roll-up has."""
    places: list[int] = []
    for table in (usage, usage_days):
        ends = select(func.min(table.c.bucket_at), func.max(table.c.bucket_at)).where(table.c.bucket_at >= start_ms)
        places += [place for place in connection.execute(ends).one() if place is not None]
    return (min(places), max(places)) if places else None


def _day_differences(connection: Connection, day: Period, *, over: bool) -> Iterator[Difference]:
    """A day that is not `over` has no roll-up yet."""
    kept = select(*(usage_days.c[name] for name in (*USAGE_KEY, *USAGE_SUMS))).where(
        usage_days.c.bucket_at >= to_ms(day.from_at), usage_days.c.bucket_at < to_ms(day.to_at)
    )
    found = _by_place(connection, kept)
    expected = _by_place(connection, day_from_buckets(day)) if over else {}
    for where in sorted(expected.keys() | found.keys()):
        if expected.get(where) != found.get(where):
            named = dict(zip(USAGE_KEY, (format_time(from_ms(where[0])), *where[1:]), strict=True))
            sums = [dict(zip(USAGE_SUMS, side.get(where, ()), strict=False)) for side in (expected, found)]
            yield Difference("rollup by day", named, *sums)


def _by_place(connection: Connection, query: Select[Any]) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    key = len(USAGE_KEY)
    return {tuple(row[:key]): tuple(row[key:]) for row in connection.execute(query)}


def verify_adjustments(connection: Connection, after: str = "") -> tuple[tuple[Difference, ...], str | None]:
    """The adjustments behind an id that break a rule, each with the first one; and where to go on, None at the end."""
    rule = case(*((breach, literal_column(f"{number}")) for number, breach in enumerate(_RULES.values())))
    query = (
        select(_said.id, _said.request_id, rule.label("rule"), _its.id.label("is_there"))
        .select_from(adjustments.outerjoin(requests, _its.id == _said.request_id))
        .where(_said.id > after)
        .order_by(_said.id)
        .limit(ADJUSTMENTS_PER_STEP)
    )
    rows = connection.execute(query).all()
    names = list(_RULES)
    found = [
        Difference(names[row.rule], {"adjustment": row.id, "request": row.request_id})
        for row in rows
        if row.rule is not None and (row.is_there is not None or not is_let_go(connection, row.request_id))
    ]
    found += _broken_sequences(connection, sorted({row.request_id for row in rows}))
    return tuple(found[:DIFFERENCES_MAX]), rows[-1].id if len(rows) == ADJUSTMENTS_PER_STEP else None


def _broken_sequences(connection: Connection, request_ids: list[str]) -> Iterator[Difference]:
    """All words on one request: numbered from 1 on, never below nothing in sum, none early behind a late one."""
    count: ColumnElement[Any] = func.count()
    late_from = func.min(case((_said.late == 1, _said.seq)))
    early_to = func.max(case((_said.late == 0, _said.seq)))
    for start in range(0, len(request_ids), 500):
        query = (
            select(_said.request_id)
            .where(_said.request_id.in_(request_ids[start : start + 500]))
            .group_by(_said.request_id)
            .having(
                or_(
                    count != func.max(_said.seq),
                    func.sum(_said.true_cost) < 0,
                    func.sum(_said.charged) < 0,
                    early_to > late_from,
                )
            )
        )
        for request_id in connection.scalars(query):
            yield Difference("adjustments of a request follow one another", {"request": request_id})
