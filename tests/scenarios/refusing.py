"""Places where a gateway refuses, one for each reason, each with a watch of its own before it.

`refusing_all` refuses for as long as it is asked, `refusing_once` until a client has waited. What holds a budget or
fills a minute is only in the ledger, put there with times that make the waits short.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, update

from app.core.budgets import Budget, BudgetPeriod, parse_budget
from app.core.clock import now, to_ms
from app.core.ids import id_time, new_id
from app.core.limits import Limits
from app.core.money import PICODOLLARS_PER_USD
from app.core.owners import KeyChange, LimitsChange
from app.core.records import Admitted, Asked, Intent
from app.store.schema_limits import limits, minutes
from tests.harness import GatewayUnderTest, gateway_before
from tests.scenarios.watch import Before, Watch, watch_before
from tests.store.entries import MODEL, settled

UNKNOWN_KEY = "irg_wrong"
BROKEN_STREAM = "stream, `upstream_disconnected`"  # the one that is no answer of its own

_QUICK = "sim/seed"
_SILENT = "sim/stall"  # begins its stream and never ends it


@dataclass(frozen=True)
class Scene:
    """`name`: as the README calls what is told here."""

    name: str
    watch: Watch
    secret: str
    body: dict[str, Any]
    streams: tuple[bool, ...] = (False, True)

    @property
    def case(self) -> dict[str, Any]:
        """What a client's script is told."""
        where = {"base_url": self.watch.base_url, "api_key": self.secret}
        return {"name": self.name, "body": self.body, "streams": self.streams, **where}


class Stage:
    """Gateways, and what is to be met at them."""

    def __init__(self, gateway: GatewayUnderTest, stack: contextlib.AsyncExitStack) -> None:
        self.gateway = gateway
        self.scenes: list[Scene] = []
        self._stack = stack

    async def add(
        self,
        name: str,
        secret: str,
        *,
        before: Before | None = None,
        gateway: GatewayUnderTest | None = None,
        streams: tuple[bool, ...] = (False, True),
        **body: str,
    ) -> None:
        watch = await self._stack.enter_async_context(watch_before((gateway or self.gateway).url))
        watch.before = before
        self.scenes.append(Scene(name, watch, secret, {"model": MODEL} | body, streams))

    async def another(self, upstream_url: str, directory: Path, **settings: Any) -> GatewayUnderTest:
        directory.mkdir()
        return await self._stack.enter_async_context(gateway_before(upstream_url, directory, **settings))

    async def keep_running(self, gateway: GatewayUnderTest, secret: str) -> None:
        """A request that does not end before the stage does."""
        body = {"model": _SILENT, "input": "hi", "stream": True}
        reply = await self._stack.enter_async_context(gateway.post(body, secret))
        assert reply.status == 200


class Books:
    """What a key has booked without a client of its own."""

    def __init__(self, gateway: GatewayUnderTest, name: str) -> None:
        self._gateway = gateway
        self._name = name
        self._secret = gateway.secrets[name]

    async def limit(self, **change: Any) -> None:
        await self._gateway.services.keyring.change(self._name, KeyChange(limits=LimitsChange(**change)))

    async def begin(self, age_seconds: float = 0.0) -> str:
        """A request that was made so long ago and runs; it holds 1 USD where there is a budget."""
        identified = await self._gateway.services.keyring.identify(f"Bearer {self._secret}".encode())
        assert identified is not None
        request_id = new_id("req", now() - timedelta(seconds=age_seconds))
        intent = Intent(
            *(request_id, identified.key_id, identified.secret_hash, id_time(request_id)),
            model=MODEL,
            stream=False,
            asked=Asked(default_picodollars=PICODOLLARS_PER_USD),
        )
        assert isinstance(await self._gateway.services.ledger.admit(intent), Admitted)
        return request_id

    async def end(self, request_id: str) -> None:
        await self._gateway.services.ledger.settle(settled(request_id))

    async def fill_minute(self, age_seconds: float) -> None:
        """Whatever the minute held, it now holds one request of that age, as of a neighbour with the same key."""
        key = await self._gateway.services.keyring.find(self._name)
        at_ms = to_ms(now() - timedelta(seconds=age_seconds))
        await self._gateway.services.store.change(_write_step, key.id, at_ms)


def _write_step(connection: Connection, owner_id: str, at_ms: int) -> None:
    step = {"step_at": at_ms, "step_requests": 1, "step_tokens": 0}
    connection.execute(update(limits).where(limits.c.owner_id == owner_id).values(step))
    connection.execute(update(minutes).where(minutes.c.owner_id == owner_id).values(steps="[]"))


