"""What the books say: requests, usage, exports, the live feed, and the proof that it all adds up.

Knows neither SQL nor HTTP. Every figure comes from the same few reads, so that no two pages differ.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from zoneinfo import ZoneInfo

from app.accounts.errors import BadValue, KeyNotFound, RequestNotFound, TeamNotFound
from app.core.clock import now
from app.core.views import PAGE_MAX, Difference, GroupBy, Page, RequestFilter, RequestRecord, UsageReport, Verification
from app.core.windows import Period, period_of
from app.store import queries, totals, verify
from app.store.port import RowMissing, Store

# An export is read in steps of so many rows: memory stays the same however long it is.
EXPORT_ROWS = 1000


class Reports:
    """`zone`: the calendar of days and months."""

    def __init__(self, store: Store, *, zone: ZoneInfo, clock: Callable[[], datetime] = now) -> None:
        self._store = store
        self.zone = zone
        self._now = clock

    def period(
        self, *, last: str | None = None, month: str | None = None, from_: str | None = None, to: str | None = None
    ) -> Period:
        """The period that a person asked for, see `core.windows.period_of`. Raises: `BadValue`."""
        try:
            return period_of(zone=self.zone, now=self._now(), last=last, month=month, from_=from_, to=to)
        except ValueError as error:
            raise BadValue(f"{error}.".replace("..", "."), param="period") from None

    async def usage(self, period: Period, by: GroupBy = GroupBy.KEY) -> UsageReport:
        return await self._store.read(totals.usage_report, period, by, self.zone)

    async def requests(
        self, wanted: RequestFilter | None = None, *, after: str | None = None, limit: int = 100
    ) -> Page[RequestRecord]:
        """Newest first. Raises: `KeyNotFound`, `TeamNotFound`, `BadValue`."""
        if not 1 <= limit <= PAGE_MAX:
            raise BadValue(f"A page has between 1 and {PAGE_MAX} items.", param="limit")
        if after is not None and not after.startswith("req_"):
            raise BadValue("This is no cursor of the list: pass the `next` of the page before.", param="after")
        try:
            return await self._store.read(queries.list_requests, wanted or RequestFilter(), after, limit)
        except RowMissing as error:
            if error.kind == "team":
                raise TeamNotFound(error.ref, await self._store.read(queries.team_names)) from None
            raise KeyNotFound(error.ref, await self._store.read(queries.key_names)) from None

    async def request(self, ref: str) -> RequestRecord:
        """By our id, the upstream's request id, or the response's id. Raises: `RequestNotFound`."""
        try:
            return await self._store.read(queries.find_request, ref)
        except RowMissing:
            raise RequestNotFound(ref) from None

    async def export(self, period: Period) -> AsyncIterator[tuple[RequestRecord, ...]]:
        """Every request of a period, oldest first, in steps; rows added meanwhile come last."""
        wanted = RequestFilter(from_at=period.from_at, to_at=period.to_at)
        after: str | None = None
        while True:
            page = await self._store.read(_oldest_first, wanted, after, EXPORT_ROWS)
            if page.items:
                yield page.items
            if page.next is None:
                return
            after = page.next

    async def verify(self) -> Verification:
        """Recomputes every total from the rows and compares."""
        rows, differences = 0, list[Difference]()
        next_ms: int | None = 0
        while next_ms is not None:
            step = await self._store.read(verify.verify_step, next_ms)
            rows, next_ms = rows + step.rows, step.next_ms
            differences += step.differences
        return Verification(not differences, rows, tuple(differences[: verify.DIFFERENCES_MAX]))

    async def closed_since(self, seq: int, limit: int = 500) -> list[RequestRecord]:
        """Closed requests in the order of closing (`closed_seq`), behind a sequence number."""
        return await self._store.read(queries.closed_since, seq, limit)

    async def last_closed_seq(self) -> int:
        return await self._store.read(queries.last_closed_seq)


def _oldest_first(connection: object, wanted: RequestFilter, after: str | None, limit: int) -> Page[RequestRecord]:
    return queries.list_requests(connection, wanted, after, limit, oldest_first=True)  # type: ignore[arg-type]
