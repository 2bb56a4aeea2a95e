"""Where the owners of limits stand is written once in a transaction, and before anybody else reads or forgets it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from app.core.holds import Counting
from app.core.limits import Limits
from app.core.records import Admitted, Intent
from app.store.calendar import Calendar
from app.store.database import Database
from tests.store.entries import Holder, settled
from tests.store.limited import LimitedLedger, holding


@dataclass
class Writing:
    """A ledger's database as the writer has it; one key has limits, and a request that runs and holds 0.05 USD."""

    ledger: LimitedLedger
    database: Database
    holder: Holder
    running: Intent

    def intent(self, hold: str = "0.05", *, days_ago: int = 0) -> Intent:
        return self.holder.intent(self.ledger.clock.at - timedelta(days=days_ago), asked=holding(hold))


@contextlib.asynccontextmanager
async def writing(ledger: LimitedLedger) -> AsyncIterator[Writing]:
    """The ledger is closed meanwhile; what runs at the end is closed as unknown, for what it held."""
    alice = await ledger.holder("alice", "1/day", "5/total", limits=Limits(rpm=9))
    await ledger.close()
    database = Database(ledger.path, "process", Calendar(ledger.clock, ZoneInfo("UTC"), Counting()))
    with contextlib.closing(database):
        database.begin()
        running = alice.intent(ledger.clock.at, asked=holding("0.05"))
        with database.transaction() as batch:
            batch.admit([running])
        yield Writing(ledger, database, alice, running)
    await ledger.open()
    await ledger.verify()


async def test_what_ends_and_what_begins_is_written_together(ledger: LimitedLedger) -> None:
    """Each table once, however much a transaction settles and admits."""
    told = list[str]()
    async with writing(ledger) as at_work:
        with at_work.database.transaction() as batch:
            at_work.database.connection.raw.set_trace_callback(told.append)
            batch.settle([settled(at_work.running.request_id, "0.03")])
            (verdict,) = batch.admit([at_work.intent("0.01")])
        at_work.database.connection.raw.set_trace_callback(None)
    assert isinstance(verdict, Admitted)
    written = [sum(f"INSERT INTO {table} " in one for one in told) for table in ("requests", "windows", "limits")]
    assert written == [1, 1, 1]
    assert await ledger.budgets(at_work.holder) == {"day": ("0.04", "0.00"), "total": ("0.04", "0.00")}


async def test_of_a_minute_what_is_over_is_written_once_a_second(ledger: LimitedLedger) -> None:
    """And what is not, by each transaction: nothing is forgotten, whenever the process is killed."""
    written = list[int]()
    async with writing(ledger) as at_work:
        for seconds in (0, 1, 0.1, 0.1, 1):
            ledger.clock.move(seconds=seconds)
            told = list[str]()
            with at_work.database.transaction() as batch:
                at_work.database.connection.raw.set_trace_callback(told.append)
                batch.admit([at_work.intent("0.01")])
            at_work.database.connection.raw.set_trace_callback(None)
            written.append(sum("INSERT INTO minutes " in one for one in told))
            with contextlib.closing(sqlite3.connect(ledger.path)) as reading:
                ((newest, older),) = reading.execute(
                    "SELECT step_requests, steps FROM limits JOIN minutes USING (owner_id)"
                )
            counted = newest + sum(requests for _, requests, _ in json.loads(older))
            assert counted == 1 + len(written)
    assert written == [0, 1, 0, 0, 1]


async def test_what_ended_is_kept_when_older_windows_are_read_for_what_begins(ledger: LimitedLedger) -> None:
    """A request that was made days ago has all of them read anew, in the midst of a transaction."""
    async with writing(ledger) as at_work:
        late = at_work.intent("0.01", days_ago=3)
        with at_work.database.transaction() as batch:
            batch.settle([settled(at_work.running.request_id, "0.03")])
            (verdict,) = batch.admit([late])
            batch.settle([settled(late.request_id, "0.02")])
    assert isinstance(verdict, Admitted)
    assert await ledger.budgets(at_work.holder) == {"day": ("0.03", "0.00"), "total": ("0.05", "0.00")}


async def test_what_is_not_saved_is_never_forgotten(ledger: LimitedLedger) -> None:
    """Who would forget it has the whole transaction undone: nothing is half done, and it can be done again."""
    async with writing(ledger) as at_work:
        with pytest.raises(RuntimeError, match="not saved"):
            _settled_and_forgotten(at_work)
        with at_work.database.transaction() as batch:
            batch.settle([settled(at_work.running.request_id, "0.03")])
            batch.save()
            batch.forget()
    assert await ledger.budgets(at_work.holder) == {"day": ("0.03", "0.00"), "total": ("0.03", "0.00")}


def _settled_and_forgotten(at_work: Writing) -> None:
    with at_work.database.transaction() as batch:
        batch.settle([settled(at_work.running.request_id, "0.03")])
        batch.forget()


async def test_keys_of_one_team_write_what_is_the_teams_once(ledger: LimitedLedger) -> None:
    """Both count in its budget, and a part of it that is reached is told once."""
    team_id = await ledger.team("blue", "0.10/day")
    alice, bob = await ledger.holder("alice", team="blue"), await ledger.holder("bob", team="blue")
    await ledger.close()
    database = Database(ledger.path, "process", Calendar(ledger.clock, ZoneInfo("UTC"), Counting()))
    with contextlib.closing(database):
        database.begin()
        asked = [one.intent(ledger.clock.at, asked=holding("0.03")) for one in (alice, bob)]
        with database.transaction() as batch:
            verdicts = batch.admit(asked)
            batch.settle([settled(intent.request_id, "0.03") for intent in asked])
    await ledger.open()
    assert all(isinstance(verdict, Admitted) for verdict in verdicts)
    assert [spent for _, _, _, spent, _, held in await ledger.windows(team_id) if not held] == [60_000_000_000]
    assert await ledger.alert_facts("budget", "threshold_percent") == [50]
    await ledger.verify()
