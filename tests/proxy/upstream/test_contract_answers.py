"""What every transport passes on: the request as it was given, the answer as it came."""

from __future__ import annotations

import asyncio
import gzip
import random

import pytest

from app.proxy.upstream.port import Framing, UpstreamRequest
from tests.proxy.upstream.conftest import Connect, ask, asking, whole
from tests.scripted_upstream import (
    CLOSE,
    END,
    READ_BODY,
    STOP_READING,
    UNTIL_GONE,
    ScriptedUpstream,
    chunk,
    head,
    json_answer,
    reached,
    sse_head,
)


async def test_the_request_goes_up_as_given(scripted: ScriptedUpstream, connect: Connect) -> None:
    """The fixed path, the given headers in their order, the length and nothing else, the body byte for byte."""
    request = asking(b'{"model":"\xc3\xa9"}', (b"X-One", b"1"), (b"x-One", b"2"))
    await whole(await connect(scripted.url).open(request))
    seen = scripted.requests[0]
    assert seen.raw_head == (
        b"POST /v1/openai/responses HTTP/1.1\r\nHost: upstream.test\r\nAuthorization: Bearer upstream-key\r\n"
        b"X-One: 1\r\nx-One: 2\r\ncontent-length: 14\r\n\r\n"
    )
    assert seen.body == request.body


