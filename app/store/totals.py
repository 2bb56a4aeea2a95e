"""Usage from the roll-ups. Sums are exact whatever their size: SQLite adds whole dollars and rests apart.

Whole days come from the roll-ups by day, what sticks out of them from the buckets of 15 minutes;
open requests, and adjustments that count in a later month than their request, from their rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from itertools import product
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Connection, Table, and_, case, func, literal_column, or_, select

from app.core.clock import from_ms, to_ms
from app.core.ids import id_floor
from app.core.money import PICODOLLARS_PER_USD
from app.core.records import State
from app.core.views import GroupBy, UsageGroup, UsageReport, UsageTotals
from app.core.windows import BUCKET_SECONDS, Period, day_of, day_start
from app.store.adjustments import LATE, dated
from app.store.calendar import zone_of_days
from app.store.rows import text_list
from app.store.schema import USAGE_SUMS, adjustments, keys, requests, teams, usage, usage_days

_BUCKET_MS = BUCKET_SECONDS * 1000

_MONEY = {"true_cost": "true_cost_picodollars", "charged": "charged_picodollars"}

Label = tuple[str | None, str | None]  # what is shown, and the id if there is one
Values = tuple[Any, ...]  # one for each dimension


def _grouped(table: Table, by: GroupBy) -> ColumnElement[Any]:
    """What rows of a table are grouped by."""
    if by is GroupBy.DAY:
        if "bucket_at" in table.c:
            return table.c.bucket_at
        at = table.c.created_at if "created_at" in table.c else table.c.at
        return at - at % _BUCKET_MS
    if by is GroupBy.TEAM:
        return func.coalesce(table.c.team_id, "")
    return {GroupBy.KEY: table.c.key_id, GroupBy.MODEL: table.c.model, GroupBy.TAG: table.c.tags}[by]


@dataclass(frozen=True, slots=True)
class _Piece:
    """The sums under one value for each dimension; `cleared`: of earlier requests' unknown costs, known by them."""

    values: Values
    sums: Mapping[str, int]
    state: State | None = None  # None = adjustments, which are no requests
    cleared: int = 0


class _Sum:
    """Adds pieces up to `UsageTotals`."""

    def __init__(self) -> None:
        self._values: dict[str, int] = {field.name: 0 for field in fields(UsageTotals)}

    def add(self, piece: _Piece, *, cleared: bool) -> None:
        for name, value in piece.sums.items():
            self._values[name] += value
        if piece.state is not None:
            self._values[piece.state] += piece.sums["requests"]
        if cleared:
            self._values["true_cost_unknown"] -= piece.cleared
            self._values["charged_unknown"] -= piece.cleared

    def totals(self) -> UsageTotals:
        return UsageTotals(**self._values)


def usage_report(connection: Connection, period: Period, by: Sequence[GroupBy], zone: ZoneInfo) -> UsageReport:
    """Usage of a period, from one snapshot, in groups of one value for each dimension."""
    groups: dict[tuple[Label, ...], _Sum] = defaultdict(_Sum)
    total = _Sum()
    labels = [_Labels(connection, dimension, zone) for dimension in by]
    for piece in _pieces(connection, period, by, zone):
        total.add(piece, cleared=True)
        for group in product(*(names.of(value) for names, value in zip(labels, piece.values, strict=True))):
            # A day's own sum lacks what was only told in a later month.
            groups[group].add(piece, cleared=GroupBy.DAY not in by)
    ordered = sorted(groups.items(), key=lambda group: [(label is None, label or "") for label, _ in group[0]])
    return UsageReport(
        from_at=period.from_at,
        to_at=period.to_at,
        by=tuple(by),
        groups=tuple(
            UsageGroup(tuple(label for label, _ in group), tuple(ident for _, ident in group), sums.totals())
            for group, sums in ordered
        ),
        total=total.totals(),
        timezone=zone.key,
    )


class _Labels:
    """The groups that a value belongs to: one, but for tags."""

    def __init__(self, connection: Connection, by: GroupBy, zone: ZoneInfo) -> None:
        self._by = by
        self._zone = zone
        self._known: dict[Any, list[Label]] = {}
        self._names: dict[str, str] = {}
        if by in (GroupBy.KEY, GroupBy.TEAM):
            table = keys if by is GroupBy.KEY else teams
            self._names = {row.id: row.name for row in connection.execute(select(table.c.id, table.c.name))}

    def of(self, value: Any) -> list[Label]:
        labels = self._known.get(value)
        if labels is None:
            labels = self._known[value] = self._made(value)
        return labels

    def _made(self, value: Any) -> list[Label]:
        if self._by is GroupBy.DAY:
            return [(day_of(from_ms(value), self._zone).isoformat(), None)]
        if self._by is GroupBy.TAG:
            return [(tag, None) for tag in text_list(value)] or [(None, None)]
        if self._by is GroupBy.MODEL:
            return [(value, None)]
        return [(self._names.get(value, value), value)] if value else [(None, None)]


