"""The one writer of the ledger: a thread that commits in groups, and owns the connection and the spool.

It takes all that waits (it never lingers; what one turn of the loop asks for comes to it together), runs it in one
transaction, commits once, and answers with one call into the loop. To the loop it lends the connection, for what a
request asks for that is the only one. An operation that is wrong by itself is run again alone, so it does not take its
neighbours down. While the database cannot be written, admissions and changes fail at once with `LedgerUnavailable`;
settlements are tried again until they are in, and go to the spool when their wait is over. What was queued is never
forgotten, whether or not anybody still waits for it.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from typing import Any

from app.core.records import Intent, Settlement
from app.store.connections import DatabaseGone, is_away
from app.store.database import Database
from app.store.operations import Change, Operation, admitted, deliver, unforwarded
from app.store.port import LedgerLost, LedgerUnavailable
from app.store.together import Results, write_together
from app.telemetry import get_logger

log = get_logger("ledger")

# While the database cannot be written, it is tried so often.
RETRY_SECONDS = 0.1

# An instance without traffic shows so often that it lives, and learns whether it could write.
HEARTBEAT_SECONDS = 10.0

# What a heartbeat leaves over is seen to as soon as that.
HURRY_SECONDS = 0.1

# The loop leaves checkpoints to the thread, whose turn comes after so many of the loop's commits. They write 1,600
# pages: while requests come one at a time, the log grows to 5,300.
ALONE_COMMITS_MAX = 200

# One of these that took longer met a slow disk all the same: the thread has the next ones, for a while.
ALONE_SECONDS_MAX = 0.05

# Many more would make the first of a batch wait for the last.
BATCH_OPERATIONS_MAX = 1000


class Writer:
    """Begin with `start`, end with `stop`; `submit` from the event loop."""

    def __init__(self, database: Database, loop: asyncio.AbstractEventLoop) -> None:
        self._database = database
        self._loop = loop
        self._queue: queue.SimpleQueue[list[Operation] | None] = queue.SimpleQueue()
        self._gathered: list[Operation] = []  # in this turn of the loop
        self._waiting: list[Operation] = []  # settlements that could not be written yet
        self._open: set[str] = set()  # requests that were admitted, and whose settlement was not asked for
        self._turn = threading.Lock()  # to use the database
        self._put = self._taken = self._done = 0  # pieces of work: put into the queue, taken out, and answered
        self._alone_commits = 0
        self._alone_from = 0.0  # when the loop may write again
        self._fault: str | None = None  # why the database cannot be written
        self._beat_at = 0.0
        self.progress_at = time.monotonic()  # when it last came to the end of anything; of meaning while it has work
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)

    @property
    def healthy(self) -> bool:
        """The last attempt to write went well, and nothing waits for the next."""
        return self._went_well and self._database.spool.empty and self._thread.is_alive()

    @property
    def _went_well(self) -> bool:
        return self._fault is None and not self._waiting

    def start(self) -> None:
        self._thread.start()

    def submit(self, what: Intent | Settlement | Change, *, wait_seconds: float = 0.0) -> asyncio.Future[Any]:
        """Writes one operation at once, or queues it: its future has its result, or will get it.

        `wait_seconds`: until a settlement goes to the spool.
        """
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._stopped:
            future.set_exception(LedgerUnavailable("the ledger is closed"))
            return future
        operation = Operation(what, future, time.monotonic() + wait_seconds)
        if isinstance(what, Settlement):
            self._open.discard(what.request_id)
        if not self._open and not self._gathered and self._write_alone(operation):
            self._deliver([operation])
            return future
        if not self._gathered:
            self._loop.call_soon(self._hand_over)
        self._gathered.append(operation)
        return future

    def _write_alone(self, operation: Operation) -> bool:
        """What a request asks for that is the only one, written in the loop's own thread; False = the other one has to.

        The way there and back is spared, twice a request (69 of 476 µs of one core). It waits for no lock, no
        checkpoint and no disk, and behind a transaction that failed it reads nothing anew. Should the system keep it
        waiting all the same, everything would stand still: so it is not done beside answers that are on their way.
        """
        if isinstance(operation.what, Intent | Settlement) and self._turn.acquire(blocking=False):
            try:
                is_its_turn = self._alone_commits < ALONE_COMMITS_MAX and time.monotonic() >= self._alone_from
                if is_its_turn and self._database.remembers and self._is_calm() and self._done == self._put:
                    return self._database.connection.commits_at_once() and self._tried_alone(operation)
            finally:
                self._turn.release()
        return False

    def _tried_alone(self, operation: Operation) -> bool:
        began = time.monotonic()
        try:
            ((_, result),) = write_together(self._database, [operation], patient=False)
        except Exception:  # the other thread will meet it again, and say what it is
            return False
        if (now := time.monotonic()) - began > ALONE_SECONDS_MAX:
            self._alone_from = now + HEARTBEAT_SECONDS
        self._alone_commits += 1
        operation.answer(result)
        return True

    def _is_calm(self) -> bool:  # nothing is to be done but what is queued
        return self._went_well and time.monotonic() < self._beat_at

    def _hand_over(self) -> None:
        """What one turn of the loop asked for goes to the writer together: the first of it would wake the writer, which
        would begin a transaction for it alone. Nothing waits longer than to the next turn. (At 64 connections a
        transaction had 8 operations, and has 35.)
        """
        gathered, self._gathered = self._gathered, []
        for start in range(0, len(gathered), BATCH_OPERATIONS_MAX):
            self._put += 1
            self._queue.put(gathered[start : start + BATCH_OPERATIONS_MAX])

    def release(self, request_id: str) -> None:
        """Closes a request that was admitted for somebody who left meanwhile."""
        self._open.discard(request_id)
        self._put += 1
        self._queue.put([Operation(unforwarded(request_id), None, time.monotonic())])

    def stop(self) -> None:
        """Writes or spools what is queued and ends the thread. Blocks: call it off the loop.

        What is still gathered then would never be answered: wait for one more operation, and submit none behind it.
        """
        self._stopped = True
        self._queue.put(None)
        self._thread.join()

    # --- the thread -----------------------------------------------------------------------

    def _run(self) -> None:
        running = True
        while running:
            taken, running = self._take()
            operations = self._waiting + [operation for operation in taken if not operation.unwanted]
            with self._turn:
                if operations or not self._is_calm():
                    written = self._write(operations) and self._empty_spool()
                    self._note_fault(None if written else self._fault)
                    self._alone_commits = 0
                self._waiting = self._spool_late(operations, all_of_them=not running)
            self._answer(operations, self._taken)
            self.progress_at = time.monotonic()

    def _take(self) -> tuple[list[Operation], bool]:
        """All that is queued, waiting a while for the first; False once `stop` was called."""
        taken: list[Operation] = []
        try:
            operations = self._queue.get(timeout=HEARTBEAT_SECONDS if self._went_well else RETRY_SECONDS)
            while operations is not None:
                self._taken += 1
                taken += operations
                if len(taken) >= BATCH_OPERATIONS_MAX:
                    return taken, True
                operations = self._queue.get_nowait()
        except queue.Empty:
            return taken, True
        return taken, False

    def _write(self, operations: list[Operation]) -> bool:
        """Writes and answers; False when the database could not be reached."""
        try:
            results = self._transaction(operations)
        except Exception as error:
            if is_away(error) or not operations:
                self._refuse(operations, error)
                return False
            if len(operations) > 1:
                return self._write_singly(operations)
            self._blame(operations[0], error)
            return True
        for operation, result in results:
            operation.answer(result)
        return True

    def _write_singly(self, operations: list[Operation]) -> bool:
        """One of them is at fault; each gets a transaction of its own."""
        for number, operation in enumerate(operations):
            if not self._write([operation]):
                self._refuse(operations[number:], DatabaseGone("it could not be reached any more"))
                return False
        return True

    def _transaction(self, operations: list[Operation]) -> Results:
        is_due = self._fault is not None or time.monotonic() >= self._beat_at
        return write_together(self._database, operations, besides=self._beat if is_due else None)

    def _beat(self) -> None:
        again = HURRY_SECONDS if self._database.beat() else HEARTBEAT_SECONDS
        self._beat_at = time.monotonic() + again

    # --- when it does not go well -----------------------------------------------------------

    def _refuse(self, operations: list[Operation], error: Exception) -> None:
        """The database cannot be written: settlements wait, all else must not."""
        self._note_fault(str(error))
        for operation in operations:
            if not isinstance(operation.what, Settlement):
                operation.answer(LedgerUnavailable(f"the ledger cannot be written now ({error})"))

    def _blame(self, operation: Operation, error: Exception) -> None:
        """An operation is at fault by itself: it is given up, with a trace in the log."""
        log.error("operation_failed", reason=str(error), exc_info=error)
        if isinstance(operation.what, Settlement):
            operation.answer(LedgerLost("this settlement could not be written"))
        elif isinstance(operation.what, Intent):
            operation.answer(LedgerUnavailable("this request could not be written"))
        else:
            operation.answer(error)

    def _spool_late(self, operations: list[Operation], *, all_of_them: bool) -> list[Operation]:
        """Takes what waited long enough into the spool; returns what goes on waiting for the database."""
        waiting = [operation for operation in operations if operation.waits]
        now = time.monotonic()
        late = [
            operation for operation in waiting if all_of_them or (operation.spool_at <= now and not operation.answered)
        ]
        if not late:
            return waiting
        try:
            self._database.spool.append([one.what for one in late if isinstance(one.what, Settlement)])
        except OSError as error:
            log.error("settlements_not_written", count=len(late), reason=str(error))  # noqa: TRY400 - the reason is all
            for operation in late:  # told, but not forgotten: the database may still take it
                operation.answer(LedgerLost("neither the database nor the spool took a settlement"), waits=True)
            return waiting
        for operation in late:
            operation.answer(None)
        return [operation for operation in waiting if operation.waits]

    def _empty_spool(self) -> bool:
        """What the spool holds goes into the database; False when that failed."""
        if not self._database.spool.empty:
            try:
                self._database.apply_spool()
            except Exception as error:
                self._note_fault(str(error))
                return False
        return True

    def _note_fault(self, fault: str | None) -> None:
        """Keeps why the ledger cannot be written, if so, and says it once when that changes."""
        if fault is not None and self._fault is None:
            log.error("ledger_not_writable", reason=fault)
        elif fault is None and self._fault is not None:
            log.info("ledger_writable")
        self._fault = fault

    # --- back in the loop -------------------------------------------------------------------

    def _answer(self, operations: list[Operation], done: int) -> None:
        answered = [operation for operation in operations if operation.answered]
        if answered or done > self._done:
            try:
                self._loop.call_soon_threadsafe(self._deliver, answered, done)
            except RuntimeError:  # the loop is closed: nobody waits any more
                for request_id in filter(None, map(admitted, answered)):
                    self.release(request_id)

    def _deliver(self, operations: list[Operation], done: int = 0) -> None:
        self._done = max(self._done, done)
        for operation in operations:
            if (request_id := admitted(operation)) is None:
                deliver(operation)
            elif deliver(operation):
                self._open.add(request_id)
            else:
                self.release(request_id)
