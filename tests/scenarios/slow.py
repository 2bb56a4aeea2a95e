"""What slow clients need to be watched: a gateway in a process of its own, and an upstream that floods on a word."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import cast

from tests.harness import RESPONSES, UPSTREAM_KEY, gateway_before

START_SECONDS_MAX = 60.0
PIECE = b"4000\r\n: " + b"x" * (0x4000 - 4) + b"\n\n\r\n"  # an SSE comment of 16 KiB as one chunk
HELLO = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n: a\n\r\n"
ANSWER = b'{"id":"resp_1","usage":{"cost":0.1}}'


class GatewayChild:
    """`irg serve` on a ledger that has one key already."""

    def __init__(self, url: str, secret: str, pid: int) -> None:
        self.url, self.secret, self.pid = url, secret, pid
        self.port = int(url.rpartition(":")[2])

    @property
    def resident_bytes(self) -> int:
        return _status_kib(self.pid, "VmRSS") * 1024

    def head(self, length: int) -> bytes:
        lines = [f"POST {RESPONSES} HTTP/1.1", "Host: gateway", f"Authorization: Bearer {self.secret}"]
        return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode()


def _status_kib(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


@contextlib.asynccontextmanager
async def gateway_child(upstream_url: str, directory: Path, **settings: str) -> AsyncIterator[GatewayChild]:
    """`settings`: as the environment names them."""
    async with gateway_before(upstream_url, directory) as first:
        secret = await first.create_key()
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | {
        "IMAGEROUTER_API_KEY": UPSTREAM_KEY,
        "IRG_UPSTREAM_URL": upstream_url,
        "IRG_DATABASE_URL": f"sqlite:///{directory}/gateway.db",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        **settings,
    }
    log = directory / "gateway.log"
    with log.open("wb") as out:
        command = [sys.executable, "-P", "-m", "app", "serve", "--port", "0"]
        child = subprocess.Popen(command, cwd=directory, env=environment, stdout=out, stderr=out)
    try:
        yield GatewayChild(await _url_in(log, child), secret, child.pid)
    finally:
        child.terminate()
        await asyncio.to_thread(child.wait)


async def _url_in(log: Path, child: subprocess.Popen[bytes]) -> str:
    end = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < end and child.poll() is None:
        for line in log.read_text("utf-8").splitlines():
            if '"event": "ready"' in line or '"event":"ready"' in line:
                return str(json.loads(line)["url"])
        await asyncio.sleep(0.05)
    raise AssertionError("the gateway did not start: " + log.read_text("utf-8")[-2000:])


class Flood(asyncio.Protocol):
    """Answers short requests at once; a stream says hello, and on the word writes as long as it is read."""

    transport: asyncio.Transport

    def __init__(self, upstream: FloodUpstream) -> None:
        self._upstream = upstream
        self._received = b""
        self._room = asyncio.Event()
        self._room.set()
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 * 1024)

    def data_received(self, data: bytes) -> None:
        self._received += data
        _, end, body = self._received.partition(b"\r\n\r\n")
        if not end or not body.endswith(b"}"):
            return
        self._received = b""
        if b"stream" in body:
            self.transport.write(HELLO)
            self._task = asyncio.get_running_loop().create_task(self._flood())
        else:
            named = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            self.transport.write(named % len(ANSWER) + ANSWER)

    async def _flood(self) -> None:
        await self._upstream.word.wait()
        while not self.transport.is_closing():
            self.transport.write(PIECE)
            self._upstream.written_bytes += len(PIECE)
            await self._room.wait()

    def pause_writing(self) -> None:
        self._room.clear()
        self._upstream.paused += 1

    def resume_writing(self) -> None:
        self._room.set()
        self._upstream.paused -= 1

    def connection_lost(self, exc: Exception | None) -> None:
        if self._task is not None:
            self._task.cancel()


class FloodUpstream:
    def __init__(self) -> None:
        self.word = asyncio.Event()
        self.written_bytes = 0
        self.paused = 0  # streams that wait for their reader
        self.url = ""

    @classmethod
    @contextlib.asynccontextmanager
    async def serving(cls) -> AsyncIterator[FloodUpstream]:
        made = cls()
        server = await asyncio.get_running_loop().create_server(lambda: Flood(made), "127.0.0.1", 0, backlog=4096)
        made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield made
        finally:
            server.close()


def client_socket(port: int) -> socket.socket:
    """A connected socket that takes little in."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.connect(("127.0.0.1", port))
    made.setblocking(False)
    return made


@contextlib.contextmanager
def all_closed(sockets: list[socket.socket]) -> Iterator[None]:
    try:
        yield
    finally:
        for one in sockets:
            one.close()
