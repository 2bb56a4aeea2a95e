"""Books what happened earlier, each thing at its own time: for histories that are invented, never for real requests.

Everything goes through the statements of the hot path, so that an invented ledger is built
like a real one, roll-ups included. One transaction, over a database that nobody has open.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, literal_column, select

from app.core.audit import THE_GATEWAY, Action
from app.core.clock import now
from app.core.holds import Counting
from app.core.keys import new_secret
from app.core.owners import NewKey
from app.core.records import Intent, Refused, Settlement
from app.store import changes
from app.store.audit import KEY, TEAM, Deed, audited
from app.store.batch import LedgerBatch
from app.store.calendar import Calendar
from app.store.connections import make_file
from app.store.database import Database
from app.store.lock import DatabaseLock
from app.store.schema import keys, requests


class Backfill:
    """Open while `backfilling`."""

    def __init__(self, connection: Connection, batch: LedgerBatch, moment: list[datetime]) -> None:
        self._connection = connection
        self._batch = batch
        self._moment = moment

    @property
    def empty(self) -> bool:
        """No key and no request is there."""
        tables = (keys, requests)
        return not any(self._connection.scalar(select(literal_column("1")).select_from(t).limit(1)) for t in tables)

    def holds_other_than(self, tag: str) -> bool:
        """Whether some key does not carry the tag, and so some request may be a real one."""
        everything = self._connection.scalars(select(keys.c.tags))
        return any(f'"{tag}"' not in tags for tags in everything)

    def team(self, name: str, at: datetime) -> None:
        create = audited(changes.create_team, Deed(THE_GATEWAY, Action.TEAM_CREATED, TEAM, at))
        with self._batch.others_write():
            create(self._connection, name, at)

    def key(self, spec: NewKey, at: datetime) -> tuple[str, str]:
        """The key's id and the hash of its secret, which nobody learns. Raises: `RowMissing` (team)."""
        secret = new_secret()
        create = audited(changes.create_key, Deed(THE_GATEWAY, Action.KEY_CREATED, KEY, at))
        with self._batch.others_write():
            key = create(self._connection, spec, secret, at)
        return key.id, secret.hash

    def book(self, intent: Intent, settlement: Settlement) -> None:
        """Admits at the intent's time, closes when its duration is over. Raises: `ValueError` if it is refused."""
        self._moment[0] = intent.created_at
        (verdict,) = self._batch.admit([intent])
        if isinstance(verdict, Refused):
            raise ValueError(f"{intent.request_id} is refused: {verdict.reason}")  # noqa: TRY004 - no type is at fault
        self._moment[0] = intent.created_at + timedelta(milliseconds=settlement.duration_ms)
        self._batch.settle([settlement])
        self._batch.save()


@contextlib.contextmanager
def backfilling(path: Path) -> Iterator[Backfill]:
    """Makes the database if there is none. Raises: what opening a ledger raises; `StoreLocked` while it is open."""
    moment = [now()]
    with contextlib.ExitStack() as stack:
        lock = DatabaseLock(path)
        stack.callback(lock.release)
        make_file(path)
        database = Database(path, "process", Calendar(lambda: moment[0], ZoneInfo("UTC"), Counting()))
        stack.callback(database.close)
        database.begin()
        with database.transaction() as batch:
            yield Backfill(database.connection.sql, batch, moment)
        moment[0] = now()
        database.end()
