"""The roll-ups of a short span as lines: as they stand, and as its rows say they should be.

A line is a place (`schema.USAGE_KEY`) and its sums (`schema.USAGE_SUMS`). Spans are whole buckets, so that each is
consistent in one snapshot: a settlement changes row and roll-up in one transaction.
Called by the proof of the books (`verify`, `verify_seals`) and by what seals them (`sealing`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, case, func, literal_column, select

from app.core.clock import from_ms
from app.core.ids import id_floor
from app.core.value import Value
from app.core.windows import BUCKET_SECONDS
from app.store.schema import USAGE_KEY, USAGE_MONEY, USAGE_SUMS, adjustments, bounded_sum, requests, usage

BUCKET_MS = BUCKET_SECONDS * 1000

# So much is read over one snapshot: a step ends with the bucket that holds its so-manieth row, or line.
STEP_ROWS, STEP_LINES = 20_000, 20_000

# The place of a line, and its sums.
Lines = dict[tuple[Any, ...], tuple[int, ...]]

_table = requests.c

# `+`: the way in is the span, not the order of closing.
closed_seq: ColumnElement[int] = literal_column("+requests.closed_seq")


class Stretch(Value, frozen=True):
    """Milliseconds, on edges of buckets; None = without an end."""

    start_ms: int
    end_ms: int | None

    def ids(self, column: ColumnElement[Any] = requests.c.id) -> Iterator[ColumnElement[bool]]:
        """Rows of requests made in it."""
        yield column >= id_floor("req", from_ms(self.start_ms))
        if self.end_ms is not None:
            yield column < id_floor("req", from_ms(self.end_ms))

    def buckets(self, column: ColumnElement[int]) -> Iterator[ColumnElement[bool]]:
        yield column >= self.start_ms
        if self.end_ms is not None:
            yield column < self.end_ms


def stretch_from(connection: Connection, start_ms: int, stop_ms: int | None, step_rows: int = STEP_ROWS) -> Stretch:
    """The buckets from `start_ms` on, so many that about `step_rows` rows are read; `stop_ms`: and no further."""
    whole = Stretch(start_ms, stop_ms)
    row = select(_table.created_at).where(*whole.ids()).order_by(_table.id).limit(1).offset(step_rows)
    line = select(usage.c.bucket_at).where(*whole.buckets(usage.c.bucket_at))
    line = line.order_by(usage.c.bucket_at).limit(1).offset(STEP_LINES)
    last = [at for at in (connection.scalar(row), connection.scalar(line)) if at is not None]
    if not last:
        return whole
    end_ms = max(min(last), start_ms) // BUCKET_MS * BUCKET_MS + BUCKET_MS
    return Stretch(start_ms, end_ms if stop_ms is None else min(end_ms, stop_ms))


def kept_lines(connection: Connection, stretch: Stretch) -> Lines:
    """As they stand."""
    columns = (usage.c[name] for name in (*USAGE_KEY, *USAGE_SUMS))
    return _lines(connection, select(*columns).where(*stretch.buckets(usage.c.bucket_at)))


def recomputed_lines(connection: Connection, stretch: Stretch, after_seq: int = 0) -> Lines:
    """As the closed rows, and the adjustments that count with them, say they should be.

    `after_seq`: only of rows that were closed behind it.
    """
    return _lines(connection, recomputed(stretch, closed_seq > after_seq))


def recomputed(
    stretch: Stretch,
    *conditions: ColumnElement[bool],
    also: Sequence[ColumnElement[Any]] = (),
    and_sums: Sequence[ColumnElement[Any]] = (),
) -> Select[Any]:
    """The query of such lines. `conditions`: over `requests`.

    `also`: what they are grouped by besides their place, and behind it; `and_sums`: behind the sums.
    """
    by_hand = (
        select(
            adjustments.c.request_id,
            func.sum(adjustments.c.true_cost).label("true_cost"),
            func.sum(adjustments.c.charged).label("charged"),
        )
        .where(adjustments.c.late == 0, *stretch.ids(adjustments.c.request_id))
        .group_by(adjustments.c.request_id)
        .subquery()
    )
    bucket = _table.created_at - _table.created_at % BUCKET_MS
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
        select(*where, *also, *(sums[name] for name in USAGE_SUMS), *and_sums)
        .select_from(requests.outerjoin(by_hand, by_hand.c.request_id == _table.id))
        .where(*stretch.ids(), *conditions)
        .group_by(*where, *also)
    )


def without(lines: Lines, others: Lines) -> Lines:
    """What is left of lines when others are taken out of them; what comes to nothing is no line."""
    left = dict(lines)
    nothing = (0,) * len(USAGE_SUMS)
    for where, sums in others.items():
        rest = tuple(one - other for one, other in zip(left.pop(where, nothing), sums, strict=True))
        if any(rest):
            left[where] = rest
    return left


def _lines(connection: Connection, query: Select[Any]) -> Lines:
    key = len(USAGE_KEY)
    return {tuple(row[:key]): tuple(row[key:]) for row in connection.execute(query)}
