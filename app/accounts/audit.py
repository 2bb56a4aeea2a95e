"""The audit log: who changed what and when, as it is asked for; and the settings that a gateway begins with.

Knows neither SQL nor HTTP. The entries of changes are written with them, by the verbs that make them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

from app.accounts.errors import BadValue
from app.accounts.wishes import check_page
from app.core.audit import NOUNS, Action, AuditFilter, AuditRecord, Setting
from app.core.clock import now
from app.core.views import Page
from app.store.audit_pages import list_audit
from app.store.audit_settings import note_settings
from app.store.port import LedgerUnavailable, Store
from app.telemetry import get_logger

log = get_logger("audit")


class Audit:
    """`zone`: the calendar of the periods that are asked for."""

    def __init__(self, store: Store, *, zone: ZoneInfo, clock: Callable[[], datetime] = now) -> None:
        self._store = store
        self.zone = zone
        self._now = clock

    async def entries(
        self, wanted: AuditFilter | None = None, *, after: str | None = None, limit: int = 100
    ) -> Page[AuditRecord]:
        """Newest first. Raises: `BadValue`."""
        wanted = wanted or AuditFilter()
        check_page(after, limit, "aud")
        if wanted.action is not None and wanted.action not in (*Action, *NOUNS):
            raise BadValue(
                f"action: {wanted.action[:60]!r} is none. Write one of {', '.join(Action)}; or {', '.join(NOUNS)} "
                "for all of these.",
                param="action",
            )
        return await self._store.read(list_audit, wanted, after, limit)

    async def note_settings(self, settings: Mapping[str, Setting]) -> None:
        """Writes down what differs from what was in force last.

        A ledger that cannot be written keeps no gateway from starting: the next start notes it then.
        """
        try:
            await self._store.change(note_settings, settings, self._now())
        except LedgerUnavailable as error:
            log.warning("settings_not_noted", reason=str(error))
