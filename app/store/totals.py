"""Usage from the roll-ups. Sums are exact whatever their size: SQLite adds whole dollars and rests apart.

Whole days come from the roll-ups by day, what sticks out of them from the buckets of 15 minutes;
open requests, and adjustments that count in a later month than their request, from their rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import product
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Connection, Table, and_, case, func, literal_column, or_, select

from app.core.clock import from_ms, to_ms
from app.core.ids import id_floor
from app.core.money import PICODOLLARS_PER_USD
from app.core.records import State
from app.core.value import Value, replace
from app.core.views import GroupBy, UsageGroup, UsageReport, UsageTotals
from app.core.windows import BUCKET_SECONDS, Period, day_of, day_start
from app.store.adjustments import LATE, dated
from app.store.calendar import days_made, midnight
from app.store.rows import text_list
from app.store.schema import USAGE_SUMS, adjustments, keys, requests, teams, usage, usage_days

_BUCKET_MS = BUCKET_SECONDS * 1000

_MONEY = ("true_cost", "charged")
_CLOSED = (State.SETTLED, State.FREE, State.UNKNOWN)

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


class _Piece(Value, frozen=True):
    """The sums under one value for each dimension, in the order of `UsageTotals`.

    `cleared`: so many unknown costs of earlier requests are told by them.
    """

    values: Values
    sums: Sequence[int]
    cleared: int = 0


# More of a group's pieces are not kept side by side.
PIECES_MAX = 1000


class _Sum:
    """Adds pieces up to `UsageTotals`: many at once, since columns are added up quicker than rows."""

    __slots__ = ("_cleared", "_pieces")

    def __init__(self) -> None:
        self._pieces: list[Sequence[int]] = []
        self._cleared = 0

    def add(self, piece: _Piece, *, cleared: bool) -> None:
        self._pieces.append(piece.sums)
        if len(self._pieces) >= PIECES_MAX:
            self._pieces = [self._added_up()]
        if cleared:
            self._cleared += piece.cleared

    def totals(self) -> UsageTotals:
        totals = UsageTotals(*self._added_up())
        if not self._cleared:
            return totals
        return replace(
            totals,
            true_cost_unknown=totals.true_cost_unknown - self._cleared,
            charged_unknown=totals.charged_unknown - self._cleared,
        )

    def _added_up(self) -> tuple[int, ...]:
        return tuple(map(sum, zip(*self._pieces, strict=True)))


_NAMES = UsageTotals.__struct_fields__


def _ordered(**sums: int) -> tuple[int, ...]:
    return tuple(sums.get(name, 0) for name in _NAMES)


def usage_report(
    connection: Connection, period: Period, by: Sequence[GroupBy], zone: ZoneInfo, key_id: str | None = None
) -> UsageReport:
    """Usage of a period, of one key or of all, from one snapshot, in groups of one value for each dimension."""
    groups: dict[tuple[Label, ...], _Sum] = defaultdict(_Sum)
    total = _Sum()
    labels = [_Labels(connection, dimension, zone) for dimension in by]
    for piece in _pieces(connection, period, by, zone, key_id):
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


def _pieces(
    connection: Connection, period: Period, by: Sequence[GroupBy], zone: ZoneInfo, key_id: str | None
) -> Iterator[_Piece]:
    for table, spans in rollups(connection, period, zone):
        if spans:
            yield from _closed(connection, table, spans, by, key_id)
    yield from _open(connection, period, by, key_id)
    yield from _adjusted(connection, period, by, key_id)


def _of_key(table: Table, key_id: str | None) -> Iterator[ColumnElement[bool]]:
    if key_id is not None:  # `+`: the way in stays the same, whoever asks
        yield literal_column(f"+{table.name}.key_id") == key_id


def rollups(connection: Connection, period: Period, zone: ZoneInfo) -> Iterator[tuple[Table, list[Period]]]:
    """Which roll-ups a period is read from."""
    made = days_made(connection)
    whole = _whole_days(period, zone, from_ms(made[1])) if made is not None and made[0] == zone.key else None
    if whole is None:  # too short, too young, or of another calendar than the gateway's
        yield usage, [period]
        return
    yield usage_days, [whole]
    edges = (Period(period.from_at, whole.from_at), Period(whole.to_at, period.to_at))
    yield usage, [edge for edge in edges if edge.from_at < edge.to_at]


def _whole_days(period: Period, zone: ZoneInfo, until: datetime) -> Period | None:
    """The days that lie within a period from their first instant to their last and are summed up."""
    from_at = midnight(period.from_at, zone)
    if from_at < period.from_at:
        from_at = day_start(day_of(period.from_at, zone) + timedelta(days=1), zone)
    to_at = min(midnight(period.to_at, zone), until)
    return Period(from_at, to_at) if from_at < to_at else None


def _closed(
    connection: Connection, table: Table, spans: Sequence[Period], by: Sequence[GroupBy], key_id: str | None
) -> Iterator[_Piece]:
    values = [_grouped(table, dimension) for dimension in by]
    within = (and_(table.c.bucket_at >= to_ms(span.from_at), table.c.bucket_at < to_ms(span.to_at)) for span in spans)
    in_state = (
        func.coalesce(func.sum(table.c.requests).filter(table.c.state == literal_column(f"'{state}'")), 0)
        for state in _CLOSED
    )
    counts = (func.sum(table.c[name]) for name in USAGE_SUMS if name not in ("requests", *_MONEY))
    query = select(*_named(values), *in_state, *_money(table), *counts).where(or_(*within), *_of_key(table, key_id))
    # The table is in the order of time: groups that begin with it are half sorted already.
    grouped = sorted(values, key=lambda value: value is not table.c.bucket_at)
    for row in connection.execute(query.group_by(*grouped)):
        labels, requested, (true_usd, true_rest, charged_usd, charged_rest), others = _cut(row, len(by))
        money = (true_usd * PICODOLLARS_PER_USD + true_rest, charged_usd * PICODOLLARS_PER_USD + charged_rest)
        yield _Piece(labels, (sum(requested), *requested, 0, *money, *others, 0))


def _cut(row: Any, dimensions: int) -> tuple[Values, Values, Values, Values]:
    """A row's values, counts of requests in each state, money, and all the rest."""
    requested = dimensions + len(_CLOSED)
    money = requested + 2 * len(_MONEY)
    return tuple(row[:dimensions]), row[dimensions:requested], row[requested:money], row[money:]


