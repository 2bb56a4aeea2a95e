"""An answer that contains the upstream key: nothing of the key leaves, and no row keeps it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app.core.records import Outcome, State
from app.proxy import relay
from tests.harness import UPSTREAM_KEY, GatewayUnderTest, gateway_before
from tests.proxy.test_passthrough import COMPLETED, CREATED, event
from tests.scripted_upstream import END, ScriptedUpstream, chunk, head, json_answer, sse_head

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
    (row,) = await gateway.settled(1)  # read on after the cut: it is billed
    assert (row.state, row.outcome, row.true_cost_raw) == (State.SETTLED, Outcome.UPSTREAM_ERROR, "0.25")
    upstream.answer(json_answer({"output": UPSTREAM_KEY, "usage": {"cost": 0.5}}))
    async with gateway.post({"model": "m"}, secret) as reply:
        assert reply.status == 502
        assert UPSTREAM_KEY.encode() not in await reply.body()
        assert (await gateway.row(reply.request_id)).true_cost_raw == "0.5"


@pytest.mark.parametrize("transport", ["direct", "httpx"])
async def test_a_slow_body_that_contains_the_upstream_key_is_read_by_one_task(
    upstream: ScriptedUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    """A read was pending when the key was found: it is the one that reads on, and no chunk is lost to another."""
    monkeypatch.setattr(relay, "WHOLE_BODY_SECONDS", 0.05)
    go = asyncio.Event()
    answer = json.dumps({"id": UPSTREAM_KEY, "output": "x" * 1000, "usage": {"cost": 0.5}}).encode()
    upstream.answer(head(200, [("Content-Length", str(len(answer)))]), answer[:900], go, answer[900:])
    async with gateway_before(upstream.url, tmp_path, upstream_transport=transport) as gateway:
        secret = await gateway.create_key()
        with capture_logs() as logs:
            async with gateway.post({"model": "m"}, secret) as reply:
                async with asyncio.timeout(10):
                    while not any(line["event"] == "upstream_key_reflected" for line in logs):
                        await asyncio.sleep(0.001)
                    go.set()
                    assert UPSTREAM_KEY.encode() not in await reply.reader.read()
        (row,) = await gateway.settled(1)
        assert (row.state, row.true_cost_raw) == (State.SETTLED, "0.5")
        names = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
        assert not [name for name in names if name.endswith("Answer.read")]


async def test_a_key_renewed_meanwhile_is_watched_for_too(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """A request that began before goes up with the key it began with, and that one may not come back."""
    secret = await gateway.create_key()
    body = b'{"model":"m"}'
    upstream.answer(json_answer({"output": UPSTREAM_KEY}, headers=[("x-note", UPSTREAM_KEY)]))
    async with gateway.connect() as reply:
        lines = f"POST /v1/responses HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {secret}\r\n"
        reply.writer.write(f"{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body[:5])
        async with asyncio.timeout(5):
            while not len(gateway.ready.gateway.inflight):
                await asyncio.sleep(0.001)
        gateway.ready.gateway.renew_key(b"another-upstream-key-0123456789")
        reply.writer.write(body[5:])
        await reply.read_head()
        received = await reply.body()
    assert upstream.requests[0].header(b"authorization") == b"Bearer " + UPSTREAM_KEY.encode()
    assert reply.status == 502
    assert UPSTREAM_KEY.encode() not in received
    upstream.answer(json_answer({"output": "hi"}))
    async with gateway.post({"model": "m"}, secret) as reply:
        assert reply.status == 200
    assert upstream.requests[1].header(b"authorization") == b"Bearer another-upstream-key-0123456789"


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
