"""What only the direct transport must show: bounds of its parser, its clock, its pile of connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.proxy.outbox import Outbox
from app.proxy.upstream.connecting import Connecting
from app.proxy.upstream.direct import DirectUpstream
from app.proxy.upstream.direct_wire import HEAD_BYTES_MAX, HEADERS_MAX, Wire
from app.proxy.upstream.port import Answer, Fault, UpstreamError, UpstreamTimeout
from tests.proxy.upstream.conftest import PATIENT, ask, asking, whole
from tests.scripted_upstream import (
    END,
    STOP_READING,
    UNTIL_GONE,
    ScriptedUpstream,
    chunk,
    json_answer,
    pause,
    sse_head,
)


@pytest.fixture
async def upstream(scripted: ScriptedUpstream) -> AsyncIterator[DirectUpstream]:
    direct = DirectUpstream(Connecting(origin=scripted.url, **PATIENT))
    yield direct
    await direct.aclose()


@pytest.mark.parametrize(
    "flood",
    [
        b"HTTP/1.1 100 Go on\r\n\r\n" * (HEAD_BYTES_MAX // 20),
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * (HEADERS_MAX + 2),
    ],
    ids=["interim answers", "headers"],
)
async def test_a_head_has_bounds(scripted: ScriptedUpstream, upstream: DirectUpstream, flood: bytes) -> None:
    """A head that does not end is refused before it fills the memory."""
    scripted.answer(flood, UNTIL_GONE)
    with pytest.raises(UpstreamError) as failure:
        await upstream.open(asking())
    assert (failure.value.fault, failure.value.sent) == (Fault.PROTOCOL, True)
    await scripted.quiet()


async def test_trailers_are_not_kept(scripted: ScriptedUpstream, upstream: DirectUpstream) -> None:
    """However many there are, they are no headers of this answer or the next."""
    scripted.answer(sse_head(), chunk(b"data: 1\n\n"), b"0\r\n" + b"X-Late: 1\r\n" * 5000 + b"\r\n")
    answer = await upstream.open(asking())
    assert await whole(answer) == b"data: 1\n\n"
    assert b"x-late" not in dict(answer.headers)
    following = await upstream.open(asking())
    assert b"x-late" not in dict(following.headers)
    await whole(following)
    assert scripted.connections == 1


async def test_an_answer_that_was_cut_is_not_taken_for_a_whole_one(
    scripted: ScriptedUpstream, upstream: DirectUpstream
) -> None:
    """Also where all of it had come before."""
    scripted.answer(json_answer({}))
    answer = await upstream.open(asking())
    while not answer.ended:  # type: ignore[attr-defined]
        await asyncio.sleep(0.001)
    answer.abort()
    assert answer.take_rest() is None
    with pytest.raises(UpstreamError):
        await answer.read()


async def test_the_last_to_rest_serves_next(scripted: ScriptedUpstream, upstream: DirectUpstream) -> None:
    """So that connections that are not needed grow old: after a crowd, one alone does the work."""
    await asyncio.gather(*(ask(upstream) for _ in range(10)))
    used = {request.connection for request in scripted.requests}
    assert len(used) == 10
    before = len(scripted.requests)
    for _ in range(20):
        await ask(upstream)
    assert len({request.connection for request in scripted.requests[before:]}) == 1


async def test_a_deadline_belongs_to_one_answer(scripted: ScriptedUpstream) -> None:
    """A reader that waited for the last answer of a connection moves no deadline of the next one."""
    upstream = DirectUpstream(Connecting(origin=scripted.url, **{**PATIENT, "head_seconds": 0.2}))
    for _ in range(5):
        scripted.answer(json_answer(b"{}"))
        reading = asyncio.create_task(ask(upstream))
        await reading
        scripted.answer(UNTIL_GONE)
        async with asyncio.timeout(2):
            with pytest.raises(UpstreamTimeout):
                await upstream.open(asking())
    await upstream.aclose()


async def test_a_second_reader_is_refused(scripted: ScriptedUpstream, upstream: DirectUpstream) -> None:
    """It would leave the first one waiting for ever; who gave up reading is none."""
    go = asyncio.Event()
    scripted.answer(sse_head(), go, chunk(b"1"), END)
    answer = await upstream.open(asking())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(answer.read(), 0.01)
    first = asyncio.create_task(answer.read())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="two tasks"):
        await answer.read()
    go.set()
    assert await first == b"1"
    assert await answer.read() is None


async def test_the_clock_stands_still_with_nothing_open(scripted: ScriptedUpstream) -> None:
    """An idle gateway does not wake up for deadlines that nobody has."""
    upstream = DirectUpstream(Connecting(origin=scripted.url, **{**PATIENT, "keepalive_seconds": 0.05}))
    await ask(upstream)
    await scripted.quiet(1)
    async with asyncio.timeout(2):
        while upstream._look is not None:
            await asyncio.sleep(0.01)
    assert await ask(upstream)
    await upstream.aclose()


async def test_a_stream_that_pauses_longer_than_a_look_goes_on(
    scripted: ScriptedUpstream, upstream: DirectUpstream
) -> None:
    """Looking at deadlines harms nobody who has none that passed."""
    steps = [step for number in range(4) for step in (chunk(b"%d" % number), pause(0.6))]
    scripted.answer(sse_head(), *steps, b"0\r\n\r\n")
    assert await ask(upstream) == b"0123"


class Nowhere(asyncio.Transport):
    """A transport that takes everything and tells whether it was cut."""

    def __init__(self) -> None:
        super().__init__()
        self.cut = False

    def write(self, data: object) -> None: ...

    def abort(self) -> None:
        self.cut = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


PIECES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 100 Go on\r\n\r\n",
            b"HTTP/1.0 404 No\r\n",
            b"Content-Length: 5\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"\r\n",
            b"5\r\nhello\r\n",
            b"0\r\n\r\n",
            b"hello",
            b"Upgrade: h2c\r\nConnection: upgrade\r\n",
        ]
    ),
)


@given(pieces=st.lists(PIECES, max_size=12), end=st.sampled_from(["eof", "lost", "reset"]))
async def test_whatever_comes_is_an_answer_or_a_fault(pieces: list[bytes], end: str) -> None:
    """Any bytes in any pieces: an answer that ends or fails, never anything else; what is cut stays cut."""
    released: list[Wire] = []
    wire = Wire(lambda wire, headers: released.append(wire), lambda wire: None, Outbox())
    transport = Nowhere()
    wire.connection_made(transport)
    answer: Answer = wire.begin(1.0)
    await wire.send(b"POST / HTTP/1.1\r\n\r\n", b"", 1.0)
    for piece in pieces:
        if not wire.over:
            wire.get_buffer(-1)[: len(piece)] = piece
            wire.buffer_updated(len(piece))
    if not wire.over and end == "eof":
        wire.eof_received()
    elif not wire.over:
        wire.connection_lost(ConnectionResetError() if end == "reset" else None)
    failure = await ending(answer)
    assert (failure is None and 200 <= answer.status <= 999) or (failure is not None and failure.sent and wire.over)
    assert released == [] or not transport.cut


async def ending(answer: Answer) -> UpstreamError | None:
    """Reads an answer to its end: None, or its fault."""
    try:
        while await answer.read() is not None:
            pass
    except UpstreamError as error:
        return error
    return None


@pytest.mark.parametrize("beginning", [b"0\r\nX-Late: ", b"1;"], ids=["trailer", "extension"])
async def test_what_stands_beside_a_body_has_bounds(
    scripted: ScriptedUpstream, upstream: DirectUpstream, beginning: bytes
) -> None:
    """A trailer, or a chunk's extension, that never ends is refused as a head that never ends is."""
    scripted.answer(sse_head(), chunk(b"data: 1\n\n"), beginning + b"a" * 200_000, UNTIL_GONE)
    answer = await upstream.open(asking())
    assert await answer.read() == b"data: 1\n\n"
    failure = await ending(answer)
    assert failure is not None
    assert failure.fault is Fault.PROTOCOL
    await scripted.quiet()


async def test_a_connection_that_ends_as_it_begins_is_not_waited_on(
    scripted: ScriptedUpstream, upstream: DirectUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end was told before anybody listened: another one is made, and the request is sent once."""
    made = upstream._attempt
    ended = 0

    async def attempt() -> Wire:
        nonlocal ended
        wire = await made()
        if not ended:
            ended += 1
            wire.connection_lost(ConnectionResetError())
        return wire

    monkeypatch.setattr(upstream, "_attempt", attempt)
    async with asyncio.timeout(5):
        assert await ask(upstream)
    assert len(scripted.requests) == 1


async def test_a_send_that_is_given_up_leaves_no_connection(
    scripted: ScriptedUpstream, upstream: DirectUpstream
) -> None:
    """Also when the answer was whole before the body was sent."""
    left = asyncio.Event()
    scripted.answer_early(STOP_READING, json_answer(b"{}"), left, UNTIL_GONE)
    opening = asyncio.create_task(upstream.open(asking(bytes(50_000_000))))
    await scripted.seen()
    await asyncio.sleep(0.05)
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    left.set()
    await scripted.quiet()
    async with asyncio.timeout(2):
        while upstream._wires:
            await asyncio.sleep(0.01)
