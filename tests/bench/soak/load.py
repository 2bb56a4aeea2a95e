"""The soak's clients: kept connections that ask without pause, most politely, some not.

A few leave: before their answer begins, inside a stream, with a close or a reset. What each answer was is counted, and
anything that no answer of this upstream can become is a fault.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from tests.bench.soak.upstream import NO_LINGERING, Model
from tests.harness import RESPONSES

LEAVING = 0.05
FAULTY = 0.02
ANSWER_SECONDS_MAX = 60.0

FAULTS = [model for model in Model if not model.good]
# Silence takes seconds where the others take none.
FAULT_WEIGHTS = [1 if model is Model.STALL else 5 for model in FAULTS]

END_OF_CHUNKS = b"\r\n0\r\n\r\n"


@dataclass
class Seen:
    """How many requests ended how, as clients saw it."""

    asked: int = 0
    left: int = 0
    cut: int = 0  # connections that ended inside an answer
    statuses: Counter[int] = field(default_factory=Counter)


class Client(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self) -> None:
        self.closed = False
        self._in = bytearray()
        self._waiting: asyncio.Future[bytes] | None = None
        self._least = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self._give(bytes(self._in))

    def data_received(self, content: bytes) -> None:
        self._in += content
        if (self._least and len(self._in) >= self._least) or _is_whole(self._in):
            self._give(bytes(self._in))

    async def ask(self, request: bytes, *, least: int = 0) -> bytes:
        """The answer, or what came of it when the connection ended. `least`: so many bytes of it are enough."""
        assert self._transport is not None
        self._in.clear()
        self._least = least
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiting

    def send(self, request: bytes) -> None:
        assert self._transport is not None
        self._transport.write(request)

    def leave(self, *, by_reset: bool) -> None:
        assert self._transport is not None
        if by_reset and not self.closed:
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGERING)
        self._transport.close()

    def _give(self, answer: bytes) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(answer)


def _is_whole(answer: bytearray) -> bool:
    head, blank, body = answer.partition(b"\r\n\r\n")
    if not blank:
        return False
    _, found, rest = head.lower().partition(b"\r\ncontent-length: ")
    if found:
        return len(body) >= int(rest.partition(b"\r\n")[0])
    return answer.endswith(END_OF_CHUNKS)


def request(model: Model, secret: str) -> bytes:
    body = json.dumps(
        {"model": f"soak/{model}", "input": "Say hello", "stream": "stream" in model or model is Model.STALL}
    )
    head = f"POST {RESPONSES} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {secret}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


class Load:
    """`connections` clients of the gateway at `port`; each asks with every key, in turn."""

    def __init__(self, port: int, secrets: Sequence[str], connections: int, chance: random.Random) -> None:
        self.seen = Seen()
        self._port = port
        self._connections = connections
        self._chance = chance
        self._requests = {model: [request(model, secret) for secret in secrets] for model in Model}

    async def ask(self, count: int, deadline: float) -> None:
        """So many requests (fewer, once the loop's time is past `deadline`), and waits for the last answer."""
        loop = asyncio.get_running_loop()
        until = self.seen.asked + count
        async with asyncio.TaskGroup() as group:
            for _ in range(self._connections):
                group.create_task(self._client(lambda: self.seen.asked < until and loop.time() < deadline))

    async def _client(self, goes_on: object) -> None:
        assert callable(goes_on)
        client: Client | None = None
        while goes_on():
            if client is None or client.closed:
                _, client = await asyncio.get_running_loop().create_connection(Client, "127.0.0.1", self._port)
            self.seen.asked += 1
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                if not await self._one(client):
                    client = None
        if client is not None:
            client.leave(by_reset=False)

    async def _one(self, client: Client) -> bool:
        """True when the connection is still there."""
        chance = self._chance.random()
        leaves, faulty = chance < LEAVING, LEAVING <= chance < LEAVING + FAULTY
        if faulty:
            (model,) = self._chance.choices(FAULTS, FAULT_WEIGHTS)
        else:
            model = self._chance.choice((Model.JSON, Model.STREAM))
        asked = self._chance.choice(self._requests[model])
        if leaves:
            return await self._leave(client, asked)
        answer = await client.ask(asked)
        if client.closed and not _is_whole(bytearray(answer)):
            self.seen.cut += 1
        else:
            self.seen.statuses[int(answer[9:12])] += 1
        return not client.closed

    async def _leave(self, client: Client, asked: bytes) -> bool:
        self.seen.left += 1
        when = self._chance.randrange(3)
        if when == 0:  # before anybody could have answered
            client.send(asked)
        else:
            await client.ask(asked, least=1 if when == 1 else 700)
        client.leave(by_reset=self._chance.random() < 0.5)
        return False
