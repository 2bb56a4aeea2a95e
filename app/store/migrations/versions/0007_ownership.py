"""Who made what can be referred to: by a hash of its id, also items and containers, with the maker's team."""

from __future__ import annotations

import hashlib

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

DAY_MS = 24 * 60 * 60 * 1000


def upgrade() -> None:
    op.create_table(
        "makers",
        sa.Column("id", WHOLE, nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("team_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["keys.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key_id", "team_id"),
        sqlite_strict=True,
    )
    op.create_table(
        "made",
        sa.Column("id_hash", WHOLE, nullable=False),
        sa.Column("maker_id", WHOLE, nullable=True),
        sa.Column("made_on", WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("id_hash"),
        sqlite_strict=True,
    )
    _move()
    op.drop_table("responses")


def _move() -> None:
    """What was known of responses: their teams and days are those of the requests that made them."""
    connection = op.get_bind()
    driver = connection.connection.driver_connection
    assert driver is not None  # noqa: S101 - a migration always has one
    driver.create_function("id_hash_0007", 1, _id_hash, deterministic=True)
    made_by = (
        "FROM responses LEFT JOIN requests "
        "ON requests.response_id = responses.response_id AND requests.key_id = responses.key_id"
    )
    op.execute(
        f"INSERT OR IGNORE INTO makers (key_id, team_id) "
        f"SELECT DISTINCT responses.key_id, coalesce(requests.team_id, '') {made_by}"
    )
    op.execute(
        f"INSERT OR IGNORE INTO made (id_hash, maker_id, made_on) "
        f"SELECT id_hash_0007(responses.response_id), makers.id, coalesce(requests.created_at, 0) / {DAY_MS} {made_by} "
        "JOIN makers ON makers.key_id = responses.key_id AND makers.team_id = coalesce(requests.team_id, '')"
    )


def _id_hash(text: str) -> int:
    """As it was when this step was written."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big", signed=True)
