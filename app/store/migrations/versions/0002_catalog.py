"""The upstream's list of models, kept."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "catalog",
        sa.Column("id", WHOLE, nullable=False),
        sa.Column("fetched_at", WHOLE, nullable=False),
        sa.Column("models", sa.Text(), nullable=False),
        sa.CheckConstraint("id = 1", name="catalog_one_row"),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
