"""Routes of teams: a grouping of keys, nothing that opens anything."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from app.accounts.keyring import Keyring
from app.admin.bodies import PageQuery, TeamBody
from app.admin.schemas import TeamPage, TeamShape, team_shape


class TeamRoutes:
    """`ref` in every path is a team's name or id."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/teams", self.list_teams, methods=["GET"])
        router.add_api_route("/teams", self.create_team, methods=["POST"], status_code=201)
        router.add_api_route("/teams/{ref}", self.show_team, methods=["GET"])
        router.add_api_route("/teams/{ref}", self.change_team, methods=["PATCH"])

    async def list_teams(self, query: Annotated[PageQuery, Query()]) -> TeamPage:
        """Teams by name."""
        page = await self._keyring.list_teams(after=query.after, limit=query.limit)
        return TeamPage(items=[team_shape(record) for record in page.items], next=page.next)

    async def create_team(self, body: TeamBody) -> TeamShape:
        return team_shape(await self._keyring.create_team(body.name))

    async def show_team(self, ref: str) -> TeamShape:
        return team_shape(await self._keyring.find_team(ref))

    async def change_team(self, ref: str, body: TeamBody) -> TeamShape:
        """Renames a team; its keys and its history follow."""
        return team_shape(await self._keyring.change_team(ref, name=body.name))
