"""The upstream's list of models as it was told last: one row, so that a start without the upstream has one too."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from app.core.clock import from_ms, to_ms
from app.store.schema import catalog


def kept_models(connection: Connection) -> tuple[datetime, str] | None:
    """When it was told, and the list as `core.catalog.dump` wrote it."""
    row = connection.execute(select(catalog.c.fetched_at, catalog.c.models)).first()
    return None if row is None else (from_ms(row.fetched_at), row.models)


def keep_models(connection: Connection, fetched_at: datetime, models: str) -> None:
    """In place of what was kept before."""
    connection.execute(delete(catalog))
    connection.execute(insert(catalog).values(id=1, fetched_at=to_ms(fetched_at), models=models))
