"""The long run: thousands of requests of every kind, a quarter of them left at random points, before the bill."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.core.records import Outcome, State
from app.core.views import GroupBy, RequestFilter, RequestRecord
from app.core.windows import Period
from app.simulator.amounts import picodollars
from app.simulator.behaviours import By
from app.simulator.bill import Bill
from app.simulator.child import SimulatorChild
from app.simulator.registry import REGISTRY
from tests.harness import RESPONSES, GatewayUnderTest, Reply, gateway_before
from tests.judge import by_request, judge
from tests.simulated_upstream import QUICK

pytestmark = pytest.mark.scenario

AT_ONCE = 64
KEYS = ["alice", "bob", "nightly-batch"]
# Slow by nature: as quick as they can be asked to be, and few.
SLOW = QUICK | {"sim/slow": "sim/slow:20", "sim/stream-pause": "sim/stream-pause:5"}
SILENT = {name for name, behaviour in REGISTRY.items() if behaviour.ending.by is By.SILENCE}
RARE = dict.fromkeys(SILENT, 0.05) | {"sim/gzip-bomb": 0.1, "sim/big-event:1": 0.2}
# Whose answers are cut, or withheld.
BROKEN = {name for name, behaviour in REGISTRY.items() if behaviour.ending.by is not By.FRAMING} | {
    "sim/length-too-long",
    "sim/key-in-body",
    "sim/key-in-pieces",
}
RESETTING = {name for name, behaviour in REGISTRY.items() if behaviour.ending.by is By.RESET}
PRICED = ["openai/gpt-5", "openai/gpt-4o-mini", "openai/gpt-4o-mini:both"]


@dataclass(frozen=True)
class Plan:
    """What one client does: `leaves_after` None = stays; "upload", "sent" = inside and behind its own request."""

    model: str
    stream: bool
    words: int
    leaves_after: str | int | None
    by_reset: bool
    keep_alive: bool
    pause: float


# Sent behind all others: once it is answered, they have been taken.
_LAST = Plan("sim/fast", stream=False, words=1, leaves_after=None, by_reset=False, keep_alive=False, pause=0)


def plans(chance: random.Random, count: int) -> list[Plan]:
    models = [SLOW.get(name, name) for name in REGISTRY] + PRICED * 10
    weights = [RARE.get(name, 1.0) for name in models]
    return [_plan(chance, model) for model in chance.choices(models, weights, k=count)]


def _plan(chance: random.Random, model: str) -> Plan:
    points: list[str | int | None] = ["upload", "sent", "sent", chance.randrange(200), chance.randrange(8000)]
    leaves = chance.random() < 0.25
    return Plan(
        model=model,
        stream=chance.random() < 0.6,
        words=chance.randrange(1, 200),
        leaves_after=chance.choice(points) if leaves else None,
        by_reset=chance.random() < 0.5,
        keep_alive=chance.random() < 0.5,
        pause=chance.random() * 0.02,
    )


@pytest.mark.parametrize(("durability", "count"), [("process", 4000), ("power", 1500)])
async def test_the_sum_of_the_ledger_is_the_bill(tmp_path: Path, durability: str, count: int) -> None:
    """In every digit; nothing stays open; unknown exactly where the upstream never told."""
    seed = random.randrange(2**32)
    print("seed", seed)
    todo = plans(random.Random(seed), count)
    silence: dict[str, Any] = {"upstream_idle_seconds": 10.0, "upstream_timeout_seconds": 10.0}
    with SimulatorChild(tmp_path / "bill.jsonl") as child:
        async with gateway_before(child.url, tmp_path, **silence, durability=durability) as gateway:
            secrets = [await gateway.create_key(name) for name in KEYS]
            room = asyncio.Semaphore(AT_ONCE)
            cut: set[str] = set()
            await asyncio.gather(
                *(_client(gateway, room, cut, secrets[number % len(KEYS)], plan) for number, plan in enumerate(todo))
            )
            await _client(gateway, room, cut, secrets[0], _LAST)
            rows = await _closed(gateway)
            await _same_figures_everywhere(gateway, rows)
        bill = child.bill()
    assert sum(plan.leaves_after is not None for plan in todo) >= count * 0.22
    assert len(rows) >= count * 0.9  # not one of these left inside its upload
    left = Counter(row.outcome for row in rows)[Outcome.CLIENT_DISCONNECTED]
    assert left >= count * 0.05
    # A cut upstream stream is a cut client stream; no other is.
    assert [row for row in rows if row.id in cut and row.model not in BROKEN] == []
    _judge_all(rows, bill)


async def _client(gateway: GatewayUnderTest, room: asyncio.Semaphore, cut: set[str], secret: str, plan: Plan) -> None:
    body = json.dumps({"model": plan.model, "input": "word " * plan.words, "stream": plan.stream}).encode()
    head = (
        f"POST {RESPONSES} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {secret}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"Connection: {'keep-alive' if plan.keep_alive else 'close'}\r\n\r\n"
    ).encode()
    async with room, gateway.connect() as reply:
        raw = head + body
        reply.writer.write(raw[: len(raw) // 2] if plan.leaves_after == "upload" else raw)
        await reply.writer.drain()
        if plan.leaves_after is None:
            await _read_whole(reply, cut)
            return
        if isinstance(plan.leaves_after, int):
            # A shorter answer on a connection that stays open never brings so many bytes.
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, TimeoutError):
                async with asyncio.timeout(1):
                    await reply.reader.readexactly(plan.leaves_after)
        await asyncio.sleep(plan.pause)
        if plan.by_reset:
            reply.reset()


async def _read_whole(reply: Reply, cut: set[str]) -> None:
    await reply.read_head(timeout=60)
    try:
        await reply.body(timeout=60)
    except (asyncio.IncompleteReadError, ConnectionError):
        cut.add(reply.request_id)


async def _closed(gateway: GatewayUnderTest) -> list[RequestRecord]:
    """Every row, once none is open: abandoned answers are read on for a while."""
    async with asyncio.timeout(120):
        while len(gateway.ready.gateway.inflight):
            await asyncio.sleep(0.02)
    rows: list[RequestRecord] = []
    today = _today(gateway)
    async for some in gateway.services.reports.export(RequestFilter(from_at=today.from_at, to_at=today.to_at)):
        rows += [row for row in some if isinstance(row, RequestRecord)]
    assert [row.id for row in rows if row.state is State.OPEN] == []
    return rows


def _today(gateway: GatewayUnderTest) -> Period:
    return gateway.services.reports.period(last="2d")


async def _same_figures_everywhere(gateway: GatewayUnderTest, rows: Sequence[RequestRecord]) -> None:
    """The roll-ups, the same by key and by model, and the database's own proof."""
    reports = gateway.services.reports
    assert (await reports.verify()).differences == ()
    total = (await reports.usage(_today(gateway))).total
    for by in GroupBy:
        assert (await reports.usage(_today(gateway), by)).total == total
    states = Counter(row.state for row in rows)
    assert (total.requests, total.open) == (len(rows), 0)
    assert (total.settled, total.free, total.unknown) == (
        states[State.SETTLED],
        states[State.FREE],
        states[State.UNKNOWN],
    )
    assert total.true_cost_picodollars == sum(row.true_cost_picodollars or 0 for row in rows)
    assert total.charged_picodollars == sum(row.charged_picodollars or 0 for row in rows)


def _judge_all(rows: Sequence[RequestRecord], bill: Bill) -> None:
    """Each answer belongs to one row, and what was told adds up to the last digit."""
    lines = by_request(bill)
    answered = {row.upstream_request_id: row for row in rows if row.upstream_request_id is not None}
    lost = [line for id_, line in lines.items() if id_ not in answered]
    assert {line.model for line in lost} <= RESETTING  # a reset may overtake the head
    for id_, row in answered.items():
        judge(row, lines[id_])
    # No head, no request id: as many of each model must be unknown.
    headless = Counter(line.model for line in [*lost, *(line for line in bill.answers if line.request_id is None)])
    unanswered = [row for row in rows if row.upstream_request_id is None and row.state is not State.FREE]
    assert {row.state for row in unanswered} <= {State.UNKNOWN}
    assert Counter(row.model for row in unanswered) == headless
    told = [line for line in bill.answers if "true_cost" in line.told]
    charged = [line for line in bill.answers if line.told and "free" not in line.told]
    assert sum(row.true_cost_picodollars or 0 for row in rows) == sum(picodollars(line.true_cost) for line in told)
    assert sum(row.charged_picodollars or 0 for row in rows) == sum(picodollars(line.charged) for line in charged)
