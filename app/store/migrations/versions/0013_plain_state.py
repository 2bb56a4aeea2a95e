"""What the state of a request may be is said in comparisons: of a list SQLite made a table, for each row that it wrote.

The table's text alone changes, as https://www.sqlite.org/lang_altertable.html (section 7) has it for constraints: no
row is read or written, however long the ledger is.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# Whole, so that nothing else can stand beside it: OR binds less than what it replaces.
LIST = "CONSTRAINT requests_state CHECK (state IN ('open', 'settled', 'free', 'unknown'))"
COMPARISONS = (
    "CONSTRAINT requests_state CHECK (state = 'open' OR state = 'settled' OR state = 'free' OR state = 'unknown')"
)

# What a build of SQLite says that is in its defensive mode: there the list stays, and means the same.
FORBIDDEN = "may not be modified"


def upgrade() -> None:
    connection = op.get_bind()
    version = connection.scalar(sa.text("PRAGMA schema_version"))
    op.execute("PRAGMA writable_schema = ON")
    try:
        connection.execute(
            sa.text("UPDATE sqlite_master SET sql = replace(sql, :list, :comparisons) WHERE name = 'requests'"),
            {"list": LIST, "comparisons": COMPARISONS},
        )
        op.execute(f"PRAGMA schema_version = {version + 1}")  # whoever has read the old text reads it anew
    except sa.exc.OperationalError as error:
        if FORBIDDEN not in str(error.orig):
            raise
    finally:
        op.execute("PRAGMA writable_schema = OFF")
