"""An answer leaves as uvicorn's own cycle would write it, in fewer writes; an application's mistakes are told alike."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.core.request_head import head_fault
from app.proxy.guard import GuardProtocol
from app.proxy.guard.cycle import Cycle
from app.proxy.guard.flow import Flow
from app.proxy.outbox import Outbox
from tests.proxy.guard.connections import Message, WrittenTransport, guarded

POST = b"POST /a HTTP/1.1\r\nHost: g\r\nContent-Length: 2\r\n\r\n"


class Wire:
    """What is below a cycle."""

    def __init__(self) -> None:
        self.transport = WrittenTransport()
        self.flow = Flow(self.transport)
        self.tasks: set[Any] = set()
        self.completed = 0
        self.outbox = Outbox()

    def write(self, data: bytes) -> None:
        self.outbox.write(self.transport, data)

    def close(self) -> None:
        self.outbox.flush()
        self.transport.close()

    def close_behind_answer(self) -> None:
        self.close()

    def on_response_complete(self) -> None:
        self.completed += 1


async def sent(cycle: Any, messages: list[Message], wire: Wire) -> list[Any]:
    """What is written for these messages, and how sending them ends."""
    fault = None
    for message in messages:
        try:
            await cycle.send(message)
        except RuntimeError as error:
            fault = str(error).replace("header name", "header value")  # which of them is found first
            break
    wire.outbox.flush()
    return [wire.transport.written, wire.transport.closed, wire.completed, fault]


def ours(method: str, keep_alive: bool) -> tuple[Cycle, Wire]:
    wire = Wire()
    return Cycle(wire, {"method": method}, keep_alive=keep_alive), wire


def uvicorns(method: str, keep_alive: bool) -> tuple[RequestResponseCycle, Wire]:
    wire, scope = Wire(), {"method": method}
    log = logging.getLogger()
    cycle = RequestResponseCycle(
        scope,  # type: ignore[arg-type]
        wire.transport,
        wire.flow,
        log,
        log,
        False,
        [],
        asyncio.Event(),
        False,
        keep_alive,
        wire.on_response_complete,
    )
    return cycle, wire


NAMES = st.sampled_from(
    [b"x-a", b"X-B", b"Content-Length", b"connection", b"Transfer-Encoding", b"date", b"a b", b"a:"]
)
VALUES = st.sampled_from(
    [b"5", b"0", b"close", b"keep-alive, Close", b"chunked", b"v\tw", b"\xe9", b"", b"a\r\nb", b"\0"]
)
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=4)
STARTS = st.builds(
    lambda status, headers: {"type": "http.response.start", "status": status, "headers": headers},
    st.sampled_from([200, 204, 304, 404, 502, 599]),
    HEADERS,
)
TWO_CODINGS: Message = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"5")],
}
ENDS = st.builds(
    lambda body, more: {"type": "http.response.body", "body": body, "more_body": more},
    st.sampled_from([b"", b"hello", b"he", b"x" * 70_000]),
    st.booleans(),
)


def is_clear(headers: list[tuple[bytes, bytes]]) -> bool:
    """A length is a number, stands once, and not beside a coding: else uvicorn takes what stands last."""
    names = [name.lower() for name, _ in headers]
    measured = [value for name, value in headers if name.lower() == b"content-length"]
    return all(value.isdigit() for value in measured) and (
        len(measured) < 2 and not (measured and b"transfer-encoding" in names)
    )


@given(
    st.sampled_from(["GET", "POST", "HEAD"]),
    st.booleans(),
    STARTS.filter(lambda start: is_clear(start["headers"])),
    st.lists(ENDS | STARTS.map(lambda start: {**start, "headers": []}), max_size=4),
)
@example("GET", True, TWO_CODINGS, [{"type": "http.response.body", "body": b"hello"}])
def test_what_is_written_is_what_uvicorn_writes(
    method: str, keep_alive: bool, start: Message, others: list[Message]
) -> None:
    """Any status, headers, pieces and mistakes; but a head without any piece of its body is not written yet."""

    async def both() -> None:
        plain, quick = uvicorns(method, keep_alive), ours(method, keep_alive)
        expected = await sent(plain[0], [start, *others], plain[1])
        got = await sent(quick[0], [start, *others], quick[1])
        assert got[1:] == expected[1:]
        assert got[0] == expected[0] or (not got[0] and b"content-length" in expected[0])

    asyncio.run(both())


@pytest.mark.parametrize("messages", [[], [{"type": "http.response.body", "body": b"x"}], [{"type": "http.other"}]])
def test_an_application_that_does_not_begin(messages: list[Message], caplog: pytest.LogCaptureFixture) -> None:
    """The client gets a 500, the log the reason."""
    seen = asyncio.run(answered(messages))
    assert seen.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert b"connection: close" in seen
    assert "ASGI" in caplog.text


def test_an_application_that_does_not_end(caplog: pytest.LogCaptureFixture) -> None:
    """The connection is closed without the answer's end."""
    start = {"type": "http.response.start", "status": 200, "headers": []}
    seen = asyncio.run(answered([start, {"type": "http.response.body", "body": b"half", "more_body": True}]))
    assert seen.endswith(b"4\r\nhalf\r\n")
    assert "without completing" in caplog.text