@contextlib.asynccontextmanager
async def refusing_all(simulator_url: str, directory: Path) -> AsyncIterator[list[Scene]]:
    """Every refusal that is measured."""
    async with contextlib.AsyncExitStack() as stack:
        closed = stack.enter_context(socket.socket())
        closed.bind(("127.0.0.1", 0))  # nobody listens
        gateway = await stack.enter_async_context(
            gateway_before(simulator_url, directory, on_client_disconnect="cancel")
        )
        stage = Stage(gateway, stack)
        await _of_keys(stage)
        await _of_limits(stage)
        await _of_upstreams(stage, f"http://127.0.0.1:{closed.getsockname()[1]}", directory)
        full = await stage.another(simulator_url, directory / "full", concurrency_max=1, on_client_disconnect="cancel")
        secret = await full.create_key()
        await stage.keep_running(full, secret)
        await stage.add("503 `overloaded`", secret, gateway=full)
        yield stage.scenes


async def _of_keys(stage: Stage) -> None:
    await stage.add("401 `invalid_api_key`", UNKNOWN_KEY)
    await stage.add("403 `model_not_allowed`", await stage.gateway.create_key("narrow", models=("anthropic/*",)))
    stranger = await stage.gateway.create_key("stranger")
    await stage.add("400 `previous_response_not_found`", stranger, previous_response_id="resp_of_somebody_else")


async def _of_limits(stage: Stage) -> None:
    gateway, quota, rate = stage.gateway, "429 `insufficient_quota`", "429 `rate_limit_exceeded`"
    spender = await gateway.create_key("spender")
    async with gateway.post({"model": _QUICK, "input": "hi"}, spender) as reply:
        assert reply.status == 200
        await reply.body()
    await Books(gateway, "spender").limit(budgets=(parse_budget("0.00005/total"),))
    await stage.add(f"{quota} (`budget_spent`)", spender)

    holder = await gateway.create_key("holder", budgets=(parse_budget("9/total"),))
    await _hold(Books(gateway, "holder"))
    await stage.add(f"{rate} (`budget_held`)", holder)

    hasty = await gateway.create_key("hasty", limits=Limits(rpm=1))
    await stage.add(f"{rate} (`requests_per_minute`)", hasty, before=_crowded(Books(gateway, "hasty")))

    for reason, limit in {"tokens_per_minute": Limits(tpm=1), "concurrency": Limits(concurrency=1)}.items():
        secret = await gateway.create_key(reason, limits=limit)
        await stage.keep_running(gateway, secret)
        await stage.add(f"{rate} (`{reason}`)", secret)


async def _of_upstreams(stage: Stage, closed_url: str, directory: Path) -> None:
    alone = await stage.another(closed_url, directory / "alone")
    await stage.add("502 `upstream_unreachable`", await alone.create_key(), gateway=alone)
    secret = await stage.gateway.create_key()
    await stage.add("502 `upstream_disconnected`", secret, model="sim/reset-before-headers")
    await stage.add(BROKEN_STREAM, secret, streams=(True,), model="sim/cut-midstream")


async def _hold(books: Books) -> str:
    """More than the whole budget is held, and nothing of it is spent."""
    request_id = await books.begin()
    await books.limit(budgets=(Budget(PICODOLLARS_PER_USD // 2, BudgetPeriod.TOTAL),))
    return request_id


def _crowded(books: Books) -> Before:
    """A minute that is full whenever the client comes, and for two seconds more."""

    async def before(_: int) -> None:
        await books.fill_minute(58.0)

    return before


@contextlib.asynccontextmanager
async def refusing_once(simulator_url: str, directory: Path) -> AsyncIterator[list[Scene]]:
    """Limits that are met by the first request and no more by the second: one for each kind of asking."""
    async with contextlib.AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(gateway_before(simulator_url, directory))
        stage = Stage(gateway, stack)
        for reason in ("budget_held", "requests_per_minute", "concurrency"):
            for stream in (False, True):
                name = f"{reason}, {'streamed' if stream else 'plain'}"
                secret = await gateway.create_key(name)
                await stage.add(name, secret, before=_passing(Books(gateway, name), reason), streams=(stream,))
        yield stage.scenes


def _passing(books: Books, reason: str) -> Before:
    """What is in the way begins when the client first comes, and ends while it waits."""
    running: list[str] = []

    async def before(count: int) -> None:
        if reason == "requests_per_minute":
            if count == 0:
                await books.end(await books.begin(age_seconds=57.0))
                await books.limit(rpm=1)
        elif count > 0:
            while running:
                await books.end(running.pop())
        elif reason == "budget_held":
            await books.limit(budgets=(parse_budget("9/total"),))
            running.append(await _hold(books))
        else:
            await books.limit(concurrency=1)
            running.append(await books.begin())

    return before
