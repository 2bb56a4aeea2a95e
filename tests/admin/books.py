"""A control plane over a real ledger, without a data plane; and requests booked as the data plane books them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from app.admin import build_admin, build_me
from app.cli.in_process import InProcessTransport
from app.core.clock import now
from app.core.ids import new_id
from app.core.keys import hash_secret
from app.core.money import charged_from, parse_cost
from app.core.owners import NewKey
from app.core.records import Admitted, Asked, Intent, Outcome, Reading, Refused, Settlement, State, TokenUsage
from app.settings import AdminToken
from app.wiring import Services, open_services
from tests.harness import ADMIN_TOKEN, settings_for

ADMIN = {"authorization": f"Bearer {ADMIN_TOKEN}"}


@dataclass
class Books:
    """A ledger with keys, and the admin API over it."""

    services: Services
    client: httpx.AsyncClient
    app: FastAPI
    secrets: dict[str, str] = field(default_factory=dict)

    async def key(self, name: str = "alice", **spec: Any) -> str:
        _, self.secrets[name] = await self.services.keyring.create(NewKey(name=name, **spec))
        return self.secrets[name]

    async def open(self, key: str = "alice", **asked: Any) -> str:
        """Admits a request and leaves it open; its id."""
        intent = await self._intent(key, **asked)
        assert isinstance(await self.services.ledger.admit(intent), Admitted)
        return intent.request_id

    async def refuse(self, key: str = "alice", **asked: Any) -> str:
        """A request that is not admitted; its id."""
        intent = await self._intent(key, **asked)
        assert isinstance(await self.services.ledger.admit(intent), Refused)
        return intent.request_id

    async def _intent(
        self,
        key: str,
        *,
        at: datetime | None = None,
        model: str = "openai/gpt-4o-mini",
        costs_up_to: int = 0,
        references: tuple[str, ...] = (),
    ) -> Intent:
        created_at = at or now()
        identified = await self.services.keyring.identify(f"Bearer {self.secrets[key]}".encode())
        assert identified is not None
        secret_hash, asked = hash_secret(self.secrets[key]), Asked(default_picodollars=costs_up_to)
        who = (new_id("req", created_at), identified.key_id, secret_hash, created_at)
        return Intent(*who, model, stream=False, references=references, asked=asked)

    async def close(self, request_id: str, true_cost: str | None = "0.0000123", **settlement: Any) -> str:
        """Closes it: settled at a true cost; without one unknown, unless told otherwise."""
        reading = Reading(unknown_reason="no_cost")
        if true_cost is not None:
            cost = parse_cost(true_cost)
            usage = TokenUsage(12, 0, 24, 0, 36)
            reading = Reading(cost, charged_from(cost), usage=usage, response_id=f"resp_{request_id}", complete=True)
        values: dict[str, Any] = {
            "state": State.UNKNOWN if true_cost is None else State.SETTLED,
            "outcome": Outcome.COMPLETED,
            "reading": reading,
            "status": 200,
            "unknown_reason": "no_cost" if true_cost is None else None,
        }
        if settlement.get("state") is State.FREE:
            values |= {"reading": Reading(), "unknown_reason": None, "outcome": Outcome.UPSTREAM_ERROR, "status": 429}
        await self.services.ledger.settle(Settlement(request_id, **(values | settlement)))
        return request_id

    async def book(self, key: str = "alice", true_cost: str | None = "0.0000123", **told: Any) -> str:
        """One request, opened and closed."""
        opened = {name: told.pop(name) for name in ("at", "model") if name in told}
        return await self.close(await self.open(key, **opened), true_cost, **told)

    async def get(self, path: str, **query: Any) -> Any:
        answer = await self.client.get(f"/admin/v1/{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def me(self, holder: str, path: str = "", /, **query: Any) -> Any:
        """What a key's holder gets at /v1/me."""
        answer = await self.ask_me(holder, path, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def ask_me(self, holder: str, path: str = "", /, **query: Any) -> httpx.Response:
        """The same, whatever the answer is."""
        headers = {"authorization": f"Bearer {self.secrets[holder]}"}
        answer = await self.client.get(f"/v1/me{path}", params=query, headers=headers)
        assert answer.headers["cache-control"] == "no-store"
        return answer

    async def refused(self, method: str, path: str, **sent: Any) -> tuple[int, dict[str, Any]]:
        """The status and the error of a request that must be refused."""
        answer = await self.client.request(method, f"/admin/v1/{path}", **sent)
        error = answer.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert answer.headers["x-error-source"] == "gateway"
        assert answer.headers["x-irg-request-id"].startswith("req_")
        return answer.status_code, error


@contextlib.asynccontextmanager
async def opened_books(directory: Path, **settings: Any) -> AsyncIterator[Books]:
    services = await open_services(
        settings_for("http://127.0.0.1:9", directory, **settings), admin_token=AdminToken(ADMIN_TOKEN)
    )
    app = FastAPI()
    app.router.routes += [*build_admin(services).routes, *build_me(services).routes]
    client = httpx.AsyncClient(transport=InProcessTransport(app), base_url="http://gateway", headers=ADMIN)
    try:
        async with client:
            yield Books(services, client, app)
    finally:
        await services.aclose()
