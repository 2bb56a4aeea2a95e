"""How every transport fails: whose fault, in fixed words, and whether a byte of the request was sent."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from app.proxy.upstream.port import Fault, UpstreamError, UpstreamHead, UpstreamRequest, UpstreamTimeout
from tests.proxy.upstream.conftest import Connect, ask, asking
from tests.proxy.upstream.middle import Middle
from tests.scripted_upstream import (
    CA_FILE,
    CLOSE,
    RESET,
    STOP_READING,
    UNTIL_GONE,
    ScriptedUpstream,
    Step,
    chunk,
    head,
    pause,
    sse_head,
)


def told(failure: pytest.ExceptionInfo[UpstreamError]) -> tuple[Fault, bool, type[UpstreamError]]:
    error = failure.value
    assert str(error) == error.fault.value, "the text is fixed"
    return error.fault, error.sent, type(error)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts nothing: its queue is full, so the kernel drops whoever knocks."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = int(listener.getsockname()[1])
        knockers = [socket.socket() for _ in range(4)]
        for knocker in knockers:
            knocker.setblocking(False)
            knocker.connect_ex(("127.0.0.1", port))
        yield port
        for knocker in knockers:
            knocker.close()


# --- nothing was sent -----------------------------------------------------------------------


async def test_a_name_that_does_not_resolve(connect: Connect) -> None:
    """DNS, not sent. (A label of 64 letters is refused before any server is asked.)"""
    with pytest.raises(UpstreamError) as failure:
        await connect("http://" + "x" * 64 + ".invalid").open(asking())
    assert told(failure) == (Fault.DNS, False, UpstreamError)


async def test_a_closed_port(connect: Connect) -> None:
    """Refused, not sent."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(UpstreamError) as failure:
            await connect(f"http://127.0.0.1:{unused.getsockname()[1]}").open(asking())
    assert told(failure) == (Fault.REFUSED, False, UpstreamError)


async def test_nobody_answers_the_knock(connect: Connect, silent_port: int) -> None:
    """The time for connecting passes: a timeout, not sent, and not tried twice."""
    upstream = connect(f"http://127.0.0.1:{silent_port}", connect_seconds=0.2)
    async with asyncio.timeout(0.35):
        with pytest.raises(UpstreamTimeout) as failure:
            await upstream.open(asking())
    assert told(failure) == (Fault.CONNECT_TIMEOUT, False, UpstreamTimeout)


async def test_a_silent_handshake(scripted: ScriptedUpstream, connect: Connect) -> None:
    """TLS that never answers counts as connecting."""
    upstream = connect(scripted.url.replace("http:", "https:"), connect_seconds=0.2)
    with pytest.raises(UpstreamTimeout) as failure:
        await upstream.open(asking())
    assert told(failure) == (Fault.CONNECT_TIMEOUT, False, UpstreamTimeout)
    await scripted.quiet()


@pytest.mark.parametrize("steps", [[b"HTTP/1.1 400 Speak plainly\r\n\r\n"], [CLOSE], [RESET]])
async def test_a_broken_handshake(scripted: ScriptedUpstream, connect: Connect, steps: list[Step]) -> None:
    """Whatever else than TLS comes back: TLS, not sent, tried once more."""
    for _ in range(2):
        scripted.on_connection(*steps)
    with pytest.raises(UpstreamError) as failure:
        await connect(scripted.url.replace("http:", "https:")).open(asking())
    assert told(failure) == (Fault.TLS, False, UpstreamError)
    assert scripted.connections == 2


async def test_one_more_try_may_help(connect: Connect) -> None:
    """A connection that breaks before a byte was written is made again, once."""
    async with ScriptedUpstream(tls=True) as scripted, Middle(scripted.port, drop_first=1) as middle:
        await ask(connect(f"https://127.0.0.1:{middle.port}", ca_file=str(CA_FILE)))
        assert middle.connections == 2
        assert len(scripted.requests) == 1


async def test_headers_that_cannot_be_sent(scripted: ScriptedUpstream, connect: Connect) -> None:
    """A line break in a value: nothing is written, nothing of it is said."""
    head = UpstreamHead(((b"Host", b"x"), (b"A", b"secret\r\nB: 1")))
    with pytest.raises(UpstreamError) as failure:
        await connect(scripted.url).open(UpstreamRequest(head, b""))
    assert told(failure) == (Fault.PROTOCOL, False, UpstreamError)
    assert scripted.requests == []


