"""The ledger: keys, requests, who made which response, roll-ups."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "instances",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("pid", WHOLE, nullable=False),
        sa.Column("started_at", WHOLE, nullable=False),
        sa.Column("heartbeat_at", WHOLE, nullable=False),
        sa.Column("ended_at", WHOLE, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
    )
    op.create_table(
        "teams",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
        sqlite_strict=True,
    )
    op.create_table(
        "usage",
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
        "keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("team_id", sa.Text(), nullable=True),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("models", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("expires_at", WHOLE, nullable=True),
        sa.Column("created_at", WHOLE, nullable=False),
        sa.Column("last_used_at", WHOLE, nullable=True),
        sa.CheckConstraint("state IN ('active', 'disabled', 'revoked')", name="keys_state"),
        sa.ForeignKeyConstraint(
            ["team_id"],
            ["teams.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
        sqlite_strict=True,
    )
    op.create_index(op.f("ix_keys_team_id"), "keys", ["team_id"], unique=False)
    op.create_table(
        "key_secrets",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("created_at", WHOLE, nullable=False),
        sa.Column("expires_at", WHOLE, nullable=True),
        sa.ForeignKeyConstraint(
            ["key_id"],
            ["keys.id"],
        ),
        sa.PrimaryKeyConstraint("hash"),
        sqlite_strict=True,
    )
    op.create_index(op.f("ix_key_secrets_key_id"), "key_secrets", ["key_id"], unique=False)
    op.create_table(
        "requests",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("created_at", WHOLE, nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("team_id", sa.Text(), nullable=True),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("stream", WHOLE, nullable=False),
        sa.Column("sdk_retry", WHOLE, nullable=False),
        sa.Column("hold", WHOLE, nullable=False),
        sa.Column("instance_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("status", WHOLE, nullable=True),
        sa.Column("true_cost", WHOLE, nullable=True),
        sa.Column("true_cost_raw", sa.Text(), nullable=True),
        sa.Column("charged", WHOLE, nullable=True),
        sa.Column("charged_raw", sa.Text(), nullable=True),
        sa.Column("charged_derived", WHOLE, server_default=sa.text("0"), nullable=False),
        sa.Column("charge_mismatch", WHOLE, server_default=sa.text("0"), nullable=False),
        sa.Column("unknown_reason", sa.Text(), nullable=True),
        sa.Column("input_tokens", WHOLE, nullable=True),
        sa.Column("cached_tokens", WHOLE, nullable=True),
        sa.Column("output_tokens", WHOLE, nullable=True),
        sa.Column("reasoning_tokens", WHOLE, nullable=True),
        sa.Column("total_tokens", WHOLE, nullable=True),
        sa.Column("model_answered", sa.Text(), nullable=True),
        sa.Column("response_id", sa.Text(), nullable=True),
        sa.Column("upstream_request_id", sa.Text(), nullable=True),
        sa.Column("ttfb_ms", WHOLE, nullable=True),
        sa.Column("duration_ms", WHOLE, nullable=True),
        sa.Column("closed_at", WHOLE, nullable=True),
        sa.Column("closed_seq", WHOLE, nullable=True),
        sa.CheckConstraint("(state = 'open') = (closed_seq IS NULL)", name="requests_closed"),
        sa.CheckConstraint("(state = 'unknown') = (unknown_reason IS NOT NULL)", name="requests_unknown_has_reason"),
        sa.CheckConstraint(
            "state <> 'settled' OR true_cost IS NOT NULL OR charged IS NOT NULL", name="requests_settled_has_cost"
        ),
        sa.CheckConstraint("state IN ('open', 'settled', 'free', 'unknown')", name="requests_state"),
        sa.ForeignKeyConstraint(
            ["key_id"],
            ["keys.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
    op.create_index(
        "requests_closed_seq", "requests", ["closed_seq"], unique=True, sqlite_where=sa.text("closed_seq IS NOT NULL")
    )
    op.create_index("requests_free", "requests", ["id"], unique=False, sqlite_where=sa.text("state = 'free'"))
    op.create_index("requests_key", "requests", ["key_id", "id"], unique=False)
    op.create_index("requests_model", "requests", ["model", "id"], unique=False)
    op.create_index("requests_open", "requests", ["id"], unique=False, sqlite_where=sa.text("state = 'open'"))
    op.create_index(
        "requests_response", "requests", ["response_id"], unique=False, sqlite_where=sa.text("response_id IS NOT NULL")
    )
    op.create_index(
        "requests_team", "requests", ["team_id", "id"], unique=False, sqlite_where=sa.text("team_id IS NOT NULL")
    )
    op.create_index("requests_unknown", "requests", ["id"], unique=False, sqlite_where=sa.text("state = 'unknown'"))
    op.create_index(
        "requests_upstream",
        "requests",
        ["upstream_request_id"],
        unique=False,
        sqlite_where=sa.text("upstream_request_id IS NOT NULL"),
    )
    op.create_table(
        "responses",
        sa.Column("response_id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["key_id"],
            ["keys.id"],
        ),
        sa.PrimaryKeyConstraint("response_id"),
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )
