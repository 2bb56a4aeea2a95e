"""The store's log. A line that cannot be written (a full disk, a closed pipe) must not stop the ledger."""

from __future__ import annotations

import contextlib
from typing import Any

from app.telemetry import get_logger


class SafeLog:
    def __init__(self, source: str) -> None:
        self._log = get_logger(source)

    def info(self, event: str, **fields: Any) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._log.info(event, **fields)

    def warning(self, event: str, **fields: Any) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._log.warning(event, **fields)

    def error(self, event: str, **fields: Any) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._log.error(event, **fields)


log = SafeLog("ledger")
