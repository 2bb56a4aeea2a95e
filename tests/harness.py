"""A whole gateway on real sockets inside the test's loop, and a client that sees every byte.

async with gateway_before(upstream.url, tmp_path) as gateway:
    secret = await gateway.create_key("alice")
    async with gateway.post({"model": "m", "input": "hi"}, secret) as reply:
        assert reply.status == 200
        assert await reply.chunk() == b"…"          # one HTTP chunk, as it was sent
    row = await gateway.row(reply.header("x-irg-request-id"))
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from app.core.owners import NewKey
from app.core.views import RequestRecord
from app.server import Ready, serve_gateway
from app.settings import AdminToken, Settings
from app.wiring import Services
from tests.canaries import found_in_files

ADMIN_TOKEN = "admin-token-of-the-tests-0123456789abcdef"
UPSTREAM_KEY = "upstream-key-CANARY-5f1c2d3e4b6a7980"

RESPONSES = "/v1/openai/responses"


@dataclass
class GatewayUnderTest:
    ready: Ready
    secrets: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.ready.url

    @property
    def base_url(self) -> str:
        """What a client's `base_url` is set to."""
        return self.ready.url + "/v1/openai"

    @property
    def services(self) -> Services:
        return self.ready.gateway.services

    async def create_key(self, name: str = "alice", **spec: Any) -> str:
        _, secret = await self.services.keyring.create(NewKey(name=name, **spec))
        self.secrets[name] = secret
        return secret

    async def row(self, ref: str | None) -> RequestRecord:
        assert ref is not None
        return await self.services.reports.request(ref)

    async def rows(self) -> list[RequestRecord]:
        """Every ledger row, oldest first."""
        page = await self.services.reports.requests(limit=1000)
        return list(reversed(page.items))

    async def settled(self, count: int, timeout: float = 10) -> list[RequestRecord]:
        """Waits until so many rows are there and none is open."""
        async with asyncio.timeout(timeout):
            while True:
                rows = await self.rows()
                if len(rows) >= count and all(row.state != "open" for row in rows):
                    return rows
                await asyncio.sleep(0.005)

    @contextlib.asynccontextmanager
    async def post(
        self,
        body: bytes | Mapping[str, Any],
        secret: str | None = None,
        *,
        path: str = RESPONSES,
        headers: Mapping[str, str] | None = None,
        method: str = "POST",
    ) -> AsyncIterator[Reply]:
        """Sends one request on a connection of its own and reads the head of its answer."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", f"Host: {urlsplit(self.url).netloc}"]
        lines.append(f"Content-Length: {len(content)}")
        if secret is not None:
            lines.append(f"Authorization: Bearer {secret}")
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        async with self.connect("\r\n".join(lines).encode() + b"\r\n\r\n" + content) as reply:
            await reply.read_head()
            yield reply

    @contextlib.asynccontextmanager
    async def connect(self, raw: bytes = b"") -> AsyncIterator[Reply]:
        """Opens a connection, sends raw bytes, reads nothing yet."""
        where = urlsplit(self.url)
        reader, writer = await asyncio.open_connection(where.hostname, where.port, limit=2**26)
        reply = Reply(reader, writer)
        try:
            writer.write(raw)
            await writer.drain()
            yield reply
        finally:
            writer.close()
            with contextlib.suppress(OSError):  # also ENOTCONN, which is no ConnectionError
                await writer.wait_closed()

    def client(self, secret: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.url, headers={"authorization": f"Bearer {secret}"}, trust_env=False, timeout=10
        )

    def admin(self) -> httpx.AsyncClient:
        return self.client(ADMIN_TOKEN)


@dataclass
class Reply:
    """One answer as it comes over the wire."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)

    def header(self, name: str) -> str | None:
        values = [value for known, value in self.headers if known == name]
        assert len(values) <= 1, f"{name} was sent {len(values)} times"
        return values[0] if values else None

    @property
    def request_id(self) -> str:
        value = self.header("x-irg-request-id")
        assert value is not None
        return value

    async def read_head(self, timeout: float = 10) -> None:
        async with asyncio.timeout(timeout):
            head = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = head[:-4].decode("latin-1").split("\r\n")
        self.status = int(first.split(" ")[1])
        pairs = [line.partition(":") for line in lines]
        self.headers = [(name.lower(), value.strip()) for name, _, value in pairs]

    async def chunk(self, timeout: float = 10) -> bytes:
        """The next HTTP chunk as it was sent; b"" = the clean end. Raises `IncompleteReadError` when cut."""
        async with asyncio.timeout(timeout):
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            content = await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        return content

    async def body(self, timeout: float = 20) -> bytes:
        """The rest of the body to its clean end. Raises `IncompleteReadError` when it was cut."""
        length = self.header("content-length")
        if length is not None:
            async with asyncio.timeout(timeout):
                return await self.reader.readexactly(int(length))
        parts = []
        while part := await self.chunk(timeout):
            parts.append(part)
        return b"".join(parts)

    async def body_until_cut(self, timeout: float = 20) -> bytes:
        """The body of an answer that must be cut: fails if it ends cleanly."""
        parts = []
        try:
            while part := await self.chunk(timeout):
                parts.append(part)
        except (asyncio.IncompleteReadError, ConnectionError):
            return b"".join(parts)
        raise AssertionError("the answer ended cleanly")

    async def json(self) -> Any:
        return json.loads(await self.body())

    def reset(self) -> None:
        """Leaves at once, with a reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


def settings_for(upstream_url: str, directory: Path, **overrides: Any) -> Settings:
    """Settings of a gateway under test: nothing of the machine's environment counts.

    With the other front goes the other transport, so that the tests that run both ways run over both.
    """
    values: dict[str, Any] = {
        "imagerouter_api_key": UPSTREAM_KEY,
        "upstream_url": upstream_url,
        "database_url": f"sqlite:///{directory}/gateway.db",
        "port": 0,
        "shutdown_grace_seconds": 5,
    }
    if overrides.get("front") == "off":
        values["upstream_transport"] = "httpx"
    return Settings(**(values | overrides))


@contextlib.asynccontextmanager
async def gateway_before(upstream_url: str, directory: Path, **overrides: Any) -> AsyncIterator[GatewayUnderTest]:
    """A gateway in front of an upstream; ended as a signal would end it."""
    started: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
    settings = settings_for(upstream_url, directory, **overrides)
    serving = asyncio.create_task(
        serve_gateway(settings, admin_token=AdminToken(ADMIN_TOKEN), on_ready=started.set_result)
    )
    both: set[asyncio.Future[Any]] = {serving, started}
    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        await serving
    ready = started.result()
    gateway = GatewayUnderTest(ready)
    try:
        yield gateway
    finally:
        ready.stop()
        await serving
    kept = settings.database_path.parent.glob(settings.database_path.name + "*")
    assert found_in_files(kept, (UPSTREAM_KEY, ADMIN_TOKEN, *gateway.secrets.values())) == []
