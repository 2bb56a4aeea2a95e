"""SQLite as a `Store`: one writing connection in a thread, readers of their own, a lock, a spool.

Order of opening: lock, migrate, apply the spool, close what dead processes left open (in
that order, so that a spooled cost wins over `instance_lost`), then take requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, insert, select, update
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from app.core.clock import now, to_ms
from app.core.ids import new_id
from app.core.records import Admitted, Intent, Outcome, Reading, Refused, Settlement, State
from app.store.batch import LedgerBatch
from app.store.lock import DatabaseLock
from app.store.migrate import migrate
from app.store.port import BadDatabaseUrl, LedgerLost, LedgerUnavailable, Store
from app.store.schema import instances, requests
from app.store.spool import Spool
from app.store.writer import Writer

T = TypeVar("T")

# How long a statement waits for another process's lock before the ledger counts as unavailable.
BUSY_MS = 1000

READERS = 4


async def open_store(path: Path, *, durability: str = "process", clock: Callable[[], datetime] = now) -> Store:
    """Opens the ledger at a path, made if absent. Raises: `StoreLocked`, `SchemaTooNew`, `BadDatabaseUrl`."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(None, lambda: SqliteStore(path, durability, clock, loop))


class SqliteStore:
    """See `Store`. Blocks while opening: construct it off the event loop."""

    def __init__(
        self, path: Path, durability: str, clock: Callable[[], datetime], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._loop = loop
        with contextlib.ExitStack() as undo:
            self._lock = _locked(path)
            undo.callback(self._lock.release)
            self._engine = _engine(path, synchronous="FULL" if durability == "power" else "NORMAL")
            undo.callback(self._engine.dispose)
            self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            undo.callback(self._connection.close)
            migrate(self._connection)
            self._spool = Spool(path.with_name(path.name + ".spool"))
            undo.callback(self._spool.close)
            self._instance_id = _begin_instance(self._connection, clock())
            batch = LedgerBatch(_raw(self._connection), self._instance_id, clock)
            _recover(self._connection, batch, self._spool, self._instance_id)
            self._writer = Writer(self._connection, batch, loop)
            self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="ledger-reader")
            self._read_engine = _engine(path, synchronous="OFF", read_only=True)
            undo.pop_all()
        self._spooled: set[str] = set()
        self._closed = False
        self._writer.start()

    @property
    def healthy(self) -> bool:
        if self._closed or not self._writer.available or not self._writer.settled:
            return False
        return self._spool.empty

    async def admit(self, intent: Intent) -> Admitted | Refused:
        verdict: Admitted | Refused = await self._writer.submit(intent)
        return verdict

    async def settle(self, settlement: Settlement, wait_seconds: float) -> None:
        written = self._writer.submit(settlement)
        done, _ = await asyncio.wait({written}, timeout=wait_seconds)
        if done and written.exception() is None:
            return
        try:
            await asyncio.shield(self._loop.run_in_executor(None, self._spool.append, settlement))
        except OSError as error:
            raise LedgerLost("neither the database nor the spool took a settlement") from error
        self._spooled.add(settlement.request_id)
        if not done:
            written.add_done_callback(lambda _: self._written_after_all(settlement.request_id))

    async def change(self, change: Callable[..., T], *values: Any) -> T:
        result: T = await self._writer.submit(lambda connection: change(connection, *values))
        return result

    async def read(self, query: Callable[..., T], *values: Any) -> T:
        if self._closed:
            raise LedgerUnavailable("the ledger is closed")
        return await self._loop.run_in_executor(self._readers, self._read, query, values)

    def announce(self, socket_path: Path, url: str) -> None:
        self._lock.announce(socket_path, url)

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            await self._loop.run_in_executor(None, self._close)

    def _read(self, query: Callable[..., T], values: tuple[Any, ...]) -> T:
        try:
            with self._read_engine.begin() as connection:
                return query(connection, *values)
        except OperationalError as error:
            raise LedgerUnavailable(f"the ledger cannot be read now ({error.orig})") from error

    def _written_after_all(self, request_id: str) -> None:
        """A spooled settlement reached the database; when all have, the spool is emptied."""
        self._spooled.discard(request_id)
        if not self._spooled:
            with contextlib.suppress(OSError):
                self._spool.clear()

    def _close(self) -> None:
        for settlement in self._writer.stop():
            if settlement.request_id not in self._spooled:
                with contextlib.suppress(OSError):
                    self._spool.append(settlement)
        self._readers.shutdown()
        self._read_engine.dispose()
        with contextlib.suppress(SQLAlchemyError):
            _end_instance(self._connection, self._instance_id)
        self._connection.close()
        self._engine.dispose()
        self._spool.close()
        self._lock.release()


# --- opening -------------------------------------------------------------------------------


def _locked(path: Path) -> DatabaseLock:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return DatabaseLock(path)
    except OSError as error:
        raise BadDatabaseUrl(
            f"the directory {path.parent} cannot be written ({os.strerror(error.errno or 0)}): "
            "make it writable, or set IRG_DATABASE_URL"
        ) from None


def _engine(path: Path, *, synchronous: str, read_only: bool = False) -> Engine:
    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, timeout=BUSY_MS / 1000, check_same_thread=False, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA query_only = {'ON' if read_only else 'OFF'}")
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool, pool_size=READERS, max_overflow=0)
    if read_only:  # the driver opens no transaction for a SELECT: a report reads from one snapshot all the same
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return engine


def _raw(connection: Connection) -> sqlite3.Connection:
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    return raw


def _begin_instance(connection: Connection, at: datetime) -> str:
    instance_id = new_id("inst", at)
    connection.execute(insert(instances).values(id=instance_id, pid=os.getpid(), started_at=to_ms(at)))
    return instance_id


def _end_instance(connection: Connection, instance_id: str) -> None:
    connection.execute(update(instances).where(instances.c.id == instance_id).values(ended_at=to_ms(now())))


def _recover(connection: Connection, batch: LedgerBatch, spool: Spool, instance_id: str) -> None:
    """Applies the spool, then closes what an earlier process left open: it may have been billed."""
    raw = _raw(connection)
    raw.execute("BEGIN IMMEDIATE")
    if spool.entries:
        batch.settle(spool.entries)
    lost = connection.scalars(
        select(requests.c.id).where(requests.c.state == "open", requests.c.instance_id != instance_id)
    ).all()
    if lost:
        batch.settle([_lost(request_id) for request_id in lost])
    raw.execute("COMMIT")
    spool.clear()


def _lost(request_id: str) -> Settlement:
    return Settlement(request_id, State.UNKNOWN, Outcome.SHUT_DOWN, Reading(), None, unknown_reason="instance_lost")
