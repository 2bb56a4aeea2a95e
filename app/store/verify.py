"""The proof that the roll-ups are the sums of their rows, and that every row keeps the rules.

It goes in steps of whole buckets, each over a snapshot of its own: a settlement changes row
and roll-up in one transaction, so a step is consistent, and no long snapshot keeps the
write-ahead log from being reused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, case, func, literal_column, select

from app.core.clock import format_time, from_ms
from app.core.ids import id_floor
from app.core.views import Difference
from app.core.windows import BUCKET_SECONDS
from app.store.schema import USAGE_KEY, USAGE_MONEY, USAGE_SUMS, adjustments, bounded_sum, requests, usage

_BUCKET_MS = BUCKET_SECONDS * 1000

# A step ends with the bucket that holds its so-manieth row.
STEP_ROWS = 20_000

# A list of differences is for a person; beyond this the count says enough.
DIFFERENCES_MAX = 100

_table = requests.c

# The database's own constraints hold most of these, so a breach means meddling.
_RULES: dict[str, ColumnElement[bool]] = {
    "a closed request has its place in the order of closing": and_(
        _table.state != "open", _table.closed_seq.is_(None) | _table.closed_at.is_(None) | _table.outcome.is_(None)
    ),
    "an open request tells no cost and no end": and_(
        _table.state == "open",
        _table.true_cost.is_not(None) | _table.charged.is_not(None) | _table.closed_seq.is_not(None),
    ),
    "a settled request has a cost": and_(
        _table.state == "settled", _table.true_cost.is_(None) & _table.charged.is_(None)
    ),
    "a request without known cost has none": and_(
        _table.state.in_(["free", "unknown"]), _table.true_cost.is_not(None) | _table.charged.is_not(None)
    ),
    "an unknown cost has its reason": and_(_table.state == "unknown", _table.unknown_reason.is_(None)),
    "a cost is not negative": (_table.true_cost < 0) | (_table.charged < 0),
}


@dataclass(frozen=True, slots=True)
class Step:
    """What one step found; `next_ms` is where the following one begins, None at the end."""

    rows: int
    differences: tuple[Difference, ...]
    next_ms: int | None


def verify_step(connection: Connection, start_ms: int = 0, step_rows: int = STEP_ROWS) -> Step:
    """Compares rows and roll-ups of the buckets from `start_ms` on, so many that about `step_rows` rows are read."""
    last = connection.scalar(
        select(_table.created_at)
        .where(_table.id >= id_floor("req", from_ms(start_ms)))
        .order_by(_table.id)
        .limit(1)
        .offset(step_rows)
    )
    end_ms = None if last is None else max(last, start_ms) // _BUCKET_MS * _BUCKET_MS + _BUCKET_MS
    rows = connection.scalar(select(func.count()).select_from(requests).where(*_ids(start_ms, end_ms))) or 0
    differences = [*_rollup_differences(connection, start_ms, end_ms), *_breaches(connection, start_ms, end_ms)]
    return Step(rows, tuple(differences[:DIFFERENCES_MAX]), end_ms)


def _ids(
    start_ms: int, end_ms: int | None, column: ColumnElement[Any] = requests.c.id
) -> Iterator[ColumnElement[bool]]:
    yield column >= id_floor("req", from_ms(start_ms))
    if end_ms is not None:
        yield column < id_floor("req", from_ms(end_ms))


def _rollup_differences(connection: Connection, start_ms: int, end_ms: int | None) -> Iterator[Difference]:
    kept = select(*(usage.c[name] for name in (*USAGE_KEY, *USAGE_SUMS))).where(usage.c.bucket_at >= start_ms)
    if end_ms is not None:
        kept = kept.where(usage.c.bucket_at < end_ms)
    key = len(USAGE_KEY)
    found = {tuple(row[:key]): tuple(row[key:]) for row in connection.execute(kept)}
    expected = {tuple(row[:key]): tuple(row[key:]) for row in connection.execute(_recomputed(start_ms, end_ms))}
    for where in sorted(expected.keys() | found.keys()):
        if expected.get(where) != found.get(where):
            named = dict(zip(USAGE_KEY, (format_time(from_ms(where[0])), *where[1:]), strict=True))
            yield Difference("rollup", named, _named(expected.get(where)), _named(found.get(where)))


def _recomputed(start_ms: int, end_ms: int | None) -> Select[Any]:
    """The roll-ups as the closed rows, and the adjustments that count with them, say they should be."""
    by_hand = (
        select(
            adjustments.c.request_id,
            func.sum(adjustments.c.true_cost).label("true_cost"),
            func.sum(adjustments.c.charged).label("charged"),
        )
        .where(adjustments.c.late == 0, *_ids(start_ms, end_ms, adjustments.c.request_id))
        .group_by(adjustments.c.request_id)
        .subquery()
    )
    bucket = _table.created_at - _table.created_at % _BUCKET_MS
    state = case((by_hand.c.request_id.is_not(None), literal_column("'settled'")), else_=_table.state)
    costs = {name: func.coalesce(by_hand.c[name], _table[name]) for name in USAGE_MONEY}
    where = (bucket, _table.key_id, func.coalesce(_table.team_id, ""), _table.tags, _table.model, state)
    sums: dict[str, ColumnElement[Any]] = {"requests": func.count()}
    for name, cost in costs.items():
        sums[f"{name}_unknown"] = func.sum(case((cost.is_(None) & (_table.state != "free"), 1), else_=0))
    for name in USAGE_SUMS:
        if name not in sums:
            sums[name] = func.coalesce(bounded_sum(costs[name]) if name in costs else func.sum(_table[name]), 0)
    return (
        select(*where, *(sums[name] for name in USAGE_SUMS))
        .select_from(requests.outerjoin(by_hand, by_hand.c.request_id == _table.id))
        .where(_table.state != "open", *_ids(start_ms, end_ms))
        .group_by(*where)
    )


def _named(values: tuple[int, ...] | None) -> dict[str, int]:
    return {} if values is None else dict(zip(USAGE_SUMS, values, strict=True))


def _breaches(connection: Connection, start_ms: int, end_ms: int | None) -> Iterator[Difference]:
    """Rows that break a rule, each with the first one it breaks."""
    rule = case(*((breach, literal_column(f"{number}")) for number, breach in enumerate(_RULES.values())))
    names = list(_RULES)
    broken = select(_table.id, rule.label("rule")).where(*_ids(start_ms, end_ms)).subquery()
    query = select(broken).where(broken.c.rule.is_not(None)).limit(DIFFERENCES_MAX)
    for row in connection.execute(query):
        yield Difference(names[row.rule], {"request": row.id})
