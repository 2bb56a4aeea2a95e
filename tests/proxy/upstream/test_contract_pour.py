"""Pouring: chunks that go on from where they come, and what is left for the reader."""

from __future__ import annotations

import asyncio

import pytest

from app.proxy.upstream.port import Fault, UpstreamError, UpstreamTimeout
from tests.proxy.upstream.conftest import Connect, ask, asking
from tests.scripted_upstream import (
    CLOSE,
    END,
    RESET,
    STOP_READING,
    UNTIL_GONE,
    ScriptedUpstream,
    Step,
    chunk,
    pause,
    sse_head,
)


class Taker:
    """Takes every chunk but those with a question mark."""

    def __init__(self) -> None:
        self.taken = b""
        self.came = asyncio.Event()

    def __call__(self, chunk: bytes) -> bool:
        if b"?" in chunk:
            return False
        self.taken += chunk
        self.came.set()
        return True


async def test_chunks_are_taken_as_they_come(scripted: ScriptedUpstream, connect: Connect) -> None:
    """Each before the next one is sent; None tells the end, and the connection serves again."""
    upstream, taker, steps = connect(scripted.url), Taker(), [asyncio.Event() for _ in range(5)]
    scripted.answer(sse_head(), *(part for number, go in enumerate(steps) for part in (go, chunk(b"%d" % number))), END)
    answer = await upstream.open(asking())
    pouring = asyncio.ensure_future(answer.pour(taker))
    for number, go in enumerate(steps):
        taker.came.clear()
        go.set()
        async with asyncio.timeout(5):
            await taker.came.wait()
        assert taker.taken == b"01234"[: number + 1]
    assert await pouring is None
    assert await answer.pour(taker) is None
    await answer.aclose()
    await ask(upstream)
    assert scripted.connections == 1


async def test_what_lies_ready_is_taken_first(scripted: ScriptedUpstream, connect: Connect) -> None:
    """In order, also when the end has come already."""
    taker = Taker()
    scripted.answer(sse_head(), chunk(b"1"), pause(0.05), chunk(b"2"), END)
    answer = await connect(scripted.url).open(asking())
    await asyncio.sleep(0.2)
    assert await answer.pour(taker) is None
    assert taker.taken == b"12"


async def test_a_chunk_that_is_left_is_returned(scripted: ScriptedUpstream, connect: Connect) -> None:
    """And those behind it wait: reading and pouring may take turns, no byte is lost or doubled."""
    taker, go = Taker(), asyncio.Event()
    scripted.answer(sse_head(), chunk(b"1"), go, chunk(b"2?"), pause(0.05), chunk(b"3"), pause(0.05), chunk(b"4"), END)
    answer = await connect(scripted.url).open(asking())
    pouring = asyncio.ensure_future(answer.pour(taker))
    async with asyncio.timeout(5):
        await taker.came.wait()
    go.set()
    assert await pouring == b"2?"
    await asyncio.sleep(0.2)
    assert taker.taken == b"1"
    rest = await answer.read() or b""
    assert rest in (b"3", b"34")
    assert await answer.pour(taker) is None
    assert taker.taken + rest in (b"143", b"134")


async def test_every_cut_crosses_whole(scripted: ScriptedUpstream, connect: Connect) -> None:
    """Whatever is taken or left, together it is the body."""
    body = b"".join(b"%d%s" % (number, b"?" if number % 3 == 0 else b".") for number in range(400))
    scripted.answer(sse_head(), *(chunk(body[at : at + 3]) for at in range(0, len(body), 3)), END)
    answer = await connect(scripted.url).open(asking())
    crossed = b""

    def take(chunk: bytes) -> bool:
        nonlocal crossed
        if b"?" in chunk:
            return False
        crossed += chunk
        return True

    while (left := await answer.pour(take)) is not None:
        crossed += left
    assert crossed == body


@pytest.mark.parametrize(
    ("last", "fault"), [(CLOSE, Fault.EOF), (RESET, Fault.RESET), (b"no size\r\n", Fault.PROTOCOL)]
)
async def test_a_break_is_the_readers(scripted: ScriptedUpstream, connect: Connect, last: Step, fault: Fault) -> None:
    """After what came before it."""
    taker = Taker()
    scripted.answer(sse_head(), chunk(b"1"), pause(0.05), last)
    answer = await connect(scripted.url).open(asking())
    with pytest.raises(UpstreamError) as failure:
        await answer.pour(taker)
    assert (failure.value.fault, failure.value.sent, taker.taken) == (fault, True, b"1")
    await answer.aclose()


async def test_an_abort_ends_the_pouring(scripted: ScriptedUpstream, connect: Connect) -> None:
    """From another task, as ever; nothing is taken afterwards."""
    taker = Taker()
    scripted.answer(sse_head(), chunk(b"1"), UNTIL_GONE)
    answer = await connect(scripted.url).open(asking())
    pouring = asyncio.ensure_future(answer.pour(taker))
    async with asyncio.timeout(5):
        await taker.came.wait()
    answer.abort()
    with pytest.raises(UpstreamError) as failure:
        await pouring
    assert failure.value.fault is Fault.ABORTED
    await answer.aclose()


async def test_each_chunk_renews_the_deadline(scripted: ScriptedUpstream, connect: Connect) -> None:
    """A stream may take longer than its silence may; a silence that is too long ends it."""
    taker = Taker()
    parts = [part for number in range(8) for part in (chunk(b"%d" % number), pause(0.1))]
    scripted.answer(sse_head(), *parts, STOP_READING)
    answer = await connect(scripted.url, idle_seconds=0.4).open(asking())
    async with asyncio.timeout(5):
        with pytest.raises(UpstreamTimeout) as failure:
            await answer.pour(taker)
    assert (failure.value.fault, taker.taken) == (Fault.IDLE_TIMEOUT, b"01234567")
    await answer.aclose()


async def test_what_the_taker_raises_is_the_readers(scripted: ScriptedUpstream, connect: Connect) -> None:
    """The connection is not to blame: it goes on until the answer is given up."""

    def take(chunk: bytes) -> bool:
        raise LookupError(chunk)

    scripted.answer(sse_head(), chunk(b"1"), UNTIL_GONE)
    answer = await connect(scripted.url).open(asking())
    with pytest.raises(LookupError):
        await answer.pour(take)
    await answer.aclose()


async def test_who_gives_up_pouring_takes_nothing_more(scripted: ScriptedUpstream, connect: Connect) -> None:
    """What comes later is there for the next reader."""
    taker, go = Taker(), asyncio.Event()
    scripted.answer(sse_head(), chunk(b"1"), go, chunk(b"2"), END)
    answer = await connect(scripted.url).open(asking())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(answer.pour(taker), 0.1)
    go.set()
    assert await answer.read() == b"2"
    assert taker.taken == b"1"
    assert await answer.read() is None