async def answered(messages: list[Message]) -> bytes:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    connection, transport = guarded(app)
    connection.data_received(POST + b"{}")
    for _ in range(4):
        await asyncio.sleep(0)
    assert transport.ended
    assert not connection.tasks
    return transport.written


def test_head_and_body_leave_in_one_write() -> None:
    """Where the length is announced; a head whose body comes later is sent with an empty piece of it."""

    async def writes() -> None:
        start = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]}
        cycle, wire = ours("POST", keep_alive=True)
        await cycle.send(start)
        assert wire.transport.writes == []
        await cycle.send({"type": "http.response.body", "body": b"ok"})
        assert wire.transport.writes == [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"]
        cycle, wire = ours("POST", keep_alive=True)
        await cycle.send(start)
        await cycle.send({"type": "http.response.body", "body": b"", "more_body": True})
        assert wire.transport.writes == [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"]

    asyncio.run(writes())


def test_what_is_received() -> None:
    """What has come at once, else what comes; and the client's leaving, which also ends a wait."""
    received: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while not received or received[-1]["type"] != "http.disconnect":
            received.append(await receive())

    async def ask() -> None:
        connection, transport = guarded(app)
        for piece in (POST, b"{", b"}"):
            connection.data_received(piece)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert transport.written == b""
        connection.connection_lost(None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(ask())
    assert [(one.get("body"), one.get("more_body")) for one in received] == [
        (b"{", True),
        (b"}", False),
        (None, None),
    ]


def test_a_large_body_that_came_at_once_stops_no_reading() -> None:
    """While its answer is awaited, it must be seen that the client leaves; however the body is received."""
    body = b"x" * 100_000

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/a":
            assert (await receive())["body"] == body
        await asyncio.sleep(3600)

    async def read_on(path: bytes) -> bool:
        connection, transport = guarded(app)
        connection.data_received(POST.replace(b"/a", path).replace(b": 2", b": %d" % len(body)) + body)
        await asyncio.sleep(0)
        reading = transport.reading
        for task in connection.tasks:
            task.cancel()
        await asyncio.sleep(0)
        connection.connection_lost(None)
        return reading

    async def both() -> tuple[bool, bool]:
        return await read_on(b"/a"), await read_on(b"/b")

    assert asyncio.run(both()) == (True, True)


def test_a_body_is_asked_for_when_it_is_wanted() -> None:
    """`100 Continue` is sent with the first wait for it, and not where nobody waits."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/a":
            await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    async def ask(path: bytes) -> bytes:
        connection, transport = guarded(app)
        connection.data_received(POST.replace(b"/a", path).replace(b"Host", b"Expect: 100-continue\r\nHost"))
        await asyncio.sleep(0)
        connection.data_received(b"{}")
        for _ in range(3):
            await asyncio.sleep(0)
        connection.connection_lost(None)
        return transport.written

    assert asyncio.run(ask(b"/a")).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
    assert asyncio.run(ask(b"/b")).startswith(b"HTTP/1.1 200 OK")


@given(
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=12).map(lambda rest: f"/{rest}".encode())
)
def test_a_target_is_read_as_the_parser_reads_it(target: bytes) -> None:
    """Its path and its query, for every target that is let through."""
    line = b"GET %b HTTP/1.1" % target
    if head_fault(line, [(b"host", b"g")]) is not None:
        return

    async def scope() -> dict[str, Any]:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            return

        connection: GuardProtocol = guarded(app)[0]
        return connection._new_scope(line, "1.1")

    told, url = asyncio.run(scope()), httptools.parse_url(target)
    assert (told["raw_path"], told["query_string"]) == (url.path, url.query or b"")
