"""What the gateway does not take, how it says so, and what becomes of clients that stop reading."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.core.keys import hash_secret, new_secret
from app.core.records import Outcome, Settlement, State
from app.proxy import relay, request_body
from app.store import queries
from app.store.engine import SqliteStore
from app.store.port import LedgerLost
from tests.harness import RESPONSES, GatewayUnderTest, Reply, gateway_before
from tests.proxy.test_passthrough import ANSWER, COMPLETED, CREATED, DELTA
from tests.scripted_upstream import END, UNTIL_GONE, ScriptedUpstream, Step, chunk, json_answer, reached, sse_head

STREAM = {"model": "m", "stream": True}


async def refusal(reply: Reply) -> tuple[int, str, str | None]:
    """Status, code and whether to try again; whose error it is and its id must be there always."""
    error = (await reply.json())["error"]
    assert reply.header("x-error-source") == "gateway"
    assert reply.request_id.startswith("req_")
    return reply.status, error["code"], reply.header("retry-after")


def request_head(secret: str, *headers: str) -> bytes:
    lines = [f"POST {RESPONSES} HTTP/1.1", "Host: gateway", f"Authorization: Bearer {secret}", *headers, "", ""]
    return "\r\n".join(lines).encode()


# --- bodies --------------------------------------------------------------------------------


@pytest.mark.parametrize("framed", ["length", "chunked"])
async def test_a_body_over_the_limit_is_refused(
    upstream: ScriptedUpstream, tmp_path: Path, front: str, framed: str
) -> None:
    """Announced: at once. In chunks, where nothing is announced: when it is there. Up to the limit it passes."""
    async with gateway_before(upstream.url, tmp_path, front=front, request_bytes_max=100_000) as gateway:
        secret = await gateway.create_key()
        frame = (lambda body: [f"Content-Length: {len(body)}"]) if framed == "length" else _chunked
        for filling, status in ((50_000, 200), (100_001, 413)):
            body = _body_of(filling)
            sent = body if framed == "length" else chunk(body[:30_000]) + chunk(body[30_000:]) + END
            async with gateway.connect(request_head(secret, *frame(body)) + sent) as reply:
                await reply.read_head()
                assert reply.status == status
                if status == 413:
                    assert await refusal(reply) == (413, "request_too_large", None)
    assert len(upstream.requests) == 1


async def test_a_body_is_refused_as_soon_as_it_is_over_the_limit(
    upstream: ScriptedUpstream, tmp_path: Path, front: str
) -> None:
    """In chunks that come one after the other: its end is not waited for. Up to the limit it passes."""
    async with gateway_before(upstream.url, tmp_path, front=front, request_bytes_max=100_000) as gateway:
        secret, inflight = await gateway.create_key(), gateway.ready.gateway.inflight
        for filling, end, status in ((50_000, END, 200), (100_001, b"", 413)):
            body = _body_of(filling)
            async with gateway.connect(request_head(secret, *_chunked(body)) + chunk(body[:30_000])) as reply:
                async with asyncio.timeout(20):
                    while not inflight.bodies_bytes:
                        await asyncio.sleep(0)
                reply.writer.write(chunk(body[30_000:]) + end)
                await reply.read_head()
                assert reply.status == status
                if status == 413:
                    assert await refusal(reply) == (413, "request_too_large", None)
    assert len(upstream.requests) == 1
    assert inflight.bodies_bytes == 0


def _body_of(filling: int) -> bytes:
    return b'{"model":"m","input":"' + b"x" * filling + b'"}'


def _chunked(body: bytes) -> list[str]:
    return ["Transfer-Encoding: chunked"]


async def test_a_client_that_waits_for_100_continue_is_refused_before_it_sends(
    upstream: ScriptedUpstream, tmp_path: Path, front: str
) -> None:
    """A body that nobody will take is not asked for."""
    async with gateway_before(upstream.url, tmp_path, front=front, request_bytes_max=100_000) as gateway:
        secret = await gateway.create_key()
        head = request_head(secret, "Content-Length: 100001", "Expect: 100-continue")
        async with gateway.connect(head) as reply:
            await reply.read_head()
            assert await refusal(reply) == (413, "request_too_large", None)
            assert reply.header("connection") == "close"


async def test_what_is_left_of_a_refused_body_is_not_read_for_ever(
    gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that is not known gets its 401 although the rest of its body never comes."""
    monkeypatch.setattr(request_body, "DISCARD_SECONDS_MAX", 0.1)
    async with gateway.connect(request_head("irg_no", "Content-Length: 1000") + b"{") as reply:
        await reply.read_head()
        assert reply.status == 401
        assert reply.header("connection") == "close"


