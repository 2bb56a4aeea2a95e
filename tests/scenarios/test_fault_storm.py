"""A storm: mixed requests of clients that abort or read slowly, over a network that fails at random, before the bill.

    uv run pytest tests/scenarios/test_fault_storm.py             # both forms: 400 requests, and 6,000

The seed is printed; `FAULT_SEED=…` plays one again (as far as the machine's timing lets it).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from app.core.budgets import parse_budget
from app.core.records import State
from app.core.views import RequestRecord
from app.simulator.child import SimulatorChild
from tests.harness import RESPONSES, GatewayUnderTest, Reply, gateway_before
from tests.scenarios.fault_proxy import MARKER, FaultProxy, RandomFaults
from tests.scenarios.witnesses import all_rows, by_key, by_marker, explain

pytestmark = pytest.mark.scenario

AT_ONCE = 48
SILENCE_SECONDS = 1.5
SLOW_PAUSES = 100
MODELS = [
    *["openai/gpt-4o-mini", "sim/seed", "sim/float-cost", "openai/gpt-5:both"] * 3,
    *["sim/crlf", "sim/comments", "sim/odd-chunks", "sim/gzip", "sim/done", "sim/close-delimited", "sim/charged-more"],
    *["sim/no-cost", "sim/cost-nan", "sim/no-terminal", "sim/429", "sim/500", "sim/503", "sim/html-error", "sim/402"],
    *["sim/200-error", "sim/cut-midstream", "sim/reset-midstream", "sim/half-event", "sim/500-billed"],
]


class Client(StrEnum):
    STAYS = "stays"
    SLOW = "reads slowly"
    LEAVES = "leaves"
    RESETS = "leaves with a reset"
    UPLOADS_HALF = "leaves inside its own request"


@dataclass(frozen=True)
class Plan:
    marker: str
    model: str
    stream: bool
    words: int
    client: Client
    leaves_after: int  # bytes of the answer

    @property
    def body(self) -> bytes:
        return json.dumps({"model": self.model, "stream": self.stream, "input": "word " * self.words}).encode()


def plans(chance: random.Random, count: int) -> list[Plan]:
    clients = [Client.STAYS] * 6 + [Client.SLOW, Client.LEAVES, Client.RESETS, Client.UPLOADS_HALF]
    return [
        Plan(
            marker=f"{number}-{chance.randrange(2**48):x}",
            model=chance.choice(MODELS),
            stream=chance.random() < 0.6,
            words=chance.choice((1, 20, 200, 1500)),
            client=chance.choice(clients),
            leaves_after=int(2 ** chance.uniform(0, 13)),
        )
        for number in range(count)
    ]


@dataclass
class Seen:
    """What one client saw."""

    status: int = 0
    whole: bool = False  # a status and the clean end of the answer


async def play(gateway: GatewayUnderTest, secret: str, plan: Plan) -> Seen:
    head = (
        f"POST {RESPONSES} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {secret}\r\n{MARKER}: {plan.marker}\r\n"
        f"Content-Length: {len(plan.body)}\r\nConnection: close\r\n\r\n"
    ).encode()
    seen, raw = Seen(), head + plan.body
    async with gateway.connect() as reply:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            reply.writer.write(raw[: len(raw) - 5] if plan.client is Client.UPLOADS_HALF else raw)
            await reply.writer.drain()
            if plan.client in (Client.LEAVES, Client.RESETS):
                async with asyncio.timeout(60):
                    await reply.reader.readexactly(plan.leaves_after)
            elif plan.client is not Client.UPLOADS_HALF:
                await _read(reply, plan, seen)
        if plan.client in (Client.RESETS, Client.UPLOADS_HALF):
            reply.reset()
    return seen


async def _read(reply: Reply, plan: Plan, seen: Seen) -> None:
    await reply.read_head(60)
    seen.status = reply.status
    if plan.client is Client.SLOW:
        await asyncio.sleep(0.2)
    length = reply.header("content-length")
    if length is not None:
        await reply.reader.readexactly(int(length))
    elif reply.header("transfer-encoding") == "chunked":
        pauses = SLOW_PAUSES if plan.client is Client.SLOW else 0
        while await reply.chunk(60):
            if pauses > 0:
                pauses -= 1
                await asyncio.sleep(0.01)
    seen.whole = True


async def storm(directory: Path, transport: str, seed: int, count: int) -> None:
    print("seed", seed)
    chance = random.Random(seed)
    todo = plans(chance, count)
    settings: dict[str, Any] = {
        "upstream_idle_seconds": SILENCE_SECONDS,
        "upstream_timeout_seconds": SILENCE_SECONDS,
        "upstream_transport": transport,
    }
    with SimulatorChild(directory / "bill.jsonl") as simulator:
        async with FaultProxy(simulator.url) as network, gateway_before(network.url, directory, **settings) as gateway:
            network.plan = RandomFaults(chance)
            budgets = (parse_budget("1000/total"),)
            await gateway.services.keyring.create_team("all")
            secrets = [await gateway.create_key(plan.marker, team="all", budgets=budgets) for plan in todo]
            room = asyncio.Semaphore(AT_ONCE)

            async def one(secret: str, plan: Plan) -> Seen:
                async with room:
                    return await play(gateway, secret, plan)

            seen = await asyncio.gather(*map(one, secrets, todo))
            rows = await all_rows(gateway)
            _judge(rows, simulator, network, dict(zip((plan.marker for plan in todo), seen, strict=True)))
            await _judge_budgets(gateway, rows)
    print(len(rows), "rows", Counter(str(row.state) for row in rows), network.connections, "connections")


def _judge(
    rows: Sequence[RequestRecord], simulator: SimulatorChild, network: FaultProxy, seen: dict[str, Seen]
) -> None:
    """Each request that the upstream saw has one row, and each row is what bill and network say of it."""
    lines, found = by_marker(simulator.bill()), by_key(rows)
    assert lines.keys() <= found.keys()
    assert network.passed.keys() <= found.keys()
    assert network.doubled == []
    for marker, row in found.items():
        explain(row, lines.get(marker), network.passed.get(marker))
        line = lines.get(marker)
        if seen[marker].whole and seen[marker].status == 200 and line is not None and line.told:
            assert row.state is not State.UNKNOWN, row  # whoever saw the clean end relies on its cost
    # The storm was one: enough of each kind, or the test shows nothing.
    struck = sum(passed.struck is not None for passed in network.passed.values())
    assert struck > len(rows) / 10
    states = Counter(row.state for row in rows)
    assert min(states[state] for state in (State.SETTLED, State.UNKNOWN, State.FREE)) > len(rows) / 100


async def _judge_budgets(gateway: GatewayUnderTest, rows: Sequence[RequestRecord]) -> None:
    """Nothing is held any more; spent is what is booked and what unknown rows keep."""
    for row in rows:
        (budget,) = (await gateway.services.keyring.find(row.key)).budgets
        assert budget.held_picodollars == 0
        costs = (row.charged_picodollars, row.true_cost_picodollars, row.kept_picodollars)
        assert budget.spent_picodollars == next(cost for cost in costs if cost is not None)
    assert (await gateway.services.reports.verify()).differences == ()


def seed_of_this_run() -> int:
    return int(os.environ.get("FAULT_SEED") or random.randrange(2**32))


async def test_a_storm(tmp_path: Path, transport: str) -> None:
    """Nothing lost, doubled, zeroed or left open."""
    await storm(tmp_path, transport, seed_of_this_run(), 400)


@pytest.mark.long
@pytest.mark.timeout(1200)
async def test_a_long_storm(tmp_path: Path, transport: str) -> None:
    """The same, fifteen times as long."""
    await storm(tmp_path, transport, seed_of_this_run(), 6000)
