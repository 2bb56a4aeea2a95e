"""The scripted upstream is an instrument: these tests are its calibration."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from tests.scripted_upstream import (
    CA_FILE,
    CLOSE,
    END,
    HALF_CLOSE,
    READ_BODY,
    RESET,
    UNTIL_GONE,
    ScriptedUpstream,
    chunk,
    head,
    json_answer,
    reached,
    sse_head,
)

REQUEST = b"POST /v1/x HTTP/1.1\r\nHost: a\r\nX-Odd:  Yes \r\nContent-Length: 2\r\n\r\nhi"


async def test_records_the_request_as_it_came_and_answers_in_order() -> None:
    """Two requests on one connection get the two queued answers; every byte of them is kept."""
    async with ScriptedUpstream() as upstream:
        upstream.answer(json_answer({"n": 1}))
        upstream.answer(sse_head(), chunk(b"data: 2\n\n"), END)
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
        writer.write(REQUEST)
        assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
        writer.write(REQUEST)
        assert (await reader.readuntil(END)).endswith(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")
        first, second = upstream.requests
        assert first.raw == second.raw == REQUEST
        assert first.header(b"x-odd") == b"Yes"
        assert upstream.connections == 1
        writer.close()
        await upstream.quiet()


async def test_waits_and_tells_how_far_it_is() -> None:
    """Nothing after an event is sent before that event is set."""
    async with ScriptedUpstream() as upstream:
        go, here = asyncio.Event(), asyncio.Event()
        upstream.answer(b"one", reached(here), go, b"two", CLOSE)
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
        writer.write(REQUEST)
        await here.wait()
        assert await reader.read(100) == b"one"
        go.set()
        assert await reader.read() == b"two"
        writer.close()


async def test_reset_is_a_reset_and_half_close_is_an_end() -> None:
    """RESET breaks the client's read; HALF_CLOSE ends it while the client may still write."""
    async with ScriptedUpstream() as upstream:
        upstream.answer(RESET)
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
        writer.write(REQUEST)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
        upstream.answer(b"x", HALF_CLOSE, UNTIL_GONE)
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
        writer.write(REQUEST)
        assert await reader.read() == b"x"
        assert not (await upstream.seen(2)).gone.is_set()
        writer.close()
        await upstream.requests[1].gone.wait()


async def test_may_answer_before_the_body_has_come() -> None:
    """An early answer needs the head alone; READ_BODY takes the rest in."""
    async with ScriptedUpstream() as upstream:
        upstream.answer_early(head(413, [("Content-Length", "0")]), READ_BODY, b"done", CLOSE)
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
        writer.write(REQUEST[:-2])
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 413 Told\r\nContent-Length: 0\r\n\r\n"
        writer.write(b"hi")
        assert await reader.read() == b"done"
        assert upstream.requests[0].body == b"hi"
        writer.close()


async def test_speaks_tls_with_the_test_authority() -> None:
    """The certificate holds for 127.0.0.1 under the checked-in authority."""
    async with ScriptedUpstream(tls=True) as upstream:
        trusting = ssl.create_default_context(cafile=str(CA_FILE))
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port, ssl=trusting)
        writer.write(REQUEST)
        assert (await reader.readuntil(b"\r\n")) == b"HTTP/1.1 200 Told\r\n"
        writer.close()
        await writer.wait_closed()


async def test_a_script_may_act_on_the_connection_before_any_request() -> None:
    """`on_connection` closes a connection that has not said anything."""
    async with ScriptedUpstream() as upstream:
        upstream.on_connection(CLOSE)
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
        assert await reader.read() == b""
        writer.close()
        assert upstream.requests == []


async def test_what_is_answered_aside_takes_no_part() -> None:
    """Its requests are kept apart, and the plan is left for the others."""
    async with ScriptedUpstream() as upstream:
        upstream.aside(b"/v1/x", json_answer({"aside": True}))
        upstream.answer(json_answer({"n": 1}))
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
        for request, answer in (
            (REQUEST, b"aside"),
            (REQUEST.replace(b"/v1/x", b"/v1/y"), b'"n"'),
            (REQUEST, b"aside"),
        ):
            writer.write(request)
            assert answer in await reader.readuntil(b"}")
        assert [seen.target for seen in upstream.asides] == [b"/v1/x", b"/v1/x"]
        assert [seen.target for seen in upstream.requests] == [b"/v1/y"]
        writer.close()
        await upstream.quiet()
