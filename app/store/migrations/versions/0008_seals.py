"""Seals of months whose rows may be let go of, and what budgets count of these; adjustments outlive their requests."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _seals()
    op.create_table(
        "remains",
        sa.Column("bucket_at", WHOLE, nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("team_id", sa.Text(), nullable=False),
        sa.Column("true_cost_alone", WHOLE, nullable=False),
        sa.Column("charged_alone", WHOLE, nullable=False),
        sa.Column("kept", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("bucket_at", "key_id", "team_id"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    _adjustments()


def _seals() -> None:
    op.create_table(
        "seals",
        sa.Column("from_at", WHOLE, nullable=False),
        sa.Column("number", WHOLE, nullable=False),
        sa.Column("to_at", WHOLE, nullable=False),
        sa.Column("after_seq", WHOLE, nullable=False),
        sa.Column("through_seq", WHOLE, nullable=False),
        sa.Column("month", sa.Text(), nullable=False),
        sa.Column("sealed_at", WHOLE, nullable=False),
        sa.Column("form", WHOLE, nullable=False),
        sa.Column("rows", WHOLE, nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("usage_sha256", sa.Text(), nullable=False),
        sa.Column("totals", sa.Text(), nullable=False),
        sa.Column("pieces", sa.Text(), nullable=False),
        sa.CheckConstraint("from_at < to_at", name="seals_edges"),
        sa.CheckConstraint("number >= 1 AND after_seq < through_seq", name="seals_order"),
        sa.CheckConstraint("rows > 0", name="seals_rows"),
        sa.CheckConstraint("json_valid(totals) AND json_valid(pieces)", name="seals_json"),
        sa.PrimaryKeyConstraint("from_at", "number"),
        sqlite_strict=True,
    )
    op.execute(
        "CREATE TRIGGER seals_no_update BEFORE UPDATE ON seals "
        "BEGIN SELECT RAISE(ABORT, 'seals are never changed'); END"
    )
    op.execute(
        "CREATE TRIGGER seals_no_delete BEFORE DELETE ON seals "
        "BEGIN SELECT RAISE(ABORT, 'seals are never removed'); END"
    )
    op.execute(
        "CREATE TRIGGER seals_no_replace BEFORE INSERT ON seals "
        "WHEN EXISTS (SELECT 1 FROM seals WHERE from_at = NEW.from_at AND number = NEW.number) "
        "BEGIN SELECT RAISE(ABORT, 'seals are never replaced'); END"
    )


def _adjustments() -> None:
    """Without the reference to requests, which SQLite can only leave out of a new table."""
    op.drop_index("adjustments_request", "adjustments")
    op.drop_index("adjustments_dated", "adjustments")
    op.create_table(
        "adjustments_alone",
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
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO adjustments_alone SELECT id, request_id, seq, at, late, true_cost, charged, charged_derived, "
        "author, reason, key_id, team_id, tags, model FROM adjustments"
    )
    op.drop_table("adjustments")
    op.rename_table("adjustments_alone", "adjustments")
    op.create_index("adjustments_request", "adjustments", ["request_id", "seq"], unique=True)
    op.create_index("adjustments_dated", "adjustments", ["id"], unique=False, sqlite_where=sa.text("late = 1"))
