"""A window between a client and the gateway: who asked when, and what was answered.

It passes every byte on as it is, so a refusal that leaves no row in the ledger is counted too. A hook sees each
request before the gateway does: there a test brings about what the request is to meet.

    async with watch_before(gateway.url) as watch:
        ... a client works against watch.base_url ...
        assert [asked.status for asked in watch.asked] == [429, 200]
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

Before = Callable[[int], Awaitable[None]]

REQUEST_BYTES_MAX = 2**24


@dataclass
class Asked:
    """One request that a client made, and its answer. Times are seconds of one clock."""

    at: float
    stream: bool
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    error: dict[str, Any] = field(default_factory=dict)  # of an answer that is an error
    answered_at: float = 0.0

    @property
    def retry_after(self) -> int | None:
        """Whole seconds, as told."""
        told = self.headers.get("retry-after")
        return None if told is None else int(told)


@dataclass
class Watch:
    url: str
    asked: list[Asked] = field(default_factory=list)
    before: Before | None = None  # called with how many requests came before this one

    @property
    def base_url(self) -> str:
        return self.url + "/v1/openai"

    def waits(self, *, stream: bool) -> list[tuple[int | None, float]]:
        """Between one answer and the next request of the same kind: the seconds told, and those that passed."""
        asked = [one for one in self.asked if one.stream is stream]
        return [(one.retry_after, later.at - one.answered_at) for one, later in itertools.pairwise(asked)]


@contextlib.asynccontextmanager
async def watch_before(url: str) -> AsyncIterator[Watch]:
    where, links = urlsplit(url), set[asyncio.Task[None]]()
    watch = Watch("")

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        links.add(task)
        there_reader, there_writer = await asyncio.open_connection(where.hostname, where.port, limit=REQUEST_BYTES_MAX)
        try:
            while await _exchange(watch, reader, writer, there_reader, there_writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            there_writer.close()
            links.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=REQUEST_BYTES_MAX)
    watch.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield watch
    finally:
        server.close()
        for task in links:
            task.cancel()
        await asyncio.gather(*links, return_exceptions=True)


async def _exchange(
    watch: Watch,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    there_reader: asyncio.StreamReader,
    there_writer: asyncio.StreamWriter,
) -> bool:
    """One request and its answer; false when the answer was the connection's last.

    Raises: `IncompleteReadError` where one of both ends; what had come is passed on.
    """
    head = await reader.readuntil(b"\r\n\r\n")
    length = _headers(head).get("content-length", "0")
    body = await reader.readexactly(int(length))
    asked = Asked(time.monotonic(), bool(json.loads(body or b"{}").get("stream")))
    watch.asked.append(asked)
    if watch.before is not None:
        await watch.before(len(watch.asked) - 1)
    there_writer.write(head + body)
    head = await there_reader.readuntil(b"\r\n\r\n")
    asked.status, asked.headers = int(head.split(b" ")[1]), _headers(head)
    if "content-length" not in asked.headers:
        asked.answered_at = time.monotonic()
        writer.write(head)
        while await _chunk(there_reader, writer):
            pass
    else:
        content = await there_reader.readexactly(int(asked.headers["content-length"]))
        asked.error = json.loads(content).get("error") or {}
        asked.answered_at = time.monotonic()
        writer.write(head + content)
        await writer.drain()
    return asked.headers.get("connection") != "close"


async def _chunk(there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Passes one HTTP chunk on; false after the last."""
    try:
        size = await there.readuntil(b"\r\n")
        content = await there.readexactly(int(size, 16) + 2)
    except asyncio.IncompleteReadError as cut:
        writer.write(cut.partial)
        raise
    writer.write(size + content)
    await writer.drain()
    return len(content) > 2


def _headers(head: bytes) -> dict[str, str]:
    pairs = [line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:] if line]
    return {name.lower(): value.strip() for name, _, value in pairs}
