"""The ledger's two hot verbs: admit before anything is forwarded, settle before the end is sent."""

from __future__ import annotations

from app.core.records import Admitted, Intent, Refused, Settlement
from app.store.port import LedgerLost, LedgerUnavailable, Store


class Ledger:
    def __init__(self, store: Store, *, settle_wait_seconds: float) -> None:
        self._store = store
        self._settle_wait_seconds = settle_wait_seconds

    async def admit(self, intent: Intent) -> Admitted | Refused:
        """When this returns `Admitted`, the request has its open row. Raises: `LedgerUnavailable`, then it has none."""
        return await self._store.admit(intent)

    async def settle(self, settlement: Settlement) -> None:
        """When this returns, the cost is committed or in the spool on disk. Raises: `LedgerLost`."""
        await self._store.settle(settlement, self._settle_wait_seconds)

    @property
    def healthy(self) -> bool:
        """The ledger takes requests, and nothing waits in the spool."""
        return self._store.healthy


__all__ = ["Ledger", "LedgerLost", "LedgerUnavailable"]
