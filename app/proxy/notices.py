"""What the admin should know about the upstream, once an hour at most for each kind. Called by `relay`."""

from __future__ import annotations

import time

from app.telemetry import get_logger

EVERY_SECONDS = 3600.0

MESSAGES = {
    401: "The upstream refuses the gateway's key: check IMAGEROUTER_API_KEY.",
    402: "The upstream's credits are used up.",
    403: "The upstream denies access (a model, or moderation).",
}

log = get_logger("upstream")


class Notices:
    """Remembers when each kind was last told."""

    def __init__(self) -> None:
        self._told_at: dict[int, float] = {}

    def tell(self, status: int, *, now: float | None = None) -> bool:
        """Logs a warning for 401, 402 and 403, unless one of the kind was logged within the hour; True if it did."""
        message = MESSAGES.get(status)
        at = time.monotonic() if now is None else now
        last = self._told_at.get(status)
        if message is None or (last is not None and at - last < EVERY_SECONDS):
            return False
        self._told_at[status] = at
        log.warning("upstream_refuses", status=status, message=message)
        return True
