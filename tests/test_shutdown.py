"""How the server ends: within its grace, whole where it can, and without a word too many."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from tests.harness import gateway_before
from tests.proxy.test_passthrough import COMPLETED, CREATED
from tests.proxy.test_quiet_end import request
from tests.scripted_upstream import END, UNTIL_GONE, ScriptedUpstream, chunk, json_answer, sse_head


async def test_the_grace_is_kept_to_a_part_of_a_second(
    upstream: ScriptedUpstream, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An answer that ends within it ends whole; nobody says that anything was cancelled."""
    done = asyncio.Event()
    upstream.answer(sse_head(), chunk(CREATED), done, chunk(COMPLETED), END)
    async with contextlib.AsyncExitStack() as ending:
        gateway = await ending.enter_async_context(gateway_before(upstream.url, tmp_path, shutdown_grace_seconds=0.9))
        gateway.ready.gateway.drain_seconds = 0
        secret = await gateway.create_key()
        async with gateway.post({"model": "m", "stream": True}, secret) as reply:
            assert await reply.chunk() == CREATED
            asyncio.get_running_loop().call_later(0.3, done.set)
            await ending.aclose()
            assert await reply.body() == COMPLETED
    assert [record.message for record in caplog.records if record.name.startswith("uvicorn")] == []


async def test_while_load_balancers_take_notice_it_serves_on(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """Red at once, and yet whoever comes is answered: on new connections and old ones, and told to come on another."""
    for _ in range(3):
        upstream.answer(json_answer({}))
    async with contextlib.AsyncExitStack() as ending:
        gateway = await ending.enter_async_context(gateway_before(upstream.url, tmp_path, shutdown_delay_seconds=2))
        asked = request(await gateway.create_key())
        kept = await ending.enter_async_context(gateway.connect(asked))
        await kept.read_head()
        await kept.body()
        gateway.ready.stop()
        kept.writer.write(asked)
        ready = b"GET /readyz HTTP/1.1\r\nHost: gateway\r\n\r\n"
        async with gateway.connect(asked) as new, gateway.connect(ready) as told:
            for reply, status in ((kept, 200), (new, 200), (told, 503)):
                await reply.read_head()
                await reply.body()
                assert (reply.status, reply.header("connection")) == (status, "close")


async def test_a_grace_that_is_over_is_no_error(
    upstream: ScriptedUpstream, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is left is cut and booked, and that is all there is to say of it."""
    upstream.answer(sse_head(), chunk(CREATED), UNTIL_GONE)
    async with contextlib.AsyncExitStack() as ending:
        gateway = await ending.enter_async_context(gateway_before(upstream.url, tmp_path, shutdown_grace_seconds=0.1))
        gateway.ready.gateway.drain_seconds = 0
        secret = await gateway.create_key()
        async with gateway.post({"model": "m", "stream": True}, secret) as reply:
            assert await reply.chunk() == CREATED
            await ending.aclose()
            assert b"event: error" in await reply.body_until_cut()
    assert [record.message for record in caplog.records if record.name.startswith("uvicorn")] == []