async def test_an_encoded_body_is_refused(gateway: GatewayUnderTest, upstream: ScriptedUpstream) -> None:
    """Its policy fields could not be read."""
    secret = await gateway.create_key()
    async with gateway.post(b"\x1f\x8b", secret, headers={"Content-Encoding": "gzip"}) as reply:
        assert await refusal(reply) == (415, "unsupported_content_encoding", None)
    async with gateway.connect(request_head(secret, "Content-Encoding: gzip", "Content-Length: 9") + b"\x1f") as reply:
        await reply.read_head()
        assert await refusal(reply) == (415, "unsupported_content_encoding", None)
    async with gateway.post(STREAM, secret, headers={"Content-Encoding": "identity"}) as reply:
        assert reply.status == 200
    assert len(upstream.requests) == 1


async def test_all_bodies_together_are_bounded(upstream: ScriptedUpstream, tmp_path: Path, front: str) -> None:
    """A second large body is asked to come again while the first is held; then there is room once more."""
    async with gateway_before(
        upstream.url, tmp_path, front=front, request_bytes_max=60_000, bodies_bytes_max=60_000
    ) as gateway:
        secret = await gateway.create_key()
        body = b'{"model":"m","input":"' + b"x" * 50_000 + b'"}'
        head = request_head(secret, f"Content-Length: {len(body)}")
        async with gateway.connect(head + body[:-1]) as first:
            while not gateway.ready.gateway.inflight.bodies_bytes:
                await asyncio.sleep(0)
            async with gateway.post(body, secret) as second:
                assert await refusal(second) == (503, "overloaded", "2")
            first.writer.write(body[-1:])
            await first.read_head()
            assert first.status == 200
        async with gateway.post(body, secret) as third:
            assert third.status == 200
        assert gateway.ready.gateway.inflight.bodies_bytes == 0


