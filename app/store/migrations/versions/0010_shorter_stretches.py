"""Indices of longer stretches go, where a ledger was at 0009 for a while; 0012 has what came instead."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

NAMES = ("requests_true_cost", "requests_response", "requests_upstream")


def upgrade() -> None:
    for name in NAMES:
        op.drop_index(name, "requests", if_exists=True)
