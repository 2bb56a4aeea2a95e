"""The ledger's database as the writer uses it: transactions, the spool beside it, recovery, this instance's row.

Used by one thread at a time: the one that opens the store, then whichever has the writer's turn.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from sqlalchemy import delete, insert, literal_column, select, update

from app.core.clock import to_ms
from app.core.ids import new_id
from app.core.records import Outcome, Reading, Settlement, State
from app.store.batch import LedgerBatch
from app.store.calendar import Calendar, follow_calendar, roll_days
from app.store.connections import WritingConnection, is_away
from app.store.made import Sweep
from app.store.migrate import migrate
from app.store.refusals import prune_refusals
from app.store.schema import instances, requests
from app.store.spool import Spool
from app.telemetry import get_logger

log = get_logger("ledger")

# Rows of instances that ended so long ago are removed: every short command is an instance too.
INSTANCES_KEPT = timedelta(days=30)

_CHUNK = 500


class Database:
    """Opening it migrates it. Raises: `SchemaTooNew`, `UpgradeFailed`, the driver's errors, `OSError`."""

    def __init__(self, path: Path, durability: str, calendar: Calendar, references_days: int | None = None) -> None:
        self._calendar = calendar
        self._clock = calendar.clock
        self._zone = calendar.zone
        self._sweep = Sweep(references_days)
        self._batch: tuple[int, LedgerBatch] | None = None
        with contextlib.ExitStack() as undo:
            self.connection = WritingConnection(path, durability)
            undo.callback(self.connection.close)
            migrate(self.connection.sql, path)
            self.connection.keep_temporary_in_memory()
            self.spool = Spool(spool_path(path))
            undo.pop_all()
        self.instance_id = new_id("inst", calendar.clock())

    def transaction(self, *, patient: bool = True) -> Transaction:
        """Commits at its end. Raises what `is_away` tells apart: the database's fault, or the statement's.

        `patient`: see `WritingConnection.begin`.
        """
        return Transaction(self, patient=patient)

    # These three are what a `Transaction` is made of. Where one of the first two fails, nothing is left begun.

    def begin_transaction(self, *, patient: bool) -> LedgerBatch:
        """What is known already, unless another connection has written."""
        self.connection.begin(patient=patient)
        try:
            batch = self._present_batch()
            if self.connection.changed_elsewhere():
                batch.forget()
        except BaseException as error:
            self.give_up(error)
            raise
        return batch

    def commit(self, batch: LedgerBatch) -> None:
        """All that the batch did, and where the owners of limits stand behind it."""
        try:
            batch.save()
            self.connection.commit()
        except BaseException as error:
            self.give_up(error)
            raise

    def give_up(self, error: BaseException) -> None:
        """Nothing of this transaction is kept. `error`: why."""
        self._batch = None  # it remembers what was never committed
        self.connection.roll_back(error)

    @property
    def remembers(self) -> bool:
        """What transactions need to know is in memory; else the next one reads it, what was made lately included."""
        return self._batch is not None and self._batch[0] == self.connection.generation

    def _present_batch(self) -> LedgerBatch:
        if self._batch is None or self._batch[0] != self.connection.generation:
            batch = LedgerBatch(self.connection.raw, self.connection.sql, self.instance_id, self._calendar)
            self._batch = self.connection.generation, batch
        return self._batch[1]

    # --- this instance ----------------------------------------------------------------------

    def begin(self) -> None:
        """Writes this instance's row, and closes what dead ones left: first with what the spool knows."""
        at = to_ms(self._clock())
        with self.transaction():  # its batch remembers nothing yet
            follow_calendar(self.connection.sql, self._zone, self._clock())
        with self.transaction():
            self.connection.sql.execute(
                insert(instances).values(id=self.instance_id, pid=os.getpid(), started_at=at, heartbeat_at=at)
            )
            old = at - INSTANCES_KEPT // timedelta(milliseconds=1)
            self.connection.sql.execute(delete(instances).where(instances.c.heartbeat_at < old))
        self.apply_spool()
        self._close_lost()

    def beat(self) -> bool:
        """This instance lives; days that are over are summed up, what is old is let go of. Call it at the end of a
        `transaction`, within its batch's `others_write`.

        True: there are more of these, so come again soon.
        """
        self._update_instance(heartbeat_at=to_ms(self._clock()))
        self._present_batch().tidy()
        roll_days(self.connection.sql, self._zone, self._clock())
        swept = self._sweep.step(self.connection.sql, to_ms(self._clock()))
        return prune_refusals(self.connection.sql) or swept

    def end(self) -> None:
        with self.transaction():
            self._update_instance(ended_at=to_ms(self._clock()))

    def close(self) -> None:
        self.connection.close()
        self.spool.close()

    def _update_instance(self, **values: int) -> None:
        self.connection.sql.execute(update(instances).where(instances.c.id == self.instance_id).values(**values))

    # --- recovery ---------------------------------------------------------------------------

    def apply_spool(self) -> None:
        """Writes what the spool holds and empties it. A crash in between applies it again, which does nothing."""
        entries = self.spool.entries()
        for start in range(0, len(entries), _CHUNK):
            self._settle_or_reject(entries[start : start + _CHUNK])
        if entries:
            log.info("spool_applied", settlements=len(entries))
        self.spool.clear()

    def _settle_or_reject(self, settlements: Sequence[Settlement]) -> None:
        try:
            with self.transaction() as batch:
                batch.settle(settlements)
        except Exception as error:
            if is_away(error):
                raise
            if len(settlements) == 1:
                self.spool.reject(settlements[0])
                return
            for settlement in settlements:
                self._settle_or_reject([settlement])

    def _close_lost(self) -> None:
        """Rows that an earlier process left open: they may have been billed, and nobody will ever tell."""
        lost = (
            select(requests.c.id)
            .where(requests.c.state == literal_column("'open'"), requests.c.instance_id != self.instance_id)
            .limit(_CHUNK)
        )
        count = 0
        while ids := self.connection.sql.scalars(lost).all():
            with self.transaction() as batch:
                batch.settle([_lost(request_id) for request_id in ids])
            count += len(ids)
        if count:
            log.warning("requests_lost", count=count, unknown_reason="instance_lost")


class Transaction:
    """One transaction, for a `with` statement: its batch, written and committed at the end, or nothing of it.

    Two methods, not a generator: that, and another one for the connection, took 276 of 3,500 bytecodes that the ledger
    runs for a request alone.
    """

    __slots__ = ("_batch", "_database", "_patient")

    _batch: LedgerBatch

    def __init__(self, database: Database, *, patient: bool) -> None:
        self._database = database
        self._patient = patient

    def __enter__(self) -> LedgerBatch:
        self._batch = self._database.begin_transaction(patient=self._patient)
        return self._batch

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            self._database.commit(self._batch)
        else:
            self._database.give_up(error)


def spool_path(database: Path) -> Path:
    return database.with_name(database.name + ".spool")


def _lost(request_id: str) -> Settlement:
    """The process that served it ended without closing it: the gateway was shut down under it, however roughly."""
    return Settlement(request_id, State.UNKNOWN, Outcome.SHUT_DOWN, Reading(), None, unknown_reason="instance_lost")
