"""Alerts in the ledger: once per occasion, to the destinations of their time, until each has arrived or is given up."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert

from app.core.alerts import Alert, Attempt, Destination, DestinationKind, Due
from app.store import alerts as rows
from app.store.port import LedgerUnavailable, NameExists, RowMissing, Store
from app.store.schema_limits import alert_destinations, alerts

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
FACTS = {"key": "alice", "amount": "0.10"}


async def add(store: Store, name: str, at: datetime = AT) -> Destination:
    address = f"https://{name}.example/path"
    return await store.change(rows.add_destination, name, DestinationKind.WEBHOOK, address, at)


async def told(store: Store, subject: str = "occasion", at: datetime = AT, kind: str = "unknown_cost") -> bool:
    return await store.change(rows.raise_alert, kind, subject, FACTS, at)


async def spread(store: Store, at: datetime = AT) -> list[Alert]:
    return await store.change(rows.spread, at)


async def due(store: Store, at: datetime = AT) -> list[Due]:
    return (await store.read(rows.due, at))[1]


async def test_an_occasion_is_told_once(store: Store) -> None:
    """Whoever tells it again, and whatever the facts are then."""
    assert await told(store)
    assert not await told(store, at=AT + SECOND)
    assert await told(store, "another")
    page = await store.read(rows.list_alerts, None, 10)
    assert [record.alert.at for record in page.items] == [AT, AT]
    assert page.items[1].alert.facts == FACTS
    assert await store.read(rows.last_raised, "unknown_cost") == AT
    assert await store.read(rows.last_raised, "credits_low") is None


async def test_an_alert_goes_to_the_destinations_of_its_time(store: Store) -> None:
    """Not to one that came later, nor to one that is gone; without any it is kept all the same."""
    await add(store, "gone")
    await store.change(rows.remove_destination, "gone", AT)
    await add(store, "early")
    await told(store)
    await add(store, "late", AT + SECOND)
    assert (await store.read(rows.due, AT))[0]
    assert [alert.kind for alert in await spread(store, AT + SECOND)] == ["unknown_cost"]
    assert await spread(store) == []
    assert not (await store.read(rows.due, AT + SECOND))[0]
    assert await due(store, AT) == []
    assert [(one.destination.name, one.attempts) for one in await due(store, AT + SECOND)] == [("early", 0)]
    assert [(one.name, one.waiting) for one in await store.read(rows.list_destinations)] == [("early", 1), ("late", 0)]
    (record,) = (await store.read(rows.list_alerts, None, 10)).items
    assert [delivery.destination for delivery in record.deliveries] == ["early"]


async def test_rows_of_the_settlement_are_alerts_like_all_others(store: Store) -> None:
    """It names the columns that it fills; the others are these functions' own."""
    row = {"id": "alr_1", "at": 0, "kind": "budget", "subject": "s", "facts": "{}"}
    await store.change(lambda connection: connection.execute(insert(alerts).values(**row)) and None)
    assert [alert.id for alert in await spread(store)] == ["alr_1"]


async def test_an_attempt_is_written_once(store: Store) -> None:
    """It arrives, is to be repeated, or was the last; the same one written again changes nothing."""
    ops = await add(store, "ops")
    await told(store)
    (alert,) = await spread(store)
    failed = Attempt(alert.id, ops.id, 1, AT, "answered 500", AT + SECOND)
    for _ in range(2):
        await store.change(rows.keep_attempts, [failed])
    assert await due(store) == []
    assert [(one.attempts, one.alert) for one in await due(store, AT + SECOND)] == [(1, alert)]
    await store.change(rows.keep_attempts, [Attempt(alert.id, ops.id, 2, AT + SECOND)])
    await store.change(rows.keep_attempts, [failed])
    assert await due(store, AT + timedelta(days=1)) == []
    (record,) = (await store.read(rows.list_alerts, None, 10)).items
    (delivery,) = record.deliveries
    assert (delivery.attempts, delivery.delivered_at, delivery.next_at) == (2, AT + SECOND, None)
    assert (delivery.given_up_at, delivery.error) == (None, None)


