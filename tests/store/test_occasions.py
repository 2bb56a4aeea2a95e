"""What the admin is told of requests that are closed: once an hour for a key, also when a transaction fails."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import func, select

from app.core.holds import Counting
from app.store import alerts
from app.store.calendar import Calendar
from app.store.database import Database
from app.store.schema_limits import alerts as alert_rows
from tests.store.entries import Holder, settled, unknown
from tests.store.limited import LimitedLedger


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[LimitedLedger]:
    ledger = LimitedLedger(tmp_path / "gateway.db", "2026-11-23T12:30")
    await ledger.open()
    yield ledger
    await ledger.close()


async def told(ledger: LimitedLedger) -> list[tuple[str, str]]:
    """Kind and key of every alert, oldest first."""
    page = await ledger.store.read(alerts.list_alerts, None, 100)
    return [(one.alert.kind, one.alert.facts["key"]) for one in reversed(page.items)]


async def end_unknown(ledger: LimitedLedger, holder: Holder) -> None:
    await ledger.store.settle(unknown(await ledger.admit(holder)), 5)


async def test_what_is_odd_is_told_once_an_hour_for_a_key(ledger: LimitedLedger) -> None:
    """Of each kind; the next hour tells it again, and so does another key's first."""
    alice, bob = await ledger.holder("alice", "45/month"), await ledger.holder("bob")
    for _ in range(3):
        await end_unknown(ledger, alice)
    await end_unknown(ledger, bob)
    await ledger.store.settle(settled(await ledger.admit(alice, "0.01"), "0.02"), 5)
    assert await told(ledger) == [("unknown_cost", "alice"), ("unknown_cost", "bob"), ("cost_above_hold", "alice")]
    ledger.clock.move(hours=1)
    await end_unknown(ledger, alice)
    assert (await told(ledger))[3:] == [("unknown_cost", "alice")]


async def test_an_hour_goes_on_after_a_restart(ledger: LimitedLedger) -> None:
    """The ledger knows what the process before told."""
    alice = await ledger.holder("alice")
    await end_unknown(ledger, alice)
    await ledger.close()
    await ledger.open()
    await end_unknown(ledger, alice)
    assert await told(ledger) == [("unknown_cost", "alice")]


class OutOfOrderError(Exception):
    pass


@contextlib.contextmanager
def database_of(ledger: LimitedLedger) -> Iterator[Database]:
    database = Database(ledger.path, "process", Calendar(ledger.clock, ZoneInfo("UTC"), Counting()))
    yield database
    database.close()


async def test_what_was_told_in_a_transaction_that_failed_is_told_by_the_next(ledger: LimitedLedger) -> None:
    """What the writer remembers is never more than what was committed."""
    alice = await ledger.holder("alice")
    request_id = await ledger.admit(alice)
    await ledger.close()
    with database_of(ledger) as database:
        with contextlib.suppress(OutOfOrderError), database.transaction() as batch:
            batch.settle([unknown(request_id)])
            raise OutOfOrderError
        assert database.connection.sql.scalar(select(func.count()).select_from(alert_rows)) == 0
        with database.transaction() as batch:
            batch.settle([unknown(request_id)])
    await ledger.open()
    assert await told(ledger) == [("unknown_cost", "alice")]
