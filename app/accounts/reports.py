"""What the books say: requests, usage, exports, the live feed, and the proof that it all adds up.

Knows neither SQL nor HTTP. Every figure comes from the same few reads, so that no two pages differ.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from app.accounts.errors import BadValue
from app.accounts.exports import Entry, entries
from app.accounts.reading import explained
from app.accounts.verification import Verifier
from app.accounts.wishes import check_page
from app.core.clock import now
from app.core.holds import Billing
from app.core.refused import RefusalFilter, RefusalRecord, RefusalReport
from app.core.views import GroupBy, Page, RequestFilter, RequestRecord, UsageReport, Verification
from app.core.windows import Period, period_of
from app.store import queries, refusals, seals, search, totals
from app.store.port import Store

# A report is grouped by at most so many things at once.
DIMENSIONS_MAX = 2


class Reports:
    """`zone`: the calendar of days and months. `billing`: which cost counts against budgets."""

    def __init__(
        self,
        store: Store,
        *,
        zone: ZoneInfo,
        billing: Billing = Billing.CHARGED,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._store = store
        self.zone = zone
        self.billing = billing
        self._now = clock

    def period(
        self, *, last: str | None = None, month: str | None = None, from_: str | None = None, to: str | None = None
    ) -> Period:
        """The period that a person asked for, see `core.windows.period_of`. Raises: `BadValue`."""
        try:
            return period_of(zone=self.zone, now=self._now(), last=last, month=month, from_=from_, to=to)
        except ValueError as error:
            raise BadValue(f"{error}.".replace("..", "."), param="period") from None

    async def usage(self, period: Period, *by: GroupBy, key_id: str | None = None) -> UsageReport:
        """Sums in groups of one value for each of `by` (one or two different ones; by key without any).

        `key_id`: of that key's requests alone.
        Raises: `BadValue`.
        """
        dimensions = by or (GroupBy.KEY,)
        if len(dimensions) > DIMENSIONS_MAX or len(set(dimensions)) < len(dimensions):
            raise BadValue(
                "Usage is grouped by one or two different ones of key, team, model, day and tag.", param="by"
            )
        return await self._store.read(totals.usage_report, period, dimensions, self.zone, key_id)

    async def requests(
        self, wanted: RequestFilter | None = None, *, after: str | None = None, limit: int = 100
    ) -> Page[RequestRecord]:
        """Newest first. A page may be short and still have a `next`: a long ledger is searched bit by bit.

        Raises: `KeyNotFound`, `TeamNotFound`, `BadValue`.
        """
        check_page(after, limit, "req")
        return await explained(self._store, search.list_requests, wanted or RequestFilter(), after, limit)

    async def request(self, ref: str, *, key_id: str | None = None) -> RequestRecord:
        """By our id, the upstream's request id, or the response's id; `key_id`: only of that key's requests.

        Raises: `RequestNotFound`.
        """
        return await explained(self._store, queries.find_request, ref, key_id)

    async def refusals(self, wanted: RefusalFilter, *, after: str | None = None, limit: int = 100) -> RefusalReport:
        """Requests that were not admitted, newest first, and how many there were.

        Raises: `KeyNotFound`, `TeamNotFound`, `BadValue`.
        """
        check_page(after, limit, "req")
        return await explained(self._store, refusals.refusal_report, wanted, after, limit)

    async def refusal(self, ident: str, *, key_id: str | None = None) -> RefusalRecord:
        """`key_id`: only if it is that key's. Raises: `RefusalNotFound`."""
        return await explained(self._store, refusals.find_refusal, ident, key_id)

    def export(self, wanted: RequestFilter) -> AsyncIterator[Sequence[Entry]]:
        """What counts in a period, oldest first, in steps: see `exports.entries`. Raises: what that raises."""
        return entries(self._store, wanted)

    async def rows_since(self) -> datetime | None:
        """Of requests made before, rows may be gone; None = of none."""
        return await self._store.read(seals.let_go_before)

    async def verify(self) -> Verification:
        """Recomputes every total and compares."""
        return await Verifier(self._store).run()

    async def closed_since(self, seq: int, limit: int = 500) -> list[RequestRecord]:
        """Closed requests in the order of closing (`closed_seq`), behind a sequence number."""
        return await self._store.read(queries.closed_since, seq, limit)

    async def last_closed_seq(self) -> int:
        return await self._store.read(queries.last_closed_seq)
