"""How connections end at shutdown: whoever asks is answered, whoever is quiet is let go."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.proxy import quiet_end
from app.sockets import bind_tcp, waiting_connections
from tests.harness import RESPONSES, GatewayUnderTest, Reply, gateway_before
from tests.proxy.test_passthrough import COMPLETED, CREATED
from tests.scripted_upstream import END, ScriptedUpstream, chunk, json_answer, sse_head


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, a client asks again in time."""
    monkeypatch.setattr(quiet_end, "QUIET_SECONDS", 20.0)


def request(secret: str) -> bytes:
    body = b'{"model":"m","stream":true}'
    head = f"POST {RESPONSES} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {secret}\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


@contextlib.asynccontextmanager
async def ending(upstream: ScriptedUpstream, directory: Path) -> AsyncIterator[tuple[GatewayUnderTest, asyncio.Event]]:
    """A gateway that begins to end when the event is set, and has ended when the block is over."""
    begin = asyncio.Event()
    async with gateway_before(upstream.url, directory, shutdown_grace_seconds=30) as gateway:

        async def stop() -> None:
            await begin.wait()
            gateway.ready.stop()

        stopping = asyncio.create_task(stop())
        yield gateway, begin
        await stopping


async def listener_closed(gateway: GatewayUnderTest) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                async with gateway.connect():
                    await asyncio.sleep(0.005)
            except OSError:
                return


async def answered(reply: Reply) -> bytes:
    await reply.read_head()
    assert reply.status == 200
    return await reply.body()


async def test_a_connection_that_was_kept_takes_one_more_request(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """Its answer is whole and tells that it is the last."""
    upstream.answer(sse_head(), chunk(COMPLETED), END)
    upstream.answer(sse_head(), chunk(COMPLETED), END)
    async with ending(upstream, tmp_path) as (gateway, begin):
        secret = await gateway.create_key()
        async with gateway.connect(request(secret)) as reply:
            assert await answered(reply) == COMPLETED
            assert reply.header("connection") is None
            begin.set()
            await listener_closed(gateway)
            reply.writer.write(request(secret))
            assert await answered(reply) == COMPLETED
            assert reply.header("connection") == "close"
            assert await reply.reader.read() == b""


async def test_a_connection_that_was_just_made_is_served(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """Whoever could connect can ask."""
    upstream.answer(sse_head(), chunk(COMPLETED), END)
    async with ending(upstream, tmp_path) as (gateway, begin):
        secret = await gateway.create_key()
        async with gateway.connect() as reply:
            begin.set()
            await listener_closed(gateway)
            reply.writer.write(request(secret))
            assert await answered(reply) == COMPLETED
            assert reply.header("connection") == "close"


async def test_a_stream_that_could_not_tell_its_end_is_followed_by_one_that_can(
    upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    """Its head had left before the signal; the client that asks again at once finds nothing closed."""
    done = asyncio.Event()
    upstream.answer(sse_head(), chunk(CREATED), done, chunk(COMPLETED), END)
    upstream.answer(sse_head(), chunk(COMPLETED), END)
    async with ending(upstream, tmp_path) as (gateway, begin):
        secret = await gateway.create_key()
        async with gateway.connect(request(secret)) as reply:
            await reply.read_head()
            assert await reply.chunk() == CREATED
            begin.set()
            await listener_closed(gateway)
            done.set()
            assert await reply.body() == COMPLETED
            reply.writer.write(request(secret))
            assert await answered(reply) == COMPLETED
            assert reply.header("connection") == "close"


async def test_pages_and_refusals_tell_their_end_too(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """Not only what is relayed: else a browser, or a client that was refused, would ask again into the void."""
    async with ending(upstream, tmp_path) as (gateway, begin):
        ask = b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n"
        async with gateway.connect(ask) as reply, gateway.connect(request("nobody")) as refused:
            assert (await answered(reply))[:1] == b"{"
            await refused.read_head()
            await refused.body()
            begin.set()
            await listener_closed(gateway)
            reply.writer.write(ask)
            assert (await answered(reply))[:1] == b"{"
            refused.writer.write(request("nobody"))
            await refused.read_head()
            assert (refused.status, refused.header("connection")) == (401, "close")
            assert reply.header("connection") == "close"


async def test_a_quiet_connection_is_let_go(
    upstream: ScriptedUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while without a request; what of it had passed before the signal counts."""
    monkeypatch.setattr(quiet_end, "QUIET_SECONDS", 1.0)
    upstream.answer(json_answer({}))
    upstream.answer(json_answer({}))
    async with ending(upstream, tmp_path) as (gateway, begin):
        secret = await gateway.create_key()

        async def closed(reply: Reply) -> float:
            assert await reply.reader.read() == b""
            return time.monotonic()

        async with gateway.connect(request(secret)) as quiet, gateway.connect() as busy:
            await answered(quiet)
            await asyncio.sleep(1.0)
            busy.writer.write(request(secret))
            await answered(busy)
            last = time.monotonic()
            begin.set()
            first_closed, then_closed = await asyncio.gather(closed(quiet), closed(busy))
            assert first_closed < then_closed
            assert then_closed - last >= 0.9


def test_connections_that_nobody_has_taken_are_taken_at_the_end() -> None:
    """All of them, and what they sent; then there are none."""

    with bind_tcp("127.0.0.1", 0) as listening:
        listening.listen(8)
        clients = [socket.create_connection(listening.getsockname()) for _ in range(3)]
        for client in clients:
            client.sendall(b"hello")
        taken = waiting_connections(listening)
        assert waiting_connections(listening) == []
    try:
        assert [sock.recv(9) for sock in taken] == [b"hello"] * 3
        assert {sock.getblocking() for sock in taken} == {False}
    finally:
        for sock in (*taken, *clients):
            sock.close()
