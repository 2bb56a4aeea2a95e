"""SQLite as a `Store`: one writer, readers of their own, a lock.

Order of opening: lock, migrate, apply the spool, close what dead processes left open (in
that order, so that a spooled cost wins over `instance_lost`), then take requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from sqlalchemy.exc import SQLAlchemyError

from app.core.clock import now
from app.core.holds import Counting
from app.core.records import Admitted, Intent, Refused, Settlement
from app.store.calendar import Calendar
from app.store.connections import READERS, DatabaseGone, make_file, reading_engine
from app.store.database import Database
from app.store.lock import DatabaseLock
from app.store.port import BadDatabaseUrl, LedgerLost, LedgerUnavailable, Store
from app.store.writer import Writer

T = TypeVar("T")

UTC = ZoneInfo("UTC")

COUNTING = Counting()

# A disk that hangs answers nothing at all: so long an admission waits for a writer that gets nothing done.
# (Behind many others it waits for its turn: a writer at work comes to it, and to refuse it would help nobody. Nothing
# times what the loop writes itself; that waits for no disk, unless the system has no room for what is written.)
ADMIT_WAIT_SECONDS = 3.0


async def open_store(
    path: Path,
    *,
    durability: str = "process",
    clock: Callable[[], datetime] = now,
    zone: ZoneInfo = UTC,
    counting: Counting = COUNTING,
    references_days: int | None = None,
) -> Store:
    """Opens the ledger at a path, made if absent. Raises: `StoreLocked`, `SchemaTooNew`, `UpgradeFailed`,
    `BadDatabaseUrl`.

    `durability`: `process` (a killed process loses nothing) or `power` (nor does a power cut).
    `zone`: the calendar of budgets and of the roll-ups by day; these are made anew when it is another than before.
    `counting`: which cost counts against budgets that begin from now on.
    `references_days`: how long it is remembered who made what; None = for ever.
    """
    loop = asyncio.get_running_loop()
    calendar = Calendar(clock, zone, counting)
    return await loop.run_in_executor(None, lambda: SqliteStore(path, durability, calendar, loop, references_days))


class SqliteStore:
    """See `Store`. Blocks while opening: construct it off the event loop that it is to serve."""

    def __init__(
        self,
        path: Path,
        durability: str,
        calendar: Calendar,
        loop: asyncio.AbstractEventLoop,
        references_days: int | None = None,
    ) -> None:
        self._loop = loop
        with contextlib.ExitStack() as undo, _in_plain_words(path):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = DatabaseLock(path)
            undo.callback(self._lock.release)
            make_file(path)
            self._database = Database(path, durability, calendar, references_days)
            undo.callback(self._database.close)
            self._database.begin()
            undo.pop_all()
        self._writer = Writer(self._database, loop)
        self._patience = _Patience(loop, self._writer)
        self._reading = reading_engine(path)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="ledger-reader")
        self._closed = False
        self._writer.start()

    @property
    def healthy(self) -> bool:
        return not self._closed and self._writer.healthy

    async def admit(self, intent: Intent) -> Admitted | Refused:
        self._refuse_if_closed()
        asked = self._writer.submit(intent)
        verdict: Admitted | Refused
        if asked.done():  # nothing was awaited yet, so nobody can have left
            verdict = asked.result()
            return verdict
        self._patience.begin(asked)
        try:
            verdict = await asked
        except asyncio.CancelledError:
            # Cancelled just after the answer came: it reaches nobody. (Cancelled before: the writer sees to it.)
            if asked.done() and not asked.cancelled() and isinstance(answer := _result(asked), Admitted):
                self._writer.release(answer.request_id)
            raise
        finally:
            self._patience.end(asked)
        return verdict

    def settle(self, settlement: Settlement, wait_seconds: float) -> Awaitable[None]:
        if self._closed:
            raise LedgerLost("the ledger is closed")
        return self._writer.submit(settlement, wait_seconds=wait_seconds)

    async def change(self, change: Callable[..., T], *values: Any) -> T:
        self._refuse_if_closed()
        result: T = await self._writer.submit(lambda connection: change(connection, *values))
        return result

    async def read(self, query: Callable[..., T], *values: Any) -> T:
        self._refuse_if_closed()
        return await self._loop.run_in_executor(self._readers, self._read, query, values)

    def announce(self, socket_path: Path, url: str) -> None:
        self._lock.announce(socket_path, url)

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._patience.close()
        # Behind this one, every answer has been delivered, and what was admitted for nobody is queued to be closed.
        with contextlib.suppress(LedgerUnavailable):
            await self._writer.submit(lambda connection: None)
        await self._loop.run_in_executor(None, self._close)

    def _read(self, query: Callable[..., T], values: tuple[Any, ...]) -> T:
        try:
            with self._reading.begin() as connection:
                return query(connection, *values)
        except SQLAlchemyError as error:
            raise LedgerUnavailable(f"the ledger cannot be read now ({error})") from error

    def _close(self) -> None:
        self._writer.stop()
        self._readers.shutdown()
        self._reading.dispose()
        with contextlib.suppress(SQLAlchemyError, sqlite3.Error, DatabaseGone):
            self._database.end()
        self._database.close()
        self._lock.release()

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise LedgerUnavailable("the ledger is closed")


class _Patience:
    """Gives up what was asked `ADMIT_WAIT_SECONDS` ago of a writer that has been silent for as long.

    One timer for all who wait: one for each would cost every request 2 µs.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, writer: Writer) -> None:
        self._loop, self._writer = loop, writer
        self._asked_at: dict[asyncio.Future[Any], float] = {}  # the longest wait first
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, asked: asyncio.Future[Any]) -> None:
        self._asked_at[asked] = time.monotonic()
        if self._timer is None:
            self._timer = self._loop.call_later(ADMIT_WAIT_SECONDS, self._look)

    def end(self, asked: asyncio.Future[Any]) -> None:
        del self._asked_at[asked]

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        late = time.monotonic() - ADMIT_WAIT_SECONDS
        for asked, at in self._asked_at.items():
            since = max(at, self._writer.progress_at)
            if asked.done():
                continue
            if since > late:
                self._timer = self._loop.call_later(since - late, self._look)
                return
            asked.set_exception(LedgerUnavailable("the ledger does not answer"))


def _result(asked: asyncio.Future[Any]) -> Any:
    return asked.result() if asked.exception() is None else None


@contextlib.contextmanager
def _in_plain_words(path: Path) -> Iterator[None]:
    """Turns what can go wrong with a file into a sentence for the operator. Raises: `BadDatabaseUrl`."""
    try:
        yield
    except OSError as error:
        raise BadDatabaseUrl(
            f"{error.filename or path} cannot be used ({os.strerror(error.errno or 0)}): "
            "mend that, or set IRG_DATABASE_URL to another place"
        ) from error
    except (SQLAlchemyError, sqlite3.Error) as error:
        reason = getattr(error, "orig", None) or error
        raise BadDatabaseUrl(
            f"{path} cannot be opened as a ledger ({reason}): restore it from a backup, "
            "or set IRG_DATABASE_URL to another place"
        ) from error
