"""The live feed: closed requests as server-sent events, polled from the ledger in the order of closing.

There is no broker: `id` is the ledger's own sequence number, so a reader that comes back with
`Last-Event-ID` misses nothing and sees nothing twice, also across a restart. sse-starlette is
right here and only here: closing at once at shutdown is what a feed should do.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query
from sse_starlette import EventSourceResponse, ServerSentEvent

from app.accounts.reports import Reports
from app.admin.bodies import SEQUENCE_MAX, EventsQuery
from app.admin.schemas import request_shape
from app.store.port import LedgerUnavailable

POLL_SECONDS = 0.25
BATCH_MAX = 500
PING_SECONDS = 15


class EventRoutes:
    """`closing` ends every feed at once."""

    def __init__(self, reports: Reports, closing: asyncio.Event) -> None:
        self._reports = reports
        self._closing = closing

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route(
            "/events",
            self.events,
            methods=["GET"],
            response_class=EventSourceResponse,
            responses={200: {"content": {"text/event-stream": {}}}},
        )

    async def events(
        self,
        query: Annotated[EventsQuery, Query()],
        last_event_id: Annotated[int | None, Header(ge=0, le=SEQUENCE_MAX)] = None,
    ) -> EventSourceResponse:
        """Closed requests as they close. `Last-Event-ID` (else `after`) goes on behind an event; else from now on."""
        # A browser that reconnects repeats the URL with its old `after`: the header is newer.
        after = query.after if last_event_id is None else last_event_id
        if after is None:
            after = await self._reports.last_closed_seq()
        return EventSourceResponse(self._feed(after), sep="\n", ping=PING_SECONDS)

    async def _feed(self, seq: int) -> AsyncIterator[ServerSentEvent]:
        """A ledger that cannot be read ends the feed; the reader comes back with its last id."""
        with contextlib.suppress(LedgerUnavailable):
            while not self._closing.is_set():
                closed = await self._reports.closed_since(seq, BATCH_MAX)
                for record in closed:
                    seq = record.closed_seq or seq
                    shape = request_shape(record, self._reports.billing)
                    yield ServerSentEvent(shape.model_dump_json(), event="request", id=str(seq))
                if len(closed) < BATCH_MAX:
                    await self._pause()

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await self._closing.wait()
