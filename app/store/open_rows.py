"""The requests that are open: remembered from their admission on, looked up if they are not.

Called by the batch, in the writer's transactions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from app.store.statements import OPEN_ROWS


class OpenRow(NamedTuple):
    """What closing a request needs to know of it. In the order of `statements.OPEN_COLUMNS`."""

    id: str
    created_at: int  # milliseconds since 1970
    key_id: str
    team_id: str | None
    tags: str
    model: str
    hold: int
    tokens_held: int


class OpenRows:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._known: dict[str, OpenRow] = {}

    def add(self, row: OpenRow) -> None:
        """It has been written in this transaction."""
        self._known[row.id] = row

    def take(self, ids: Iterable[str]) -> dict[str, OpenRow]:
        """Those of these that are open. They are to be closed in this transaction."""
        found: dict[str, OpenRow] = {}
        forgotten = []
        for request_id in ids:
            row = self._known.pop(request_id, None)
            if row is None:
                forgotten.append((request_id,))
            else:
                found[request_id] = row
        for values in OPEN_ROWS.run(self._connection, forgotten):
            found[values[0]] = OpenRow(*values)
        return found

    def forget(self) -> None:
        self._known.clear()
