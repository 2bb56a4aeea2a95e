"""An empty ledger, made once in this process by the real migrations: Alembic takes longer than most tests.

Every new ledger of a test begins as a copy of it; tests of the migrations themselves ask for the fixture
`real_migrations`, and every gateway that is a process of its own has never heard of this.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from app.store.connections import WritingConnection
from app.store.connections import make_file as make_empty_file
from app.store.migrate import migrate


def make_file(path: Path) -> None:
    """As `app.store.connections.make_file`, with the schema in it."""
    make_empty_file(path)
    if path.stat().st_size == 0:
        path.write_bytes(_empty_ledger())


@cache
def _empty_ledger() -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "gateway.db"
        make_empty_file(path)
        connection = WritingConnection(path, "process")
        migrate(connection.sql, path)
        connection.raw.execute("VACUUM")
        connection.close()  # the last one takes the WAL into the file
        return path.read_bytes()
