"""Routes of refused requests: a page of the newest with the counts of all, and one by its id."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.accounts.reports import Reports
from app.admin.answers import made_beside
from app.admin.filters import refusal_filter
from app.admin.refusal_queries import RefusalsQuery
from app.admin.refusal_shapes import RefusalPage, RefusalShape, refusal_page, refusal_shape


class RefusalRoutes:
    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/refusals", self.list_refusals, methods=["GET"], response_model=RefusalPage)
        router.add_api_route("/refusals/{ident}", self.show_refusal, methods=["GET"])

    async def list_refusals(self, query: Annotated[RefusalsQuery, Query()]) -> Response:
        """Requests of known keys that were refused, newest first; all given conditions hold.

        The newest 10,000 are held. `counts` are of all there ever were, by key and reason.
        """
        wanted = refusal_filter(query, self._reports.zone, key=query.key, team=query.team)
        report = await self._reports.refusals(wanted, after=query.after, limit=query.limit)
        return await made_beside(lambda: refusal_page(report))

    async def show_refusal(self, ident: str) -> RefusalShape:
        """One refused request by its id (req_…), as its client was told."""
        return refusal_shape(await self._reports.refusal(ident))
