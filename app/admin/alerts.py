"""Routes of alerts: where they go, which there were, and a test that is sent at once."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from app.accounts.alerts import Alerts
from app.admin.alert_shapes import (
    AlertsPage,
    DestinationBody,
    DestinationShape,
    DestinationWithSecretShape,
    TriedShape,
    alerts_page,
    destination_shape,
    destination_with_secret,
    tried_shape,
)
from app.admin.bodies import PageQuery
from app.admin.who import Who


class AlertRoutes:
    """`name` in every path is a destination's."""

    def __init__(self, alerts: Alerts) -> None:
        self._alerts = alerts

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/alerts", self.show, methods=["GET"])
        router.add_api_route("/alerts", self.add, methods=["POST"], status_code=201)
        router.add_api_route("/alerts/{name}", self.remove, methods=["DELETE"])
        router.add_api_route("/alerts/{name}/test", self.test, methods=["POST"])

    async def show(self, query: Annotated[PageQuery, Query()]) -> AlertsPage:
        """All destinations, and the alerts that were raised, newest first, with their deliveries."""
        page = await self._alerts.history(after=query.after, limit=query.limit)
        return alerts_page(await self._alerts.list(), page)

    async def add(self, body: DestinationBody, who: Who) -> DestinationWithSecretShape:
        """A destination for the alerts from now on; a webhook's signing secret is shown this once."""
        return destination_with_secret(*await self._alerts.add(body.name, body.address, by=who))

    async def remove(self, name: str, who: Who) -> DestinationShape:
        """Nothing goes there any more; what was delivered stays in the history."""
        return destination_shape(await self._alerts.remove(name, by=who))

    async def test(self, name: str) -> TriedShape:
        """Sends a test alert now, and tells what came of it."""
        return tried_shape(await self._alerts.test(name))
