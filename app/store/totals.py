"""Usage from the roll-ups, and the proof that the roll-ups are the sums of their rows."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Connection, Row, Select, case, func, literal, select

from app.core.clock import format_time, from_ms, to_ms
from app.core.ids import id_floor
from app.core.views import Difference, GroupBy, UsageGroup, UsageReport, UsageTotals, Verification
from app.core.windows import BUCKET_SECONDS, Period, day_of
from app.store.schema import USAGE_KEY, USAGE_SUMS, keys, requests, teams, usage

_BUCKET_MS = BUCKET_SECONDS * 1000

# A difference list is for a person; beyond this the count says enough.
DIFFERENCES_MAX = 100

_SUM_FIELDS = {"true_cost": "true_cost_picodollars", "charged": "charged_picodollars"}


class _Sum:
    """Adds roll-ups up to `UsageTotals`."""

    def __init__(self) -> None:
        self.values: dict[str, int] = {field.name: 0 for field in fields(UsageTotals)}

    def add(self, state: str, sums: Iterable[tuple[str, int]]) -> None:
        for name, value in sums:
            self.values[_SUM_FIELDS.get(name, name)] += value
            if name == "requests":
                self.values[state] += value

    def totals(self) -> UsageTotals:
        return UsageTotals(**self.values)


@dataclass(frozen=True, slots=True)
class _Piece:
    """One roll-up row, or one group of open requests, under the labels it may be grouped by."""

    key_id: str
    key: str
    team_id: str | None
    team: str | None
    tags: tuple[str, ...]
    model: str
    at: datetime
    state: str
    sums: tuple[tuple[str, int], ...]

    def labels(self, by: GroupBy, zone: ZoneInfo) -> list[tuple[str | None, str | None]]:
        """The groups it belongs to, as (label, id)."""
        if by is GroupBy.KEY:
            return [(self.key, self.key_id)]
        if by is GroupBy.TEAM:
            return [(self.team, self.team_id)]
        if by is GroupBy.MODEL:
            return [(self.model, None)]
        if by is GroupBy.DAY:
            return [(day_of(self.at, zone).isoformat(), None)]
        return [(tag, None) for tag in self.tags] or [(None, None)]


def usage_report(connection: Connection, period: Period, by: GroupBy, zone: ZoneInfo) -> UsageReport:
    """Usage of a period, from one snapshot: closed requests from the roll-ups, open ones counted."""
    groups: dict[tuple[str | None, str | None], _Sum] = defaultdict(_Sum)
    total = _Sum()
    for piece in _pieces(connection, period):
        total.add(piece.state, piece.sums)
        for label in piece.labels(by, zone):
            groups[label].add(piece.state, piece.sums)
    ordered = sorted(groups.items(), key=lambda group: (group[0][0] is None, group[0][0] or ""))
    return UsageReport(
        from_at=period.from_at,
        to_at=period.to_at,
        by=by,
        groups=tuple(UsageGroup(label, ident, sums.totals()) for (label, ident), sums in ordered),
        total=total.totals(),
    )


def _pieces(connection: Connection, period: Period) -> Iterator[_Piece]:
    sums = [usage.c[name] for name in USAGE_SUMS]
    closed = _named(
        select(usage, keys.c.name.label("key"), teams.c.name.label("team")),
        usage.c.key_id,
        usage.c.team_id,
    ).where(usage.c.bucket_at >= to_ms(period.from_at), usage.c.bucket_at < to_ms(period.to_at))
    for row in connection.execute(closed):
        yield _piece(row, row.bucket_at, row.state, tuple((column.name, row._mapping[column.name]) for column in sums))
    opened = _named(
        select(requests, keys.c.name.label("key"), teams.c.name.label("team")),
        requests.c.key_id,
        requests.c.team_id,
    ).where(
        requests.c.state == "open",
        requests.c.id >= id_floor("req", period.from_at),
        requests.c.id < id_floor("req", period.to_at),
    )
    for row in connection.execute(opened):
        yield _piece(row, row.created_at, "open", (("requests", 1),))


def _named(query: Select[Any], key_id: ColumnElement[Any], team_id: ColumnElement[Any]) -> Select[Any]:
    table = key_id.table
    return query.select_from(table.join(keys, keys.c.id == key_id).outerjoin(teams, teams.c.id == team_id))


def _piece(row: Row[Any], at_ms: int, state: str, sums: tuple[tuple[str, int], ...]) -> _Piece:
    return _Piece(
        key_id=row.key_id,
        key=row.key,
        team_id=row.team_id or None,
        team=row.team,
        tags=tuple(json.loads(row.tags)),
        model=row.model,
        at=from_ms(at_ms),
        state=state,
        sums=sums,
    )


# --- verify --------------------------------------------------------------------------------


def verify(connection: Connection) -> Verification:
    """Recomputes every roll-up from the rows, a day at a time, and checks what must hold of each row."""
    rows = connection.scalar(select(func.count()).select_from(requests)) or 0
    differences = list(_row_differences(connection))
    for from_ms_, to_ms_ in _days(connection):
        differences += _day_differences(connection, from_ms_, to_ms_)
    return Verification(ok=not differences, rows=rows, differences=tuple(differences[:DIFFERENCES_MAX]))


def _days(connection: Connection) -> Iterator[tuple[int, int]]:
    """Days (UTC) from the first to the last that has a row or a roll-up."""
    first = connection.scalar(select(requests.c.created_at).order_by(requests.c.id).limit(1))
    edges = connection.execute(select(func.min(usage.c.bucket_at), func.max(usage.c.bucket_at))).one()
    newest = connection.scalar(select(requests.c.created_at).order_by(requests.c.id.desc()).limit(1))
    known = [value for value in (first, newest, *edges) if value is not None]
    if known:
        day = 86_400_000
        for start in range(min(known) // day * day, max(known) + 1, day):
            yield start, start + day


def _day_differences(connection: Connection, start: int, end: int) -> list[Difference]:
    expected = {tuple(row[: len(USAGE_KEY)]): row[len(USAGE_KEY) :] for row in connection.execute(_sums(start, end))}
    kept = select(*(usage.c[name] for name in (*USAGE_KEY, *USAGE_SUMS))).where(
        usage.c.bucket_at >= start, usage.c.bucket_at < end
    )
    found = {tuple(row[: len(USAGE_KEY)]): row[len(USAGE_KEY) :] for row in connection.execute(kept)}
    differences = []
    for where in sorted(expected.keys() | found.keys()):
        wanted, had = expected.get(where), found.get(where)
        if wanted is None or had is None or tuple(wanted) != tuple(had):
            named = dict(zip(USAGE_KEY, (format_time(from_ms(where[0])), *where[1:]), strict=True))
            differences.append(Difference("rollup", named, _named_sums(wanted), _named_sums(had)))
    return differences


def _sums(start: int, end: int) -> Select[Any]:
    """The roll-ups as the closed rows say they should be."""
    table = requests.c
    bucket = table.created_at - table.created_at % _BUCKET_MS
    where = (bucket, table.key_id, func.coalesce(table.team_id, ""), table.tags, table.model, table.state)
    billed = table.state != "free"
    total: dict[str, ColumnElement[Any]] = {name: func.coalesce(func.sum(table[name]), 0) for name in USAGE_SUMS if name in table}
    total["requests"] = func.count()
    total["true_cost_unknown"] = func.sum(case((table.true_cost.is_(None) & billed, 1), else_=0))
    total["charged_unknown"] = func.sum(case((table.charged.is_(None) & billed, 1), else_=0))
    return (
        select(*where, *(total[name] for name in USAGE_SUMS))
        .where(
            table.state != "open",
            table.id >= id_floor("req", from_ms(start)),
            table.id < id_floor("req", from_ms(end)),
        )
        .group_by(*where)
    )


def _named_sums(values: Any) -> dict[str, int]:
    return {} if values is None else dict(zip(USAGE_SUMS, values, strict=True))


def _row_differences(connection: Connection) -> Iterator[Difference]:
    """Rules that every row keeps; the database's own constraints hold most, so a breach means meddling."""
    table = requests.c
    rules = {
        "a closed row has its place in the order of closing": (table.state != "open") & table.closed_seq.is_(None),
        "an open row has no cost": (table.state == "open")
        & (table.true_cost.is_not(None) | table.charged.is_not(None)),
        "a settled row has a cost": (table.state == "settled") & table.true_cost.is_(None) & table.charged.is_(None),
        "a free row has no cost": (table.state == "free") & (table.true_cost.is_not(None) | table.charged.is_not(None)),
        "costs are whole numbers": (func.typeof(table.true_cost) == literal("real"))
        | (func.typeof(table.charged) == literal("real")),
    }
    for rule, breach in rules.items():
        for request_id in connection.scalars(select(table.id).where(breach).limit(DIFFERENCES_MAX)):
            yield Difference(rule, {"request": request_id})
