"""Indices over ids and costs of closed requests begin with a stretch of the ledger: what is new goes to one place.

Those of before go here; what came instead are tables, which 0012 makes.
"""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

NAMES = ("requests_true_cost", "requests_response", "requests_upstream")


def upgrade() -> None:
    for name in NAMES:
        op.drop_index(name, "requests")
