"""The tables by which requests are found by cost and by others' ids, held against the rows: SQLite itself does not."""

from __future__ import annotations

from collections.abc import Iterator

from app.store import stretches
from app.store.schema_stretches import BY_STRETCH


def wrong() -> str:
    """A query for what a table has and should not, or lacks."""
    return " UNION ALL ".join(query for name, table in BY_STRETCH.items() for query in _both_ways(name, table.name))


def _both_ways(column: str, table: str) -> Iterator[str]:
    until = f"(SELECT until FROM stretches WHERE of_column = '{column}')"
    expected = (
        f"SELECT closed_seq / {stretches.STRETCH}, {column}, closed_seq FROM requests"
        f" WHERE {column} IS NOT NULL AND closed_seq < {until}"
    )
    there = f"SELECT stretch, value, closed_seq FROM {table}"
    yield f"SELECT '{table} lacks ' || closed_seq FROM ({expected} EXCEPT {there})"
    yield f"SELECT '{table} has ' || closed_seq FROM ({there} EXCEPT {expected})"
