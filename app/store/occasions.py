"""What happens in the ledger that the admin is to be told: written in the transaction in which it happens.

Each occasion has a name (`subject`) of its own and is written once. Sending is the accounts'.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, select

from app.core.alerts import AlertKind
from app.core.budgets import ALWAYS_TO_MS, Budget
from app.core.clock import format_time, from_ms
from app.core.holds import Billing, counted
from app.core.limits import GATEWAY, Window
from app.core.money import format_usd
from app.core.records import Settlement, State
from app.store.alerts import raise_alert
from app.store.schema import keys, teams

# Of each budget, the parts of its amount that are told when they are reached; the smallest first.
THRESHOLDS_PERCENT = (50, 80, 100)

_HOUR_MS = 3_600_000


def first_threshold(budget: Budget) -> int:
    """In 10⁻¹² USD, rounded down: nothing is told below it, and nearly every window is below."""
    return THRESHOLDS_PERCENT[0] * budget.amount_picodollars // 100


def budget_alerts(
    connection: Connection, owner_id: str, budget: Budget, window: Window, before: int, now: datetime
) -> None:
    """An alert for each threshold between what was spent before and what is now."""
    amount, span = budget.amount_picodollars, window.span
    for percent in THRESHOLDS_PERCENT:
        if not before * 100 < percent * amount <= window.spent * 100:
            continue
        facts = {
            "owner_id": owner_id,
            **_owner(connection, owner_id),
            "period": budget.period,
            "threshold_percent": percent,
            "limit_usd": format_usd(amount),
            "spent_usd": format_usd(window.spent),
            "starts_at": format_time(from_ms(span.starts_at_ms)),
            "resets_at": format_time(from_ms(span.ends_at_ms)) if span.ends_at_ms != ALWAYS_TO_MS else None,
        }
        subject = f"budget:{owner_id}:{budget.period}:{span.starts_at_ms}:{percent}"
        raise_alert(connection, AlertKind.BUDGET, subject, facts, now)


class Oddities:
    """Tells what is odd about a request that is closed: of each kind one in an hour for a key.

    What was told is remembered: an hour of unknown costs must not be an hour of slow settlements. So let go
    of it when a transaction is rolled back.
    """

    def __init__(self, connection: Connection, billing: Billing) -> None:
        self._connection = connection
        self._billing = billing
        self._hour = 0
        self._told: set[tuple[AlertKind, str]] = set()

    def look(self, key_id: str, model: str, hold: int, settlement: Settlement, now_ms: int) -> None:
        hour = now_ms // _HOUR_MS
        if hour != self._hour:
            self._hour, self._told = hour, set()
        for kind, facts in _odd(hold, settlement, self._billing):
            if (kind, key_id) not in self._told:
                self._tell(kind, key_id, {"request_id": settlement.request_id, "model": model, **facts}, now_ms)
                self._told.add((kind, key_id))

    def _tell(self, kind: AlertKind, key_id: str, facts: Mapping[str, Any], now_ms: int) -> None:
        hour = format_time(from_ms(self._hour * _HOUR_MS))
        facts = {"key": _name(self._connection, keys, key_id), "key_id": key_id, **facts}
        raise_alert(self._connection, kind, f"{kind}:{key_id}:{hour}", facts, from_ms(now_ms))


def _odd(hold: int, settlement: Settlement, billing: Billing) -> Iterator[tuple[AlertKind, Mapping[str, Any]]]:
    reading = settlement.reading
    if settlement.state is State.UNKNOWN:
        yield AlertKind.UNKNOWN_COST, {"unknown_reason": settlement.unknown_reason}
    if reading.charge_mismatch and reading.true_cost and reading.charged:
        yield AlertKind.CHARGE_MISMATCH, {"true_cost_usd": reading.true_cost.raw, "charged_usd": reading.charged.raw}
    if hold and (cost := counted(reading, billing)) is not None and cost.picodollars > hold:
        yield AlertKind.COST_ABOVE_HOLD, {"hold_usd": format_usd(hold), "cost_usd": format_usd(cost.picodollars)}


def _owner(connection: Connection, owner_id: str) -> dict[str, str | None]:
    if owner_id == GATEWAY:
        return {"scope": "gateway", "owner": None}
    table = keys if owner_id.startswith("key_") else teams
    return {"scope": "key" if table is keys else "team", "owner": _name(connection, table, owner_id)}


def _name(connection: Connection, table: Table, ident: str) -> str | None:
    name: str | None = connection.scalar(select(table.c.name).where(table.c.id == ident))
    return name
