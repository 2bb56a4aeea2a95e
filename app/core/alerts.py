"""Alerts as plain values: what an admin is told, where it goes, and how that went.

No sentence (`core.alert_texts`), no SQL, no HTTP. Filled by the store, handed on by the accounts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from app.core.value import Value


class AlertKind(StrEnum):
    """What can have happened. The ledger keeps it as text, so that an older version can show a newer one's alerts."""

    BUDGET = "budget"
    UNKNOWN_COST = "unknown_cost"
    COST_ABOVE_HOLD = "cost_above_hold"
    CHARGE_MISMATCH = "charge_mismatch"
    UPSTREAM_KEY_REFUSED = "upstream_key_refused"
    UPSTREAM_CREDITS_USED_UP = "upstream_credits_used_up"
    UPSTREAM_DENIES = "upstream_denies"
    CREDITS_LOW = "credits_low"
    TEST = "test"  # sent when a person asks for it, never kept


class DestinationKind(StrEnum):
    WEBHOOK = "webhook"  # an http(s) URL, signed
    SERVICE = "service"  # a file that holds the address of a service, with its credentials


@dataclass(frozen=True, slots=True)
class Destination:
    """Where alerts go. The address may hold a secret in its path: it is shown by `shown` alone."""

    id: str  # dst_<ulid>
    name: str
    kind: DestinationKind
    address: str = field(repr=False)
    created_at: datetime
    waiting: int = 0  # alerts that have not arrived yet and will be tried again

    @property
    def shown(self) -> str:
        return shown_address(self.address)


class Alert(Value, frozen=True):
    id: str  # alr_<ulid>
    at: datetime
    kind: str
    facts: Mapping[str, Any]


class DeliveryRecord(Value, frozen=True):
    """How an alert fares at one destination: arrived, given up, or to be tried at `next_at`; exactly one is set."""

    destination: str  # its name, also of one that was removed
    attempts: int
    next_at: datetime | None
    delivered_at: datetime | None
    given_up_at: datetime | None
    error: str | None  # why the last attempt failed


class AlertRecord(Value, frozen=True):
    alert: Alert
    deliveries: tuple[DeliveryRecord, ...]


class Due(Value, frozen=True):
    """An alert that is to be sent to a destination now, after so many attempts that failed."""

    alert: Alert
    destination: Destination
    attempts: int


class Attempt(Value, frozen=True):
    """One that was made: it arrived (no error), is to be repeated at `next_at`, or was the last (an error alone)."""

    alert_id: str
    destination_id: str
    number: int  # 1 = the first
    at: datetime
    error: str | None = None
    next_at: datetime | None = None


def shown_address(address: str) -> str:
    """Scheme and host of a URL, the bare name of a file: a path or a query may be as good as a password."""
    if address.startswith("file:"):
        return f"file:…/{address.rpartition('/')[2]}"
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
