"""Alerts: where they go, and how each arrives."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("alerts", sa.Column("spread_at", WHOLE))
    op.create_index("alerts_unspread", "alerts", ["id"], unique=False, sqlite_where=sa.text("spread_at IS NULL"))
    op.create_table(
        "alert_destinations",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("created_at", WHOLE, nullable=False),
        sa.Column("removed_at", WHOLE),
        sa.CheckConstraint("kind IN ('webhook', 'service')", name="alert_destinations_kind"),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index(
        "alert_destinations_name",
        "alert_destinations",
        ["name"],
        unique=True,
        sqlite_where=sa.text("removed_at IS NULL"),
    )
    op.create_table(
        "alert_deliveries",
        sa.Column("alert_id", sa.Text(), nullable=False),
        sa.Column("destination_id", sa.Text(), nullable=False),
        sa.Column("attempts", WHOLE, nullable=False),
        sa.Column("next_at", WHOLE),
        sa.Column("delivered_at", WHOLE),
        sa.Column("given_up_at", WHOLE),
        sa.Column("error", sa.Text()),
        sa.CheckConstraint(
            "(next_at IS NULL) <> (COALESCE(delivered_at, given_up_at) IS NULL) "
            "AND (delivered_at IS NULL OR given_up_at IS NULL)",
            name="alert_deliveries_state",
        ),
        sa.ForeignKeyConstraint(["alert_id"], ["alerts.id"]),
        sa.ForeignKeyConstraint(["destination_id"], ["alert_destinations.id"]),
        sa.PrimaryKeyConstraint("alert_id", "destination_id"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index(
        "alert_deliveries_due",
        "alert_deliveries",
        ["destination_id", "next_at"],
        unique=False,
        sqlite_where=sa.text("next_at IS NOT NULL"),
    )
