"""What the holder of a key may see of the books: all of its own, and nothing of another's.

Every verb is bound to one key before it can be asked, and narrows what is read to that key's rows: what
belongs to another is as absent as what never was. Called by the routes of key holders.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from app.accounts.errors import BadValue
from app.accounts.reading import explained
from app.accounts.reports import Reports
from app.core.bounds import KeyStanding
from app.core.clock import now
from app.core.refused import RefusalFilter, RefusalRecord, RefusalReport
from app.core.value import replace
from app.core.views import GroupBy, Page, RequestFilter, RequestRecord, UsageReport
from app.core.windows import Period
from app.store import standing
from app.store.port import Store


class OwnBooks:
    def __init__(self, store: Store, reports: Reports, key_id: str, *, clock: Callable[[], datetime] = now) -> None:
        self._store = store
        self._reports = reports
        self._key_id = key_id
        self._now = clock

    async def standing(self) -> KeyStanding:
        """The key, and everything that can refuse it."""
        return await explained(self._store, standing.key_standing, self._key_id, self._now())

    async def usage(self, period: Period, *by: GroupBy) -> UsageReport:
        """Raises: `BadValue` (also for teams, of which it is one key among others)."""
        if GroupBy.TEAM in by:
            raise BadValue("Usage of one key is grouped by one or two of key, model, day and tag.", param="by")
        return await self._reports.usage(period, *by, key_id=self._key_id)

    async def requests(
        self, wanted: RequestFilter, *, after: str | None = None, limit: int = 100
    ) -> Page[RequestRecord]:
        """Raises: `BadValue`."""
        own = replace(wanted, key=self._key_id, team=None)
        return await self._reports.requests(own, after=after, limit=limit)

    async def request(self, ref: str) -> RequestRecord:
        """By our id, the upstream's request id, or the response's id. Raises: `RequestNotFound`."""
        return await self._reports.request(ref, key_id=self._key_id)

    async def refusals(self, wanted: RefusalFilter, *, after: str | None = None, limit: int = 100) -> RefusalReport:
        """Raises: `BadValue`."""
        own = replace(wanted, key=self._key_id, team=None)
        return await self._reports.refusals(own, after=after, limit=limit)

    async def refusal(self, ident: str) -> RefusalRecord:
        """Raises: `RefusalNotFound`."""
        return await self._reports.refusal(ident, key_id=self._key_id)
