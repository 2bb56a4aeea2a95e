"""What all answers together hold in memory is bounded: who finds no room is streamed, or waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from app.core.records import State
from app.proxy import memory
from app.proxy.memory import UNCOUNTED_BYTES, Memory, Share
from tests.harness import GatewayUnderTest, gateway_before
from tests.scripted_upstream import END, ScriptedUpstream, chunk, head, json_answer, sse_head

MIB = 1024 * 1024
ROOM = 2 * MIB


def body(filling: int) -> bytes:
    return b'{"id":"resp_1","output":"' + b"y" * filling + b'","usage":{"cost":0.5}}'


def event(filling: int) -> bytes:
    return (
        b'event: response.completed\ndata: {"type":"response.completed","response":{"output":"'
        + b"y" * filling
        + b'","usage":{"cost":0.5}}}\n\n'
    )


@pytest.fixture
async def small(upstream: ScriptedUpstream, tmp_path: Path, front: str) -> AsyncIterator[GatewayUnderTest]:
    async with gateway_before(upstream.url, tmp_path, front=front, answers_bytes_max=ROOM) as running:
        yield running
        assert running.ready.gateway.inflight.answers.taken_bytes == 0


def test_a_share_is_given_back_to_the_byte() -> None:
    """More, less, refused, released: the sum is what is held, and the first bytes are nobody's business."""
    whole = Memory(1000)
    one, other = Share(whole), Share(whole)
    assert one.hold(UNCOUNTED_BYTES)
    assert whole.taken_bytes == 0
    assert one.hold(UNCOUNTED_BYTES + 800)
    assert not other.hold(UNCOUNTED_BYTES + 201)
    assert other.hold(UNCOUNTED_BYTES + 200)
    assert whole.taken_bytes == 1000
    assert one.hold(UNCOUNTED_BYTES + 100)
    assert (whole.taken_bytes, one.held_bytes, other.held_bytes) == (300, 100, 200)
    one.release()
    other.release()
    assert whole.taken_bytes == 0


