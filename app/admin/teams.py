"""Routes of teams, which group keys and their limits, and of the budgets of all together."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from app.accounts.keyring import Keyring
from app.accounts.wishes import budgets_from
from app.admin.bodies import BudgetBody, BudgetChangeBody, NewTeamBody, PageQuery, TeamChangeBody
from app.admin.filters import limits_change
from app.admin.schemas import GatewayBudgetShape, TeamPage, TeamShape, budget_shapes, team_shape
from app.admin.who import Who


class TeamRoutes:
    """`ref` in every path is a team's name or id."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/teams", self.list_teams, methods=["GET"])
        router.add_api_route("/teams", self.create_team, methods=["POST"], status_code=201)
        router.add_api_route("/teams/{ref}", self.show_team, methods=["GET"])
        router.add_api_route("/teams/{ref}", self.change_team, methods=["PATCH"])
        router.add_api_route("/budget", self.show_budget, methods=["GET"])
        router.add_api_route("/budget", self.set_budget, methods=["PUT"])
        router.add_api_route("/budget", self.change_budget, methods=["PATCH"])

    async def list_teams(self, query: Annotated[PageQuery, Query()]) -> TeamPage:
        """Teams by name."""
        page = await self._keyring.list_teams(after=query.after, limit=query.limit)
        return TeamPage(items=[team_shape(record) for record in page.items], next=page.next)

    async def create_team(self, body: NewTeamBody, who: Who) -> TeamShape:
        return team_shape(await self._keyring.create_team(body.name, limits_change(body), by=who))

    async def show_team(self, ref: str) -> TeamShape:
        return team_shape(await self._keyring.find_team(ref))

    async def change_team(self, ref: str, body: TeamChangeBody, who: Who) -> TeamShape:
        """Changes the fields that are given; a new name is followed by its keys and its history."""
        name = body.name if "name" in body.model_fields_set else None
        return team_shape(await self._keyring.change_team(ref, name=name, limits=limits_change(body), by=who))

    async def show_budget(self) -> GatewayBudgetShape:
        """The budgets of the whole gateway, and where they stand."""
        return GatewayBudgetShape(budgets=budget_shapes(await self._keyring.gateway_budgets()))

    async def set_budget(self, body: BudgetBody, who: Who) -> GatewayBudgetShape:
        """Sets the budgets of the whole gateway: exactly these, at once; an empty list = none."""
        budgets = await self._keyring.set_gateway_budgets(budgets_from(body.budgets), by=who)
        return GatewayBudgetShape(budgets=budget_shapes(budgets))

    async def change_budget(self, body: BudgetChangeBody, who: Who) -> GatewayBudgetShape:
        """Sets or ends the budgets of the periods that are named, at once; the others stay."""
        wanted, gone = budgets_from(body.budgets), tuple(body.unset)
        budgets = await self._keyring.change_gateway_budgets(wanted, gone, by=who)
        return GatewayBudgetShape(budgets=budget_shapes(budgets))
