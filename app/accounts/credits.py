"""Are the upstream's credits running low? Asked every ten minutes, told once a day.

Knows no HTTP: the question is handed in. Told again, however soon, when they were enough in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from decimal import Decimal

from app.accounts.alerts import Alerts
from app.accounts.catalog import FetchFailed
from app.core.alerts import AlertKind
from app.core.clock import now, to_ms
from app.core.credits import remaining_credits
from app.store.port import LedgerUnavailable
from app.telemetry import get_logger

EVERY_SECONDS = 600.0

TOLD_EVERY = timedelta(days=1)

log = get_logger("alerts")


class CreditsWatch:
    """`fetch`: the upstream's answer, which raises `FetchFailed`; `low_usd`: an alert is raised below it."""

    def __init__(
        self,
        alerts: Alerts,
        fetch: Callable[[], Awaitable[bytes]],
        low_usd: Decimal,
        *,
        clock: Callable[[], datetime] = now,
        wait: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._alerts = alerts
        self._fetch = fetch
        self._low_usd = low_usd
        self._now = clock
        self._wait = wait
        self._enough = False  # they were, since the last alert
        self._fault: str | None = None
        self._looking: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._looking = asyncio.create_task(self._look())

    async def aclose(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    async def _look(self) -> None:
        while True:
            try:
                await self.look_once()
            except Exception as error:  # a fault of ours must cost this look alone
                log.exception("alerts_failed", reason=type(error).__name__)
            await self._wait(EVERY_SECONDS)

    async def look_once(self) -> None:
        """What fails with the upstream or the ledger is logged, once for as long as it lasts, and tried again."""
        try:
            remaining = await asyncio.to_thread(remaining_credits, await self._fetch())
            await self._judge(remaining)
        except (FetchFailed, ValueError, LedgerUnavailable) as error:
            if str(error) != self._fault:
                self._fault = str(error)
                log.warning("credits_not_known", reason=self._fault)
        else:
            self._fault = None

    async def _judge(self, remaining: Decimal) -> None:
        """Raises: `LedgerUnavailable`."""
        if remaining >= self._low_usd:
            self._enough = True
            return
        at, told_at = self._now(), await self._alerts.last_raised(AlertKind.CREDITS_LOW)
        if told_at is None or self._enough or at - told_at >= TOLD_EVERY:
            facts = {"remaining_usd": format(remaining, "f"), "threshold_usd": format(self._low_usd, "f")}
            kept = await self._alerts.raise_alert(AlertKind.CREDITS_LOW, f"{AlertKind.CREDITS_LOW}/{to_ms(at)}", facts)
            self._enough = self._enough and not kept
