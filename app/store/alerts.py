"""Alerts in the ledger: raised once per occasion, queued for every destination, tried until they arrive.

Those of money are raised by `occasions`, in the transaction of the settlement. What changes runs in
the writer's transaction, what reads over a snapshot; sentences for people are the accounts'.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, func, insert, literal, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from app.core.alerts import Alert, AlertRecord, Attempt, DeliveryRecord, Destination, DestinationKind, Due
from app.core.clock import from_ms, to_ms
from app.core.ids import new_id
from app.core.views import Page
from app.store.port import NameExists, RowMissing
from app.store.schema_limits import alert_deliveries, alert_destinations, alerts

# So many alerts are queued in one transaction, and so many of one destination are due at once.
_CHUNK = 100


def raise_alert(connection: Connection, kind: str, subject: str, facts: Mapping[str, Any], now: datetime) -> bool:
    """Keeps an alert; False if its occasion was told before. `subject` names that: the same one never counts twice."""
    row = {"id": new_id("alr", now), "at": to_ms(now), "kind": kind, "subject": subject, "facts": json.dumps(facts)}
    kept = connection.execute(upsert(alerts).values(**row).on_conflict_do_nothing(index_elements=["subject"]))
    return kept.rowcount == 1


def last_raised(connection: Connection, kind: str) -> datetime | None:
    """When an alert of this kind was kept last."""
    at: int | None = connection.scalar(select(func.max(alerts.c.at)).where(alerts.c.kind == kind))
    return None if at is None else from_ms(at)


# --- destinations -------------------------------------------------------------------------


def add_destination(
    connection: Connection, name: str, kind: DestinationKind, address: str, now: datetime
) -> Destination:
    """Gets the alerts from now on, not older ones. Raises: `NameExists`."""
    if connection.execute(_destinations().where(alert_destinations.c.name == name)).first() is not None:
        raise NameExists("destination", name)
    ident = new_id("dst", now)
    connection.execute(
        insert(alert_destinations).values(id=ident, name=name, kind=kind, address=address, created_at=to_ms(now))
    )
    return find_destination(connection, name)


def find_destination(connection: Connection, name: str) -> Destination:
    """Raises: `RowMissing`."""
    row = connection.execute(_destinations().where(alert_destinations.c.name == name)).first()
    if row is None:
        raise RowMissing("destination", name)
    return _destination(row)


def list_destinations(connection: Connection) -> tuple[Destination, ...]:
    """By name; there are few."""
    return tuple(map(_destination, connection.execute(_destinations().order_by(alert_destinations.c.name))))


def remove_destination(connection: Connection, name: str, now: datetime) -> Destination:
    """Nothing goes there any more. Its name stays in the history, its address nowhere. Raises: `RowMissing`."""
    found = find_destination(connection, name)
    here, waiting = alert_deliveries.c.destination_id == found.id, alert_deliveries.c.next_at.is_not(None)
    connection.execute(delete(alert_deliveries).where(here, waiting))
    gone = update(alert_destinations).where(alert_destinations.c.id == found.id)
    connection.execute(gone.values(removed_at=to_ms(now), address=""))
    return found


# --- delivering ---------------------------------------------------------------------------


def due(connection: Connection, now: datetime) -> tuple[bool, list[Due]]:
    """Whether alerts wait to be spread; and what is to be sent now, longest due first, some of each destination."""
    unspread = connection.scalar(select(alerts.c.id).where(alerts.c.spread_at.is_(None)).limit(1)) is not None
    found: list[Due] = []
    for destination in list_destinations(connection):
        waiting = (
            select(alerts, alert_deliveries.c.attempts)
            .join(alert_deliveries, alert_deliveries.c.alert_id == alerts.c.id)
            .where(alert_deliveries.c.destination_id == destination.id, alert_deliveries.c.next_at <= to_ms(now))
            .order_by(alert_deliveries.c.next_at, alerts.c.id)
            .limit(_CHUNK)
        )
        found += [Due(_alert(row), destination, row.attempts) for row in connection.execute(waiting)]
    return unspread, found


def spread(connection: Connection, now: datetime) -> list[Alert]:
    """Queues new alerts for every destination that was there when they were raised; which alerts."""
    new = select(alerts).where(alerts.c.spread_at.is_(None)).order_by(alerts.c.id).limit(_CHUNK)
    found = [_alert(row) for row in connection.execute(new)]
    ids = [alert.id for alert in found]
    pairs = (
        select(alerts.c.id, alert_destinations.c.id, literal(0), literal(to_ms(now)))
        .join(alert_destinations, alert_destinations.c.created_at <= alerts.c.at)
        .where(alerts.c.id.in_(ids), alert_destinations.c.removed_at.is_(None))
    )
    columns = ["alert_id", "destination_id", "attempts", "next_at"]
    connection.execute(insert(alert_deliveries).from_select(columns, pairs))
    connection.execute(update(alerts).where(alerts.c.id.in_(ids)).values(spread_at=to_ms(now)))
    return found


def keep_attempts(connection: Connection, attempts: Iterable[Attempt]) -> None:
    """Writes how attempts went, each once. One whose destination was removed meanwhile is forgotten."""
    for attempt in attempts:
        at, over = to_ms(attempt.at), attempt.next_at is None
        connection.execute(
            update(alert_deliveries)
            .where(
                alert_deliveries.c.alert_id == attempt.alert_id,
                alert_deliveries.c.destination_id == attempt.destination_id,
                alert_deliveries.c.attempts == attempt.number - 1,
                alert_deliveries.c.next_at.is_not(None),
            )
            .values(
                attempts=attempt.number,
                next_at=None if attempt.next_at is None else to_ms(attempt.next_at),
                delivered_at=at if attempt.error is None else None,
                given_up_at=at if attempt.error is not None and over else None,
                error=attempt.error,
            )
        )


# --- history ------------------------------------------------------------------------------


def list_alerts(connection: Connection, after: str | None, limit: int) -> Page[AlertRecord]:
    """Newest first. `after`: the id that the page before ended with."""
    query = select(alerts).order_by(alerts.c.id.desc()).limit(limit + 1)
    if after is not None:
        query = query.where(alerts.c.id < after)
    found = [_alert(row) for row in connection.execute(query)]
    told = _deliveries(connection, [alert.id for alert in found[:limit]])
    records = tuple(AlertRecord(alert, tuple(told.get(alert.id, ()))) for alert in found[:limit])
    return Page(records, found[limit - 1].id if len(found) > limit else None)


def _deliveries(connection: Connection, ids: Sequence[str]) -> dict[str, list[DeliveryRecord]]:
    query = (
        select(alert_deliveries, alert_destinations.c.name)
        .join(alert_destinations, alert_destinations.c.id == alert_deliveries.c.destination_id)
        .where(alert_deliveries.c.alert_id.in_(ids))
        .order_by(alert_destinations.c.name, alert_destinations.c.id)
    )
    found: dict[str, list[DeliveryRecord]] = {}
    for row in connection.execute(query):
        times = _time(row.next_at), _time(row.delivered_at), _time(row.given_up_at)
        found.setdefault(row.alert_id, []).append(DeliveryRecord(row.name, row.attempts, *times, row.error))
    return found


def _destinations() -> Select[Any]:
    """Those that are not removed, with how much waits for them."""
    waiting = (
        select(func.count())
        .where(
            alert_deliveries.c.destination_id == alert_destinations.c.id,
            alert_deliveries.c.next_at.is_not(None),
        )
        .scalar_subquery()
    )
    return select(alert_destinations, waiting.label("waiting")).where(alert_destinations.c.removed_at.is_(None))


def _destination(row: Row[Any]) -> Destination:
    kind, created_at = DestinationKind(row.kind), from_ms(row.created_at)
    return Destination(row.id, row.name, kind, row.address, created_at, row.waiting)


def _time(at: int | None) -> datetime | None:
    return None if at is None else from_ms(at)


def _alert(row: Row[Any]) -> Alert:
    return Alert(row.id, from_ms(row.at), row.kind, json.loads(row.facts))
