"""How the hot statements run: compiled once from SQLAlchemy Core, one for many rows, values bound.

The rows of a batch stand before the statement, as `WITH rows_ (f0, f1, …) AS (VALUES (?, …), …)`; it reads them as a
table. So a batch costs a few statements, however many requests it holds, and the interpreter lock is let go once per
statement, not per row as `executemany` does. (A batch of 64 was written in 42 µs a row through `json_each`, in 24
with `executemany`, in 20 like this: Python 3.11, SQLite 3.40.) Called in the writer's transactions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Any, cast

from sqlalchemy import ClauseElement, ColumnClause, Connection, column, table
from sqlalchemy.dialects import sqlite

# A statement is prepared for 1, 2, 4, … rows: for any number of them a few are enough, and all stay prepared.
ROWS_MAX = 64

_COUNTS = tuple(1 << power for power in range(ROWS_MAX.bit_length()))

_WIDTH_MAX = 24

rows = table("rows_", *(column(f"f{index}") for index in range(_WIDTH_MAX)))


def field(index: int) -> ColumnClause[Any]:
    """A value of a row, by its place."""
    return rows.c[f"f{index}"]


class Hot:
    """One statement that reads `rows`, each of so many values. It has no other parameters."""

    def __init__(self, statement: ClauseElement, width: int) -> None:
        made = statement.compile(dialect=sqlite.dialect(paramstyle="qmark"))
        if parameters := getattr(made, "positiontup", None):
            raise TypeError(f"a hot statement takes rows alone, not {parameters}")
        fields = ", ".join(f"f{index}" for index in range(width))
        row = f"({', '.join('?' * width)})"
        # Kept as they are: the driver finds a prepared statement by its text.
        self._texts = {
            count: f"WITH rows_ ({fields}) AS (VALUES {', '.join([row] * count)}) {made}" for count in _COUNTS
        }

    def text(self, count: int) -> str:
        """The statement for 1, 2, 4, … rows."""
        return self._texts[count]

    def run(self, connection: sqlite3.Connection, rows: Sequence[Sequence[object]]) -> list[Any]:
        """Runs it over all rows, in their order; what it returns or finds, if it does. Raises: the driver's errors."""
        if len(rows) == 1:  # of a request alone: nothing is to be cut or chained
            return list(connection.execute(self._texts[1], rows[0]))
        found: list[Any] = []
        start = 0
        while left := len(rows) - start:
            count = ROWS_MAX if left >= ROWS_MAX else 1 << left.bit_length() - 1
            values = list(chain.from_iterable(rows[start : start + count]))
            found += connection.execute(self._texts[count], values)
            start += count
        return found


def raw_of(connection: Connection) -> sqlite3.Connection:
    """The driver's connection under SQLAlchemy's."""
    return cast("sqlite3.Connection", connection.connection.driver_connection)
