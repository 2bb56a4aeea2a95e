"""What a client may ask of a connection before it has asked for anything: bytes, headers, time, connections."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import pytest

from app import server
from app.core.failures import FREE_FAILURES
from app.core.request_head import HEAD_BYTES_MAX, HEADERS_MAX
from app.proxy.guard import places, protocol
from tests.harness import ADMIN_TOKEN, RESPONSES, GatewayUnderTest, Reply, gateway_before
from tests.scripted_upstream import ScriptedUpstream, json_answer

BODY = b'{"model":"m"}'


def head(secret: str, *lines: str) -> bytes:
    named = [f"POST {RESPONSES} HTTP/1.1", "Host: gateway", f"Authorization: Bearer {secret}"]
    return "\r\n".join([*named, f"Content-Length: {len(BODY)}", *lines, "", ""]).encode()


async def told(reply: Reply) -> tuple[int, str]:
    """Status and code of an answer of our own, which is the connection's last."""
    await reply.read_head()
    error = (await reply.json())["error"]
    assert reply.header("x-error-source") == "gateway"
    assert reply.header("connection") == "close"
    assert reply.request_id.startswith("req_")
    assert await reply.reader.read(-1) == b""
    return reply.status, error["code"]


# --- heads ---------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [1, 200])
async def test_a_head_may_be_so_large_and_no_larger(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream, pieces: int
) -> None:
    """To the byte, in however many pieces it comes."""
    secret = await gateway.create_key()
    room = HEAD_BYTES_MAX - len(head(secret, "X: "))
    for filling, status in ((room, 200), (room + 1, 431)):
        sent = head(secret, "X: " + "x" * filling)
        async with gateway.connect() as reply:
            for at in range(0, len(sent), len(sent) // pieces):
                reply.writer.write(sent[at : at + len(sent) // pieces])
                await asyncio.sleep(0)
            if status == 431:
                assert await told(reply) == (431, "headers_too_large")
            else:
                reply.writer.write(BODY)
                await reply.read_head()
                assert reply.status == 200
    assert len(upstream.requests) == 1


async def test_so_many_headers_and_no_more(gateway: GatewayUnderTest, upstream: ScriptedUpstream) -> None:
    """Three of them are always there."""
    secret = await gateway.create_key()
    for count, status in ((HEADERS_MAX - 3, 200), (HEADERS_MAX - 2, 431)):
        async with gateway.connect(head(secret, *["X: 1"] * count) + BODY) as reply:
            if status == 431:
                assert await told(reply) == (431, "headers_too_large")
            else:
                await reply.read_head()
                assert reply.status == 200
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("begin", "status"),
    [
        (b"POST / HTTP/1.1\r\nX: ", 431),
        (b"POST / HTTP/1.1\r\n", 431),
        (b"GET /", 414),
        (b"\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ", 431),
    ],
    ids=["a header", "headers", "a first line", "nothing", "a trailer"],
)
async def test_a_flood_is_ended_before_it_ends(gateway: GatewayUnderTest, begin: bytes, status: int) -> None:
    """Nobody keeps what has no end: the answer comes while the head is still under way."""
    flood = {b"\r\n": b"\r\n" * 500, b"POST / HTTP/1.1\r\n": b"X: 12345678\r\n" * 100}.get(begin, b"x" * 1000)
    async with gateway.connect(begin) as reply:
        sent = 0
        answered = asyncio.create_task(reply.read_head())
        while not answered.done():
            reply.writer.write(flood)
            sent += len(flood)
            await asyncio.sleep(0.001)
            assert sent < 10 * HEAD_BYTES_MAX
        await answered
        if b"chunked" in begin:  # answered for its path already: then it is only cut
            assert reply.status == 404
        else:
            assert reply.status == status
            assert json.loads(await reply.body())["error"]["code"] in ("headers_too_large", "uri_too_long")
        async with asyncio.timeout(10):
            while await reply.reader.read(2**16):
                pass


@pytest.mark.parametrize("sent", [b"", b"P", b"POST / HTTP/1.1\r\nHost: g", b"\r\n"])
async def test_a_head_that_does_not_come_is_not_waited_for(
    gateway: GatewayUnderTest, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """From the connection's first moment on, however far it has come; bytes now and then do not help."""
    monkeypatch.setattr(protocol, "HEAD_SECONDS_MAX", 0.4)
    async with gateway.connect(sent) as reply:
        if sent == b"P":
            for byte in b"OST /":
                await asyncio.sleep(0.1)
                if not reply.writer.transport.is_closing():
                    reply.writer.write(bytes([byte]))
        assert await told(reply) == (408, "request_timeout")


async def test_between_two_requests_a_connection_may_rest(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is what it was kept for; the next head's time begins with its first byte."""
    monkeypatch.setattr(protocol, "HEAD_SECONDS_MAX", 0.4)
    secret = await gateway.create_key()
    async with gateway.connect(head(secret) + BODY) as reply:
        await reply.read_head()
        await reply.body()
        await asyncio.sleep(0.8)
        reply.writer.write(head(secret) + BODY)
        await reply.read_head()
        assert reply.status == 200
        await reply.body()
        reply.writer.write(b"POST")
        assert await told(reply) == (408, "request_timeout")


async def test_a_trailer_is_not_a_header(upstream: ScriptedUpstream, tmp_path: Path, front: str) -> None:
    """What comes behind the body may not change what was asked in front of it."""
    async with gateway_before(upstream.url, tmp_path, front=front, forward_headers=("x-team",)) as gateway:
        secret = await gateway.create_key()
        lines = [f"POST {RESPONSES} HTTP/1.1", "Host: gateway", f"Authorization: Bearer {secret}", "X-Team: red"]
        sent = "\r\n".join([*lines, "Transfer-Encoding: chunked", "", ""]).encode()
        trailers = b"X-Team: blue\r\nOpenAI-Beta: evil\r\nUser-Agent: evil\r\n\r\n"
        async with gateway.connect(sent + b"d\r\n" + BODY + b"\r\n0\r\n" + trailers) as reply:
            await reply.read_head()
            assert reply.status == 200
    (seen,) = upstream.requests
    assert seen.header(b"x-team") == b"red"
    assert seen.header(b"openai-beta") is None
    assert b"evil" not in seen.raw


# --- what is left of a body, and what nobody reads -------------------------------------------


@pytest.mark.parametrize(("size", "kept"), [(60_000, True), (300_000, False)])
async def test_what_is_left_of_a_body_is_read_on_or_the_connection_closed(
    gateway: GatewayUnderTest, size: int, kept: bool
) -> None:
    """The answer arrives in both cases: it says what to mend."""
    async with gateway.post(b"x" * size, path="/nowhere") as reply:
        assert (await reply.json())["error"]["code"] == "not_found"
        with_another = not reply.writer.transport.is_closing()
        if with_another:
            reply.writer.write(b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n")
        if kept:
            await reply.read_head()
            assert reply.status == 200
        else:
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await reply.read_head()


async def test_a_body_that_stops_behind_its_answer_is_not_waited_for(gateway: GatewayUnderTest) -> None:
    """Such a connection would stay for ever."""
    async with gateway.connect(b"POST /nowhere HTTP/1.1\r\nHost: gateway\r\nContent-Length: 100\r\n\r\nx") as reply:
        await reply.read_head()
        await reply.body()
        async with asyncio.timeout(10):
            assert await reply.reader.read(-1) == b""


async def test_the_end_of_a_refused_body_ends_nothing_behind_it(
    upstream: ScriptedUpstream, tmp_path: Path, front: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the next request comes in the same write, and its answer takes longer than a connection may rest."""
    monkeypatch.setattr(server, "KEEP_ALIVE_SECONDS", 0.3)
    async with gateway_before(upstream.url, tmp_path, front=front) as gateway:
        secret = await gateway.create_key()
        upstream.answer(go := asyncio.Event(), json_answer({}))
        async with gateway.connect(b"POST /nowhere HTTP/1.1\r\nHost: gateway\r\nContent-Length: 9\r\n\r\nx") as reply:
            await reply.read_head()
            await reply.body()
            reply.writer.write(b"x" * 8 + head(secret) + BODY)
            await upstream.seen()
            await asyncio.sleep(0.6)
            go.set()
            await reply.read_head()
            assert reply.status == 200


async def test_an_answer_that_nobody_reads_does_not_keep_a_connection(
    upstream: ScriptedUpstream, tmp_path: Path, front: str
) -> None:
    """Also where no key is asked for: the pages of the gateway itself."""
    async with (
        gateway_before(upstream.url, tmp_path, front=front, client_stall_seconds=0.5) as gateway,
        gateway.connect() as reply,
    ):
        sock: socket.socket = reply.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reply.writer.transport.pause_reading()  # type: ignore[attr-defined]
        reply.writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: gateway\r\n\r\n" * 200)
        places = gateway.ready.places
        while not places.taken:
            await asyncio.sleep(0)
        async with asyncio.timeout(10):
            while places.taken:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("end", ["close", "rest", "half"])
async def test_the_last_bytes_of_an_answer_are_not_kept_for_ever_either(
    upstream: ScriptedUpstream, tmp_path: Path, front: str, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """They are too few for a stall to be seen while writing: the time begins when the connection closes.

    (Here they are more than that, and the mark is higher: so they surely do not fit into the sockets.)
    """
    monkeypatch.setattr(protocol, "WRITE_BUFFER_BYTES_MAX", 2**30)
    monkeypatch.setattr(server, "KEEP_ALIVE_SECONDS", 0.3 if end == "rest" else 75)
    answered, complete = 0, protocol.GuardProtocol.on_response_complete

    def count(self: protocol.GuardProtocol) -> None:
        nonlocal answered
        answered += 1
        complete(self)

    monkeypatch.setattr(protocol.GuardProtocol, "on_response_complete", count)
    page = b"GET /openapi.json HTTP/1.1\r\nHost: gateway\r\n"
    async with (
        gateway_before(upstream.url, tmp_path, front=front, client_stall_seconds=0.5) as gateway,
        gateway.connect() as reply,
    ):
        sock: socket.socket = reply.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reply.writer.transport.pause_reading()  # type: ignore[attr-defined]
        reply.writer.write((page + b"\r\n") * 200)
        async with asyncio.timeout(20):
            while answered < 200:
                await asyncio.sleep(0.01)
        if end == "close":
            reply.writer.write(page + b"Connection: close\r\n\r\n")
        elif end == "half":
            reply.writer.write_eof()
        async with asyncio.timeout(10):
            while gateway.ready.places.taken:
                await asyncio.sleep(0.01)


# --- connections ---------------------------------------------------------------------------


async def test_beyond_the_last_place_there_is_room_for_health_and_administration(
    upstream: ScriptedUpstream, tmp_path: Path, front: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And beyond that for nobody; a place that is left is taken again."""
    monkeypatch.setattr(places, "RESERVE", 2)
    async with gateway_before(upstream.url, tmp_path, front=front, connections_max=2) as gateway:
        secret = await gateway.create_key()
        async with gateway.connect() as first, gateway.connect():
            while gateway.ready.places.taken < 2:
                await asyncio.sleep(0)
            async with gateway.connect(head(secret) + BODY) as reply:
                assert await told(reply) == (503, "overloaded")
                assert reply.header("retry-after") == "2"
            async with gateway.connect(b"GET /healthz HTTP/1.1\r\nHost: g\r\n\r\n") as reply:
                await reply.read_head()
                assert (reply.status, reply.header("connection")) == (200, "close")
            line = f"GET /admin/v1/keys HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n\r\n"
            async with gateway.connect(line.encode()) as reply:
                await reply.read_head()
                assert reply.status == 200
            async with gateway.connect(), gateway.connect():
                while gateway.ready.places.taken < 4:
                    await asyncio.sleep(0)
                async with gateway.connect(b"GET /healthz HTTP/1.1\r\nHost: g\r\n\r\n") as reply:
                    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                        await reply.read_head()
            first.reset()
            while gateway.ready.places.taken >= 2:
                await asyncio.sleep(0.001)
            async with gateway.post(BODY, secret) as reply:
                assert reply.status == 200


async def test_connections_that_only_rest_make_room_for_others(
    upstream: ScriptedUpstream, tmp_path: Path, front: str
) -> None:
    """Or a stranger with some thousands of them would keep everybody out; one that is being answered stays."""
    async with gateway_before(upstream.url, tmp_path, front=front, connections_max=3) as gateway:
        secret = await gateway.create_key()
        upstream.answer(go := asyncio.Event(), json_answer({}))
        ping = b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n"
        async with gateway.connect(head(secret) + BODY) as answered, gateway.connect(ping) as first:
            await upstream.seen()
            async with gateway.connect(ping) as second:
                for resting in (first, second):
                    await resting.read_head()
                    await resting.body()
                assert gateway.ready.places.taken == 3
                reading = [asyncio.create_task(resting.reader.read(1)) for resting in (first, second)]
                async with gateway.post(BODY, secret) as reply:
                    assert reply.status == 200
                    ended, others = await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED, timeout=10)
                assert [task.result() for task in ended] == [b""]
                for task in others:
                    task.cancel()
            go.set()
            await answered.read_head()
            assert answered.status == 200
            await answered.body()
        while gateway.ready.places.taken:  # each place was given back once
            await asyncio.sleep(0.001)


def forwarded(secret: str, client: str) -> bytes:
    return head(secret, f"X-Forwarded-For: {client}") + BODY


async def test_connections_of_one_address_are_bounded_where_it_is_asked_for(
    upstream: ScriptedUpstream, tmp_path: Path, front: str
) -> None:
    """Behind a trusted proxy the address is the one that it tells, and counts while a request is under way."""
    limits = {"connections_per_address_max": 1, "trusted_proxies": ("127.0.0.1",)}
    async with gateway_before(upstream.url, tmp_path, front=front, **limits) as gateway:
        secret = await gateway.create_key()
        upstream.answer(go := asyncio.Event(), json_answer({}))
        async with gateway.connect(forwarded(secret, "8.8.8.8")) as first:
            await upstream.seen()
            async with gateway.connect(forwarded(secret, "8.8.8.8")) as reply:
                assert await told(reply) == (429, "too_many_connections")
            for other in ("9.9.9.9", "192.168.1.1", "192.168.1.1"):
                async with gateway.connect(forwarded(secret, other)) as reply:
                    await reply.read_head()
                    assert reply.status == 200
            first.reset()
            go.set()
        await gateway.settled(4)
        async with gateway.connect(forwarded(secret, "8.8.8.8")) as reply:
            for _ in range(3):  # one after the other is no more than one
                await reply.read_head()
                assert reply.status == 200
                await reply.body()
                reply.writer.write(forwarded(secret, "8.8.8.8"))


async def test_behind_a_proxy_an_address_with_its_share_still_reaches_the_rest(
    upstream: ScriptedUpstream, tmp_path: Path, front: str
) -> None:
    """As without one: whoever must see or end a flood may come from the same address."""
    limits = {"connections_per_address_max": 1, "trusted_proxies": ("127.0.0.1",)}
    async with gateway_before(upstream.url, tmp_path, front=front, **limits) as gateway:
        secret = await gateway.create_key()
        upstream.answer(go := asyncio.Event(), json_answer({}))
        async with gateway.connect(forwarded(secret, "8.8.8.8")) as first:
            await upstream.seen()
            for path, token in (("/healthz", ""), ("/readyz", ""), ("/admin/v1/keys", ADMIN_TOKEN)):
                lines = [
                    f"GET {path} HTTP/1.1",
                    "Host: g",
                    "X-Forwarded-For: 8.8.8.8",
                    f"Authorization: Bearer {token}",
                ]
                async with gateway.connect("\r\n".join([*lines, "", ""]).encode() * 2) as reply:
                    for _ in range(2):  # and the connection stays
                        await reply.read_head()
                        assert reply.status == 200
                        await reply.body()
            async with gateway.connect(forwarded(secret, "8.8.8.8")) as reply:
                assert await told(reply) == (429, "too_many_connections")
            go.set()
            await first.read_head()
            assert first.status == 200


async def test_a_private_address_is_never_too_many(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """Nobody is trusted here, and 127.0.0.1 is private; what it says of others is not believed."""
    async with gateway_before(upstream.url, tmp_path, connections_per_address_max=1) as gateway:
        secret = await gateway.create_key()
        async with gateway.connect(), gateway.connect(), gateway.connect(forwarded(secret, "8.8.8.8")) as reply:
            await reply.read_head()
            assert reply.status == 200


# --- wrong keys ----------------------------------------------------------------------------


async def test_wrong_keys_wait_and_valid_ones_do_not(upstream: ScriptedUpstream, tmp_path: Path, front: str) -> None:
    """Of the same address, on every route that asks for a key; and what waits holds no place."""
    async with gateway_before(
        upstream.url, tmp_path, front=front, trusted_proxies=("127.0.0.1",), concurrency_max=1
    ) as gateway:
        secret = await gateway.create_key()
        loop = asyncio.get_running_loop()
        wrong = {"X-Forwarded-For": "8.8.8.8", "Authorization": "Bearer irg_wrong"}

        async def fail(path: str, client: str = "8.8.8.8") -> float:
            began = loop.time()
            method = "POST" if path == RESPONSES else "GET"
            named = wrong | {"X-Forwarded-For": client}
            async with gateway.post(b"", method=method, path=path, headers=named) as reply:
                assert reply.status in (401, 403)
            return loop.time() - began

        for _ in range(FREE_FAILURES):
            await fail(RESPONSES)
        limiter = gateway.ready.gateway.failures
        slow = [asyncio.create_task(fail(path)) for path in (RESPONSES, "/v1/me", "/v1/models") for _ in range(20)]
        while limiter.waiting < 40:
            await asyncio.sleep(0.001)
        async with gateway.post(BODY, secret, headers={"X-Forwarded-For": "8.8.8.8"}) as reply:
            assert reply.status == 200
        assert limiter.waiting > 0  # it overtook them
        assert await fail(RESPONSES, "9.9.9.9") < max(await asyncio.gather(*slow))
        assert limiter.waiting == 0
