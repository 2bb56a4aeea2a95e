"""The tables by which closed requests are found by their true cost, or by an id that is not ours; `stretches` has how.

Conventions as in `schema`, which has the rest.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Table, Text

from app.store.schema import Whole, strict_table

# A stretch is so many requests (2,048), as a power of two. Of longer ones, more rows would be read that are not sorted
# yet; of shorter ones there would be more to ask. It is stored: another length wants a migration that makes the tables
# anew.
STRETCH_BITS = 11


def _by_stretch(name: str, kind: Any) -> Table:
    return strict_table(
        name,
        Column("stretch", Whole, primary_key=True),  # `closed_seq >> STRETCH_BITS`
        Column("value", kind, primary_key=True),
        Column("closed_seq", Whole, primary_key=True),
        sqlite_with_rowid=False,
    )


# By the column of `requests` whose values they hold; rows in which it is NULL are not there.
BY_STRETCH = {
    "true_cost": _by_stretch("true_costs_by_stretch", Whole),
    "response_id": _by_stretch("response_ids_by_stretch", Text),
    "upstream_request_id": _by_stretch("upstream_ids_by_stretch", Text),
}

# A row for each of these tables, by the column that it holds. `until`: it has the stretches before this `closed_seq`,
# the first of a stretch.
stretches = strict_table(
    "stretches",
    Column("of_column", Text, primary_key=True),
    Column("until", Whole, nullable=False),
    sqlite_with_rowid=False,
)
