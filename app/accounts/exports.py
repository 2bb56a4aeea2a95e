"""The books as a stream of entries: a period's requests, and the adjustments that count in it.

A request is told as it counts in its own month, and an adjustment of a closed month's request is
an entry of its own, dated when it was made: so the export of a closed month is always the same,
and the entries of any period add up to its usage.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from app.accounts.errors import RowsLetGo
from app.accounts.reading import explained
from app.core.views import AdjustmentRecord, Page, RequestFilter, RequestRecord
from app.store import adjustments, conditions, search
from app.store.port import Store

# So many rows are read at once: memory stays the same however long an export is.
EXPORT_ROWS = 1000

Entry = RequestRecord | AdjustmentRecord


async def entries(store: Store, wanted: RequestFilter) -> AsyncIterator[Sequence[Entry]]:
    """Oldest first, in steps, each over a snapshot of its own: rows added meanwhile may come last, and an entry is
    told as it was when its step was read. Of `wanted`: the span, key, team, model and tag.

    Raises: `KeyNotFound`, `TeamNotFound`; `RowsLetGo`, also in the middle, since an export would lack them unsaid.
    """
    wanted = await explained(store, conditions.with_ids, wanted)
    sources: list[AsyncIterator[Sequence[Entry]]] = [_requests(store, wanted), _adjustments(store, wanted)]
    heads: list[Sequence[Entry]] = [(), ()]
    while True:
        for number, source in enumerate(sources):
            heads[number] = heads[number] or await _next(source)
        if not any(heads):
            return
        # What both have told up to: behind it, one of them may have more to come.
        edge = min(_moment(head[-1]) for head in heads if head)
        ready = sorted((entry for head in heads for entry in head if _moment(entry) <= edge), key=_moment)
        heads = [[entry for entry in head if _moment(entry) > edge] for head in heads]
        yield ready


async def _next(source: AsyncIterator[Sequence[Entry]]) -> Sequence[Entry]:
    # Not `anext(source, ())`: with a default it fails on Python 3.11.
    async for some in source:
        return some
    return ()


def _moment(entry: Entry) -> str:
    """An id without its prefix sorts by time, whatever it is of."""
    return entry.id.partition("_")[2]


async def _requests(store: Store, wanted: RequestFilter) -> AsyncIterator[Sequence[Entry]]:
    after: str | None = None
    while True:
        page: Page[RequestRecord] = await explained(store, _requests_as_booked, wanted, after)
        if page.let_go_before is not None:
            raise RowsLetGo(page.let_go_before)
        if page.items:
            yield page.items
        if (after := page.next) is None:
            return


async def _adjustments(store: Store, wanted: RequestFilter) -> AsyncIterator[Sequence[Entry]]:
    after: str | None = None
    while some := await explained(store, _late_ones, wanted, after):
        yield some
        after = some[-1].id


def _requests_as_booked(connection: Any, wanted: RequestFilter, after: str | None) -> Page[RequestRecord]:
    return search.list_requests(connection, wanted, after, EXPORT_ROWS, oldest_first=True, as_booked=True)


def _late_ones(connection: Any, wanted: RequestFilter, after: str | None) -> list[AdjustmentRecord]:
    where = [*adjustments.dated(wanted.from_at, wanted.to_at), *conditions.grouped_conditions(connection, wanted)]
    return adjustments.late_adjustments(connection, where, after, EXPORT_ROWS)
