"""The one writer: a thread that owns the writing connection and commits in groups.

It takes all that waits (it never lingers), runs it in one transaction, commits once, and
resolves the futures with one call into the loop. An operation that is wrong by itself is
run again alone, so it does not take its neighbours down. While the database cannot be
written, admissions and changes fail at once with `LedgerUnavailable`; settlements stay and
are tried again until they are in.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from app.core.records import Admitted, Intent, Outcome, Reading, Settlement, State
from app.store.batch import LedgerBatch
from app.store.port import LedgerUnavailable, StoreError

# How long settlements wait before they are tried again while the database cannot be written.
RETRY_SECONDS = 0.2

Change = Callable[[Connection], Any]


@dataclass(slots=True, eq=False)
class Operation:
    """One thing to write and who waits for it."""

    what: Intent | Settlement | Change
    future: asyncio.Future[Any]
    result: Any = None
    error: Exception | None = None
    done: bool = field(default=False)

    def finish(self, result: Any) -> None:
        self.result, self.done = result, True

    def fail(self, error: Exception) -> None:
        self.error, self.done = error, True


class Writer:
    """Start with `start`, end with `stop`; `submit` from the event loop."""

    def __init__(self, connection: Connection, batch: LedgerBatch, loop: asyncio.AbstractEventLoop) -> None:
        self._connection = connection
        raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        self._raw = raw
        self._batch = batch
        self._loop = loop
        self._queue: queue.SimpleQueue[Operation | None] = queue.SimpleQueue()
        self._waiting: list[Operation] = []  # settlements that could not be written yet
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._stopping = False
        self.available = True

    def start(self) -> None:
        self._thread.start()

    @property
    def settled(self) -> bool:
        """Nothing waits for a database that cannot be written."""
        return not self._waiting

    def submit(self, what: Intent | Settlement | Change) -> asyncio.Future[Any]:
        """Queues one operation; its future has its result. The operation runs even if nobody waits any more."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._stopping:
            future.set_exception(LedgerUnavailable("the ledger is closed"))
        else:
            self._queue.put(Operation(what, future))
        return future

    def stop(self) -> list[Settlement]:
        """Writes what is queued, ends the thread; returns the settlements that could not be written."""
        self._stopping = True
        self._queue.put(None)
        self._thread.join()
        return [operation.what for operation in self._waiting if isinstance(operation.what, Settlement)]

    # --- the thread -----------------------------------------------------------------------

    def _run(self) -> None:
        running = True
        while running:
            operations, running = self._take()
            operations = self._waiting + [
                operation
                for operation in operations
                if isinstance(operation.what, Settlement) or not operation.future.cancelled()
            ]
            self._waiting = []
            if operations:
                self._write(operations)
                self._resolve([operation for operation in operations if operation.done])
                self._waiting = [operation for operation in operations if not operation.done]

    def _take(self) -> tuple[list[Operation], bool]:
        """All that is queued, waiting for a first one; False once `stop` was called."""
        taken: list[Operation] = []
        try:
            operation = self._queue.get(timeout=RETRY_SECONDS if self._waiting else None)
            while operation is not None:
                taken.append(operation)
                operation = self._queue.get_nowait()
        except queue.Empty:
            return taken, True
        return taken, False

    def _write(self, operations: list[Operation]) -> None:
        try:
            self._transaction(operations)
            self.available = True
        except (sqlite3.OperationalError, OperationalError) as error:
            self._unavailable(operations, error)
        except Exception as error:
            if len(operations) == 1:
                operations[0].fail(error)
                return
            for operation in operations:
                operation.done = False
                self._write([operation])

    def _transaction(self, operations: list[Operation]) -> None:
        self._raw.execute("BEGIN IMMEDIATE")
        try:
            self._settle([operation for operation in operations if isinstance(operation.what, Settlement)])
            for operation in operations:
                if callable(operation.what):
                    self._change(operation, operation.what)
            self._admit([operation for operation in operations if isinstance(operation.what, Intent)])
            self._raw.execute("COMMIT")
        except BaseException:
            for operation in operations:
                operation.done = False
            if self._raw.in_transaction:
                self._raw.execute("ROLLBACK")
            raise

    def _settle(self, operations: list[Operation]) -> None:
        if operations:
            results = self._batch.settle([operation.what for operation in operations])  # type: ignore[misc]
            for operation, result in zip(operations, results, strict=True):
                operation.finish(result)

    def _admit(self, operations: list[Operation]) -> None:
        if operations:
            results = self._batch.admit([operation.what for operation in operations])  # type: ignore[misc]
            for operation, result in zip(operations, results, strict=True):
                operation.finish(result)

    def _change(self, operation: Operation, change: Change) -> None:
        """Runs one change; what it refuses is undone, and only that."""
        self._raw.execute("SAVEPOINT change")
        try:
            operation.finish(change(self._connection))
        except StoreError as error:
            self._raw.execute("ROLLBACK TO change")
            operation.fail(error)
        self._raw.execute("RELEASE change")

    def _unavailable(self, operations: list[Operation], error: Exception) -> None:
        self.available = False
        for operation in operations:
            if not isinstance(operation.what, Settlement):
                operation.fail(LedgerUnavailable(f"the ledger cannot be written now ({error})"))

    # --- back in the loop -------------------------------------------------------------------

    def _resolve(self, operations: list[Operation]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._deliver, operations)
        except RuntimeError:  # the loop is gone: nobody waits any more
            return

    def _deliver(self, operations: list[Operation]) -> None:
        for operation in operations:
            if not operation.future.cancelled():
                if operation.error is not None:
                    operation.future.set_exception(operation.error)
                else:
                    operation.future.set_result(operation.result)
            elif isinstance(operation.result, Admitted):
                # Whoever asked left while the row was being written: nothing will be forwarded.
                self.submit(
                    Settlement(operation.result.request_id, State.FREE, Outcome.CLIENT_DISCONNECTED, Reading(), None)
                )
