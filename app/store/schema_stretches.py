"""The tables by which closed requests are found by a cost, or by an id that is not ours. `stretches` has how.

Conventions as in `schema`, which has the rest.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Table, Text

from app.store.schema import Whole, strict_table


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
    "true_cost": _by_stretch("costs_by_stretch", Whole),
    "response_id": _by_stretch("responses_by_stretch", Text),
    "upstream_request_id": _by_stretch("upstream_ids_by_stretch", Text),
}

# A row for each of these: the first `closed_seq` that is not in it yet, where a stretch begins.
stretches = strict_table(
    "stretches",
    Column("of_column", Text, primary_key=True),
    Column("until", Whole, nullable=False),
    sqlite_with_rowid=False,
)