async def test_one_at_a_time_may_go_beyond(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise two halves would wait for each other; the next may when the first has given all back."""
    monkeypatch.setattr(memory, "WAIT_SECONDS", 0.05)
    whole = Memory(1000)
    one, other = Share(whole), Share(whole)
    for share in (one, other):
        assert share.hold(UNCOUNTED_BYTES + 500)
    assert await one.hold_in_time(UNCOUNTED_BYTES + 900)
    assert not await other.hold_in_time(UNCOUNTED_BYTES + 900)
    assert whole.taken_bytes == 1400
    one.release()
    assert await other.hold_in_time(UNCOUNTED_BYTES + 2000)
    assert not await one.hold_in_time(UNCOUNTED_BYTES + 1)
    other.release()
    assert (whole.taken_bytes, whole.foremost) == (0, None)


async def full(running: GatewayUnderTest) -> Share:
    """Takes all there is, and the right to more."""
    share = Share(running.ready.gateway.inflight.answers)
    assert share.hold(UNCOUNTED_BYTES + ROOM)
    assert await share.hold_in_time(UNCOUNTED_BYTES + ROOM + 1)
    return share


async def test_a_small_body_without_room_is_streamed(small: GatewayUnderTest, upstream: ScriptedUpstream) -> None:
    """It is not collected before it is sent; its cost is known all the same, since there is room for a copy later."""
    secret = await small.create_key()
    share = await full(small)
    answer, go = body(200_000), asyncio.Event()
    upstream.answer(head(200, [("Content-Length", str(len(answer)))]), answer[:100_000], go, answer[100_000:])
    async with small.post({"model": "m"}, secret) as reply:
        first = await reply.reader.readexactly(60_000)  # before the rest has come
        share.release()
        go.set()
        assert first + await reply.reader.readexactly(len(answer) - 60_000) == answer
        row = await small.row(reply.request_id)
    assert (row.state, row.true_cost_raw) == (State.SETTLED, "0.5")


@pytest.mark.parametrize("stream", [False, True], ids=["body", "event"])
async def test_a_large_answer_waits_for_room(small: GatewayUnderTest, upstream: ScriptedUpstream, stream: bool) -> None:
    """Until another one gives it back: its cost is worth that."""
    secret = await small.create_key()
    share = await full(small)
    asyncio.get_running_loop().call_later(0.3, share.release)
    answer = event(MIB) if stream else body(MIB)
    upstream.answer(*([sse_head(), chunk(answer), END] if stream else [json_answer(answer)]))
    started = time.monotonic()
    async with small.post({"model": "m", "stream": stream}, secret) as reply:
        assert await reply.body() == answer
        row = await small.row(reply.request_id)
    assert time.monotonic() - started > 0.25
    assert (row.state, row.true_cost_raw) == (State.SETTLED, "0.5")


@pytest.mark.parametrize("stream", [False, True], ids=["body", "event"])
async def test_a_large_answer_without_room_passes_with_its_cost_unknown(
    small: GatewayUnderTest, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    """Byte for byte, and its end is seen; the row says why nobody knows what it cost, and keeps its hold."""
    monkeypatch.setattr(memory, "WAIT_SECONDS", 0.1)
    secret = await small.create_key()
    share = await full(small)
    answer = event(MIB) if stream else body(MIB)
    upstream.answer(*([sse_head(), chunk(answer), END] if stream else [json_answer(answer)]))
    async with small.post({"model": "m", "stream": stream}, secret) as reply:
        assert await reply.body() == answer
        row = await small.row(reply.request_id)
    share.release()
    assert (row.state, row.unknown_reason) == (State.UNKNOWN, "event_too_large" if stream else "body_too_large")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def test_what_is_freed_is_others_while_the_stream_goes_on(
    small: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """For minutes, maybe, after one large event: an image, say."""
    secret = await small.create_key()
    more, last, held = asyncio.Event(), asyncio.Event(), small.ready.gateway.inflight.answers
    large = b"event: response.failed\ndata: " + b"y" * MIB  # of the kind that a tap keeps
    upstream.answer(sse_head(), chunk(large), more, chunk(b"\n\n"), last, chunk(event(10)), END)
    async with small.post({"model": "m", "stream": True}, secret) as reply:
        reading = asyncio.create_task(reply.body())
        await until(lambda: held.taken_bytes > MIB // 2)
        more.set()
        await until(lambda: held.taken_bytes == 0)
        last.set()
        assert await reading == large + b"\n\n" + event(10)
        assert (await small.row(reply.request_id)).true_cost_raw == "0.5"


@pytest.mark.parametrize("stream", [False, True], ids=["body", "event"])
async def test_what_was_let_go_is_others_while_the_answer_goes_on(
    small: GatewayUnderTest, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    """There was room for its beginning, and none for the rest."""
    monkeypatch.setattr(memory, "WAIT_SECONDS", 0.01)
    secret = await small.create_key()
    more, last, held = asyncio.Event(), asyncio.Event(), small.ready.gateway.inflight.answers
    answer = event(MIB) if stream else body(MIB)
    parts: list[bytes | asyncio.Event] = [answer[: MIB // 2], more, answer[MIB // 2 : -10], last, answer[-10:]]
    if stream:
        upstream.answer(sse_head(), *(chunk(part) if isinstance(part, bytes) else part for part in parts), END)
    else:
        upstream.answer(head(200, [("Content-Length", str(len(answer)))]), *parts)
    async with small.post({"model": "m", "stream": stream}, secret) as reply:
        reading = asyncio.create_task(reply.body())
        await until(lambda: held.taken_bytes > MIB // 4)
        taken, share = held.taken_bytes, await full_but_for(small)
        more.set()
        await until(lambda: held.taken_bytes < ROOM)
        last.set()
        assert await reading == answer
        row = await small.row(reply.request_id)
    share.release()
    assert taken > MIB // 4
    assert (row.state, row.unknown_reason) == (State.UNKNOWN, "event_too_large" if stream else "body_too_large")


async def full_but_for(running: GatewayUnderTest) -> Share:
    """Takes all that the others left, and the right to more."""
    whole = running.ready.gateway.inflight.answers
    share = Share(whole)
    assert share.hold(UNCOUNTED_BYTES + ROOM - whole.taken_bytes)
    assert await share.hold_in_time(share.held_bytes + UNCOUNTED_BYTES + 1)
    return share


async def test_a_crowd_of_large_answers_stays_within_the_bound(
    small: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """Eight times what there is room for, at once: all whole, all settled, and one at the most beyond the bound."""
    secret = await small.create_key()
    answer = body(MIB - 1000)
    upstream.otherwise = lambda request: [json_answer(answer)]
    held = small.ready.gateway.inflight.answers
    most, done = 0, asyncio.Event()

    async def watch() -> None:
        nonlocal most
        while not done.is_set():
            most = max(most, held.taken_bytes)
            await asyncio.sleep(0)

    async def one() -> bytes:
        async with small.post({"model": "m"}, secret) as reply:
            return await reply.body(60)

    watching = asyncio.create_task(watch())
    assert set(await asyncio.gather(*(one() for _ in range(16)))) == {answer}
    done.set()
    await watching
    rows = await small.settled(16)
    assert {row.state for row in rows} == {State.SETTLED}
    assert 0 < most <= ROOM + len(answer)
