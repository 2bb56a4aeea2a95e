"""Routes of key holders: `/v1/me`, its usage, its requests and its refusals. Bearer = a team key.

They are read from the books and admit nothing: so they work while a budget is spent, and count against no
limit. A key sees itself alone (`accounts.own`), and what binds it.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response, Security
from fastapi.security import HTTPBearer

from app.accounts.own import OwnBooks
from app.admin.answers import made_beside
from app.admin.api import REFUSALS
from app.admin.bodies import OwnRequestsQuery, OwnUsageQuery
from app.admin.figures import UsageShape, usage_shape
from app.admin.filters import groups_asked, refusal_filter, request_filter
from app.admin.holder import holder_routes, key_id_of
from app.admin.me_shapes import MeShape, me_shape
from app.admin.refusal_queries import OwnRefusalsQuery
from app.admin.refusal_shapes import RefusalPage, RefusalShape, refusal_page, refusal_shape
from app.admin.schemas import RequestPage, RequestShape, request_page, request_shape
from app.admin.times import period_asked
from app.wiring import Services

# For /openapi.json only: what decides is `holder.HolderRoute`, before a request is read.
TEAM_KEY = HTTPBearer(scheme_name="team key", description="A team key (irg_…)", auto_error=False)


def build_me(services: Services) -> APIRouter:
    """Every route of key holders, opened by any key that may be used now."""
    router = APIRouter(
        prefix="/v1/me",
        tags=["key holders"],
        route_class=holder_routes(services.keyring),
        dependencies=[Security(TEAM_KEY)],
        responses=REFUSALS,
    )
    MeRoutes(services).add_to(router)
    return router


class MeRoutes:
    def __init__(self, services: Services) -> None:
        self._store = services.store
        self._reports = services.reports

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("", self.me, methods=["GET"])
        router.add_api_route("/usage", self.usage, methods=["GET"], response_model=UsageShape)
        router.add_api_route("/requests", self.list_requests, methods=["GET"], response_model=RequestPage)
        # The upstream's ids may hold anything, a slash too.
        router.add_api_route("/requests/{ref:path}", self.show_request, methods=["GET"])
        router.add_api_route("/refusals", self.list_refusals, methods=["GET"], response_model=RefusalPage)
        router.add_api_route("/refusals/{ident}", self.show_refusal, methods=["GET"])

    async def me(self, request: Request) -> MeShape:
        """This key, and everything that can refuse it: budgets and limits of its own, its team's, the gateway's."""
        return me_shape(await self._books(request).standing())

    async def usage(self, request: Request, query: Annotated[OwnUsageQuery, Query()]) -> Response:
        """Sums of a period of this key's requests, by one or two of key, model, day and tag.

        By tag a request counts under each of its tags, in the total once.
        """
        by = groups_asked(query.by, own=True)
        report = await self._books(request).usage(period_asked(query, self._reports.zone), *by)
        return await made_beside(lambda: usage_shape(report))

    async def list_requests(self, request: Request, query: Annotated[OwnRequestsQuery, Query()]) -> Response:
        """This key's requests, newest first; all given conditions hold. `next` goes on where this page ended.

        A page may have fewer items than its limit, or none, and still a `next`: a rare thing in a
        long ledger is searched for bit by bit.
        """
        wanted = request_filter(query, self._reports.zone)
        page = await self._books(request).requests(wanted, after=query.after, limit=query.limit)
        return await made_beside(lambda: request_page(page, self._reports.billing))

    async def show_request(self, request: Request, ref: str) -> RequestShape:
        """One of this key's requests by its own id (req_…), the upstream's request id, or its response's (resp_…)."""
        return request_shape(await self._books(request).request(ref), self._reports.billing)

    async def list_refusals(self, request: Request, query: Annotated[OwnRefusalsQuery, Query()]) -> Response:
        """This key's refused requests, newest first, as far as they are held; `counts` are of all there ever were."""
        wanted = refusal_filter(query, self._reports.zone)
        report = await self._books(request).refusals(wanted, after=query.after, limit=query.limit)
        return await made_beside(lambda: refusal_page(report))

    async def show_refusal(self, request: Request, ident: str) -> RefusalShape:
        """One of this key's refused requests by its id (req_…)."""
        return refusal_shape(await self._books(request).refusal(ident))

    def _books(self, request: Request) -> OwnBooks:
        return OwnBooks(self._store, self._reports, key_id_of(request))
