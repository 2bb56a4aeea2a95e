"""The older steps of an owner's last minute are in a table of their own: each transaction wrote all of them again."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

EDGE = 1 << 63  # of what SQLite counts to

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    connection = op.get_bind()
    owners = [dict(row) for row in connection.execute(sa.text("SELECT * FROM limits")).mappings()]
    op.drop_table("limits")
    limits, minutes = _tables()
    for owner in owners:
        *older, newest = _steps(owner.pop("steps")) or [[0, 0, 0]]
        step = dict(zip(("step_at", "step_requests", "step_tokens"), newest, strict=True))
        connection.execute(sa.insert(limits).values(**owner, **step))
        connection.execute(sa.insert(minutes).values(owner_id=owner["owner_id"], steps=json.dumps(older)))


def _steps(text: str) -> list[list[int]]:
    """What another tool has spoilt is a minute in which nothing was done: no reason not to open the ledger."""
    try:
        steps = json.loads(text)
        readable = all(
            len(step) == 3 and all(type(one) is int and -EDGE <= one < EDGE for one in step) for step in steps
        )
    except (ValueError, TypeError, RecursionError):
        return []
    return steps if readable else []


def _tables() -> tuple[sa.Table, sa.Table]:
    options: dict[str, Any] = {"sqlite_strict": True, "sqlite_with_rowid": False}
    limits = op.create_table(
        "limits",
        sa.Column("owner_id", sa.Text(), nullable=False),
        sa.Column("rpm", WHOLE),
        sa.Column("tpm", WHOLE),
        sa.Column("concurrency", WHOLE),
        sa.Column("running", WHOLE, nullable=False),
        sa.Column("running_tokens", WHOLE, nullable=False),
        sa.Column("step_at", WHOLE, nullable=False),
        sa.Column("step_requests", WHOLE, nullable=False),
        sa.Column("step_tokens", WHOLE, nullable=False),
        sa.CheckConstraint("rpm > 0 AND tpm > 0 AND concurrency > 0", name="limits_positive"),
        sa.CheckConstraint("running >= 0 AND running_tokens >= 0", name="limits_running"),
        sa.PrimaryKeyConstraint("owner_id"),
        **options,
    )
    minutes = op.create_table(
        "minutes",
        sa.Column("owner_id", sa.Text(), nullable=False),
        sa.Column("steps", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["owner_id"], ["limits.owner_id"]),
        sa.PrimaryKeyConstraint("owner_id"),
        **options,
    )
    return limits, minutes
