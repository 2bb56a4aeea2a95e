"""The export: what counts in a period as CSV, JSON lines or Parquet, oldest first, in constant memory.

Its entries add up to the period's usage. While it is written it is summed up and hashed; once it is
complete, its summary can be fetched by the id in its head.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from app.accounts.errors import NotFound
from app.accounts.exports import Entry
from app.accounts.reports import Reports
from app.admin import parquet
from app.admin.bodies import ExportQuery, Format
from app.admin.filters import export_filter
from app.admin.lines import csv_head, csv_lines, json_lines
from app.admin.summary import SummaryShape, Tally
from app.core.errors import bad_request
from app.core.holds import Billing
from app.core.ids import new_id
from app.core.value import Value

EXPORT_ID_HEADER = "x-irg-export-id"

# Summaries are kept for whoever has just fetched an export.
SUMMARIES_KEPT = 100


class Encoding(Value, frozen=True):
    """How entries become bytes; `begin` and `end` may add some of their own."""

    media_type: str
    begin: Callable[[], bytes]
    add: Callable[[Sequence[Entry]], bytes]
    end: Callable[[], bytes]


def encoding_of(format: Format, billing: Billing) -> Encoding:
    """Raises: `ApiError` 400 (Parquet without its extra)."""
    if format is Format.CSV:
        begin = csv_head().encode
        return Encoding("text/csv", begin, lambda entries: csv_lines(entries, billing).encode(), bytes)
    if format is Format.JSONL:
        return Encoding("application/x-ndjson", bytes, lambda entries: json_lines(entries, billing).encode(), bytes)
    if not parquet.is_installed():
        raise bad_request(f"Parquet needs pyarrow, which is not installed. {parquet.HOW_TO_INSTALL}", "format")
    pieces = parquet.ParquetPieces(billing)
    return Encoding("application/vnd.apache.parquet", bytes, pieces.add, pieces.end)


class ExportRoutes:
    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        self._summaries: dict[str, SummaryShape] = {}

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route(
            "/export",
            self.export,
            methods=["GET"],
            response_class=StreamingResponse,
            responses={
                200: {
                    "content": {"text/csv": {}, "application/x-ndjson": {}, "application/vnd.apache.parquet": {}},
                    "headers": {EXPORT_ID_HEADER: {"schema": {"type": "string"}}},
                }
            },
        )
        router.add_api_route("/exports/{ident}", self.summary, methods=["GET"])

    async def export(self, query: Annotated[ExportQuery, Query()]) -> StreamingResponse:
        """What counts in the period, oldest first: its requests, and adjustments of earlier months' requests.

        One that reaches back to requests whose rows were let go of is refused; without a period it begins behind them.
        One JSON object a line, or the same in columns. `x-irg-export-id` in the head names its summary.
        """
        wanted = export_filter(query, self._reports.zone, await self._reports.rows_since())
        # Parquet's library takes a while to load, and its last group a while to write.
        encoding = await asyncio.to_thread(encoding_of, query.format, self._reports.billing)
        batches = self._reports.export(wanted)
        # Read before the head is sent: a ledger that cannot be read is a 503, not a cut file.
        first = await anext(batches, None) or []
        ident = new_id("exp")
        tally = Tally(query, wanted)
        return StreamingResponse(
            self._pieces(ident, tally, encoding, first, batches),
            media_type=encoding.media_type,
            headers={
                "content-disposition": f'attachment; filename="requests.{query.format.value}"',
                EXPORT_ID_HEADER: ident,
            },
        )

    async def summary(self, ident: str) -> SummaryShape:
        """Rows, sums and SHA-256 of an export that was just fetched to its end."""
        found = self._summaries.get(ident)
        if found is None:
            raise NotFound("There is no such export, or it is not complete; the last 100 are kept.", param="id")
        return found

    async def _pieces(
        self,
        ident: str,
        tally: Tally,
        encoding: Encoding,
        first: Sequence[Entry],
        rest: AsyncIterator[Sequence[Entry]],
    ) -> AsyncIterator[bytes]:
        yield tally.took(encoding.begin() + await asyncio.to_thread(encoding.add, first), first)
        async for batch in rest:
            # Other requests go on meanwhile.
            yield tally.took(await asyncio.to_thread(encoding.add, batch), batch)
        last = tally.took(await asyncio.to_thread(encoding.end), ())
        self._summaries[ident] = tally.summary()
        while len(self._summaries) > SUMMARIES_KEPT:
            del self._summaries[next(iter(self._summaries))]
        yield last
