"""The gateway without its ledger: what everything else of it costs. A switch of the bench; no setting does this.

Run as `python -m tests.bench.references.no_ledger serve`, with the gateway's own settings. Keys are still looked up in
the database; what is admitted and settled is written nowhere.
"""

from __future__ import annotations

from app import server
from app.accounts.ledger import Ledger
from app.cli import main
from app.core.records import Admitted, Intent, Refused, Settlement
from app.settings import AdminToken, Settings
from app.wiring import Services, open_services


class NoLedger(Ledger):
    """Admits everything, remembers nothing."""

    async def admit(self, intent: Intent) -> Admitted | Refused:
        return Admitted(intent.request_id, "bench", None)

    async def settle(self, settlement: Settlement) -> None:
        return None


async def _without_ledger(settings: Settings, *, admin_token: AdminToken) -> Services:
    services = await open_services(settings, admin_token=admin_token)
    services.ledger = NoLedger(services.store, settle_wait_seconds=settings.settle_wait_seconds)
    return services


if __name__ == "__main__":
    setattr(server, "open_services", _without_ledger)  # noqa: B010 - it is imported there, not exported
    main()