async def test_the_head_comes_back_in_order(scripted: ScriptedUpstream, connect: Connect) -> None:
    """Status and headers as received: order, repetitions and bytes kept, names in lower case."""
    scripted.answer(
        b"HTTP/1.1 429 Slow\r\nX-B: 2\r\nSet-Cookie: a=1\r\nX-A: caf\xe9\r\nset-cookie: b=2\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
    answer = await connect(scripted.url).open(asking())
    assert answer.status == 429
    assert list(answer.headers) == [
        (b"x-b", b"2"),
        (b"set-cookie", b"a=1"),
        (b"x-a", b"caf\xe9"),
        (b"set-cookie", b"b=2"),
        (b"content-length", b"0"),
    ]
    assert answer.named == {b"x-b": b"2", b"set-cookie": b"b=2", b"x-a": b"caf\xe9", b"content-length": b"0"}
    assert await whole(answer) == b""


async def test_an_answer_that_has_not_ended_is_not_closed(scripted: ScriptedUpstream, connect: Connect) -> None:
    """Its connection is still to be given back, or cut."""
    scripted.answer(sse_head() + chunk(b"data: 1\n\n"), UNTIL_GONE)
    scripted.answer(json_answer(b"{}"))
    upstream = connect(scripted.url)
    answer = await upstream.open(asking())
    assert not answer.closed
    await answer.read()
    assert not answer.closed
    await answer.aclose()
    answer = await upstream.open(asking())
    await whole(answer)
    assert answer.closed


async def test_the_length_of_a_body_is_its_own(scripted: ScriptedUpstream, connect: Connect) -> None:
    """One head serves requests with different bodies."""
    upstream, upward = connect(scripted.url), asking().head
    for body in (b"{}", b"x" * 200_000, b"{ }"):
        await whole(await upstream.open(UpstreamRequest(upward, body)))
    told = [(request.header(b"content-length"), request.body) for request in scripted.requests]
    assert told == [(b"2", b"{}"), (b"200000", b"x" * 200_000), (b"3", b"{ }")]


async def test_what_is_all_there_may_be_taken_at_once(scripted: ScriptedUpstream, connect: Connect) -> None:
    """Or there is something to wait for; either way all of it comes once. Half of it is never taken for all."""
    body, go = b'{"ok":1}', asyncio.Event()
    scripted.answer(json_answer(body))
    scripted.answer(json_answer(body)[:-3], go, json_answer(body)[-3:])
    upstream = connect(scripted.url)
    answer = await upstream.open(asking())
    taken = answer.take_rest()
    assert (taken or b"") + await whole(answer) == body
    assert taken in (None, body)
    answer = await upstream.open(asking())
    assert answer.take_rest() is None
    go.set()
    assert await whole(answer) == body


async def test_the_rest_may_be_taken_at_once(scripted: ScriptedUpstream, connect: Connect) -> None:
    """Behind what was read: nothing of it twice, and nothing lost."""
    first, go = chunk(b"data: 1\n\n"), asyncio.Event()
    scripted.answer(sse_head() + first, go, chunk(b"data: 2\n\n") + END)
    answer = await connect(scripted.url).open(asking())
    assert await answer.read() == b"data: 1\n\n"
    assert answer.take_rest() is None
    go.set()
    async with asyncio.timeout(5):
        while (rest := answer.take_rest()) is None and not answer.closed:
            await asyncio.sleep(0.001)
    assert rest in (None, b"data: 2\n\n")
    assert (rest or b"") + await whole(answer) == b"data: 2\n\n"


async def test_content_length(scripted: ScriptedUpstream, connect: Connect) -> None:
    """The body ends with its length, and stays ended."""
    scripted.answer(json_answer(b'{"ok":1}'))
    answer = await connect(scripted.url).open(asking())
    assert answer.framing is Framing.LENGTH
    assert await answer.read() == b'{"ok":1}'
    assert await answer.read() is None
    assert await answer.read() is None
    await answer.aclose()
    await answer.aclose()


async def test_each_chunk_comes_alone_and_at_once(scripted: ScriptedUpstream, connect: Connect) -> None:
    """A chunk is read before the upstream says anything more."""
    turns = [asyncio.Event() for _ in range(5)]
    steps = [step for turn, event in enumerate(turns) for step in (event, chunk(b"data: %d\n\n" % turn))]
    scripted.answer(sse_head(), *steps, END)
    answer = await connect(scripted.url).open(asking())
    assert answer.framing is Framing.CHUNKED
    for turn, event in enumerate(turns):
        event.set()
        assert await answer.read() == b"data: %d\n\n" % turn
    assert await answer.read() is None
    await answer.aclose()


async def test_half_a_chunk_is_not_held_back(scripted: ScriptedUpstream, connect: Connect) -> None:
    """Bytes inside a chunk that is not complete come as they are."""
    go = asyncio.Event()
    scripted.answer(sse_head(), b"a\r\n12345", go, b"67890\r\n", END)
    answer = await connect(scripted.url).open(asking())
    assert await answer.read() == b"12345"
    go.set()
    assert await whole(answer) == b"67890"


async def test_until_close(scripted: ScriptedUpstream, connect: Connect) -> None:
    """Without a length the end of the connection is a clean end."""
    scripted.answer(head(200, [("Content-Type", "text/event-stream")]), b"data: 1\n\n", CLOSE)
    answer = await connect(scripted.url).open(asking())
    assert answer.framing is Framing.CLOSE
    assert await whole(answer) == b"data: 1\n\n"


@pytest.mark.parametrize("status", [204, 304])
async def test_no_body(scripted: ScriptedUpstream, connect: Connect, status: int) -> None:
    """204 and 304 have none, whatever they say; the connection lives on."""
    upstream = connect(scripted.url)
    scripted.answer(head(status, [] if status == 204 else [("Content-Length", "10")]))
    answer = await upstream.open(asking())
    assert answer.framing is Framing.NONE
    assert await whole(answer) == b""
    await ask(upstream)
    assert scripted.connections == 1


async def test_interim_answers_are_swallowed(scripted: ScriptedUpstream, connect: Connect) -> None:
    """100, 102 and 103 are no answers."""
    scripted.answer(head(100), head(102), head(103, [("Link", "</x>")]), json_answer(b"{}", status=201))
    answer = await connect(scripted.url).open(asking())
    assert answer.status == 201
    assert b"link" not in dict(answer.headers)
    assert await whole(answer) == b"{}"


async def test_trailers_and_extensions_are_framing(scripted: ScriptedUpstream, connect: Connect) -> None:
    """Chunk extensions and trailers are not part of the body."""
    scripted.answer(sse_head(), b"2;x=y\r\nhi\r\n", b"0\r\nX-Trailer: 1\r\n\r\n")
    assert await ask(connect(scripted.url)) == b"hi"


async def test_nothing_is_decoded(scripted: ScriptedUpstream, connect: Connect) -> None:
    """A compressed body stays compressed."""
    squeezed = gzip.compress(b'{"ok":1}' * 100)
    scripted.answer(json_answer(squeezed, headers=[("Content-Encoding", "gzip")]))
    assert await ask(connect(scripted.url)) == squeezed


async def test_a_redirect_is_an_answer(scripted: ScriptedUpstream, connect: Connect) -> None:
    """It is returned as it is and never followed."""
    scripted.answer(json_answer(b"", status=307, headers=[("Location", scripted.url + "/elsewhere")]))
    answer = await connect(scripted.url).open(asking())
    assert answer.status == 307
    await whole(answer)
    assert len(scripted.requests) == 1


async def test_cookies_are_not_kept(scripted: ScriptedUpstream, connect: Connect) -> None:
    """What one answer sets, no later request carries."""
    upstream = connect(scripted.url)
    scripted.answer(json_answer(b"{}", headers=[("Set-Cookie", "session=of-another-team; Path=/")]))
    await ask(upstream)
    await ask(upstream)
    assert scripted.requests[1].header(b"cookie") is None
    assert scripted.requests[0].raw_head == scripted.requests[1].raw_head


async def test_proxies_of_the_environment_are_ignored(
    scripted: ScriptedUpstream, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the setting decides over a proxy."""
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    await ask(connect(scripted.url))
    assert len(scripted.requests) == 1


async def test_megabytes_both_ways(scripted: ScriptedUpstream, connect: Connect) -> None:
    """Large bodies arrive whole and unchanged, in whatever pieces."""
    up, down = random.Random(1).randbytes(5_000_000), random.Random(2).randbytes(5_000_000)
    scripted.answer(json_answer(down))
    assert await ask(connect(scripted.url), up) == down
    assert scripted.requests[0].body == up


async def test_a_slow_reader_makes_the_upstream_wait(scripted: ScriptedUpstream, connect: Connect) -> None:
    """An answer that nobody reads does not pile up in memory."""
    sent = asyncio.Event()
    scripted.answer(head(200, [("Content-Length", str(64 << 20))]), *[bytes(1 << 20)] * 64, reached(sent))
    answer = await connect(scripted.url).open(asking())
    assert await answer.read()
    with pytest.raises(TimeoutError):  # the kernel's own buffers hold a few megabytes
        await asyncio.wait_for(sent.wait(), 0.3)
    total = 0
    while received := await answer.read():
        total += len(received)
        if total > 32 << 20:
            break
    await answer.aclose()


async def test_an_early_refusal_is_delivered(scripted: ScriptedUpstream, connect: Connect) -> None:
    """413 while the body is still being sent: it is the answer, although the body is never read."""
    refusal = json_answer(b'{"error":{}}', status=413, headers=[("Connection", "close")])
    read = asyncio.Event()
    scripted.answer_early(STOP_READING, refusal, read, UNTIL_GONE)
    answer = await connect(scripted.url).open(asking(bytes(20_000_000)))
    assert answer.status == 413
    assert await whole(answer) == b'{"error":{}}'
    read.set()
    await scripted.quiet()


async def test_an_early_success_does_not_stop_the_body(scripted: ScriptedUpstream, connect: Connect) -> None:
    """A server may answer before it has read everything; interim answers stop nothing either."""
    body = random.Random(3).randbytes(5_000_000)
    scripted.answer_early(head(100), sse_head(), READ_BODY, chunk(b"read"), END)
    assert await ask(connect(scripted.url), body) == b"read"
    assert scripted.requests[0].body == body
