"""How an answer ends: never before its cost is committed, cleanly only if the upstream's did."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.core.records import Outcome, State
from tests.harness import GatewayUnderTest, Reply, gateway_before
from tests.proxy.test_passthrough import ANSWER, COMPLETED, CREATED, DELTA
from tests.scripted_upstream import (
    CLOSE,
    END,
    RESET,
    UNTIL_GONE,
    ScriptedUpstream,
    chunk,
    head,
    json_answer,
    sse_head,
)

STREAM = {"model": "m", "stream": True}


async def test_the_seed_example_is_booked_to_the_last_digit(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """The documented answer: true 0.0000123, charged 0.0001, committed before the client has its end."""
    secret = await gateway.create_key()
    upstream.answer(json_answer(ANSWER))
    async with gateway.post({"model": "m"}, secret) as reply:
        await reply.body()
        row = await gateway.row(reply.request_id)
    assert (row.state, row.outcome) == (State.SETTLED, Outcome.COMPLETED)
    assert (row.true_cost_picodollars, row.charged_picodollars) == (12_300_000, 100_000_000)
    assert (row.true_cost_raw, row.charged_raw, row.charged_derived) == ("0.0000123", "0.0001", False)
    assert row.usage.total_tokens == 36
    assert row.response_id == "resp_1"


async def test_the_end_of_a_stream_waits_for_its_commit(gateway: GatewayUnderTest, upstream: ScriptedUpstream) -> None:
    """Earlier events of the last chunk go out first; once the terminal event is there, so is the row."""
    secret = await gateway.create_key()
    upstream.answer(sse_head(), chunk(CREATED + DELTA + COMPLETED + b"data: [DONE]\n\n"), END)
    async with gateway.post(STREAM, secret) as reply:
        assert await reply.chunk() == CREATED + DELTA
        assert await reply.chunk() == COMPLETED + b"data: [DONE]\n\n"
        row = await gateway.row(reply.request_id)
        assert (row.state, row.true_cost_raw, row.charged_derived) == (State.SETTLED, "0.25", True)
        assert await reply.chunk() == b""


async def cut_reply(reply: Reply) -> tuple[bytes, bool]:
    """What came of a cut answer, and whether it ends with the gateway's error event."""
    received = await reply.body_until_cut()
    return received, b"event: error\n" in received


@pytest.mark.parametrize(
    ("steps", "reason"),
    [([chunk(CREATED), RESET], "upstream_reset"), ([chunk(CREATED), CLOSE], "upstream_eof")],
    ids=["reset", "eof inside the framing"],
)
async def test_a_cut_stream_is_a_cut_stream(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream, steps: list[bytes], reason: str
) -> None:
    """The prefix, one error event at an event boundary, then no clean end; the row is unknown."""
    secret = await gateway.create_key()
    seen = asyncio.Event()
    upstream.answer(sse_head(), steps[0], seen, *steps[1:])
    async with gateway.post(STREAM, secret) as reply:
        assert await reply.chunk() == CREATED
        seen.set()
        rest, told = await cut_reply(reply)
        row = await gateway.row(reply.request_id)
    assert told
    assert b'"sequence_number":1' in rest
    assert (row.state, row.outcome, row.unknown_reason) == (State.UNKNOWN, Outcome.UPSTREAM_DISCONNECTED, reason)
    assert row.response_id == "resp_1"


async def test_inside_an_event_no_error_event_is_added(gateway: GatewayUnderTest, upstream: ScriptedUpstream) -> None:
    """A half event stays half: anything added would be read as part of it."""
    secret = await gateway.create_key()
    seen = asyncio.Event()
    upstream.answer(sse_head(), chunk(CREATED + DELTA[:9]), seen, RESET)
    async with gateway.post(STREAM, secret) as reply:
        first = await reply.chunk()
        seen.set()
        rest, told = await cut_reply(reply)
    assert first + rest == CREATED + DELTA[:9]
    assert not told


