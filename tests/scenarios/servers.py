"""Responses servers that others wrote, and the bridge that puts them behind a gateway.

They run as they are shipped and tell no costs. Their path is /v1/responses, where the gateway
asks its upstream at /v1/openai/responses: the bridge changes that one line and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import re
import subprocess
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

START_SECONDS_MAX = 30.0
END_SECONDS_MAX = 5.0

_LISTENING = re.compile(r"http://127\.0\.0\.1:([1-9]\d*)")


class ServerChild:
    """A server process that tells its address in its log; a context manager that ends it."""

    def __init__(self, *command: str | Path) -> None:
        self._child = subprocess.Popen(
            list(map(str, command)),
            env={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | {"NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: list[str] = []
        self._told: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = self._first_url()

    def _read(self) -> None:
        """Reads the log to its end, so that the server never waits for a reader."""
        assert self._child.stdout is not None
        for line in self._child.stdout:
            self._lines.append(line)
            if found := _LISTENING.search(line):
                self._told.put(found[0])
        self._told.put(None)

    def _first_url(self) -> str:
        try:
            url = self._told.get(timeout=START_SECONDS_MAX)
        except queue.Empty:
            url = None
        if url is None:
            self.end()
            raise ChildProcessError("the server did not start: " + "".join(self._lines[-20:]))
        return url

    def end(self) -> None:
        self._child.terminate()
        try:
            self._child.wait(END_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._reader.join()
        assert self._child.stdout is not None
        self._child.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


@contextlib.asynccontextmanager
async def bridge_to(url: str) -> AsyncIterator[str]:
    """The address of a bridge that asks `url`/v1/responses for what it is asked at /v1/openai/responses."""
    where = urlsplit(url)
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(where.hostname, where.port)
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_requests(reader, there_writer))
                both.create_task(_bytes(there_reader, writer))
        except* (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            there_writer.close()
            writer.close()
            connections.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def _requests(reader: asyncio.StreamReader, there: asyncio.StreamWriter) -> None:
    """One request after the other; raises `IncompleteReadError` when there are no more."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
        body = await reader.readexactly(int(length[1]) if length else 0)
        there.write(head.replace(b"/v1/openai/responses", b"/v1/responses", 1) + body)
        await there.drain()


async def _bytes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while content := await reader.read(2**16):
        writer.write(content)
        await writer.drain()
    raise ConnectionError("the server has closed")
