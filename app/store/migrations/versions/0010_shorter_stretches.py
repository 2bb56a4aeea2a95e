"""A stretch of the ledger is 2,048 requests, not 8,192: settlements together write fewer pages of its indices."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

COLUMNS = {
    "requests_true_cost": "true_cost",
    "requests_response": "response_id",
    "requests_upstream": "upstream_request_id",
}


def upgrade() -> None:
    for name, column in COLUMNS.items():
        op.drop_index(name, "requests", if_exists=True)  # they do in a ledger that was at 0009 for a while
        op.create_index(
            name,
            "requests",
            [sa.text("closed_seq >> 11"), column],
            unique=False,
            sqlite_where=sa.text(f"{column} IS NOT NULL"),
        )
