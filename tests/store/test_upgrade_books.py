"""A ledger of an earlier version opens, is brought up to date, and tells the same figures as before."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from alembic import command
from alembic.config import Config

from app.accounts.corrections import Corrections, resolution
from app.accounts.reports import Reports
from app.core.clock import to_ms
from app.core.ids import new_id
from app.core.views import GroupBy
from app.store.connections import WritingConnection, make_file
from app.store.engine import open_store
from app.store.migrate import HEAD, MIGRATIONS, current_revision
from tests.store.entries import a_holder, rows, settled

AT = datetime(2026, 9, 30, 12, tzinfo=UTC)


def ledger_of_0001(path: Path) -> None:
    """The first version's schema, with three requests over two days and their roll-ups."""
    make_file(path)
    bring_to(path, "0001")
    database = sqlite3.connect(path, isolation_level=None)
    database.execute(
        "INSERT INTO keys (id, name, tags, models, state, created_at) VALUES ('key_1', 'a', '[]', '[]', ?, 1)",
        ("active",),
    )
    for number, (state, cost) in enumerate([("settled", 5), ("unknown", None), ("settled", 7)]):
        at = AT + timedelta(hours=8 * number)
        reason = "no_cost" if cost is None else None
        database.execute(
            "INSERT INTO requests (id, created_at, key_id, tags, model, stream, sdk_retry, hold, instance_id, state, "
            "outcome, status, true_cost, charged, unknown_reason, closed_at, closed_seq) "
            "VALUES (?, ?, 'key_1', '[]', 'm', 0, 0, 0, 'i', ?, 'completed', 200, ?, ?, ?, ?, ?)",
            (new_id("req", at), to_ms(at), state, cost, cost, reason, to_ms(at), number + 1),
        )
        database.execute(
            "INSERT INTO usage VALUES (?, 'key_1', '', '[]', 'm', ?, 1, ?, ?, ?, ?, 0, 0, 0, 0, 0)",
            (to_ms(at), state, cost or 0, cost or 0, cost is None, cost is None),
        )
    database.close()


def bring_to(path: Path, revision: str) -> None:
    writing = WritingConnection(path, "process")
    assert (current_revision(writing.sql) or "") < revision
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = writing.sql
    command.upgrade(config, revision)
    writing.close()


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata"])
async def test_a_ledger_of_0001_is_brought_up_to_date(path: Path, zone: str) -> None:
    """Every sum is as before, days are there at once, and everything that is new works on what is old."""
    ledger_of_0001(path)
    store = await open_store(path, zone=ZoneInfo(zone), clock=lambda: AT + timedelta(days=9))
    reports = Reports(store, zone=ZoneInfo(zone), clock=lambda: AT + timedelta(days=9))
    period = reports.period(from_="2026-09-01", to="2026-10-31")
    total = (await reports.usage(period, GroupBy.DAY)).total
    assert (total.requests, total.unknown, total.true_cost_picodollars) == (3, 1, 12)
    assert (await reports.verify()).ok
    (lost,) = [record.id for record in (await rows(store)).values() if record.unknown_reason]
    corrections = Corrections(store, zone=ZoneInfo(zone), clock=lambda: AT + timedelta(days=9))
    await corrections.resolve([lost], resolution("1", None, by="ann", reason="told"))
    total = (await reports.usage(period, GroupBy.DAY)).total
    assert (total.true_cost_unknown, total.true_cost_picodollars) == (0, 12 + 10**12)
    alice = await a_holder(store)
    intent = alice.intent()
    await store.admit(intent)
    await store.settle(settled(intent.request_id), 1)
    assert (await reports.verify()).ok
    await store.aclose()
    found = sqlite3.connect(path)
    assert found.execute("SELECT version_num FROM alembic_version").fetchone() == (HEAD,)
    found.close()


async def test_what_persons_said_is_kept(path: Path) -> None:
    """Adjustments are moved into a new table, which no longer refers to requests, each as it was."""
    ledger_of_0001(path)
    bring_to(path, "0007")
    database = sqlite3.connect(path, isolation_level=None)
    (lost,) = database.execute("SELECT id FROM requests WHERE state = 'unknown'").fetchone()
    said = [
        ("adj_1", lost, 1, 5, 1, 10, 20, 1, "ann", "told", "key_1", None, "[]", "m"),
        ("adj_2", lost, 2, 6, 1, -3, 0, 0, "bob", "\u00fc", "key_1", None, "[]", "m"),
    ]
    database.executemany(f"INSERT INTO adjustments VALUES ({', '.join('?' * len(said[0]))})", said)
    database.close()
    await (await open_store(path)).aclose()
    database = sqlite3.connect(path)
    assert database.execute("SELECT * FROM adjustments ORDER BY id").fetchall() == said
    assert database.execute("PRAGMA foreign_key_list(adjustments)").fetchall() == []
    database.close()
