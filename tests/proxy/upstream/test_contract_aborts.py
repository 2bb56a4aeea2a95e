"""Cutting and leaving, in every phase: prompt, complete, and without harm to other requests."""

from __future__ import annotations

import asyncio
import os
import random

import pytest

from app.proxy.upstream.port import Answer, Fault, Upstream, UpstreamError
from tests.proxy.upstream.conftest import Connect, ask, asking, whole
from tests.scripted_upstream import (
    END,
    STOP_READING,
    UNTIL_GONE,
    ScriptedUpstream,
    Step,
    chunk,
    json_answer,
    pause,
    reached,
    sse_head,
)


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))


async def streaming(upstream: Upstream, scripted: ScriptedUpstream) -> Answer:
    """An answer whose head has come and whose body says nothing more."""
    scripted.answer(sse_head(), UNTIL_GONE)
    return await upstream.open(asking())


async def aborted(waiting: asyncio.Future[bytes | None] | asyncio.Task[Answer]) -> UpstreamError:
    """The prompt failure of something that was cut."""
    async with asyncio.timeout(2):
        with pytest.raises(UpstreamError) as failure:
            await waiting
    assert failure.value.fault is Fault.ABORTED
    return failure.value


# --- abort -----------------------------------------------------------------------------------


async def test_abort_wakes_a_pending_read(scripted: ScriptedUpstream, connect: Connect) -> None:
    """The read raises ABORTED, the upstream sees its client leave, and it can be said twice."""
    answer = await streaming(connect(scripted.url), scripted)
    reading = asyncio.ensure_future(answer.read())
    await asyncio.sleep(0)
    answer.abort()
    answer.abort()
    assert (await aborted(reading)).sent
    await aborted(asyncio.ensure_future(answer.read()))
    async with asyncio.timeout(2):
        await scripted.requests[0].gone.wait()
    await answer.aclose()


async def test_abort_comes_before_what_was_not_read_yet(scripted: ScriptedUpstream, connect: Connect) -> None:
    """After an abort nothing more is delivered, not even what has arrived."""
    go, sent = asyncio.Event(), asyncio.Event()
    scripted.answer(sse_head(), chunk(b"data: 1\n\n"), go, chunk(b"data: 2\n\n"), reached(sent), UNTIL_GONE)
    answer = await connect(scripted.url).open(asking())
    assert await answer.read() == b"data: 1\n\n"
    go.set()
    await sent.wait()
    answer.abort()
    await aborted(asyncio.ensure_future(answer.read()))
    await answer.aclose()
    await scripted.quiet()


async def test_abort_after_the_end_harms_nobody(scripted: ScriptedUpstream, connect: Connect) -> None:
    """A connection that was given back belongs to its next request."""
    upstream = connect(scripted.url)
    first = await upstream.open(asking())
    await whole(first)
    second = await streaming(upstream, scripted)
    assert scripted.connections == 1
    first.abort()
    await first.aclose()
    reading = asyncio.ensure_future(second.read())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(reading), 0.1)
    second.abort()
    await aborted(reading)
    await second.aclose()


async def test_abort_while_the_upstream_is_made_to_wait(scripted: ScriptedUpstream, connect: Connect) -> None:
    """An answer that nobody reads can be cut too."""
    scripted.answer(json_answer(bytes(50_000_000)))
    answer = await connect(scripted.url).open(asking())
    await answer.read()
    await asyncio.sleep(0.05)
    answer.abort()
    async with asyncio.timeout(2):
        await answer.aclose()
        await scripted.quiet()


# --- cancelled callers -------------------------------------------------------------------------


PHASES: dict[str, tuple[bytes, list[Step]]] = {
    "head": (b"{}", [UNTIL_GONE]),
    "interim": (b"{}", [b"HTTP/1.1 100 Go on\r\n\r\n", UNTIL_GONE]),
    "half head": (b"{}", [b"HTTP/1.1 200 OK\r\nX: ", UNTIL_GONE]),
}


@pytest.mark.parametrize("phase", PHASES)
async def test_a_caller_that_leaves_open(scripted: ScriptedUpstream, connect: Connect, phase: str) -> None:
    """The upstream is cut at once, nothing leaks, and the next request is served."""
    upstream = connect(scripted.url)
    await ask(upstream)
    before = descriptors()
    body, steps = PHASES[phase]
    scripted.answer(*steps)
    opening = asyncio.create_task(upstream.open(asking(body)))
    seen = await scripted.seen(2)
    await asyncio.sleep(0.02)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    async with asyncio.timeout(2):
        await seen.gone.wait()
    await ask(upstream)
    await scripted.quiet(1)
    assert descriptors() <= before