def _open(connection: Connection, period: Period, by: Sequence[GroupBy], key_id: str | None) -> Iterator[_Piece]:
    values = [_grouped(requests, dimension) for dimension in by]
    query = select(*_named(values), func.count()).where(
        requests.c.state == literal_column("'open'"),
        requests.c.id >= id_floor("req", period.from_at),
        requests.c.id < id_floor("req", period.to_at),
        *_of_key(requests, key_id),
    )
    for row in connection.execute(query.group_by(*values)):
        yield _Piece(tuple(row[: len(by)]), _ordered(requests=row[-1], open=row[-1]))


def _adjusted(connection: Connection, period: Period, by: Sequence[GroupBy], key_id: str | None) -> Iterator[_Piece]:
    """What was settled in the period of requests of earlier months; of those in the period too, nothing is missing."""
    values = [_grouped(adjustments, dimension) for dimension in by]
    cleared = and_(adjustments.c.seq == 1, adjustments.c.request_id >= id_floor("req", period.from_at))
    query = select(*_named(values), *_money(adjustments), func.count(), func.sum(case((cleared, 1), else_=0))).where(
        LATE, *dated(period.from_at, period.to_at), *_of_key(adjustments, key_id)
    )
    for row in connection.execute(query.group_by(*values)):
        true_usd, true_rest, charged_usd, charged_rest, count, known = row[len(by) :]
        sums = _ordered(
            true_cost_picodollars=true_usd * PICODOLLARS_PER_USD + true_rest,
            charged_picodollars=charged_usd * PICODOLLARS_PER_USD + charged_rest,
            adjustments=count,
        )
        yield _Piece(tuple(row[: len(by)]), sums, known)


def _named(values: Sequence[ColumnElement[Any]]) -> list[ColumnElement[Any]]:
    return [value.label(f"value_{number}") for number, value in enumerate(values)]


def _money(table: Table) -> Iterator[ColumnElement[Any]]:
    for name in _MONEY:
        yield func.sum(table.c[name] // PICODOLLARS_PER_USD)
        yield func.sum(table.c[name] % PICODOLLARS_PER_USD)
