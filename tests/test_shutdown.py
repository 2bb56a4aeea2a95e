"""How the server ends: within its grace, whole where it can, and without a word too many."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from tests.harness import gateway_before
from tests.proxy.test_passthrough import COMPLETED, CREATED
from tests.scripted_upstream import END, UNTIL_GONE, ScriptedUpstream, chunk, sse_head


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