async def test_a_caller_that_leaves_while_sending(scripted: ScriptedUpstream, connect: Connect) -> None:
    """A body that does not move on is no reason to stay."""
    upstream = connect(scripted.url)
    left = asyncio.Event()
    scripted.answer_early(STOP_READING, left, UNTIL_GONE)
    opening = asyncio.create_task(upstream.open(asking(bytes(50_000_000))))
    await scripted.seen()
    await asyncio.sleep(0.02)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    left.set()
    await scripted.quiet()
    await ask(upstream)


async def test_a_caller_that_leaves_while_connecting(scripted: ScriptedUpstream, connect: Connect) -> None:
    """A handshake under way is broken off."""
    before = descriptors()
    upstream = connect(scripted.url.replace("http:", "https:"), connect_seconds=60)
    opening = asyncio.create_task(upstream.open(asking()))
    while not scripted.connections:
        await asyncio.sleep(0.005)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await scripted.quiet()
    await asyncio.sleep(0.01)
    assert descriptors() <= before


async def test_a_cancelled_read_loses_no_byte(scripted: ScriptedUpstream, connect: Connect) -> None:
    """A read may be given up and asked again: the next one gets what the first one waited for."""
    go = asyncio.Event()
    scripted.answer(sse_head(), go, chunk(b"data: 1\n\n"), END)
    answer = await connect(scripted.url).open(asking())
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(answer.read(), 0.01)
    go.set()
    assert await whole(answer) == b"data: 1\n\n"


async def test_an_answer_left_unread_is_cut(scripted: ScriptedUpstream, connect: Connect) -> None:
    """`aclose` before the end does not wait for the rest; the connection is not used again."""
    upstream = connect(scripted.url)
    answer = await streaming(upstream, scripted)
    async with asyncio.timeout(2):
        await answer.aclose()
        await scripted.requests[0].gone.wait()
    await ask(upstream)
    assert scripted.connections == 2


async def test_a_cancelled_close_still_closes(scripted: ScriptedUpstream, connect: Connect) -> None:
    """Whoever closes may be cancelled while doing so."""
    answer = await streaming(connect(scripted.url), scripted)
    closing = asyncio.create_task(answer.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
    await scripted.quiet()


async def test_a_hundred_who_leave_at_random(scripted: ScriptedUpstream, connect: Connect) -> None:
    """Cancelled at any point, in any number: afterwards all is as before."""
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    upstream = connect(scripted.url)
    scripted.otherwise = lambda _: [pause(0.002), sse_head(), chunk(b"1"), pause(0.002), chunk(b"2"), END]
    await ask(upstream)
    before = descriptors()

    async def leave() -> None:
        asked = asyncio.create_task(ask(upstream))
        await asyncio.sleep(chance.random() * 0.02)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)

    for _ in range(4):
        await asyncio.gather(*(leave() for _ in range(25)))
    assert await asyncio.gather(*(ask(upstream) for _ in range(20))) == [b"12"] * 20
    await upstream.aclose()
    await scripted.quiet()
    await asyncio.sleep(0.01)
    assert descriptors() <= before


# --- the end of the transport -------------------------------------------------------------------


async def test_closing_cuts_everything(scripted: ScriptedUpstream, connect: Connect) -> None:
    """Opening, sending, waiting, reading: all end in ABORTED, and no connection stays."""
    upstream = connect(scripted.url)
    reading = asyncio.ensure_future((await streaming(upstream, scripted)).read())
    scripted.answer(UNTIL_GONE)
    waiting = asyncio.create_task(upstream.open(asking()))
    await scripted.seen(2)
    stopped = asyncio.Event()
    scripted.answer_early(STOP_READING, stopped, UNTIL_GONE)
    sending = asyncio.create_task(upstream.open(asking(bytes(50_000_000))))
    await scripted.seen(3)
    early = asyncio.create_task(upstream.open(asking()))
    await asyncio.sleep(0)
    async with asyncio.timeout(2):
        await upstream.aclose()
    assert (await aborted(reading)).sent
    assert (await aborted(waiting)).sent
    assert (await aborted(sending)).sent
    assert not (await aborted(early)).sent
    stopped.set()
    await scripted.quiet()


async def test_closed_is_closed(scripted: ScriptedUpstream, connect: Connect) -> None:
    """Idle connections go; later requests are refused unsent; closing again is fine."""
    upstream = connect(scripted.url)
    await ask(upstream)
    await upstream.aclose()
    await scripted.quiet()
    assert not (await aborted(asyncio.create_task(upstream.open(asking())))).sent
    await upstream.aclose()
    assert len(scripted.requests) == 1


async def test_closing_while_connecting(scripted: ScriptedUpstream, connect: Connect) -> None:
    """A handshake that never ends does not keep the transport from closing; nothing was sent."""
    upstream = connect(scripted.url.replace("http:", "https:"), connect_seconds=60)
    opening = asyncio.create_task(upstream.open(asking()))
    while not scripted.connections:
        await asyncio.sleep(0.005)
    async with asyncio.timeout(2):
        await upstream.aclose()
    assert not (await aborted(opening)).sent
    await scripted.quiet()
