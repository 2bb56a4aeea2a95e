"""The shapes of alerts. Of an address, only scheme and host are ever shown: the rest may be as good as a password."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from app.accounts.alerts import Tried
from app.admin.bodies import WRITE, Strict, Text
from app.admin.schemas import Shape, Time
from app.core.alert_texts import message
from app.core.alerts import AlertRecord, DeliveryRecord, Destination, DestinationKind
from app.core.clock import format_time
from app.core.views import Page


class DestinationBody(Strict):
    name: Text = Field(description="Write a name such as on-call.")
    address: str = Field(max_length=2000, description=WRITE["address"])


class DestinationShape(Shape):
    id: str
    name: str
    kind: DestinationKind
    address: str = Field(description="Scheme and host, or the file's name; never the whole")
    created_at: Time
    waiting: int = Field(description="Alerts that have not arrived yet and will be tried again")


class DestinationWithSecretShape(DestinationShape):
    """What adding answers, once."""

    secret: str | None = Field(description="A webhook's receiver checks signatures with it; it is not stored")


class DeliveryShape(Shape):
    """Arrived, given up, or waiting for its next attempt: exactly one of the three times is there."""

    destination: str
    attempts: int
    delivered_at: Time | None
    next_at: Time | None
    given_up_at: Time | None
    error: str | None = Field(description="Why the last attempt failed")


class AlertShape(Shape):
    id: str
    at: Time
    kind: str
    message: str
    facts: dict[str, Any]
    deliveries: list[DeliveryShape]


class AlertsPage(Shape):
    destinations: list[DestinationShape]
    items: list[AlertShape]
    next: str | None


class TriedShape(Shape):
    delivered: bool
    status: int | None = Field(description="The receiver's HTTP status, if it answered with one")
    error: str | None


def destination_shape(record: Destination) -> DestinationShape:
    return DestinationShape.model_validate(_destination_fields(record))


def destination_with_secret(record: Destination, secret: str | None) -> DestinationWithSecretShape:
    return DestinationWithSecretShape.model_validate(_destination_fields(record) | {"secret": secret})


def alerts_page(destinations: tuple[Destination, ...], page: Page[AlertRecord]) -> AlertsPage:
    return AlertsPage(
        destinations=[destination_shape(one) for one in destinations],
        items=[_alert_shape(record) for record in page.items],
        next=page.next,
    )


def tried_shape(tried: Tried) -> TriedShape:
    return TriedShape(delivered=tried.delivered, status=tried.status, error=tried.error)


def _destination_fields(record: Destination) -> dict[str, object]:
    return {
        "id": record.id,
        "name": record.name,
        "kind": record.kind,
        "address": record.shown,
        "created_at": format_time(record.created_at),
        "waiting": record.waiting,
    }


def _alert_shape(record: AlertRecord) -> AlertShape:
    alert = record.alert
    return AlertShape(
        id=alert.id,
        at=format_time(alert.at),
        kind=alert.kind,
        message=message(alert),
        facts=dict(alert.facts),
        deliveries=[_delivery_shape(delivery) for delivery in record.deliveries],
    )


def _delivery_shape(record: DeliveryRecord) -> DeliveryShape:
    times = {"delivered_at": record.delivered_at, "next_at": record.next_at, "given_up_at": record.given_up_at}
    told = {name: None if at is None else format_time(at) for name, at in times.items()}
    return DeliveryShape(destination=record.destination, attempts=record.attempts, error=record.error, **told)
