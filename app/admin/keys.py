"""Routes of team keys. A secret is in the answer that makes it, once, and nowhere else."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query

from app.accounts.keyring import Keyring
from app.accounts.wishes import budgets_from
from app.admin.bodies import KeyChangeBody, KeysQuery, NewKeyBody, RotateBody
from app.admin.filters import limits_change
from app.admin.schemas import KeyPage, KeyShape, KeyWithSecretShape, key_shape, key_with_secret
from app.admin.times import instant, span
from app.admin.who import Who
from app.core.limits import Limits
from app.core.owners import UNSET, KeyChange, KeyFilter, NewKey


class KeyRoutes:
    """`ref` in every path is a key's name or id."""

    def __init__(self, keyring: Keyring, zone: ZoneInfo) -> None:
        self._keyring = keyring
        self._zone = zone

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/keys", self.list_keys, methods=["GET"])
        router.add_api_route("/keys", self.create_key, methods=["POST"], status_code=201)
        router.add_api_route("/keys/{ref}", self.show_key, methods=["GET"])
        router.add_api_route("/keys/{ref}", self.change_key, methods=["PATCH"])
        router.add_api_route("/keys/{ref}/rotate", self.rotate_key, methods=["POST"])
        router.add_api_route("/keys/{ref}/disable", self.disable_key, methods=["POST"])
        router.add_api_route("/keys/{ref}/enable", self.enable_key, methods=["POST"])
        router.add_api_route("/keys/{ref}/revoke", self.revoke_key, methods=["POST"])

    async def list_keys(self, query: Annotated[KeysQuery, Query()]) -> KeyPage:
        """Keys by name."""
        wanted = KeyFilter(team=query.team, state=query.state)
        page = await self._keyring.list(wanted, after=query.after, limit=query.limit)
        return KeyPage(items=[key_shape(record) for record in page.items], next=page.next)

    async def create_key(self, body: NewKeyBody, who: Who) -> KeyWithSecretShape:
        """Makes a key; the answer is the only place where its secret is ever shown."""
        spec = NewKey(
            name=body.name,
            team=body.team,
            models=tuple(body.models),
            expires_at=instant(body.expires_at, self._zone, "expires_at"),
            tags=tuple(body.tags),
            budgets=budgets_from(body.budgets),
            limits=Limits(body.rpm, body.tpm, body.concurrency),
        )
        return key_with_secret(*await self._keyring.create(spec, secret_text=body.secret, by=who))

    async def show_key(self, ref: str) -> KeyShape:
        return key_shape(await self._keyring.find(ref))

    async def change_key(self, ref: str, body: KeyChangeBody, who: Who) -> KeyShape:
        """Changes the fields that are given; effective with the answer, everywhere."""
        given = body.model_fields_set
        change = KeyChange(
            name=body.name if "name" in given else UNSET,
            team=body.team if "team" in given else UNSET,
            models=tuple(body.models) if "models" in given else UNSET,
            expires_at=instant(body.expires_at, self._zone, "expires_at") if "expires_at" in given else UNSET,
            tags=tuple(body.tags) if "tags" in given else UNSET,
            limits=limits_change(body),
        )
        return key_shape(await self._keyring.change(ref, change, by=who))

    async def rotate_key(self, ref: str, who: Who, body: RotateBody | None = None) -> KeyWithSecretShape:
        """Gives the key a new secret, or another gateway's; the old one ends now, or after the grace."""
        wanted = body or RotateBody()
        grace = span(wanted.grace, "grace")
        return key_with_secret(*await self._keyring.rotate(ref, grace, secret_text=wanted.secret, by=who))

    async def disable_key(self, ref: str, who: Who) -> KeyShape:
        """Refuses the key's requests until it is enabled again."""
        return key_shape(await self._keyring.disable(ref, by=who))

    async def enable_key(self, ref: str, who: Who) -> KeyShape:
        return key_shape(await self._keyring.enable(ref, by=who))

    async def revoke_key(self, ref: str, who: Who) -> KeyShape:
        """Ends the key for ever; its history stays."""
        return key_shape(await self._keyring.revoke(ref, by=who))
