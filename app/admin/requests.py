"""Routes of ledger entries: a page of them, one by any of its ids, and unknown costs settled by a person."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.accounts.corrections import Corrections, resolution
from app.accounts.reports import Reports
from app.admin.answers import made_beside
from app.admin.bodies import RequestsQuery, ResolveBody, ResolveOneBody
from app.admin.figures import ResolutionShape, resolution_shape
from app.admin.filters import request_filter, resolution_filter
from app.admin.schemas import RequestPage, RequestShape, request_page, request_shape
from app.admin.who import Who
from app.core.audit import Actor
from app.core.views import RequestFilter


class RequestRoutes:
    def __init__(self, reports: Reports, corrections: Corrections) -> None:
        self._reports = reports
        self._corrections = corrections

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/requests", self.list_requests, methods=["GET"], response_model=RequestPage)
        router.add_api_route("/requests/resolve", self.resolve, methods=["POST"])
        router.add_api_route("/requests/{ref:path}/resolve", self.resolve_one, methods=["POST"])
        # The upstream's ids may hold anything, a slash too.
        router.add_api_route("/requests/{ref:path}", self.show_request, methods=["GET"])

    async def list_requests(self, query: Annotated[RequestsQuery, Query()]) -> Response:
        """Requests, newest first; all given conditions hold. `next` goes on where this page ended.

        A page may have fewer items than its limit, or none, and still a `next`: a rare thing in a
        long ledger is searched for bit by bit.
        """
        wanted = request_filter(query, self._reports.zone, key=query.key, team=query.team)
        page = await self._reports.requests(wanted, after=query.after, limit=query.limit)
        return await made_beside(lambda: request_page(page, self._reports.billing))

    async def show_request(self, ref: str) -> RequestShape:
        """One request by its own id (req_…), the upstream's request id, or the id of its response (resp_…)."""
        return request_shape(await self._reports.request(ref), self._reports.billing)

    async def resolve(self, body: ResolveBody, who: Who) -> ResolutionShape:
        """Settles unknown costs: of the requests named, or of all that meet the conditions; all of them or none.

        Each gets an adjustment with author and reason; its own row stays. Within the month of the
        request it counts where the request does, afterwards when it was made: a closed month stays.
        """
        return await self._resolved(resolution_filter(body, self._reports.zone), body, body.expected, who)

    async def resolve_one(self, ref: str, body: ResolveOneBody, who: Who) -> ResolutionShape:
        """Settles one unknown cost. The same costs once more change nothing; others are a conflict without again."""
        return await self._resolved([ref], body, None, who)

    async def _resolved(
        self, wanted: list[str] | RequestFilter, body: ResolveOneBody, expected: int | None, who: Actor
    ) -> ResolutionShape:
        by = body.by if "by" in body.model_fields_set else who.name
        said = resolution(body.cost, body.charged, by=by, reason=body.reason, again=body.again)
        if body.preview:
            report = await self._corrections.preview(wanted, said)
        else:
            report = await self._corrections.resolve(wanted, said, expected=expected, by=who)
        return resolution_shape(report, self._reports.billing)
