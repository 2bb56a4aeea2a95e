"""Usage from the roll-ups. Sums are exact whatever their size: SQLite adds whole dollars and rests apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Connection, Row, func, literal_column, select

from app.core.clock import from_ms, to_ms
from app.core.ids import id_floor
from app.core.money import PICODOLLARS_PER_USD
from app.core.records import State
from app.core.views import GroupBy, UsageGroup, UsageReport, UsageTotals
from app.core.windows import BUCKET_SECONDS, Period, day_of
from app.store.rows import text_list
from app.store.schema import USAGE_SUMS, keys, requests, teams, usage

_BUCKET_MS = BUCKET_SECONDS * 1000

_MONEY = {"true_cost": "true_cost_picodollars", "charged": "charged_picodollars"}

# What a roll-up, and an open request, is grouped by.
_CLOSED: Mapping[GroupBy, ColumnElement[Any]] = {
    GroupBy.KEY: usage.c.key_id,
    GroupBy.TEAM: usage.c.team_id,
    GroupBy.MODEL: usage.c.model,
    GroupBy.DAY: usage.c.bucket_at,
    GroupBy.TAG: usage.c.tags,
}
_OPEN: Mapping[GroupBy, ColumnElement[Any]] = {
    GroupBy.KEY: requests.c.key_id,
    GroupBy.TEAM: func.coalesce(requests.c.team_id, ""),
    GroupBy.MODEL: requests.c.model,
    GroupBy.DAY: requests.c.created_at - requests.c.created_at % _BUCKET_MS,
    GroupBy.TAG: requests.c.tags,
}

Label = tuple[str | None, str | None]  # what is shown, and the id if there is one


@dataclass(frozen=True, slots=True)
class _Piece:
    """The sums of one state under one value of what is grouped by."""

    value: Any
    state: str
    sums: Mapping[str, int]


class _Sum:
    """Adds pieces up to `UsageTotals`."""

    def __init__(self) -> None:
        self._values: dict[str, int] = {field.name: 0 for field in fields(UsageTotals)}

    def add(self, piece: _Piece) -> None:
        for name, value in piece.sums.items():
            self._values[name] += value
        self._values[piece.state] += piece.sums["requests"]

    def totals(self) -> UsageTotals:
        return UsageTotals(**self._values)


def usage_report(connection: Connection, period: Period, by: GroupBy, zone: ZoneInfo) -> UsageReport:
    """Usage of a period, from one snapshot: closed requests from the roll-ups, open ones counted."""
    groups: dict[Label, _Sum] = defaultdict(_Sum)
    total = _Sum()
    labels = _Labels(connection, by, zone)
    for piece in _pieces(connection, period, by):
        total.add(piece)
        for label in labels.of(piece.value):
            groups[label].add(piece)
    ordered = sorted(groups.items(), key=lambda group: (group[0][0] is None, group[0][0] or ""))
    return UsageReport(
        from_at=period.from_at,
        to_at=period.to_at,
        by=by,
        groups=tuple(UsageGroup(label, ident, sums.totals()) for (label, ident), sums in ordered),
        total=total.totals(),
    )


class _Labels:
    """The groups that a value belongs to: one, but for tags."""

    def __init__(self, connection: Connection, by: GroupBy, zone: ZoneInfo) -> None:
        self._by = by
        self._zone = zone
        self._names: dict[str, str] = {}
        if by in (GroupBy.KEY, GroupBy.TEAM):
            table = keys if by is GroupBy.KEY else teams
            self._names = {row.id: row.name for row in connection.execute(select(table.c.id, table.c.name))}

    def of(self, value: Any) -> list[Label]:
        if self._by is GroupBy.DAY:
            return [(day_of(from_ms(value), self._zone).isoformat(), None)]
        if self._by is GroupBy.TAG:
            return [(tag, None) for tag in text_list(value)] or [(None, None)]
        if self._by is GroupBy.MODEL:
            return [(value, None)]
        return [(self._names.get(value, value), value)] if value else [(None, None)]


def _pieces(connection: Connection, period: Period, by: GroupBy) -> Iterator[_Piece]:
    closed = (
        select(_CLOSED[by].label("value"), usage.c.state, *_sums())
        .where(usage.c.bucket_at >= to_ms(period.from_at), usage.c.bucket_at < to_ms(period.to_at))
        .group_by("value", usage.c.state)
    )
    for row in connection.execute(closed):
        yield _Piece(row.value, row.state, _summed(row))
    opened = (
        select(_OPEN[by].label("value"), func.count().label("requests"))
        .where(
            requests.c.state == literal_column("'open'"),
            requests.c.id >= id_floor("req", period.from_at),
            requests.c.id < id_floor("req", period.to_at),
        )
        .group_by("value")
    )
    for row in connection.execute(opened):
        yield _Piece(row.value, State.OPEN, {"requests": row.requests})


def _sums() -> Iterator[ColumnElement[Any]]:
    for name in USAGE_SUMS:
        column = usage.c[name]
        if name in _MONEY:
            yield func.sum(column // PICODOLLARS_PER_USD).label(f"{name}_usd")
            yield func.sum(column % PICODOLLARS_PER_USD).label(f"{name}_rest")
        else:
            yield func.sum(column).label(name)


def _summed(row: Row[Any]) -> dict[str, int]:
    found = row._mapping
    return {
        _MONEY.get(name, name): (
            found[f"{name}_usd"] * PICODOLLARS_PER_USD + found[f"{name}_rest"] if name in _MONEY else found[name]
        )
        for name in USAGE_SUMS
    }
