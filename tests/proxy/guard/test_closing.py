"""What a connection leaves behind once it is gone: nothing. A timer that still ran would keep all that it knew."""

from __future__ import annotations

import asyncio
import gc
import select
import socket
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from app.proxy.guard import GuardProtocol
from app.proxy.guard.limits import LEFTOVER_BYTES_MAX
from tests.harness import RESPONSES, GatewayUnderTest, Reply
from tests.proxy.guard.connections import WrittenTransport, guarded
from tests.proxy.test_passthrough import ANSWER, COMPLETED, CREATED
from tests.scripted_upstream import END, RESET, ScriptedUpstream, Step, chunk, json_answer, sse_head

STREAM = {"model": "m", "stream": True}

Ways = dict[str, tuple[list[Step], Callable[[Reply], Awaitable[None]]]]


async def reset_behind_the_answer(reply: Reply) -> None:
    await reply.body()
    reply.reset()


async def reset_inside_the_answer(reply: Reply) -> None:
    await reply.chunk()
    reply.reset()


async def close_behind_the_answer(reply: Reply) -> None:
    await reply.body()
    reply.writer.close()


async def close_behind_a_cut(reply: Reply) -> None:
    await reply.body_until_cut()
    reply.writer.close()


@pytest.fixture
def no_collections() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


WAYS: Ways = {
    "reset behind the answer": ([json_answer(ANSWER)], reset_behind_the_answer),
    "closed behind the answer": ([json_answer(ANSWER)], close_behind_the_answer),
    "reset inside the answer": ([sse_head(), chunk(CREATED), chunk(COMPLETED), END], reset_inside_the_answer),
    "cut with its upstream": ([sse_head(), chunk(CREATED), RESET], close_behind_a_cut),
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_connection_that_is_gone_is_kept_by_nothing(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream, no_collections: None, front: str, way: str
) -> None:
    """By no timer: ten seconds for a cut, 75 for a kept connection, 300 for one that takes nothing, and those of a
    hundred leavers a second would be hundreds of megabytes. Nor by itself, until all objects are looked through: what
    fifteen hundred streams had left took 40 ms, in which everything stood still.
    """
    secret = await gateway.create_key()
    steps, leave = WAYS[way]
    upstream.answer(*steps)
    before = weakref.WeakSet(_connections())  # of other tests
    async with gateway.post(STREAM, secret) as reply:
        (connection,) = [weakref.ref(one) for one in _connections() if one not in before]
        await leave(reply)
    async with asyncio.timeout(5):
        while connection() is not None:
            await asyncio.sleep(0.02)
            if front == "off":  # FastAPI's way keeps the frames of an exception that passed through it
                gc.collect()


async def test_what_comes_behind_a_last_request_takes_no_answer_away(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """The answer was written and its side closed: were the other side deaf by then, the system would reset both."""
    secret = await gateway.create_key()
    upstream.answer(json_answer(ANSWER))
    body = b'{"model":"m"}'
    head = f"POST {RESPONSES} HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {secret}\r\nConnection: close\r\n"
    with socket.socket() as client:
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", int(gateway.url.rpartition(":")[2])))
        await loop.sock_sendall(client, f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        closed = select.poll()
        closed.register(client, select.POLLRDHUP)
        assert await asyncio.to_thread(closed.poll, 20_000)
        for _ in range(3):
            await loop.sock_sendall(client, b"more")
            await asyncio.sleep(0.02)  # a reset would be here by then
        received = b""
        while piece := await loop.sock_recv(client, 65536):
            received += piece
    assert received.startswith(b"HTTP/1.1 200 ")
    assert received.endswith(ANSWER)


async def test_what_comes_behind_a_last_answer_is_bounded() -> None:
    """A mebibyte is thrown away, then the connection closes: nobody pushes on for the second that it lingers."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": [(b"connection", b"close")]})
        await send({"type": "http.response.body"})

    connection, transport = guarded(app)
    connection.data_received(b"GET / HTTP/1.1\r\nHost: g\r\n\r\n")
    for _ in range(4):
        await asyncio.sleep(0)
    assert transport.ended
    connection.data_received(bytes(LEFTOVER_BYTES_MAX))
    assert not transport.closed
    connection.data_received(b"x")
    assert transport.closed
    connection.connection_lost(None)


def _connections() -> list[GuardProtocol]:
    return [one for one in gc.get_objects() if isinstance(one, GuardProtocol)]


async def test_what_waits_leaves_before_a_client_that_ended_is_closed() -> None:
    """Others wrote in this turn, so a connection's last piece waits with theirs: before its end, before a refusal."""

    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    for end in (GuardProtocol.eof_received, lambda connection: connection.data_received(b"no request\r\n\r\n")):
        connection, transport = guarded(app)
        for _ in range(2):
            connection.outbox.write(WrittenTransport(), b"x")
        connection.write(b"last")
        assert transport.written == b""
        end(connection)
        assert transport.written.startswith(b"last")


async def test_what_waits_leaves_before_an_idle_connection_is_closed() -> None:
    """A timer may come before the end of the turn that wrote, if that took as long as a connection rests."""

    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    connection, transport = guarded(app)
    for _ in range(2):
        connection.outbox.write(WrittenTransport(), b"x")
    connection.write(b"last")
    connection.timeout_keep_alive_handler()
    assert transport.closed
    assert transport.written == b"last"