async def test_a_break_after_the_terminal_event_changes_nothing(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """The client has its answer and the ledger its cost; only the clean end is missing."""
    secret = await gateway.create_key()
    seen = asyncio.Event()
    upstream.answer(sse_head(), chunk(COMPLETED), seen, RESET)
    async with gateway.post(STREAM, secret) as reply:
        assert await reply.chunk() == COMPLETED
        seen.set()
        rest, _ = await cut_reply(reply)
        row = await gateway.row(reply.request_id)
    assert rest == b""
    assert row.state is State.SETTLED


async def test_a_clean_end_without_a_terminal_event_stays_clean(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """What the framing calls complete is relayed as complete; the row says what was missing."""
    secret = await gateway.create_key()
    upstream.answer(sse_head(), chunk(CREATED), END)
    async with gateway.post(STREAM, secret) as reply:
        assert await reply.body() == CREATED
        row = await gateway.row(reply.request_id)
    assert (row.state, row.unknown_reason) == (State.UNKNOWN, "no_terminal_event")


async def test_a_close_delimited_stream_without_a_terminal_event_is_cut(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """Without framing nobody can tell the end from a break, so it is told as a break."""
    secret = await gateway.create_key()
    upstream.answer(head(200, [("Content-Type", "text/event-stream")]), CREATED, CLOSE)
    async with gateway.post(STREAM, secret) as reply:
        received, told = await cut_reply(reply)
        row = await gateway.row(reply.request_id)
    assert received.startswith(CREATED)
    assert told
    assert row.unknown_reason == "upstream_eof"


@pytest.mark.parametrize(
    ("steps", "status", "code"),
    [
        ([RESET], 502, "upstream_disconnected"),
        ([head(200, [("Content-Length", "50")]) + b'{"half":', RESET], 502, "upstream_disconnected"),
        ([head(200, [("Content-Length", "50")]) + b'{"half":', CLOSE], 502, "upstream_disconnected"),
        ([head(200, [("Content-Type", "application/json")]) + b'{"half":', CLOSE], 502, "upstream_disconnected"),
        ([b"nonsense\r\n\r\n", CLOSE], 502, "upstream_disconnected"),
    ],
    ids=["reset before the head", "reset in the body", "eof in the body", "close-delimited half", "not HTTP"],
)
async def test_a_broken_json_answer_is_a_clean_error_that_is_not_retried(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream, steps: list[bytes], status: int, code: str
) -> None:
    """A 200 cut in mid-JSON would make the SDKs send (and pay) three times."""
    secret = await gateway.create_key()
    upstream.answer(*steps)
    async with gateway.post({"model": "m"}, secret) as reply:
        error = (await reply.json())["error"]
        assert (reply.status, error["code"]) == (status, code)
        assert reply.header("x-should-retry") == "false"
        assert reply.header("x-error-source") == "gateway"
        row = await gateway.row(reply.request_id)
    assert row.state is State.UNKNOWN
    assert len(upstream.requests) == 1


async def test_nothing_sent_is_free_and_may_be_retried(tmp_path: Path, front: str) -> None:
    """A refused connection costs nothing: 502 without the order not to retry."""
    async with gateway_before("http://127.0.0.1:1", tmp_path, front=front) as gateway:
        secret = await gateway.create_key()
        async with gateway.post({"model": "m"}, secret) as reply:
            assert reply.status == 502
            assert (await reply.json())["error"]["code"] == "upstream_unreachable"
            assert reply.header("x-should-retry") is None
            row = await gateway.row(reply.request_id)
    assert (row.state, row.outcome) == (State.FREE, Outcome.UPSTREAM_DISCONNECTED)


async def test_deadlines(upstream: ScriptedUpstream, tmp_path: Path, front: str) -> None:
    """No head in time: 504. Silence inside a stream: the prefix, an error event, a cut."""
    times = {"upstream_timeout_seconds": 0.3, "upstream_idle_seconds": 0.3}
    async with gateway_before(upstream.url, tmp_path, front=front, **times) as gateway:
        secret = await gateway.create_key()
        upstream.answer(UNTIL_GONE)
        async with gateway.post({"model": "m"}, secret) as reply:
            assert reply.status == 504
            assert reply.header("x-should-retry") == "false"
            assert (await gateway.row(reply.request_id)).unknown_reason == "upstream_timeout"
        upstream.answer(sse_head(), chunk(CREATED), UNTIL_GONE)
        async with gateway.post(STREAM, secret) as reply:
            received, told = await cut_reply(reply)
            row = await gateway.row(reply.request_id)
    assert received.startswith(CREATED)
    assert told
    assert (row.outcome, row.unknown_reason) == (Outcome.TIMED_OUT, "upstream_stalled")


async def test_no_error_event_where_a_length_was_announced(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """It would stand in for bytes that never came, or make the answer longer than its head says."""
    secret = await gateway.create_key()
    for missing_bytes in (100, 5000):
        length = ("Content-Length", str(len(CREATED) + missing_bytes))
        upstream.answer(head(200, [("Content-Type", "text/event-stream"), length]), CREATED, CLOSE)
        async with gateway.post(STREAM, secret) as reply:
            async with asyncio.timeout(5):
                assert await reply.reader.read(-1) == CREATED


async def test_the_error_event_can_be_switched_off(upstream: ScriptedUpstream, tmp_path: Path, front: str) -> None:
    """IRG_STREAM_ERROR_EVENT=false: the bytes received and the cut, nothing else."""
    async with gateway_before(upstream.url, tmp_path, front=front, stream_error_event=False) as gateway:
        secret = await gateway.create_key()
        upstream.answer(sse_head(), chunk(CREATED), CLOSE)
        async with gateway.post(STREAM, secret) as reply:
            assert await reply.body_until_cut() == CREATED


async def test_white_space_keep_alives_are_streamed(gateway: GatewayUnderTest, upstream: ScriptedUpstream) -> None:
    """A body not complete within a second goes out as it comes; its end still waits for the commit."""
    secret = await gateway.create_key()
    go = asyncio.Event()
    upstream.answer(head(200, [("Transfer-Encoding", "chunked")]), chunk(b"  "), go, chunk(ANSWER), END)
    async with gateway.post({"model": "m"}, secret) as reply:
        assert await reply.chunk() == b"  "
        go.set()
        assert await reply.body() == ANSWER
        row = await gateway.row(reply.request_id)
    assert (row.state, row.true_cost_raw) == (State.SETTLED, "0.0000123")


async def test_a_stream_that_is_not_called_one_waits_too(gateway: GatewayUnderTest, upstream: ScriptedUpstream) -> None:
    """Without a Content-Type as well, whoever has seen the terminal event can rely on its cost."""
    secret = await gateway.create_key()
    upstream.answer(head(200, [("Transfer-Encoding", "chunked")]), chunk(CREATED + COMPLETED), UNTIL_GONE)
    async with gateway.post(STREAM, secret) as reply:
        assert await reply.chunk() == CREATED + COMPLETED
        row = await gateway.row(reply.request_id)
        assert (row.state, row.true_cost_raw) == (State.SETTLED, "0.25")


async def test_the_last_byte_of_a_long_body_waits(gateway: GatewayUnderTest, upstream: ScriptedUpstream) -> None:
    """With a Content-Length the end is its last byte: it comes after the commit."""
    secret = await gateway.create_key()
    answer = b'{"id":"resp_1","output":"' + b"y" * (1 << 20) + b'","usage":{"cost":0.5}}'
    go = asyncio.Event()
    upstream.answer(head(200, [("Content-Length", str(len(answer)))]), answer[:-1], go, answer[-1:])
    async with gateway.post({"model": "m"}, secret) as reply:
        assert await reply.reader.readexactly(len(answer) - 1) == answer[:-1]
        assert (await gateway.row(reply.request_id)).state is State.OPEN
        go.set()
        assert await reply.reader.readexactly(1) == b"}"
        assert (await gateway.row(reply.request_id)).state is State.SETTLED


@pytest.mark.parametrize(
    ("answer", "status", "code", "state"),
    [
        (json_answer({"error": {"message": "bad key"}}, 401), 502, "upstream_auth", State.FREE),
        (head(302, [("Location", "http://x/"), ("Content-Length", "0")]), 502, "upstream_redirect", State.FREE),
        (head(500, [("Content-Length", "4")]) + b"oops", 500, "upstream_error", State.UNKNOWN),
        (head(404, [("Content-Length", "4")]) + b"oops", 502, "upstream_error", State.FREE),
        (head(503, [("Content-Length", "0"), ("Retry-After", "3")]), 503, "upstream_error", State.FREE),
        (json_answer({"error": {"message": "odd"}}, 600), 502, "upstream_error", State.UNKNOWN),
        (head(999, [("Content-Length", "0")]), 502, "upstream_error", State.UNKNOWN),
        (json_answer(b"[1]", 400), 502, "upstream_error", State.FREE),
        (json_answer(b'{"a":"' + b"x" * 70_000 + b'"}', 400), 502, "upstream_error", State.FREE),
    ],
    ids=["401", "302", "500 page", "404 page", "503 empty", "600", "999", "400 not an object", "400 too long"],
)
async def test_errors_that_cannot_pass_are_replaced(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream, answer: bytes, status: int, code: str, state: State
) -> None:
    """No page, no redirect and no refusal of our own key reaches a client as it is."""
    secret = await gateway.create_key()
    upstream.answer(answer)
    async with gateway.post({"model": "m"}, secret) as reply:
        error = (await reply.json())["error"]
        assert (reply.status, error["code"]) == (status, code)
        assert reply.header("location") is None
        assert (await gateway.row(reply.request_id)).state is state
        assert reply.header("retry-after") == ("3" if b"Retry-After" in answer else None)


@pytest.mark.parametrize(
    "answer",
    [
        json_answer({"error": {"message": "pay"}}, 402),
        json_answer({"error": {"message": "Insufficient credits"}}, 403),
    ],
)
async def test_no_credits_is_not_retried(gateway: GatewayUnderTest, upstream: ScriptedUpstream, answer: bytes) -> None:
    """Trying again does not fill an account."""
    secret = await gateway.create_key()
    upstream.answer(answer)
    async with gateway.post({"model": "m"}, secret) as reply:
        assert reply.header("x-should-retry") == "false"


async def test_an_error_under_status_200(gateway: GatewayUnderTest, upstream: ScriptedUpstream) -> None:
    """Relayed as it is, named as the upstream's error, booked as free."""
    secret = await gateway.create_key()
    body = b'\n {"error":{"message":"Insufficient credits"}}'
    upstream.answer(head(200, [("Content-Length", str(len(body)))]), body)
    async with gateway.post({"model": "m"}, secret) as reply:
        assert reply.status == 200
        assert await reply.body() == body
        assert reply.header("x-error-source") == "upstream"
        row = await gateway.row(reply.request_id)
    assert (row.state, row.outcome) == (State.FREE, Outcome.UPSTREAM_ERROR)


@pytest.mark.parametrize(
    ("headers", "body", "reason"),
    [
        ([("Content-Type", "text/html")], b"<p>hello</p>", "not_json"),
        ([("Content-Type", "application/json"), ("Content-Encoding", "br")], b"\x0b\x02\x80{}\x03", "encoding"),
    ],
    ids=["a page", "brotli"],
)
async def test_close_delimited_bodies_that_nobody_can_judge_pass(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream, headers: list[tuple[str, str]], body: bytes, reason: str
) -> None:
    """Only what is half by its own grammar counts as cut; the rest is relayed as it is."""
    secret = await gateway.create_key()
    upstream.answer(head(200, headers), body, CLOSE)
    async with gateway.post({"model": "m"}, secret) as reply:
        assert reply.status == 200
        assert await reply.body() == body
        row = await gateway.row(reply.request_id)
    assert (row.state, row.unknown_reason) == (State.UNKNOWN, reason)


async def test_without_its_ledger_the_gateway_forwards_nothing(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """503 before anything leaves, with an order when to try again, and a connection that is still in step."""
    secret = await gateway.create_key()
    await gateway.services.store.aclose()
    async with gateway.post({"model": "m", "input": "x" * 100_000}, secret) as reply:
        assert reply.status == 503
        assert (await reply.json())["error"]["code"] == "ledger_unavailable"
        assert reply.header("retry-after") == "5"
    assert upstream.requests == []


async def test_a_settled_answer_is_not_read_for_ever_either(
    upstream: ScriptedUpstream, tmp_path: Path, front: str
) -> None:
    """An upstream that keeps its connection open after the terminal event is cut once the client has left."""
    async with gateway_before(upstream.url, tmp_path, front=front, client_gone_seconds=1) as gateway:
        secret = await gateway.create_key()
        upstream.answer(sse_head(), chunk(COMPLETED), UNTIL_GONE)
        async with gateway.post(STREAM, secret) as reply:
            assert await reply.chunk() == COMPLETED
            reply.reset()
        async with asyncio.timeout(5):
            await upstream.requests[0].gone.wait()
        (row,) = await gateway.settled(1)
    assert (row.state, row.outcome) == (State.SETTLED, Outcome.COMPLETED)


async def test_a_shutdown_does_not_wait_for_what_is_settled_and_left(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """Only the upstream's connection would be spared."""
    secret = await gateway.create_key()
    upstream.answer(sse_head(), chunk(COMPLETED), UNTIL_GONE)
    async with gateway.post(STREAM, secret) as reply:
        assert await reply.chunk() == COMPLETED
        reply.reset()
    inflight = gateway.ready.gateway.inflight
    async with asyncio.timeout(5):
        while not all(exchange.over for exchange in inflight._open):
            await asyncio.sleep(0.005)
        assert len(inflight) == 1
        assert await inflight.drain(patience_seconds=60) == 0
    (row,) = await gateway.rows()
    assert (row.state, row.outcome) == (State.SETTLED, Outcome.COMPLETED)
