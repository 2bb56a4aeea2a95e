"""A request that asks for another protocol is answered as the request that it is."""

from __future__ import annotations

import asyncio

import pytest

from tests.harness import RESPONSES, GatewayUnderTest
from tests.scripted_upstream import END, ScriptedUpstream, chunk, json_answer

UPGRADES = ("h2c", "websocket", "anything")


def request(secret: str, *headers: str) -> bytes:
    lines = [f"POST {RESPONSES} HTTP/1.1", "Host: gateway", f"Authorization: Bearer {secret}", *headers, "", ""]
    return "\r\n".join(lines).encode()


def asking_for(protocol: str) -> tuple[str, ...]:
    """As Java's HTTP client writes it, which does so on every first request that is not encrypted."""
    return "Connection: Upgrade, HTTP2-Settings", f"Upgrade: {protocol}", "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk"


@pytest.mark.parametrize("protocol", UPGRADES)
@pytest.mark.parametrize("framed", ["length", "chunked"])
@pytest.mark.parametrize("apart", [False, True], ids=["in one piece", "byte by byte"])
async def test_an_upgrade_is_passed_over_and_the_body_is_not(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream, protocol: str, framed: str, apart: bool
) -> None:
    """The body reaches the upstream, whatever the pieces; the connection serves the next request."""
    secret = await gateway.create_key()
    upstream.otherwise = lambda seen: [json_answer({"id": "resp_1", "output": [], "usage": {"cost": 0.1}})]
    body = b'{"model":"m","input":"hi"}'
    framing = f"Content-Length: {len(body)}" if framed == "length" else "Transfer-Encoding: chunked"
    sent = request(secret, *asking_for(protocol), framing) + (body if framed == "length" else chunk(body) + END)
    async with gateway.connect() as reply:
        for piece in [sent[at : at + 1] for at in range(len(sent))] if apart else [sent]:
            reply.writer.write(piece)
            if apart:
                await asyncio.sleep(0)
        for _ in range(2):
            await reply.read_head()
            assert reply.status == 200
            await reply.body()
            assert upstream.requests[-1].body == body
            reply.writer.write(request(secret, f"Content-Length: {len(body)}") + body)


async def test_a_body_is_never_the_next_request(gateway: GatewayUnderTest, upstream: ScriptedUpstream) -> None:
    """Behind a proxy that shares its connections, its answer would go to somebody else."""
    hidden = request(await gateway.create_key("mallory"), "Content-Length: 13") + b'{"model":"m"}'
    head = request("no-key", *asking_for("h2c"), f"Content-Length: {len(hidden)}")
    async with gateway.connect(head) as reply:
        await asyncio.sleep(0.05)
        reply.writer.write(hidden + request("no-key", "Content-Length: 0", "Connection: close"))
        for connection in (None, "close"):
            await reply.read_head()
            assert (reply.status, reply.header("connection")) == (401, connection)
            await reply.body()
        assert await reply.reader.read(-1) == b""
    assert upstream.requests == []
