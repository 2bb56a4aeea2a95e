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
from app.store.schema_stretches import stretches as sorted_until
from app.store.verify import DIFFERENCES_MAX

# SQLite has no greater integers, whatever somebody may have put where stretches stand.
_LAST = 2**63 - 1

# 16,384 requests, 0.1 s on a slow machine: so long a step's snapshot is kept.
STRETCHES_PER_STEP = 8

_seq = requests.c.closed_seq


def verify_stretches(connection: Connection, start: int | None) -> tuple[tuple[Difference, ...], int | None]:
    """Differences in the next stretches that hold anything, from number `start` on (None: from the first on).

    Also tells where to go on, None at the end.
    """
    found = [] if start is not None else list(_bounds(connection))
    first = _first(connection, start)
    if first is None:
        return tuple(found), None
    last = min(first + STRETCHES_PER_STEP - 1, _LAST)
    found += [one for name in BY_STRETCH for one in differences_in(connection, name, first, last)]
    return tuple(found[:DIFFERENCES_MAX]), last + 1 if last < _LAST else None


def _bounds(connection: Connection) -> Iterator[Difference]:
    """Columns of which nobody can tell how far they are sorted in: a search goes on from there."""
    until = {row.of_column: row.until for row in connection.execute(select(sorted_until))}
    for name in BY_STRETCH:
        if name not in until or until[name] < 0 or until[name] % stretches.STRETCH:
            yield Difference(f"a search by {name} knows what is sorted", {"until": str(until.get(name))})


def _first(connection: Connection, start: int | None) -> int | None:
    """The first stretch from `start` on of which there are rows that may be sorted in, or anything that is."""
    seqs = select(func.min(_seq)).where(_seq < select(func.max(sorted_until.c.until)).scalar_subquery())
    if start is not None:
        seqs = seqs.where(_seq >= _bounded(start * stretches.STRETCH))
    seq = connection.scalar(seqs)
    numbers = [None if seq is None else seq // stretches.STRETCH]
    for table in BY_STRETCH.values():
        number = select(func.min(table.c.stretch))
        numbers.append(connection.scalar(number if start is None else number.where(table.c.stretch >= start)))
    return min((one for one in numbers if one is not None), default=None)


def _bounded(seq: int) -> int:
    return max(-_LAST, min(seq, _LAST))


def differences_in(connection: Connection, name: str, first: int, last: int) -> Iterator[Difference]:
    """Of the column of that name, in the stretches from `first` to `last`.

    In SQL alone, beside which the event loop goes on: Python takes as long (7 µs a request) and would stop it.
    """
    column, table, length = requests.c[name], BY_STRETCH[name], stretches.STRETCH
    until = select(sorted_until.c.until).where(sorted_until.c.of_column == name).scalar_subquery()
    is_one = and_(table.c.stretch == _seq // length, table.c.value == column, table.c.closed_seq == _seq, _seq < until)
    missing = select(_seq).where(
        _seq.between(_bounded(first * length), _bounded(last * length + length - 1)),
        _seq < until,
        column.is_not(None),
        ~exists(table.select().where(is_one)),
    )
    surplus = select(table.c.closed_seq).where(
        table.c.stretch.between(first, last), ~exists(requests.select().where(is_one))
    )
    for what, wrong in (("finds each request", missing), ("finds nothing else", surplus)):
        seqs = wrong.limit(DIFFERENCES_MAX).subquery()
        query = select(seqs.c[0], requests.c.id).select_from(seqs.outerjoin(requests, _seq == seqs.c[0]))
        for seq, request_id in connection.execute(query):
            where = {"closed_seq": str(seq)} if request_id is None else {"request": request_id}
            yield Difference(f"a search by {name} {what}", where)
