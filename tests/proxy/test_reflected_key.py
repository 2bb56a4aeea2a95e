"""An answer that contains the upstream key: nothing of the key leaves, and no row keeps it."""

from __future__ import annotations

import asyncio

from tests.harness import UPSTREAM_KEY, GatewayUnderTest
from tests.proxy.test_passthrough import COMPLETED, CREATED, event
from tests.scripted_upstream import END, ScriptedUpstream, chunk, json_answer, sse_head

STREAM = {"model": "m", "stream": True}


async def test_an_answer_that_contains_the_upstream_key_is_cut(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """A stream is cut before the key's first byte; a short body is withheld."""
    secret = await gateway.create_key()
    leak = event("response.output_text.delta", delta=UPSTREAM_KEY)
    upstream.answer(sse_head(), chunk(CREATED), chunk(leak[:40]), chunk(leak[40:] + COMPLETED), END)
    async with gateway.post(STREAM, secret) as reply:
        received = await reply.body_until_cut()
    assert received.startswith(CREATED)
    assert UPSTREAM_KEY.encode() not in received
    upstream.answer(json_answer({"output": UPSTREAM_KEY, "usage": {"cost": 0.5}}))
    async with gateway.post({"model": "m"}, secret) as reply:
        assert reply.status == 502
        assert UPSTREAM_KEY.encode() not in await reply.body()
        assert (await gateway.row(reply.request_id)).true_cost_raw == "0.5"


async def test_bytes_that_only_begin_like_the_key_are_not_kept(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """A chunk that ends like the key's beginning arrives whole after a moment, without the next chunk."""
    secret = await gateway.create_key()
    go = asyncio.Event()
    tail = b": " + UPSTREAM_KEY[:5].encode()
    upstream.answer(sse_head(), chunk(tail), go, chunk(b"\n\n" + COMPLETED), END)
    async with gateway.post(STREAM, secret) as reply:
        received = await reply.chunk() + await reply.chunk()
        assert received == tail
        go.set()
        assert await reply.body() == b"\n\n" + COMPLETED


async def test_a_reflected_key_is_in_no_row(gateway: GatewayUnderTest, upstream: ScriptedUpstream) -> None:
    """Neither as the upstream's request id nor as a response's id or model; the cost is booked all the same."""
    secret = await gateway.create_key()
    answer = {"id": UPSTREAM_KEY, "model": f"m-{UPSTREAM_KEY}", "output": [], "usage": {"cost": 0.5}}
    upstream.answer(json_answer(answer, headers=[("x-request-id", UPSTREAM_KEY)]))
    async with gateway.post({"model": "m"}, secret) as reply:
        assert reply.status == 502
        assert all(UPSTREAM_KEY not in value for _, value in reply.headers)
        row = await gateway.row(reply.request_id)
    assert UPSTREAM_KEY not in repr(row)
    assert row.true_cost_raw == "0.5"
