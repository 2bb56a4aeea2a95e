"""Routes of sums: usage from the roll-ups, and the proof that they are the sums of their rows."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.accounts.reports import Reports
from app.admin.answers import made_beside
from app.admin.bodies import UsageQuery
from app.admin.figures import UsageShape, VerificationShape, usage_shape, verification_shape
from app.admin.filters import groups_asked
from app.admin.times import period_asked


class UsageRoutes:
    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/usage", self.usage, methods=["GET"], response_model=UsageShape)
        router.add_api_route("/verify", self.verify, methods=["POST"])

    async def usage(self, query: Annotated[UsageQuery, Query()]) -> Response:
        """Sums of a period, by one or two things (by=key,model).

        By tag a request counts under each of its tags, in the total once.
        """
        by = groups_asked(query.by)
        report = await self._reports.usage(period_asked(query, self._reports.zone), *by)
        return await made_beside(lambda: usage_shape(report))

    async def verify(self) -> VerificationShape:
        """Recomputes every total from the rows and compares."""
        return verification_shape(await self._reports.verify())
