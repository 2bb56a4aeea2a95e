"""Nothing of an answer's end comes before its commit, seen while the ledger cannot commit at all."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core.records import State
from tests.harness import gateway_before
from tests.proxy.test_passthrough import ANSWER, COMPLETED, CREATED
from tests.scripted_upstream import END, ScriptedUpstream, Step, chunk, json_answer, sse_head

# So long nothing may come; the lock is held all the while, so a slow machine only makes it truer.
WATCHED_SECONDS = 0.3


@contextlib.contextmanager
def locked(database: Path) -> Iterator[None]:
    """Nobody else can write."""
    connection = sqlite3.connect(database, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()


LONG = b'{"id":"resp_1","output":"' + b"y" * 400_000 + b'","usage":{"cost":0.5},"x":"the end"}'


@pytest.mark.parametrize(
    ("steps", "end"),
    [
        ([json_answer(ANSWER)], b"usage"),
        ([sse_head(), chunk(COMPLETED), END], b"usage"),
        ([json_answer(LONG)], b'the end"}'),
    ],
    ids=["body", "stream", "long body"],
)
async def test_the_end_comes_after_the_commit(
    upstream: ScriptedUpstream, tmp_path: Path, front: str, steps: list[Step], end: bytes
) -> None:
    """A short body does not come at all before its cost is in the ledger, nor a stream's terminal event, nor the last
    byte of a long body."""
    go = asyncio.Event()
    upstream.answer(go, *steps)
    async with gateway_before(upstream.url, tmp_path, front=front, settle_wait_seconds=60) as gateway:
        secret = await gateway.create_key()
        async with gateway.connect() as reply:
            body = b'{"model":"m","stream":true}'
            head = f"POST /v1/responses HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {secret}\r\n"
            reply.writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            await upstream.seen()  # so its intent is committed
            with locked(tmp_path / "gateway.db"):
                go.set()
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(reply.reader.readuntil(end), WATCHED_SECONDS)
            async with asyncio.timeout(30):
                await reply.reader.readuntil(end)
            (row,) = await gateway.rows()
            assert row.state is State.SETTLED


async def test_what_comes_during_the_commit_follows_it(upstream: ScriptedUpstream, tmp_path: Path, front: str) -> None:
    """Behind the terminal event, all of it and once, though it was there with the end by then."""
    done, go, more = b"data: [DONE]\n\n", asyncio.Event(), asyncio.Event()
    upstream.answer(sse_head(), chunk(CREATED), go, chunk(COMPLETED), more, chunk(done), END)
    async with gateway_before(upstream.url, tmp_path, front=front, settle_wait_seconds=60) as gateway:
        secret = await gateway.create_key()
        async with gateway.post({"model": "m", "stream": True}, secret) as reply:
            assert await reply.chunk() == CREATED
            with locked(tmp_path / "gateway.db"):
                for event in (go, more):
                    event.set()
                    with pytest.raises(TimeoutError):
                        await asyncio.wait_for(reply.reader.readexactly(1), WATCHED_SECONDS)
            async with asyncio.timeout(30):
                assert await reply.body() == COMPLETED + done
