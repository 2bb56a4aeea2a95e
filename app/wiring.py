"""The composition root of the control plane and the ledger: the only place that chooses implementations.

(The data plane's one choice, the upstream transport, is made in `proxy.upstream`: a floor
above this one.) Called by `main` and, when no gateway runs, by the command line.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from app.accounts.alert_delivery import Delivery
from app.accounts.alerts import Alerts
from app.accounts.audit import Audit
from app.accounts.corrections import Corrections
from app.accounts.keyring import Keyring
from app.accounts.ledger import Ledger
from app.accounts.reports import Reports
from app.accounts.retention import Retention
from app.accounts.sending import Senders
from app.core.alerts import DestinationKind
from app.core.holds import Billing, Counting
from app.outgoing.services import ServiceSender
from app.outgoing.webhooks import WebhookSender
from app.settings import AdminToken, Settings
from app.settings.alerts_secret import alerts_secret
from app.store.engine import open_store
from app.store.port import Store


@dataclass(slots=True)
class Services:
    """Everything that outlives a request; one per process."""

    settings: Settings
    admin_token: AdminToken
    store: Store
    keyring: Keyring
    ledger: Ledger
    reports: Reports
    corrections: Corrections
    audit: Audit
    alerts: Alerts
    delivery: Delivery  # started by the gateway alone
    retention: Retention | None  # started by it too; None = rows are kept for ever
    closing: asyncio.Event = field(default_factory=asyncio.Event)  # set when the process begins to end

    async def aclose(self) -> None:
        self.closing.set()
        await self.store.aclose()


async def open_services(settings: Settings, *, admin_token: AdminToken) -> Services:
    """Opens the ledger (migrating it if needed) and builds what stands on it.

    Raises: what `open_store` raises: the database is in use, newer than this version, or not writable.
    """
    zone = ZoneInfo(settings.timezone)
    counting = Counting(Billing(settings.billing), unknown_keeps_hold=settings.unknown_counts == "hold")
    store = await open_store(
        settings.database_path,
        durability=settings.durability,
        zone=zone,
        counting=counting,
        references_days=settings.references_days,
    )
    secrets = alerts_secret(settings)
    senders: Senders = {
        DestinationKind.WEBHOOK: WebhookSender(secrets.of, allow_plain=settings.allow_plain_alerts),
        DestinationKind.SERVICE: ServiceSender(),
    }
    return Services(
        settings=settings,
        admin_token=admin_token,
        store=store,
        keyring=Keyring(store, billing=counting.billing),
        ledger=Ledger(store, settle_wait_seconds=settings.settle_wait_seconds),
        reports=Reports(store, zone=zone, billing=counting.billing),
        corrections=Corrections(store, zone=zone),
        audit=Audit(store, zone=zone),
        alerts=Alerts(store, senders, secrets),
        delivery=Delivery(store, senders),
        retention=None
        if settings.retention_days is None
        else Retention(store, zone=zone, days=settings.retention_days),
    )
