"""The proof that a search by cost, or by an id that is not ours, finds what the rows say, and nothing else.

`verify` compares rows with sums; this compares them with the tables of `stretches`, which nothing of SQLite's does.
Called by the reports, each step over a snapshot of its own: a settlement, and a row that is let go of, change both in
one transaction.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, and_, exists, func, select

from app.core.views import Difference
from app.store import stretches
from app.store.schema import requests
from app.store.schema_stretches import BY_STRETCH
from app.store.schema_stretches import stretches as kept
from app.store.verify import DIFFERENCES_MAX

STRETCHES_PER_STEP = 8

_seq = requests.c.closed_seq


def verify_stretches(connection: Connection, start: int = 0) -> tuple[tuple[Difference, ...], int | None]:
    """Differences in the next stretches that hold anything, from number `start` on; and where to go on, None at the
    end."""
    first = _first(connection, start)
    if first is None:
        return (), None
    end = first + STRETCHES_PER_STEP
    found = [one for name in BY_STRETCH for one in differences_in(connection, name, first, end)]
    return tuple(found[:DIFFERENCES_MAX]), end


def _first(connection: Connection, start: int) -> int | None:
    """The first stretch from `start` on of which there are rows that may be sorted in, or anything that is."""
    until = select(func.max(kept.c.until)).scalar_subquery()
    row = connection.scalar(select(func.min(_seq)).where(_seq >= start * stretches.STRETCH, _seq < until))
    its = [None if row is None else row // stretches.STRETCH]
    for table in BY_STRETCH.values():
        its.append(connection.scalar(select(func.min(table.c.stretch)).where(table.c.stretch >= start)))
    return min((one for one in its if one is not None), default=None)


def differences_in(connection: Connection, name: str, first: int, end: int) -> Iterator[Difference]:
    """Of one column, in the stretches from `first` on before `end`.

    In SQL alone, since it would take as long in Python (6 µs a request), and the event loop would wait for it.
    """
    column, table, length = requests.c[name], BY_STRETCH[name], stretches.STRETCH
    until = select(kept.c.until).where(kept.c.of_column == name).scalar_subquery()
    is_one = and_(table.c.stretch == _seq // length, table.c.value == column, table.c.closed_seq == _seq, _seq < until)
    lacking = select(_seq).where(
        _seq >= first * length,
        _seq < end * length,
        _seq < until,
        column.is_not(None),
        ~exists(table.select().where(is_one)),
    )
    beyond = select(table.c.closed_seq).where(
        table.c.stretch >= first, table.c.stretch < end, ~exists(requests.select().where(is_one))
    )
    for what, odd in (("finds each request", lacking), ("finds nothing else", beyond)):
        some = odd.limit(DIFFERENCES_MAX).subquery()
        query = select(some.c[0], requests.c.id).select_from(some.outerjoin(requests, _seq == some.c[0]))
        for seq, request_id in connection.execute(query):
            where = {"closed_seq": str(seq)} if request_id is None else {"request": request_id}
            yield Difference(f"a search by {name} {what}", where)
