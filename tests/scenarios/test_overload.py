"""Five times as many requests as there are places: refusals are quick, those inside notice nothing, memory stays.

The gateway is a process of its own. Times are compared with each other, never with a clock's opinion of a machine.
"""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.harness import RESPONSES, Reply
from tests.proxy.test_passthrough import ANSWER, COMPLETED, CREATED, DELTA
from tests.scenarios.gateway_child import GatewayChild, gateway_child
from tests.scripted_upstream import END, ScriptedUpstream, SeenRequest, Step, chunk, json_answer, pause, sse_head

pytestmark = pytest.mark.scenario

TIMES_OVER = 5
# Sooner than they are told to.
AGAIN_SECONDS = 0.5
EVENTS, EVENT_SECONDS = 10, 0.06
MEGABYTE = 1024 * 1024
STREAM = {"model": "m", "input": "hi", "stream": True}
WHOLE = CREATED + DELTA * EVENTS + COMPLETED


@dataclass
class Crowd:
    """What so many clients met."""

    seconds: list[float] = field(default_factory=list)  # of each answer from its first to its last byte
    answers: Counter[str] = field(default_factory=Counter)
    refused_seconds: list[float] = field(default_factory=list)


def paced(request: SeenRequest) -> list[Step]:
    if not request.json().get("stream"):
        return [json_answer(ANSWER)]
    events = [step for _ in range(EVENTS) for step in (pause(EVENT_SECONDS), chunk(DELTA))]
    return [sse_head(), chunk(CREATED), *events, chunk(COMPLETED), END]


async def crowd(gateway: GatewayChild, secret: str, clients: int, seconds: float) -> Crowd:
    """So many clients, each over a connection of its own, that ask again and again all through a time."""
    where, met = urlsplit(gateway.url), Crowd()
    body = json.dumps(STREAM).encode()
    head = f"POST {RESPONSES} HTTP/1.1\r\nHost: {where.netloc}\r\nAuthorization: Bearer {secret}\r\n"
    raw = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    replies = [Reply(*await asyncio.open_connection(where.hostname, where.port)) for _ in range(clients)]
    until = time.monotonic() + seconds

    async def one(number: int) -> None:
        await asyncio.sleep(AGAIN_SECONDS * number / clients)  # not all by the same stroke of the clock
        while time.monotonic() < until:
            await _ask(replies[number], raw, met)

    await asyncio.gather(*map(one, range(clients)))
    for reply in replies:
        reply.writer.close()
    return met


async def _ask(reply: Reply, raw: bytes, met: Crowd) -> None:
    started = time.monotonic()
    reply.writer.write(raw)
    await reply.read_head(30)
    head_at = time.monotonic()
    content = await reply.body(30)
    if reply.status == 200:
        assert content == WHOLE
        met.seconds.append(time.monotonic() - head_at)
        met.answers["200"] += 1
        return
    error = json.loads(content)["error"]
    met.answers[f"{reply.status} {error['code']} {reply.header('retry-after')}"] += 1
    met.refused_seconds.append(time.monotonic() - started)
    await asyncio.sleep(AGAIN_SECONDS)


@asynccontextmanager
async def talking(gateway: GatewayChild, secret: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        base_url=gateway.url,
        headers={"authorization": f"Bearer {secret}"},
        trust_env=False,
        verify=False,
        timeout=60,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
    ) as client:
        yield client


def resident_bytes(gateway: GatewayChild) -> int:
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


@pytest.mark.parametrize(
    ("places", "seconds"),
    [pytest.param(30, 3.0, id="short"), pytest.param(200, 30.0, id="long", marks=pytest.mark.long)],
)
async def test_five_times_too_many(upstream: ScriptedUpstream, tmp_path: Path, places: int, seconds: float) -> None:
    """503 `overloaded` with retry-after and no row; every answer inside is whole, in its time, and booked."""
    directory = tmp_path / "data"
    directory.mkdir()
    upstream.otherwise = paced
    async with gateway_child(upstream.url, directory, {"IRG_CONCURRENCY_MAX": str(places)}) as gateway:
        secret = await gateway.create_key()
        calm = await crowd(gateway, secret, places // 2, seconds / 2)
        before = resident_bytes(gateway)
        met = await crowd(gateway, secret, places * TIMES_OVER, seconds)
        grown = resident_bytes(gateway) - before
        assert calm.answers.keys() == {"200"}
        assert met.answers.keys() == {"200", "503 overloaded 2"}
        slower = statistics.median(met.seconds) / statistics.median(calm.seconds)
        quick = statistics.median(met.refused_seconds) / statistics.median(met.seconds)
        print(dict(met.answers), f"{slower=:.2f} {quick=:.3f} grown={grown / MEGABYTE:.1f} MB")
        assert slower < 3
        assert quick < 1
        assert grown < 64 * MEGABYTE
        forwarded = calm.answers["200"] + met.answers["200"]
        assert len(upstream.requests) == forwarded
        await _booked(gateway, forwarded)


async def _booked(gateway: GatewayChild, count: int) -> None:
    """Each that was let in, and no other."""
    async with gateway.admin() as admin:
        total = (await admin.get("/admin/v1/usage")).json()["total"]
    assert (total["requests"], total["settled"], total["open"]) == (count, count, 0)


async def test_a_refusal_costs_less_than_an_answer(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """By turns, on the same connections: a full gateway says so sooner than it could have answered."""
    directory = tmp_path / "data"
    directory.mkdir()
    go = asyncio.Event()
    upstream.otherwise = paced
    async with gateway_child(upstream.url, directory, {"IRG_CONCURRENCY_MAX": "2"}) as gateway:
        secret = await gateway.create_key()
        served, refused = [], []
        async with talking(gateway, secret) as client, talking(gateway, secret) as other:
            for _ in range(5):
                served += [await _timed(client, 200) for _ in range(20)]
                go.clear()
                seen = len(upstream.requests) + 2
                for _ in range(2):
                    upstream.answer(go, json_answer(ANSWER))
                holding = [asyncio.create_task(_let_in(other)) for _ in range(2)]
                await upstream.seen(seen)
                refused += [await _timed(client, 503) for _ in range(20)]
                go.set()
                await asyncio.gather(*holding)
        ratio = statistics.median(refused) / statistics.median(served)
        print(f"{ratio=:.2f}")
        assert ratio < 1


async def _let_in(client: httpx.AsyncClient) -> None:
    """Asks until there is a place: one is free a moment after the end of its answer was seen."""
    while (await client.post(RESPONSES, json={"model": "m", "input": "hi"})).status_code == 503:
        pass


async def _timed(client: httpx.AsyncClient, status: int) -> float:
    started = time.monotonic()
    answer = await client.post(RESPONSES, json={"model": "m", "input": "hi"})
    assert answer.status_code == status, answer.text
    return time.monotonic() - started