async def test_a_last_attempt_that_failed_is_given_up(store: Store) -> None:
    """It keeps its reason."""
    ops = await add(store, "ops")
    await told(store)
    (alert,) = await spread(store)
    await store.change(rows.keep_attempts, [Attempt(alert.id, ops.id, 1, AT, "answered 410")])
    (record,) = (await store.read(rows.list_alerts, None, 10)).items
    assert (record.deliveries[0].given_up_at, record.deliveries[0].error) == (AT, "answered 410")
    assert await due(store, AT + timedelta(days=9)) == []


async def test_a_removed_destination_keeps_its_name_in_the_history_alone(store: Store, path: Path) -> None:
    """What waited for it is dropped, its address is nowhere, its name is free again."""
    ops = await add(store, "ops")
    for subject in ("arrived", "waiting"):
        await told(store, subject)
    first, _ = await spread(store)
    await store.change(rows.keep_attempts, [Attempt(first.id, ops.id, 1, AT)])
    removed = await store.change(rows.remove_destination, "ops", AT)
    assert removed.address == "https://ops.example/path"
    assert await due(store) == []
    with pytest.raises(RowMissing):
        await store.read(rows.find_destination, "ops")
    page = await store.read(rows.list_alerts, None, 10)
    assert [[one.destination for one in record.deliveries] for record in page.items] == [[], ["ops"]]
    await store.change(rows.keep_attempts, [Attempt(page.items[0].alert.id, ops.id, 1, AT)])  # was under way
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT address FROM alert_destinations").fetchall() == [("",)]
    connection.close()
    again = await add(store, "ops")
    assert again.id != ops.id
    with pytest.raises(NameExists):
        await add(store, "ops")


async def test_much_that_is_due_for_one_hides_nothing_of_another(store: Store) -> None:
    """Of each destination some, the longest due first."""
    await add(store, "one")
    for number in range(150):
        await told(store, f"old {number}", AT)
    await spread(store)
    await spread(store)
    await add(store, "two", AT + SECOND)
    await told(store, "new", AT + SECOND)
    await spread(store, AT + SECOND)
    found = await due(store, AT + SECOND)
    assert [one.destination.name for one in found] == ["one"] * 100 + ["two"]
    ids = [one.alert.id for one in found[:100]]
    assert ids == sorted(ids)


async def test_the_history_is_paged_newest_first(store: Store) -> None:
    """Without a gap or a double, whatever was raised meanwhile."""
    for number in range(5):
        await told(store, f"{number}", AT + number * SECOND)
    first = await store.read(rows.list_alerts, None, 2)
    await told(store, "meanwhile", AT + 9 * SECOND)
    second = await store.read(rows.list_alerts, first.next, 2)
    third = await store.read(rows.list_alerts, second.next, 2)
    assert third.next is None
    found = [record.alert.at for page in (first, second, third) for record in page.items]
    assert found == [AT + number * SECOND for number in (4, 3, 2, 1, 0)]


async def test_looking_costs_no_scan(store: Store, path: Path) -> None:
    """Every two seconds: the indices answer, however many alerts there were."""
    await add(store, "ops")
    connection = sqlite3.connect(path)
    for query, index in (
        ("SELECT id FROM alerts WHERE spread_at IS NULL LIMIT 1", "alerts_unspread"),
        (
            "SELECT * FROM alerts JOIN alert_deliveries ON alert_id = alerts.id "
            "WHERE destination_id = ? AND next_at <= ? ORDER BY next_at, alerts.id LIMIT 1",
            "alert_deliveries_due",
        ),
    ):
        values = ("x",) * query.count("?")
        plan = " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}", values))
        assert index in plan
        assert "SCAN alert_deliveries" not in plan
    connection.close()


async def test_an_error_never_tells_where_alerts_go(store: Store) -> None:
    """Errors of the database are logged; the address is a parameter of the statement."""
    ops = await add(store, "ops")
    with pytest.raises(Exception, match="UNIQUE") as raised:
        await store.change(_insert, ops.id)
    assert not isinstance(raised.value, LedgerUnavailable)
    assert "SECRET" not in str(raised.value)
    assert "hidden" in str(raised.value)


def _insert(connection: Connection, ident: str) -> None:
    values = {"id": ident, "name": "x", "kind": "webhook", "address": "https://x.example/SECRET", "created_at": 0}
    connection.execute(insert(alert_destinations).values(**values))
