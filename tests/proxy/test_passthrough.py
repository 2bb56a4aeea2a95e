"""What crosses: every byte of body, status and end-to-end headers, chunk by chunk, as it came."""

from __future__ import annotations

import asyncio
import json

import pytest

from app.proxy import relay
from tests.harness import ADMIN_TOKEN, UPSTREAM_KEY, GatewayUnderTest
from tests.scripted_upstream import CLOSE, END, ScriptedUpstream, chunk, head, json_answer, sse_head

ANSWER = (
    b' {"id":"resp_1", "object":"response","model":"m-1","output":[],  "error":null,\n'
    b'"usage":{"input_tokens":12,"output_tokens":24,"total_tokens":36,"cost":0.0000123},"cost":0.0001}\n'
)


def event(kind: str, **fields: object) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


CREATED = event("response.created", sequence_number=0, response={"id": "resp_1", "model": "m-1", "usage": None})
DELTA = event("response.output_text.delta", sequence_number=1, delta="hé")
COMPLETED = event(
    "response.completed",
    sequence_number=2,
    response={
        "id": "resp_1",
        "model": "m-1",
        "usage": {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3, "cost": 0.25},
    },
)


async def test_a_json_answer_crosses_byte_for_byte(gateway: GatewayUnderTest, upstream: ScriptedUpstream) -> None:
    """White space, key order and escapes of body and answer are untouched; the key is swapped."""
    secret = await gateway.create_key()
    upstream.answer(json_answer(ANSWER))
    body = b'{ "model":"m",\t"input":"h\\u00e9", "new_parameter": 1e-7, "stream": null }'
    async with gateway.post(body, secret) as reply:
        assert reply.status == 200
        assert await reply.body() == ANSWER
    seen = upstream.requests[0]
    assert seen.body == body
    assert seen.target == b"/v1/openai/responses"
    assert seen.header(b"authorization") == b"Bearer " + UPSTREAM_KEY.encode()
    assert secret.encode() not in seen.raw


@pytest.mark.parametrize("path", ["/v1/openai/responses", "/v1/responses", "/v1/responses?api_base=http://evil"])
async def test_both_paths_lead_to_one_upstream_path(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream, path: str
) -> None:
    """The alias and any query string end at the same constant target."""
    secret = await gateway.create_key()
    async with gateway.post({"model": "m"}, secret, path=path) as reply:
        assert reply.status == 200
    assert upstream.requests[0].target == b"/v1/openai/responses"


async def test_each_event_arrives_alone_and_at_once(gateway: GatewayUnderTest, upstream: ScriptedUpstream) -> None:
    """An event that the upstream sends alone reaches the client before the next one exists."""
    secret = await gateway.create_key()
    second, third = asyncio.Event(), asyncio.Event()
    upstream.answer(sse_head(), chunk(CREATED), second, chunk(DELTA), third, chunk(COMPLETED), END)
    async with gateway.post({"model": "m", "stream": True}, secret) as reply:
        assert reply.header("content-type") == "text/event-stream"
        assert reply.header("x-accel-buffering") == "no"
        assert await reply.chunk() == CREATED
        second.set()
        assert await reply.chunk() == DELTA
        third.set()
        assert await reply.chunk() == COMPLETED
        assert await reply.chunk() == b""


