"""Limits: budgets and their windows, rates and concurrency, refusals, alerts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("requests", sa.Column("kept", WHOLE, nullable=False, server_default=sa.text("0")))
    op.add_column("requests", sa.Column("tokens_held", WHOLE, nullable=False, server_default=sa.text("0")))
    op.create_index(
        "requests_one_cost",
        "requests",
        ["id"],
        unique=False,
        sqlite_where=sa.text("state = 'settled' AND (true_cost IS NULL OR charged IS NULL)"),
    )
    _limits()
    _refusals()
    op.create_table(
        "alerts",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("at", WHOLE, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("subject"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _limits() -> None:
    op.create_table(
        "limits",
        sa.Column("owner_id", sa.Text(), nullable=False),
        sa.Column("rpm", WHOLE),
        sa.Column("tpm", WHOLE),
        sa.Column("concurrency", WHOLE),
        sa.Column("running", WHOLE, nullable=False),
        sa.Column("running_tokens", WHOLE, nullable=False),
        sa.Column("steps", sa.Text(), nullable=False),
        sa.CheckConstraint("rpm > 0 AND tpm > 0 AND concurrency > 0", name="limits_positive"),
        sa.CheckConstraint("running >= 0 AND running_tokens >= 0", name="limits_running"),
        sa.PrimaryKeyConstraint("owner_id"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "budgets",
        sa.Column("owner_id", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("amount", WHOLE, nullable=False),
        sa.CheckConstraint("period IN ('day', 'week', 'month', 'total')", name="budgets_period"),
        sa.CheckConstraint("amount >= 0", name="budgets_amount"),
        sa.PrimaryKeyConstraint("owner_id", "period"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_table(
        "windows",
        sa.Column("owner_id", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("starts_at", WHOLE, nullable=False),
        sa.Column("ends_at", WHOLE, nullable=False),
        sa.Column("billing", sa.Text(), nullable=False),
        sa.Column("settled", WHOLE, nullable=False),
        sa.Column("kept", WHOLE, nullable=False),
        sa.Column("held", WHOLE, nullable=False),
        sa.CheckConstraint("starts_at < ends_at", name="windows_edges"),
        sa.CheckConstraint("billing IN ('charged', 'true_cost')", name="windows_billing"),
        sa.CheckConstraint("settled >= 0 AND kept >= 0 AND held >= 0", name="windows_sums"),
        sa.PrimaryKeyConstraint("owner_id", "period", "starts_at"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def _refusals() -> None:
    op.create_table(
        "refusals",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("at", WHOLE, nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("stream", WHOLE, nullable=False),
        sa.Column("sdk_retry", WHOLE, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("facts", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["keys.id"]),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index("refusals_key", "refusals", ["key_id", "id"])
    op.create_table(
        "refusal_counts",
        sa.Column("bucket_at", WHOLE, nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("refused", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("bucket_at", "key_id", "reason"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
