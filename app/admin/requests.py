"""Routes of ledger entries: a page of them, one by any of its ids."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from app.accounts.reports import Reports
from app.admin.bodies import RequestsQuery
from app.admin.schemas import RequestPage, RequestShape, request_shape
from app.admin.times import instant
from app.core.views import RequestFilter


class RequestRoutes:
    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/requests", self.list_requests, methods=["GET"])
        # The upstream's ids may hold anything, a slash too.
        router.add_api_route("/requests/{ref:path}", self.show_request, methods=["GET"])

    async def list_requests(self, query: Annotated[RequestsQuery, Query()]) -> RequestPage:
        """Requests, newest first; all given conditions hold. `next` goes on where this page ended."""
        wanted = RequestFilter(
            key=query.key,
            team=query.team,
            model=query.model,
            state=query.state,
            from_at=instant(query.from_, self._reports.zone, "from"),
            to_at=instant(query.to, self._reports.zone, "to", whole_day=True),
        )
        page = await self._reports.requests(wanted, after=query.after, limit=query.limit)
        return RequestPage(items=[request_shape(record) for record in page.items], next=page.next)

    async def show_request(self, ref: str) -> RequestShape:
        """One request by its own id (req_…), the upstream's request id, or the id of its response (resp_…)."""
        return request_shape(await self._reports.request(ref))
