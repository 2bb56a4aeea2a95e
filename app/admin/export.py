"""The export: every request of a period as CSV or JSON lines, oldest first, in constant memory.

A CSV's text cells are made safe for spreadsheets: a cell that would be read as a formula gets
a `'` before it (OWASP, CSV injection). Numbers and money are ours and stay as they are.
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Callable, Iterable
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from app.accounts.reports import Reports
from app.admin.bodies import PeriodQuery
from app.admin.schemas import RequestShape, TokensShape, request_shape
from app.admin.times import period_asked
from app.core.views import RequestRecord

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")

# Before any request of any gateway, in every time zone.
FIRST_DAY = "1970-01-02"

TAG_SEPARATOR = ","  # no tag has one


class Format(StrEnum):
    CSV = "csv"
    JSONL = "jsonl"


class ExportQuery(PeriodQuery):
    """One of last, month, or from and to; everything without any."""

    format: Format


class ExportRoutes:
    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route(
            "/export",
            self.export,
            methods=["GET"],
            response_class=StreamingResponse,
            responses={200: {"content": {"text/csv": {}, "application/x-ndjson": {}}}},
        )

    async def export(self, query: Annotated[ExportQuery, Query()]) -> StreamingResponse:
        """Every request of the period, oldest first: one a line, or the same columns flattened."""
        batches = self._reports.export(period_asked(_or_everything(query), self._reports.zone))
        # Read before the head is sent: a ledger that cannot be read is a 503, not a cut file.
        first = await anext(batches, None)
        lines, head, kind = (csv_lines, csv_head, "text/csv") if query.format is Format.CSV else JSON_LINES
        return StreamingResponse(
            _text(head(), first or (), batches, lines),
            media_type=kind,
            headers={"content-disposition": f'attachment; filename="requests.{query.format.value}"'},
        )


def _or_everything(query: ExportQuery) -> ExportQuery:
    """A file that was asked for without a period must not be cut short without a word."""
    if query.last is query.month is query.from_ is query.to is None:
        return query.model_copy(update={"from_": FIRST_DAY})
    return query


async def _text(
    head: str,
    first: Iterable[RequestRecord],
    rest: AsyncIterator[Iterable[RequestRecord]],
    lines: Callable[[Iterable[RequestRecord]], str],
) -> AsyncIterator[str]:
    yield head + lines(first)
    async for batch in rest:
        yield lines(batch)


def json_lines(records: Iterable[RequestRecord]) -> str:
    return "".join(request_shape(record).model_dump_json() + "\n" for record in records)


JSON_LINES = (json_lines, str, "application/x-ndjson")

# `usage` is flattened: its counts stand where it stood.
COLUMNS = [
    column for name in RequestShape.model_fields for column in (TokensShape.model_fields if name == "usage" else [name])
]


def csv_head() -> str:
    return _csv([COLUMNS])


def csv_lines(records: Iterable[RequestRecord]) -> str:
    return _csv(_cells(request_shape(record)) for record in records)


def _cells(shape: RequestShape) -> list[str]:
    fields = shape.model_dump(mode="json")
    flat = fields | fields["usage"] | {"tags": TAG_SEPARATOR.join(shape.tags)}
    return [_cell(flat[column]) for column in COLUMNS]


def _cell(value: str | int | bool | None) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    return "'" + text if isinstance(value, str) and text.startswith(FORMULA_STARTS) else text


def _csv(rows: Iterable[Iterable[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
