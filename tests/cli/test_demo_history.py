"""The demo's invented weeks: plausible, tagged, built like a real ledger, and never laid over one."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from app.accounts.keyring import Keyring
from app.accounts.reports import Reports
from app.cli.demo_history import DAYS, HABITS, TAG, invent_history
from app.cli.frame import Failure
from app.core.owners import NewKey
from app.core.records import State
from app.core.views import GroupBy, RequestFilter, RequestRecord
from app.store.engine import open_store
from app.store.port import StoreLocked

NOW = datetime(2026, 11, 23, 10, 30, tzinfo=UTC)


async def everything(path: Path) -> list[RequestRecord]:
    store = await open_store(path)
    reports = Reports(store, zone=ZoneInfo("UTC"), clock=lambda: NOW)
    period = reports.period(last="40d")
    wanted = RequestFilter(from_at=period.from_at, to_at=period.to_at)
    rows = [row async for some in reports.export(wanted) for row in some if isinstance(row, RequestRecord)]
    await store.aclose()
    return rows


@pytest.fixture(scope="module")
def invented(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A history that no test here changes."""
    path = tmp_path_factory.mktemp("history") / "demo.db"
    invent_history(path, NOW)
    return path


async def test_there_are_weeks_of_requests_all_tagged(invented: Path) -> None:
    """Three keys, five models, every way to end that is common; nothing open, nothing in the future."""
    rows = await everything(invented)
    assert {row.key for row in rows} == {habit.name for habit in HABITS}
    assert len({row.model for row in rows}) == 5
    assert {row.tags for row in rows} == {(TAG,)}
    assert {row.state for row in rows} == {State.SETTLED, State.FREE, State.UNKNOWN}
    days = {row.created_at.date() for row in rows}
    assert len(days) == DAYS + 1
    assert NOW - timedelta(days=DAYS + 1) < min(row.created_at for row in rows)
    assert max(row.closed_at for row in rows if row.closed_at) < NOW
    for row in rows:
        assert row.closed_at == row.created_at + timedelta(milliseconds=row.duration_ms or 0)


async def test_the_books_of_the_history_add_up(invented: Path) -> None:
    """Rows, roll-ups and groups agree to the last digit."""
    rows = await everything(invented)
    store = await open_store(invented)
    reports = Reports(store, zone=ZoneInfo("UTC"), clock=lambda: NOW)
    assert (await reports.verify()).ok
    total = (await reports.usage(reports.period(last="40d"), GroupBy.TAG)).groups[0]
    assert total.labels[0] == TAG
    assert total.totals.true_cost_picodollars == sum(row.true_cost_picodollars or 0 for row in rows)
    assert total.totals.requests == len(rows)
    await store.aclose()


async def test_the_same_moment_gives_the_same_days(invented: Path, tmp_path: Path) -> None:
    """But for the ids."""

    def what(row: RequestRecord) -> tuple[object, ...]:
        return row.created_at, row.key, row.model, row.state, row.true_cost_raw, row.usage

    invent_history(tmp_path / "again.db", NOW)
    again = [what(row) for row in await everything(tmp_path / "again.db")]
    assert [what(row) for row in await everything(invented)] == again


async def test_a_kept_demo_is_not_filled_again(invented: Path) -> None:
    """What was seen yesterday is still there."""
    before = await everything(invented)
    invent_history(invented, NOW + timedelta(days=1))
    assert await everything(invented) == before


async def test_a_ledger_with_real_keys_is_left_alone(tmp_path: Path) -> None:
    """Whatever it is called: invented costs never stand among real ones."""
    path = tmp_path / "demo.db"
    store = await open_store(path)
    await Keyring(store).create(NewKey("somebody", tags=("prod",)))
    await store.aclose()
    before = [*sqlite3.connect(path).iterdump()]
    with pytest.raises(Failure, match="no demo made"):
        invent_history(path, NOW)
    after = [*sqlite3.connect(path).iterdump()]
    assert [line for line in after if "instances" not in line] == [line for line in before if "instances" not in line]


async def test_a_ledger_that_is_in_use_is_left_alone(tmp_path: Path) -> None:
    """Two demos in one directory."""
    store = await open_store(tmp_path / "demo.db")
    with pytest.raises(StoreLocked):
        invent_history(tmp_path / "demo.db", NOW)
    await store.aclose()
