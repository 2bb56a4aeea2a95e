"""The books: adjustments, usage by day, and indices for the rarer questions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "adjustments",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("seq", WHOLE, nullable=False),
        sa.Column("at", WHOLE, nullable=False),
        sa.Column("late", WHOLE, nullable=False),
        sa.Column("true_cost", WHOLE, nullable=False),
        sa.Column("charged", WHOLE, nullable=False),
        sa.Column("charged_derived", WHOLE, nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("team_id", sa.Text(), nullable=True),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.CheckConstraint("seq >= 1", name="adjustments_seq"),
        sa.CheckConstraint("late IN (0, 1)", name="adjustments_late"),
        sa.ForeignKeyConstraint(
            ["request_id"],
            ["requests.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("adjustments_request", "adjustments", ["request_id", "seq"], unique=True)
    op.create_index("adjustments_dated", "adjustments", ["id"], unique=False, sqlite_where=sa.text("late = 1"))
    op.create_table(
        "usage_days",
        sa.Column("bucket_at", WHOLE, nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("team_id", sa.Text(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("requests", WHOLE, nullable=False),
        sa.Column("true_cost", WHOLE, nullable=False),
        sa.Column("charged", WHOLE, nullable=False),
        sa.Column("true_cost_unknown", WHOLE, nullable=False),
        sa.Column("charged_unknown", WHOLE, nullable=False),
        sa.Column("input_tokens", WHOLE, nullable=False),
        sa.Column("cached_tokens", WHOLE, nullable=False),
        sa.Column("output_tokens", WHOLE, nullable=False),
        sa.Column("reasoning_tokens", WHOLE, nullable=False),
        sa.Column("total_tokens", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("bucket_at", "key_id", "team_id", "tags", "model", "state"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "calendar",
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("days_until", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("zone"),
        sqlite_strict=True,
    )
    op.create_index(
        "requests_status", "requests", ["status", "id"], unique=False, sqlite_where=sa.text("status <> 200")
    )
    op.create_index(
        "requests_outcome",
        "requests",
        ["outcome", "id"],
        unique=False,
        sqlite_where=sa.text("outcome <> 'completed'"),
    )
    op.create_index(
        "requests_true_cost",
        "requests",
        ["true_cost", "id"],
        unique=False,
        sqlite_where=sa.text("true_cost IS NOT NULL"),
    )
    op.create_index(
        "requests_unknown_reason",
        "requests",
        ["unknown_reason", "id"],
        unique=False,
        sqlite_where=sa.text("unknown_reason IS NOT NULL"),
    )
    op.create_index("requests_tags", "requests", ["tags", "id"], unique=False, sqlite_where=sa.text("tags <> '[]'"))