async def test_a_client_that_leaves_inside_its_body_leaves_no_row(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """Nothing was asked, so nothing is forwarded, booked or held."""
    secret = await gateway.create_key()
    inflight = gateway.ready.gateway.inflight
    async with gateway.connect(request_head(secret, "Content-Length: 1000") + b"{") as reply:
        while not inflight.bodies_bytes:
            await asyncio.sleep(0)
        reply.reset()
    async with asyncio.timeout(5):
        while len(inflight):
            await asyncio.sleep(0.001)
    assert inflight.bodies_bytes == 0
    assert await gateway.rows() == []
    assert upstream.requests == []


async def test_a_client_that_stops_inside_its_body_is_dropped(
    upstream: ScriptedUpstream, tmp_path: Path, front: str
) -> None:
    """It may have fallen asleep for ever: it keeps neither a place nor bytes."""
    async with gateway_before(upstream.url, tmp_path, front=front, client_stall_seconds=0.3) as gateway:
        secret = await gateway.create_key()
        inflight = gateway.ready.gateway.inflight
        async with gateway.connect(request_head(secret, "Content-Length: 1000") + b"{") as reply:
            await reply.read_head()
            assert await refusal(reply) == (408, "request_timeout", None)
            assert reply.header("connection") == "close"
            assert await reply.reader.read(-1) == b""
        assert (len(inflight), inflight.bodies_bytes) == (0, 0)
        assert await gateway.rows() == []


@pytest.mark.parametrize(("piece", "status"), [(1, 408), (1000, 200)])
async def test_a_body_that_trickles_is_ended_and_one_that_is_slow_is_not(
    upstream: ScriptedUpstream, tmp_path: Path, front: str, piece: int, status: int
) -> None:
    """Each byte comes in time, and yet a place may not be kept by a byte now and then."""
    async with gateway_before(upstream.url, tmp_path, front=front, client_stall_seconds=1) as gateway:
        secret = await gateway.create_key()
        body = b'{"model":"m"}' + b" " * (15 * piece - 13)
        async with gateway.connect(request_head(secret, f"Content-Length: {len(body)}")) as reply:
            answered = asyncio.create_task(reply.read_head())
            for at in range(0, len(body), piece):
                if answered.done():
                    break  # the rest is not wanted
                reply.writer.write(body[at : at + piece])
                await asyncio.wait([answered], timeout=0.1)
            await answered
            assert reply.status == status
    assert len(upstream.requests) == (status == 200)


async def test_what_came_quickly_is_no_credit_for_what_does_not(
    upstream: ScriptedUpstream, tmp_path: Path, front: str
) -> None:
    """Ten thousand bytes at once are ten seconds of the slowest line, and yet the rest may not stay away so long."""
    async with gateway_before(upstream.url, tmp_path, front=front, client_stall_seconds=0.3) as gateway:
        secret = await gateway.create_key()
        head = request_head(secret, "Content-Length: 2000000")
        async with gateway.connect(head + b" " * 1_000_000) as reply:
            for _ in range(10):  # and a byte now and then is no more than nothing
                reply.writer.write(b" ")
                await asyncio.sleep(0.01)
            await reply.read_head(timeout=5)
            assert await refusal(reply) == (408, "request_timeout", None)
    assert upstream.requests == []


async def bodies_come_in(gateway: GatewayUnderTest, count: int) -> None:
    """Until so many requests have a place, and of each body its first byte, the only one, is there."""
    while gateway.ready.gateway.inflight.bodies_bytes < count:
        await asyncio.sleep(0)


async def test_bodies_of_one_key_that_still_come_in_leave_half_the_places_to_others(
    upstream: ScriptedUpstream, tmp_path: Path, front: str
) -> None:
    """No limit of a key binds it before its body is there, so it could keep all places with slow ones."""
    async with gateway_before(upstream.url, tmp_path, front=front, concurrency_max=5) as gateway:
        alice, bob = await gateway.create_key("alice"), await gateway.create_key("bob")
        slow = request_head(alice, "Content-Length: 13") + b"{"
        async with gateway.connect(slow) as first, gateway.connect(slow), gateway.connect(slow):
            await bodies_come_in(gateway, 3)
            for _ in range(3):  # a refusal takes no place
                async with gateway.post({"model": "m"}, alice) as reply:
                    assert await refusal(reply) == (503, "overloaded", "2")
                assert await _status(gateway, bob) == 200
            first.writer.write(b'"model":"m"}')
            await first.read_head()
            assert first.status == 200
            assert await _status(gateway, alice) == 200  # one that came in makes room for another
        assert len(upstream.requests) == 5


async def test_bodies_of_one_key_that_still_come_in_leave_half_the_bytes_to_others(
    upstream: ScriptedUpstream, tmp_path: Path, front: str
) -> None:
    """What came in counts no more for its key: then its own limits bind it."""
    room = {"request_bytes_max": 60_000, "bodies_bytes_max": 200_000}
    async with gateway_before(upstream.url, tmp_path, front=front, **room) as gateway:
        alice, bob = await gateway.create_key("alice"), await gateway.create_key("bob")
        body = b'{"model":"m","input":"' + b"x" * 50_000 + b'"}'
        inflight = gateway.ready.gateway.inflight
        slow = request_head(alice, f"Content-Length: {len(body)}") + body[:-1]
        async with gateway.connect(slow) as first:
            while inflight.bodies_bytes < len(body) - 1:
                await asyncio.sleep(0)
            async with gateway.post(body, alice) as reply:
                assert await refusal(reply) == (503, "overloaded", "2")
            async with gateway.post(body, bob) as reply:
                assert reply.status == 200
            upstream.answer(go := asyncio.Event(), json_answer(ANSWER))
            first.writer.write(body[-1:])
            await upstream.seen()
            async with gateway.post(body, alice) as reply:
                assert reply.status == 200
            go.set()
            await first.read_head()
            assert first.status == 200
        assert inflight.bodies_bytes == 0


# --- places --------------------------------------------------------------------------------


async def test_a_full_gateway_says_so(upstream: ScriptedUpstream, tmp_path: Path, front: str) -> None:
    """One place: the second request is asked to come again; when the first is over, it may."""
    async with gateway_before(upstream.url, tmp_path, front=front, concurrency_max=1) as gateway:
        secret = await gateway.create_key()
        go = asyncio.Event()
        upstream.answer(go, json_answer(ANSWER))
        first = asyncio.create_task(_status(gateway, secret))
        await upstream.seen()
        async with gateway.post(STREAM, secret) as reply:
            assert await refusal(reply) == (503, "overloaded", "2")
        go.set()
        assert await first == 200
        assert await _status(gateway, secret) == 200


async def test_who_is_not_known_yet_holds_no_place(
    upstream: ScriptedUpstream, tmp_path: Path, front: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many strangers wait to be told that they are none: whoever has a key finds its place free."""
    strangers, go, read = 0, asyncio.Event(), SqliteStore.read

    async def slow(self: SqliteStore, query: Any, *values: Any) -> Any:
        nonlocal strangers
        if query is queries.key_of_secret and values[0] != hash_secret(secret):
            strangers += 1
            await go.wait()
        return await read(self, query, *values)

    async with gateway_before(upstream.url, tmp_path, front=front, concurrency_max=1) as gateway:
        secret = await gateway.create_key()
        monkeypatch.setattr(SqliteStore, "read", slow)
        asking = [asyncio.create_task(_status(gateway, new_secret().text)) for _ in range(3)]
        while not strangers:
            await asyncio.sleep(0.001)
        status = await _status(gateway, secret)
        go.set()
        assert (status, await asyncio.gather(*asking)) == (200, [401, 401, 401])


async def _status(gateway: GatewayUnderTest, secret: str) -> int:
    async with gateway.post({"model": "m"}, secret) as reply:
        await reply.body()
        return reply.status


async def test_a_connection_that_stayed_open_is_refused_once_the_grace_is_over(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """Nothing new starts in a process that is about to end."""
    secret = await gateway.create_key()
    await gateway.ready.gateway.inflight.drain(0)
    async with gateway.post(STREAM, secret) as reply:
        assert await refusal(reply) == (503, "shutting_down", "2")
    assert upstream.requests == []


async def test_a_draining_gateway_asks_for_a_new_connection(gateway: GatewayUnderTest) -> None:
    """So that the next request finds another replica."""
    secret = await gateway.create_key()
    gateway.ready.gateway.begin_drain()
    async with gateway.post({"model": "m"}, secret) as reply:
        assert (reply.status, reply.header("connection")) == (200, "close")


# --- routes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "hint"),
    [
        ("POST", "/v1/chat/completions", 404, "not_found", "Set base_url to http"),
        ("POST", "/v1/openai/v1/responses", 404, "not_found", "Set base_url to http"),
        ("POST", "/v1/openai/chat/completions", 404, "not_found", "client.responses.create"),
        ("GET", "/v1/openai/responses/resp_1", 404, "not_found", "client.responses.create"),
        ("POST", "/v1/openai//responses", 404, "not_found", "client.responses.create"),
        ("POST", "/v1/openai%2Fresponses", 404, "not_found", "/v1/openai"),
        ("GET", RESPONSES, 405, "method_not_allowed", "POST"),
        ("DELETE", RESPONSES, 405, "method_not_allowed", "POST"),
    ],
)
async def test_a_wrong_address_is_answered_with_the_right_one(
    gateway: GatewayUnderTest, method: str, path: str, status: int, code: str, hint: str
) -> None:
    """The SDK shows the message: it names the mend."""
    secret = await gateway.create_key()
    async with gateway.post(b"{}", secret, method=method, path=path) as reply:
        error = (await reply.json())["error"]
        assert (reply.status, error["code"]) == (status, code)
        assert hint in error["message"]
        assert reply.header("allow") == ("POST" if status == 405 else None)


async def test_a_conversation_is_refused_unless_allowed(gateway: GatewayUnderTest, upstream: ScriptedUpstream) -> None:
    """Nobody can tell whose it is."""
    secret = await gateway.create_key()
    async with gateway.post({"model": "m", "conversation": "conv_1"}, secret) as reply:
        assert await refusal(reply) == (400, "invalid_request_error", None)
    assert upstream.requests == []


# --- slow and absent readers ---------------------------------------------------------------


FILLING = b": " + b"x" * 65_000 + b"\n\n"
MORE_THAN_SOCKETS_HOLD = 400


@contextlib.asynccontextmanager
async def not_reading(gateway: GatewayUnderTest, secret: str) -> AsyncIterator[Reply]:
    """A client that has asked and takes nothing of its answer."""
    body = b'{"model":"m","stream":true}'
    async with gateway.connect() as reply:
        reply.writer.transport.pause_reading()  # type: ignore[attr-defined]
        reply.writer.write(request_head(secret, f"Content-Length: {len(body)}") + body)
        yield reply


async def test_a_client_that_reads_nothing_is_dropped_and_its_answer_booked(
    upstream: ScriptedUpstream, tmp_path: Path, front: str
) -> None:
    """The answer waits for its reader so long; then it is read on without one, to its cost."""
    async with gateway_before(upstream.url, tmp_path, front=front, client_stall_seconds=1) as gateway:
        secret = await gateway.create_key()
        upstream.answer(sse_head(), *[chunk(FILLING)] * MORE_THAN_SOCKETS_HOLD, chunk(COMPLETED), END)
        async with not_reading(gateway, secret) as reply:
            (row,) = await gateway.settled(1)
            assert (row.state, row.outcome) == (State.SETTLED, Outcome.CLIENT_DISCONNECTED)
            assert row.true_cost_raw == "0.25"
            reply.writer.transport.resume_reading()  # type: ignore[attr-defined]
            with contextlib.suppress(ConnectionError):
                assert COMPLETED not in await reply.reader.read()


async def test_a_client_that_reads_nothing_leaves_no_row_open_at_shutdown(
    upstream: ScriptedUpstream, tmp_path: Path, front: str
) -> None:
    """At the end nobody waits for it: its answer is cut, and booked while the ledger is still there."""
    async with (
        contextlib.AsyncExitStack() as still_there,
        gateway_before(upstream.url, tmp_path, front=front, shutdown_grace_seconds=0) as gateway,
    ):
        gateway.ready.gateway.drain_seconds = 0.2
        secret = await gateway.create_key()
        upstream.answer(sse_head(), *[chunk(FILLING)] * MORE_THAN_SOCKETS_HOLD, UNTIL_GONE)
        await still_there.enter_async_context(not_reading(gateway, secret))
        await upstream.seen()
        await asyncio.sleep(0.3)  # long enough to fill every buffer on the way
    async with gateway_before(upstream.url, tmp_path) as again:
        (row,) = await again.rows()
    assert (row.state, row.outcome, row.unknown_reason) == (State.UNKNOWN, Outcome.SHUT_DOWN, "shut_down")


async def test_a_slow_client_gets_everything(gateway: GatewayUnderTest, upstream: ScriptedUpstream) -> None:
    """Reading more slowly than the upstream writes is no fault."""
    secret = await gateway.create_key()
    written = asyncio.Event()
    steps: list[Step] = [*[chunk(FILLING)] * MORE_THAN_SOCKETS_HOLD, reached(written), chunk(COMPLETED), END]
    upstream.answer(sse_head(), *steps)
    async with not_reading(gateway, secret) as reply:
        await upstream.seen()
        await asyncio.sleep(0.3)  # long enough to fill every buffer on the way: then the upstream is not read on
        assert not written.is_set()
        reply.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await reply.read_head()
        assert await reply.body() == FILLING * MORE_THAN_SOCKETS_HOLD + COMPLETED


async def test_an_abandoned_answer_is_not_read_without_end(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its cost is worth so many bytes and no more."""
    monkeypatch.setattr(relay, "DRAIN_BYTES_MAX", 1_000_000)
    secret = await gateway.create_key()
    go = asyncio.Event()
    upstream.answer(sse_head(), chunk(CREATED), go, *[chunk(b"x" * 65_000)] * 100, UNTIL_GONE)
    async with gateway.post(STREAM, secret) as reply:
        await reply.chunk()
        reply.reset()
    go.set()
    (row,) = await gateway.settled(1)
    assert (row.state, row.unknown_reason) == (State.UNKNOWN, "client_disconnected")


# --- the ledger ----------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_whose_cost_cannot_be_kept_has_no_end(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    """Neither the database nor the spool took it: no client may believe that it was booked."""

    async def lost(settlement: Settlement) -> Any:
        raise LedgerLost("nothing can be written")

    secret = await gateway.create_key()
    monkeypatch.setattr(gateway.services.ledger, "settle", lost)
    streamed = [sse_head(), chunk(CREATED), chunk(DELTA), chunk(COMPLETED), END]
    upstream.answer(*(streamed if stream else [json_answer(ANSWER)]))
    async with gateway.connect() as reply:
        body = b'{"model":"m","stream":true}' if stream else b'{"model":"m"}'
        reply.writer.write(request_head(secret, f"Content-Length: {len(body)}") + body)
        received = await reply.reader.read()
    assert COMPLETED not in received
    assert ANSWER not in received
    assert (DELTA in received) is stream


async def test_an_upstream_error_without_an_end_is_replaced(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream
) -> None:
    """An error page larger than any error object is not waited for."""
    secret = await gateway.create_key()
    upstream.answer(sse_head(500), *[chunk(b"x" * 65_000)] * 3, UNTIL_GONE)
    async with gateway.post({"model": "m"}, secret) as reply:
        assert await refusal(reply) == (500, "upstream_error", None)