def _pieces(connection: Connection, period: Period, by: Sequence[GroupBy], zone: ZoneInfo) -> Iterator[_Piece]:
    for table, spans in _sources(connection, period, zone):
        if spans:
            yield from _closed(connection, table, spans, by)
    yield from _open(connection, period, by)
    yield from _adjusted(connection, period, by)


def _sources(connection: Connection, period: Period, zone: ZoneInfo) -> Iterator[tuple[Table, list[Period]]]:
    """Which roll-ups a period is read from."""
    if zone_of_days(connection) != zone.key:  # asked for another calendar than the gateway's
        yield usage, [period]
        return
    whole = _whole_days(period, zone)
    if whole is None:
        yield usage, [period]
        return
    yield usage_days, [whole]
    edges = (Period(period.from_at, whole.from_at), Period(whole.to_at, period.to_at))
    yield usage, [edge for edge in edges if edge.from_at < edge.to_at]


def _whole_days(period: Period, zone: ZoneInfo) -> Period | None:
    """The days that lie within a period from their first instant to their last."""
    from_at = _midnight(period.from_at, zone)
    if from_at < period.from_at:
        from_at = day_start(day_of(period.from_at, zone) + timedelta(days=1), zone)
    to_at = _midnight(period.to_at, zone)
    return Period(from_at, to_at) if from_at < to_at else None


def _midnight(at: datetime, zone: ZoneInfo) -> datetime:
    return day_start(day_of(at, zone), zone)


def _closed(connection: Connection, table: Table, spans: Sequence[Period], by: Sequence[GroupBy]) -> Iterator[_Piece]:
    values = [_grouped(table, dimension) for dimension in by]
    within = (and_(table.c.bucket_at >= to_ms(span.from_at), table.c.bucket_at < to_ms(span.to_at)) for span in spans)
    query = select(*_named(values), table.c.state, *_sums(table, USAGE_SUMS)).where(or_(*within))
    for row in connection.execute(query.group_by(*values, table.c.state)):
        yield _Piece(tuple(row[: len(by)]), _summed(row, USAGE_SUMS), State(row.state))


def _open(connection: Connection, period: Period, by: Sequence[GroupBy]) -> Iterator[_Piece]:
    values = [_grouped(requests, dimension) for dimension in by]
    query = select(*_named(values), func.count()).where(
        requests.c.state == literal_column("'open'"),
        requests.c.id >= id_floor("req", period.from_at),
        requests.c.id < id_floor("req", period.to_at),
    )
    for row in connection.execute(query.group_by(*values)):
        yield _Piece(tuple(row[: len(by)]), {"requests": row[-1]}, State.OPEN)


def _adjusted(connection: Connection, period: Period, by: Sequence[GroupBy]) -> Iterator[_Piece]:
    """What was settled in the period of requests of earlier months; of those in the period too, nothing is missing."""
    values = [_grouped(adjustments, dimension) for dimension in by]
    cleared = and_(adjustments.c.seq == 1, adjustments.c.request_id >= id_floor("req", period.from_at))
    query = select(
        *_named(values),
        *_sums(adjustments, list(_MONEY)),
        func.count().label("adjustments"),
        func.sum(case((cleared, 1), else_=0)).label("cleared"),
    ).where(LATE, *dated(period.from_at, period.to_at))
    for row in connection.execute(query.group_by(*values)):
        sums = _summed(row, list(_MONEY)) | {"adjustments": row.adjustments}
        yield _Piece(tuple(row[: len(by)]), sums, cleared=row.cleared)


def _named(values: Sequence[ColumnElement[Any]]) -> list[ColumnElement[Any]]:
    return [value.label(f"value_{number}") for number, value in enumerate(values)]


def _sums(table: Table, names: Sequence[str]) -> Iterator[ColumnElement[Any]]:
    for name in names:
        column = table.c[name]
        if name in _MONEY:
            yield func.sum(column // PICODOLLARS_PER_USD).label(f"{name}_usd")
            yield func.sum(column % PICODOLLARS_PER_USD).label(f"{name}_rest")
        else:
            yield func.sum(column).label(name)


def _summed(row: Any, names: Sequence[str]) -> dict[str, int]:
    found = row._mapping
    return {
        _MONEY.get(name, name): (
            found[f"{name}_usd"] * PICODOLLARS_PER_USD + found[f"{name}_rest"] if name in _MONEY else found[name]
        )
        for name in names
    }
