"""Connections: reused while that is safe, never in doubt, and as many as there are requests."""

from __future__ import annotations

import asyncio

import pytest

from app.proxy.upstream.port import Fault, UpstreamError
from tests.proxy.upstream.conftest import Connect, ask, asking
from tests.scripted_upstream import CLOSE, RESET, UNTIL_GONE, ScriptedUpstream, head, json_answer, pause


async def test_one_connection_serves_many_requests(scripted: ScriptedUpstream, connect: Connect) -> None:
    """One after the other, 300 requests need one connection."""
    upstream = connect(scripted.url)
    for _ in range(300):
        await ask(upstream)
    assert scripted.connections == 1


async def test_many_at_once_are_reused_too(scripted: ScriptedUpstream, connect: Connect) -> None:
    """30 rounds of 20 at once: at least 95 of 100 requests ride on a connection that was there."""
    upstream = connect(scripted.url)
    for _ in range(30):
        await asyncio.gather(*(ask(upstream) for _ in range(20)))
    assert len(scripted.requests) == 600
    assert scripted.connections <= 30


async def test_five_hundred_at_once(scripted: ScriptedUpstream, connect: Connect) -> None:
    """Nobody waits for a place: all requests are up before the first is answered, and each gets its own answer."""
    upstream = connect(scripted.url)
    everybody = asyncio.Event()
    scripted.otherwise = lambda request: [everybody, json_answer(request.body)]
    asked = [asyncio.create_task(ask(upstream, b'{"model":"%d"}' % number)) for number in range(500)]
    await scripted.seen(500, timeout=15)
    assert scripted.open_connections == 500
    everybody.set()
    assert await asyncio.gather(*asked) == [b'{"model":"%d"}' % number for number in range(500)]


async def test_an_idle_connection_is_let_go(scripted: ScriptedUpstream, connect: Connect) -> None:
    """After the keep-alive time it is closed, not merely forgotten."""
    upstream = connect(scripted.url, keepalive_seconds=0.1)
    await ask(upstream)
    assert scripted.open_connections == 1
    await scripted.quiet(timeout=1)
    await ask(upstream)
    assert scripted.connections == 2


async def test_no_keep_alive_at_all(scripted: ScriptedUpstream, connect: Connect) -> None:
    """Zero seconds: a connection for each request, closed after it."""
    upstream = connect(scripted.url, keepalive_seconds=0)
    for _ in range(3):
        await ask(upstream)
    await scripted.quiet()
    assert scripted.connections == 3


@pytest.mark.parametrize(
    ("header", "connections"),
    [
        (("Keep-Alive", "timeout=1"), 2),  # one second less than a second is none
        (("Keep-Alive", "timeout=0, max=5"), 2),
        (("Keep-Alive", "max=5, timeout=60"), 1),
        (("Keep-Alive", "nonsense"), 1),
        (("Connection", "close"), 2),
    ],
)
async def test_the_peer_is_believed(
    scripted: ScriptedUpstream, connect: Connect, header: tuple[str, str], connections: int
) -> None:
    """What the peer says of its own patience counts, if it is less than ours."""
    upstream = connect(scripted.url)
    scripted.answer(json_answer(b"{}", headers=[header]))
    await ask(upstream)
    await ask(upstream)
    assert scripted.connections == connections


async def test_an_answer_to_http_1_0_ends_its_connection(scripted: ScriptedUpstream, connect: Connect) -> None:
    """HTTP/1.0 knows no keep-alive that it does not announce."""
    upstream = connect(scripted.url)
    scripted.answer(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}")
    assert await ask(upstream) == b"{}"
    await ask(upstream)
    assert scripted.connections == 2


@pytest.mark.parametrize("ending", ["close_idle", "reset_idle"])
async def test_a_connection_that_ended_while_idle_is_not_used(
    scripted: ScriptedUpstream, connect: Connect, ending: str
) -> None:
    """The peer closed or reset it in the meantime: the request goes over a fresh one, and only once."""
    upstream = connect(scripted.url)
    for count in range(1, 6):
        await asyncio.gather(*(ask(upstream) for _ in range(24)))
        getattr(scripted, ending)()
        await scripted.quiet()
        await asyncio.sleep(0.01)
        assert len(scripted.requests) == 24 * count


async def test_the_reuse_race_never_sends_twice(scripted: ScriptedUpstream, connect: Connect) -> None:
    """The peer closes just as the next request is written: either it is served or it failed as sent."""
    upstream = connect(scripted.url)
    failed = 0
    for turn in range(60):
        scripted.answer(json_answer(b"{}"), pause(0.0005 * (turn % 3)), RESET if turn % 2 else CLOSE)
        await ask(upstream)
        (outcome,) = await asyncio.gather(ask(upstream), return_exceptions=True)
        if isinstance(outcome, UpstreamError):
            assert (outcome.fault, outcome.sent) in ((Fault.RESET, True), (Fault.EOF, True))
            failed += 1
    assert 120 - failed <= len(scripted.requests) <= 120


async def test_a_break_after_reuse_is_not_tried_again(scripted: ScriptedUpstream, connect: Connect) -> None:
    """The request was written to a reused connection: a late close and a lost answer look the same."""
    upstream = connect(scripted.url)
    await ask(upstream)
    scripted.answer(CLOSE)
    with pytest.raises(UpstreamError) as failure:
        await upstream.open(asking())
    assert failure.value.sent
    assert (scripted.connections, len(scripted.requests)) == (1, 2)


UNASKED = head(408, [("Content-Length", "0"), ("Connection", "close")])


async def test_what_is_said_unasked_is_no_answer(scripted: ScriptedUpstream, connect: Connect) -> None:
    """408 on an idle connection, as some servers say before they close it, answers no later request."""
    upstream = connect(scripted.url)
    idle = asyncio.Event()
    scripted.answer(json_answer(b"{}"), idle, UNASKED)
    await ask(upstream)
    idle.set()
    await asyncio.sleep(0.02)
    assert await ask(upstream) != b""
    assert (scripted.connections, len(scripted.requests)) == (2, 2)


async def test_what_stands_behind_an_answer_is_none(scripted: ScriptedUpstream, connect: Connect) -> None:
    """Bytes in one piece with the end of an answer are no answer to the next request, and do it no harm."""
    upstream = connect(scripted.url)
    scripted.answer(json_answer(b"{}") + json_answer({"for": "another team"}))
    assert await ask(upstream) == b"{}"
    scripted.answer(json_answer(b'{"for":"this team"}'))
    assert await ask(upstream) == b'{"for":"this team"}'
    assert (scripted.connections, len(scripted.requests)) == (2, 2)


async def test_a_cut_answer_takes_no_place(scripted: ScriptedUpstream, connect: Connect) -> None:
    """Open answers of the same pools do not delay a request, however many and however slow."""
    upstream = connect(scripted.url)
    scripted.otherwise = lambda request: [head(200), UNTIL_GONE] if request.body == b"slow" else [json_answer(b"{}")]
    slow = [await upstream.open(asking(b"slow")) for _ in range(40)]
    assert await ask(upstream) == b"{}"
    for answer in slow:
        answer.abort()
        await answer.aclose()
    await scripted.quiet(1)
