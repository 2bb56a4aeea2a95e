"""Clients of every kind that never stop asking, and remember of each request what they saw of its answer.

Each request carries a number of its key's in `x-stainless-retry-count`, which crosses the gateway and is kept both in
the ledger's row and on the simulator's bill: so row, bill line and client's memory are told apart to the last one.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from tests.harness import RESPONSES, Reply

TERMINAL = b"event: response.completed"

MODELS = (
    "sim/seed",
    "sim/float-cost",
    "sim/stream-pause:10",
    "sim/slow:60",
    "sim/words:40",
    "openai/gpt-4o-mini",
    "openai/gpt-4o-mini:both",
    "openai/gpt-5",
)

# What is kept in a row of the number that tells requests apart.
NUMBERS = 10_000

REFUSED_PAUSE_SECONDS = 0.01


@dataclass
class Asked:
    """One request, as its client saw it."""

    marker: str  # KEY:NUMBER
    model: str
    stream: bool
    leaves_after: int | None  # bytes of the answer, None = stays
    sent: bool = False  # all of it was handed to a connection that was open
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    seen: bytes = b""
    clean_end: bool = False

    @property
    def saw_end(self) -> bool:
        """Of the answer: by its framing, or by its terminal event."""
        terminal = self.stream and TERMINAL in self.seen and self.seen.endswith(b"\n\n")
        return self.status == 200 and (self.clean_end or terminal)


class MixedLoad:
    """`secrets`: key name → secret. Keys named in `numbered` from the start; see the module."""

    def __init__(self, port: int, secrets: Mapping[str, str], chance: random.Random, *, leaving: float = 0.25) -> None:
        self.asked: list[Asked] = []
        self._port = port
        self._secrets = secrets
        self._chance = chance
        self._leaving = leaving
        self._numbers = {name: itertools.count() for name in secrets}

    @contextlib.asynccontextmanager
    async def running(self, clients: int) -> AsyncIterator[None]:
        """So many clients ask until the end of the block; each finishes what it has begun."""
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for number in range(clients):
                group.create_task(self._client(stop, keeps_alive=number % 2 == 0))
            try:
                yield
            finally:
                stop.set()

    async def _client(self, stop: asyncio.Event, *, keeps_alive: bool) -> None:
        link: Reply | None = None
        while not stop.is_set():
            if link is None:
                link = await self._connected()
                if link is None:
                    continue
            asked = self._next()
            self.asked.append(asked)
            kept = await _ask(link, asked, self._secrets[asked.marker.partition(":")[0]], keeps_alive=keeps_alive)
            if not kept:
                link.writer.close()
                link = None
        if link is not None:
            link.writer.close()

    async def _connected(self) -> Reply | None:
        try:
            return Reply(*await asyncio.open_connection("127.0.0.1", self._port, limit=2**22))
        except OSError:
            await asyncio.sleep(REFUSED_PAUSE_SECONDS)
            return None

    def _next(self) -> Asked:
        key = self._chance.choice(list(self._secrets))
        number = next(self._numbers[key])
        assert number < NUMBERS, "more keys are needed for so many requests"
        return Asked(
            marker=f"{key}:{number}",
            model=self._chance.choice(MODELS),
            stream=self._chance.random() < 0.6,
            leaves_after=self._chance.choice([0, self._chance.randrange(400), self._chance.randrange(6000)])
            if self._chance.random() < self._leaving
            else None,
        )


async def _ask(link: Reply, asked: Asked, secret: str, *, keeps_alive: bool) -> bool:
    """True when the connection may serve another request."""
    body = json.dumps({"model": asked.model, "input": "Say hello", "stream": asked.stream}).encode()
    head = (
        f"POST {RESPONSES} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {secret}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"X-Stainless-Marker: {asked.marker}\r\nX-Stainless-Retry-Count: {asked.marker.partition(':')[2]}\r\n"
        f"Connection: {'keep-alive' if keeps_alive else 'close'}\r\n\r\n"
    ).encode()
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        link.writer.write(head + body)
        await link.writer.drain()
        asked.sent = True
        if asked.leaves_after is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):  # a shorter answer never brings so many bytes
                    await link.reader.readexactly(asked.leaves_after)
            if asked.leaves_after % 2:
                link.reset()
            return False
        await _read(link, asked)
        return keeps_alive and asked.clean_end and asked.headers.get("connection") != "close"
    return False


async def _read(link: Reply, asked: Asked) -> None:
    await link.read_head(timeout=60)
    asked.status, asked.headers = link.status, dict(link.headers)
    if "content-length" in asked.headers:
        asked.seen = await link.body(timeout=60)
    else:
        while part := await link.chunk(timeout=60):
            asked.seen += part
    asked.clean_end = True