async def test_the_head_of_a_stream_does_not_wait_for_its_first_event(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """Status and headers arrive while the upstream still thinks."""
    secret = await gateway.create_key()
    go = asyncio.Event()
    upstream.answer(sse_head(), go, chunk(COMPLETED), END)
    async with gateway.post({"model": "m", "stream": True}, secret) as reply:
        assert reply.status == 200
        go.set()
        assert await reply.body() == COMPLETED


async def test_half_events_comments_and_done_cross_as_they_are(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """Pieces are not merged into events, and nothing of a stream is dropped or added."""
    secret = await gateway.create_key()
    pieces = [b": PROCESSING\n\n", CREATED[:7], CREATED[7:] + DELTA[:3], DELTA[3:], COMPLETED, b"data: [DONE]\n\n"]
    gates = [asyncio.Event() for _ in pieces]
    steps = [step for piece, gate in zip(pieces, gates, strict=True) for step in (gate, chunk(piece))]
    upstream.answer(sse_head(), *steps, END)
    async with gateway.post({"model": "m", "stream": True}, secret) as reply:
        for piece, gate in zip(pieces, gates, strict=True):
            gate.set()
            assert await reply.chunk() == piece
        assert await reply.chunk() == b""


async def test_streaming_is_decided_by_the_upstreams_answer_not_by_accept(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """The SDKs ask for application/json even for streams; both headers cross and change nothing."""
    secret = await gateway.create_key()
    upstream.answer(sse_head(), chunk(COMPLETED), END)
    headers = {"Accept": "application/json", "OpenAI-Beta": "x=1", "x-stainless-lang": "python"}
    async with gateway.post({"model": "m", "stream": True}, secret, headers=headers) as reply:
        assert await reply.body() == COMPLETED
    seen = upstream.requests[0]
    assert seen.header(b"accept") == b"application/json"
    assert seen.header(b"openai-beta") == b"x=1"
    assert seen.header(b"x-stainless-lang") == b"python"
    assert seen.header(b"accept-encoding") == b"identity"


@pytest.mark.parametrize(("field", "stored"), [("", False), (',"stream":null', False), (',"stream":false', False)])
async def test_a_request_without_true_is_not_streamed(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream, field: str, stored: bool
) -> None:
    """Absent, null and false mean the same, and the row says so."""
    secret = await gateway.create_key()
    async with gateway.post(b'{"model":"m"%s}' % field.encode(), secret) as reply:
        assert reply.status == 200
        row = await gateway.row(reply.request_id)
    assert row.stream is stored
    assert upstream.requests[0].body == b'{"model":"m"%s}' % field.encode()


async def test_end_to_end_headers_cross_and_hop_by_hop_ones_do_not(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """Both directions: what belongs to a connection, to cookies or to a tenant stays behind."""
    secret = await gateway.create_key()
    upstream.answer(
        json_answer(
            ANSWER,
            headers=[
                ("x-request-id", "up-1"),
                ("openai-processing-ms", "12"),
                ("Set-Cookie", "a=b"),
                ("Access-Control-Allow-Origin", "*"),
                ("Connection", "X-Private"),
                ("X-Private", "1"),
                ("X-Echo", f"key {UPSTREAM_KEY}"),
                ("Server", "imagerouter"),
            ],
        )
    )
    request_headers = {
        "Cookie": "session=1",
        "X-Forwarded-For": "1.2.3.4",
        "OpenAI-Organization": "org",
        "x-request-id": "mine",
        "X-Custom": "1",
    }
    async with gateway.post({"model": "m"}, secret, headers=request_headers) as reply:
        assert reply.header("x-request-id") == "up-1"
        assert reply.header("openai-processing-ms") == "12"
        assert reply.header("date") is not None
        for dropped in ("set-cookie", "access-control-allow-origin", "x-private", "x-echo"):
            assert reply.header(dropped) is None
        assert (await gateway.row("up-1")).id == reply.request_id
    names = {name for name, _ in upstream.requests[0].headers}
    assert names.isdisjoint({b"cookie", b"x-forwarded-for", b"openai-organization", b"x-request-id", b"x-custom"})


@pytest.mark.parametrize("status", [400, 403, 404, 409, 422, 429, 500, 503])
async def test_upstream_errors_cross_with_their_retry_advice(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream, status: int
) -> None:
    """A JSON error is relayed as it is: body, status, retry-after and retry-after-ms."""
    secret = await gateway.create_key()
    body = b'{"error": {"message":"no","type":"t"} }'
    upstream.answer(json_answer(body, status, [("Retry-After", "7"), ("retry-after-ms", "7000")]))
    async with gateway.post({"model": "m"}, secret) as reply:
        assert reply.status == status
        assert await reply.body() == body
        assert reply.header("retry-after") == "7"
        assert reply.header("retry-after-ms") == "7000"
        assert reply.header("x-error-source") == "upstream"


async def test_a_large_body_crosses_both_ways(gateway: GatewayUnderTest, upstream: ScriptedUpstream) -> None:
    """10 MiB up and 3 MiB down, unchanged."""
    secret = await gateway.create_key()
    body = b'{"model":"m","input":"' + b"x" * (10 << 20) + b'"}'
    answer = b'{"id":"resp_1","output":"' + b"y" * (3 << 20) + b'","usage":{"cost":0.5},"cost":0.5}'
    upstream.answer(json_answer(answer))
    async with gateway.post(body, secret) as reply:
        assert await reply.body() == answer
        row = await gateway.row(reply.request_id)
    assert upstream.requests[0].body == body
    assert row.true_cost_raw == "0.5"


async def test_the_head_of_a_slow_body_goes_ahead(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for a body that takes its time has its status meanwhile, also where its length is announced."""
    monkeypatch.setattr(relay, "WHOLE_BODY_SECONDS", 0.05)
    secret, go = await gateway.create_key(), asyncio.Event()
    upstream.answer(head(200, [("Content-Length", str(len(ANSWER)))]), go, ANSWER)
    async with gateway.post({"model": "m"}, secret) as reply:
        assert reply.status == 200
        go.set()
        assert await reply.body() == ANSWER


async def test_a_body_without_framing_crosses(gateway: GatewayUnderTest, upstream: ScriptedUpstream) -> None:
    """A close-delimited JSON answer is complete when its JSON is."""
    secret = await gateway.create_key()
    upstream.answer(head(200, [("Content-Type", "application/json")]), ANSWER, CLOSE)
    async with gateway.post({"model": "m"}, secret) as reply:
        assert reply.status == 200
        assert await reply.body() == ANSWER


async def test_an_admin_token_does_not_open_the_data_plane(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """The two planes have separate credentials."""
    async with gateway.post({"model": "m"}, ADMIN_TOKEN) as reply:
        assert reply.status == 401
    assert upstream.requests == []
