"""Closed requests by their true cost, or by an id that is not ours: indices that the ledger keeps itself.

Costs and ids come in no order: an index over the whole ledger would put every settlement on a page of its own. So the
ledger is cut into stretches, requests that were closed one after another (`rollup_lines` calls something else so: a
span of time). When one is complete, its costs and ids are sorted, and added behind those of the stretches before it.
(As indices of SQLite's, which began with the stretch too but took each settlement at once, they were 7.7 of the 46 µs
that a new ledger takes for a request among 64; now they are 3.4. 64 requests, in two commits, wrote 140 pages, and
write 72.)

A search asks every stretch, and of what belongs to no complete one yet it reads the rows. Nothing of SQLite's holds
these tables against the rows (`PRAGMA integrity_check` does not see what is missing): `verify_search` does.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    CTE,
    Column,
    ColumnElement,
    CompoundSelect,
    Connection,
    ScalarSelect,
    Select,
    bindparam,
    delete,
    func,
    insert,
    literal,
    select,
    union_all,
    update,
)

from app.store.schema import requests
from app.store.schema_stretches import BY_STRETCH, STRETCH_BITS, stretches

STRETCH = 1 << STRETCH_BITS

# Behind a transaction, so many requests at most are not sorted yet: a search reads their rows.
UNSORTED_MAX = 2 * STRETCH

_seq = requests.c.closed_seq


class Stretches:
    """Adds what is complete. Remembers how far each column is: nobody else adds anything. Call it in the writer's
    transactions; it does not outlive one that failed (no batch does)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._until = {row.of_column: row.until for row in connection.execute(select(stretches))}

    def add_complete(self, last_seq: int) -> None:
        """One column of one stretch, if there is a complete one: a transaction takes 1 to 2 ms more for it, not 5.
        More of them only where several stretches wait. `last_seq`: of the request that was closed last.
        """
        while self._until:  # empty only where somebody meddled, which must refuse no settlement
            name, until = min(self._until.items(), key=lambda one: one[1])
            if last_seq + 1 - until < STRETCH:
                return
            self._add(name, until)
            if last_seq + 1 - min(self._until.values()) <= UNSORTED_MAX:
                return

    def _add(self, name: str, start: int) -> None:
        column, until = requests.c[name], start + STRETCH
        its = (
            select(literal(start >> STRETCH_BITS), column, _seq)
            .where(_seq >= start, _seq < until, column.is_not(None))
            .order_by(column, _seq)
        )
        added = insert(BY_STRETCH[name]).prefix_with("OR IGNORE")  # what is wrong here must refuse no settlement
        self._connection.execute(added.from_select(["stretch", "value", "closed_seq"], its))
        self._connection.execute(update(stretches).where(stretches.c.of_column == name).values(until=until))
        self._until[name] = until


def ids_where(column: Column[Any], meets: Callable[[ColumnElement[Any]], ColumnElement[bool]]) -> CompoundSelect[Any]:
    """Ids of the closed requests whose value of a column meets a test, in no order.

    `column`: of `requests`, one that `BY_STRETCH` has. `meets`: of one range, or one value; a search goes by the key.
    """
    table = BY_STRETCH[column.name]
    sorted_in = (
        select(requests.c.id)
        .join(table, table.c.closed_seq == _seq)
        .where(table.c.stretch.in_(select(_each_stretch(column.name, STRETCH_BITS).c.number)), meets(table.c.value))
    )
    return union_all(sorted_in, select(requests.c.id).where(_seq >= _until(column.name), meets(column)))


@functools.cache  # one statement may ask for it twice, and then it must be the same
def _each_stretch(name: str, bits: int) -> CTE:
    """Numbers from the first stretch on, to the last that is sorted. `bits`: `STRETCH_BITS`, which tests change."""
    number = BY_STRETCH[name].c.stretch
    last = select(func.max(number)).scalar_subquery()
    each = select(func.min(number).label("number")).where(number >= 0).cte(f"stretches_of_{name}", recursive=True)
    # Whoever meddled may have written any number of a stretch: to count up to it would have no end.
    is_sorted = each.c.number < _until(name).bitwise_rshift(bits)
    return each.union_all(select(each.c.number + 1).where(each.c.number < last, is_sorted))


def _until(name: str) -> ScalarSelect[Any]:
    """The `closed_seq` before which a column is sorted."""
    return select(stretches.c.until).where(stretches.c.of_column == name).scalar_subquery()


def let_go_of(connection: Connection, request_ids: Select[Any]) -> None:
    """Call it before their rows are deleted."""
    rows = connection.execute(
        select(_seq, *(requests.c[name] for name in BY_STRETCH)).where(requests.c.id.in_(request_ids))
    )
    found = rows.mappings().all()
    for name, table in BY_STRETCH.items():
        # Each by its key: of `(stretch, value, closed_seq) IN (…)` SQLite uses the first alone where the value is text.
        its = [
            {"at": row["closed_seq"] >> STRETCH_BITS, "of": row[name], "seq": row["closed_seq"]}
            for row in found
            if row[name] is not None
        ]
        key = (
            table.c.stretch == bindparam("at"),
            table.c.value == bindparam("of"),
            table.c.closed_seq == bindparam("seq"),
        )
        if its:
            connection.execute(delete(table).where(*key), its)
