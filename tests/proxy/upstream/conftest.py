"""What the contract suite shares: every transport on every loop, and a request to send.

A new transport joins by one line in `TRANSPORTS`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from app.proxy.upstream.connecting import Connecting
from app.proxy.upstream.direct import DirectUpstream
from app.proxy.upstream.httpx import HttpxUpstream
from app.proxy.upstream.port import Answer, Upstream, UpstreamHead, UpstreamRequest
from tests.scripted_upstream import ScriptedUpstream

TRANSPORTS: dict[str, Callable[[Connecting], Upstream]] = {"httpx": HttpxUpstream, "direct": DirectUpstream}

THROUGH_PROXIES = {"httpx"}

# Longer than anything takes, shorter than a test's patience.
PATIENT: dict[str, Any] = {
    "connect_seconds": 5.0,
    "head_seconds": 10.0,
    "idle_seconds": 10.0,
    "keepalive_seconds": 4.0,
}

Connect = Callable[..., Upstream]


@pytest.fixture(params=[True, False], ids=["uvloop", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """uvloop as in production, and asyncio, where uvloop is not to be had."""
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture(params=sorted(TRANSPORTS))
async def connect(request: pytest.FixtureRequest) -> AsyncIterator[Connect]:
    """Makes transports to an origin; the test ends with all of them closed and no task left."""
    before = asyncio.all_tasks()
    made: list[Upstream] = []

    def make(origin: str, **changes: Any) -> Upstream:
        if "proxy" in changes and request.param not in THROUGH_PROXIES:
            with pytest.raises(ValueError, match="proxy"):
                TRANSPORTS[request.param](Connecting(origin=origin, **{**PATIENT, **changes}))
            pytest.skip("this transport goes through no proxy, and says so")
        made.append(TRANSPORTS[request.param](Connecting(origin=origin, **{**PATIENT, **changes})))
        return made[-1]

    yield make
    for upstream in made:
        async with asyncio.timeout(5):
            await upstream.aclose()
    assert not [task for task in asyncio.all_tasks() - before if "app/proxy" in repr(task)]


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        yield upstream


def asking(body: bytes = b'{"model":"m"}', *extra: tuple[bytes, bytes]) -> UpstreamRequest:
    headers = ((b"Host", b"upstream.test"), (b"Authorization", b"Bearer upstream-key"), *extra)
    return UpstreamRequest(UpstreamHead(headers), body)


async def whole(answer: Answer) -> bytes:
    """The whole body; the answer is closed."""
    chunks = []
    while (chunk := await answer.read()) is not None:
        chunks.append(chunk)
    await answer.aclose()
    return b"".join(chunks)


async def ask(upstream: Upstream, body: bytes = b'{"model":"m"}') -> bytes:
    async with asyncio.timeout(20):
        return await whole(await upstream.open(asking(body)))
