"""Closed requests by a cost, or by an id that is not ours: indices that the ledger keeps itself.

Costs and ids come in no order: an index over the whole ledger would put every settlement on a page of its own. So the
ledger is cut into stretches, requests that were closed one after another. When one is complete, its costs and ids are
sorted, and added behind those of the stretches before it: 2.1 µs of a request for all three columns. (As indices of
SQLite's, which begin with the stretch too but take each settlement at once, they wrote 26 of the 63 pages of a commit
of 64 requests, and were 12 of the 137 µs that one of these took.)

A search asks every stretch, at 2 to 5 µs each: all of ten million requests 10 to 24 ms; and of what belongs to no
complete one yet, it reads the rows.
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
    Select,
    delete,
    func,
    insert,
    literal,
    select,
    tuple_,
    union_all,
    update,
)

from app.store.schema import requests
from app.store.schema_stretches import BY_STRETCH, stretches

# Of a longer one more rows would be read; of shorter ones there would be more to ask.
STRETCH_BITS = 11
STRETCH = 1 << STRETCH_BITS

# Where more wait, all but so many are added at once.
WAITING_MAX = 2 * STRETCH

_seq = requests.c.closed_seq


class Stretches:
    """Adds what is complete. Remembers how far each column is; call it in the writer's transactions."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._until: dict[str, int] = {}

    def forget(self) -> None:
        """Somebody else may have added some."""
        self._until.clear()

    def add_complete(self, last_seq: int) -> None:
        """One column of one stretch, if there is a complete one: a transaction takes 1 to 2 ms more for it, not 5.
        More of them only where several stretches wait. `last_seq`: of the request that was closed last.
        """
        if not self._until:
            self._until = {row.of_column: row.until for row in self._connection.execute(select(stretches))}
        least = min(self._until.values())
        while last_seq + 1 - least >= STRETCH:
            self._add(next(name for name, until in self._until.items() if until == least), least)
            least = min(self._until.values())
            if last_seq - least < WAITING_MAX:
                return

    def _add(self, name: str, start: int) -> None:
        column, until = requests.c[name], start + STRETCH
        its = (
            select(literal(start >> STRETCH_BITS), column, _seq)
            .where(_seq >= start, _seq < until, column.is_not(None))
            .order_by(column, _seq)
        )
        self._connection.execute(insert(BY_STRETCH[name]).from_select(["stretch", "value", "closed_seq"], its))
        self._connection.execute(update(stretches).where(stretches.c.of_column == name).values(until=until))
        self._until[name] = until


def ids_where(column: Column[Any], holds: Callable[[ColumnElement[Any]], ColumnElement[bool]]) -> CompoundSelect[Any]:
    """Ids of the closed requests whose cost (or other id) is as `holds` says of it, in no order.

    `column`: of `requests`, one that `BY_STRETCH` has. What holds must be a range, or one value.
    """
    table = BY_STRETCH[column.name]
    until = select(stretches.c.until).where(stretches.c.of_column == column.name).scalar_subquery()
    sorted_in = (
        select(requests.c.id)
        .join(table, table.c.closed_seq == _seq)
        .where(table.c.stretch.in_(select(_each_stretch(column.name).c.number)), holds(table.c.value))
    )
    return union_all(sorted_in, select(requests.c.id).where(_seq >= until, holds(column)))


@functools.cache  # one statement may ask for it twice, and then it must be the same
def _each_stretch(name: str) -> CTE:
    number = BY_STRETCH[name].c.stretch
    last = select(func.max(number)).scalar_subquery()
    each = select(func.min(number).label("number")).cte(f"stretches_of_{name}", recursive=True)
    return each.union_all(select(each.c.number + 1).where(each.c.number < last))


def let_go_of(connection: Connection, request_ids: Select[Any]) -> None:
    """Call it before their rows are deleted."""
    for name, table in BY_STRETCH.items():
        row = select(_seq.bitwise_rshift(STRETCH_BITS), requests.c[name], _seq).where(requests.c.id.in_(request_ids))
        connection.execute(delete(table).where(tuple_(*table.primary_key).in_(row)))