# --- the request was sent: never tried again --------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "fault"),
    [
        ([RESET], Fault.RESET),
        ([CLOSE], Fault.EOF),
        ([b"HTTP/1.1 200 OK\r\nContent-", RESET], Fault.RESET),
        ([b"HTTP/1.1 200 OK\r\nContent-", CLOSE], Fault.EOF),
        ([b"\x15\x03\x01\x00\x02\x02\x46 this is no HTTP\r\n\r\n"], Fault.PROTOCOL),
        ([b"HTTP/1.1 2x0 OK\r\n\r\n"], Fault.PROTOCOL),
        ([b"HTTP/1.1 200 OK\r\nbad name: 1\r\n\r\n"], Fault.PROTOCOL),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"], Fault.PROTOCOL),
        ([head(101, [("Upgrade", "h2c"), ("Connection", "upgrade")])], Fault.PROTOCOL),
        ([b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000 + b"\r\n\r\n"], Fault.PROTOCOL),
    ],
)
async def test_broken_before_the_head(
    scripted: ScriptedUpstream, connect: Connect, steps: list[Step], fault: Fault
) -> None:
    """The fault names what happened; the request was sent once and only once."""
    upstream = connect(scripted.url)
    scripted.answer(*steps)
    with pytest.raises(UpstreamError) as failure:
        await upstream.open(asking())
    assert told(failure) == (fault, True, UpstreamError)
    assert len(scripted.requests) == 1
    await ask(upstream)
    assert len(scripted.requests) == 2


@pytest.mark.parametrize(
    ("steps", "fault"),
    [
        ([sse_head(), chunk(b"data: 1\n\n"), RESET], Fault.RESET),
        ([sse_head(), chunk(b"data: 1\n\n"), CLOSE], Fault.EOF),
        ([sse_head(), b"20\r\ndata: 1\n\n", CLOSE], Fault.EOF),
        ([head(200, [("Content-Length", "99")]), b"data: 1\n\n", CLOSE], Fault.EOF),
        ([head(200, [("Content-Length", "99")]), b"data: 1\n\n", RESET], Fault.RESET),
        ([head(200), b"data: 1\n\n", RESET], Fault.RESET),
        ([sse_head(), chunk(b"data: 1\n\n"), b"no size\r\n"], Fault.PROTOCOL),
    ],
)
async def test_broken_inside_the_body(
    scripted: ScriptedUpstream, connect: Connect, steps: list[Step], fault: Fault
) -> None:
    """What came before the break is delivered first; then the fault, again and again."""
    go = asyncio.Event()
    scripted.answer(*steps[:-1], go, steps[-1])
    answer = await connect(scripted.url).open(asking())
    assert await answer.read() == b"data: 1\n\n"
    go.set()
    for _ in range(2):
        with pytest.raises(UpstreamError) as failure:
            await answer.read()
        assert told(failure) == (fault, True, UpstreamError)
    await answer.aclose()
    await scripted.quiet()


async def test_no_head_in_time(scripted: ScriptedUpstream, connect: Connect) -> None:
    """A head that does not come, or comes too slowly as a whole: a timeout, sent, the connection cut."""
    drops = [step for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " * 2 for step in (bytes([byte]), pause(0.05))]
    scripted.answer(*drops)
    async with asyncio.timeout(1):  # all the drops take three seconds
        with pytest.raises(UpstreamTimeout) as failure:
            await connect(scripted.url, head_seconds=0.3).open(asking())
        assert told(failure) == (Fault.HEAD_TIMEOUT, True, UpstreamTimeout)
        await scripted.quiet()


async def test_a_body_that_stalls(scripted: ScriptedUpstream, connect: Connect) -> None:
    """Only silence counts: each byte that comes starts the time again."""
    scripted.answer(sse_head(), *[step for _ in range(4) for step in (pause(0.15), chunk(b"x"))], UNTIL_GONE)
    answer = await connect(scripted.url, idle_seconds=0.3, head_seconds=0.3).open(asking())
    for _ in range(4):
        assert await answer.read() == b"x"
    with pytest.raises(UpstreamTimeout) as failure:
        await answer.read()
    assert told(failure) == (Fault.IDLE_TIMEOUT, True, UpstreamTimeout)
    await answer.aclose()
    await scripted.quiet()


async def test_a_peer_that_does_not_read(scripted: ScriptedUpstream, connect: Connect) -> None:
    """A body that cannot be sent on is an answer that does not come in time; some of it was sent."""
    timed_out = asyncio.Event()
    scripted.answer_early(STOP_READING, timed_out, UNTIL_GONE)
    with pytest.raises(UpstreamTimeout) as failure:
        await connect(scripted.url, idle_seconds=0.3).open(asking(bytes(50_000_000)))
    assert told(failure) == (Fault.HEAD_TIMEOUT, True, UpstreamTimeout)
    timed_out.set()
    await scripted.quiet()
