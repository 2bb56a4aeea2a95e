"""What the admin should know about the upstream, once an hour at most for each kind. Called by `relay`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from app.telemetry import get_logger

EVERY_SECONDS = 3600.0

MESSAGES = {
    401: "The upstream refuses the gateway's key: check IMAGEROUTER_API_KEY.",
    402: "The upstream's credits are used up.",
    403: "The upstream denies access (a model, or moderation).",
}

log = get_logger("upstream")


class Notices:
    """Remembers when each kind was last told. `raise_alert` takes the status, and must not raise."""

    def __init__(self, raise_alert: Callable[[int], Awaitable[Any]]) -> None:
        self._raise_alert = raise_alert
        self._raising: set[asyncio.Future[Any]] = set()
        self._told_at: dict[int, float] = {}

    def tell(self, status: int, *, now: float | None = None) -> bool:
        """Tells of 401, 402 and 403, unless one of the kind was told within the hour; True if it did.

        It is logged at once; the alert is raised beside the request, which does not wait for it.
        """
        message = MESSAGES.get(status)
        at = time.monotonic() if now is None else now
        last = self._told_at.get(status)
        if message is None or (last is not None and at - last < EVERY_SECONDS):
            return False
        self._told_at[status] = at
        log.warning("upstream_refuses", status=status, message=message)
        raising = asyncio.ensure_future(self._raise_alert(status))
        self._raising.add(raising)
        raising.add_done_callback(self._raising.discard)
        return True
