"""Costs and ids of closed requests are in tables of their own, to which whole stretches are added when complete."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
STRETCH = 2048
KEY = ["stretch", "value", "closed_seq"]

# [table, type, column of requests, its index of before]
TABLES = (
    ("true_costs_by_stretch", WHOLE, "true_cost", "requests_true_cost"),
    ("response_ids_by_stretch", sa.Text(), "response_id", "requests_response"),
    ("upstream_ids_by_stretch", sa.Text(), "upstream_request_id", "requests_upstream"),
)


def upgrade() -> None:
    op.create_table(
        "stretches",
        sa.Column("of_column", sa.Text(), nullable=False),
        sa.Column("until", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("of_column"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    connection = op.get_bind()
    span = sa.text("SELECT min(closed_seq), max(closed_seq) FROM requests WHERE closed_seq > 0")
    first, last = connection.execute(span).one()
    gone = connection.scalar(sa.text("SELECT max(through_seq) FROM seals"))  # of rows that may all have been let go of
    until = (max(last or 0, gone or 0) + 1) // STRETCH
    begin = until if first is None else first // STRETCH
    for table, kind, column, index in TABLES:
        op.drop_index(index, "requests", if_exists=True)  # a ledger that was at 0010 or 0011 has it
        op.create_table(
            table,
            sa.Column("stretch", WHOLE, nullable=False),
            sa.Column("value", kind, nullable=False),
            sa.Column("closed_seq", WHOLE, nullable=False),
            sa.PrimaryKeyConstraint(*KEY),
            sqlite_strict=True,
            sqlite_with_rowid=False,
        )
        value: sa.ColumnClause[Any] = sa.column(column)
        seq: sa.ColumnClause[int] = sa.column("closed_seq")
        for stretch in range(begin, until):
            its = (
                sa.select(sa.literal(stretch), value, seq)
                .select_from(sa.table("requests"))
                .where(seq >= stretch * STRETCH, seq < (stretch + 1) * STRETCH, value.is_not(None))
                .order_by(value, seq)
            )
            add = sa.insert(sa.table(table, *map(sa.column, KEY))).from_select(KEY, its)
            connection.execute(add)
        note = sa.text("INSERT INTO stretches VALUES (:column, :until)")
        connection.execute(note, {"column": column, "until": until * STRETCH})
