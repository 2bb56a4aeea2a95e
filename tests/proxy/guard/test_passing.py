"""What is passed on without a message is what the cycle would have sent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.proxy.guard import CHUNK_FORMAT, Connection, Message
from app.proxy.guard.cycle import Cycle
from app.proxy.guard.flow import Flow
from app.proxy.outbox import Outbox


class Sink(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return False


class Below:
    """The wire of a connection, as far as passing on needs one."""

    def __init__(self, outbox: Outbox | None = None) -> None:
        self.sink = Sink()
        self.transport: asyncio.Transport = self.sink
        self.flow = Flow(self.transport)
        self.outbox = outbox or Outbox()
        self.tasks: set[asyncio.Task[None]] = set()
        self.cycle = Cycle(self, {"method": "POST"}, keep_alive=True)

    def write(self, data: bytes) -> None:
        self.outbox.write(self.transport, data)

    def close(self) -> None: ...

    def close_behind_answer(self) -> None: ...

    def on_response_complete(self) -> None: ...

    def cut(self) -> None: ...

    def take_body(self) -> bytes | None: ...

    def answer_nobody(self) -> None: ...


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=40_000), st.booleans()), max_size=8))
async def test_both_ways_write_the_same_bytes(pieces: list[tuple[bytes, bool]]) -> None:
    """Mixed in any order, behind the same head; both leave by one outbox."""
    outbox = Outbox()
    mixed, plain = Below(outbox), Below(outbox)
    connection = Connection(mixed)
    for below in (mixed, plain):
        cycle = Cycle(below, {"method": "POST"}, keep_alive=True)
        await cycle.send({"type": "http.response.start", "status": 200, "headers": []})
        for piece, passed in pieces:
            if passed and below is mixed:
                connection.writer()(CHUNK_FORMAT % (len(piece), piece))
            else:
                await cycle.send({"type": "http.response.body", "body": piece, "more_body": True})
        await cycle.send({"type": "http.response.body", "body": b"", "more_body": False})
    await asyncio.sleep(0)  # the turn ends
    assert mixed.sink.written == plain.sink.written


@given(
    st.sampled_from([200, 204, 404, 502]),
    st.sampled_from(["GET", "HEAD", "POST"]),
    st.booleans(),
    st.booleans(),
    st.lists(st.binary(max_size=40_000), max_size=4),
)
async def test_what_is_sent_at_once_is_what_is_sent(
    status: int, method: str, keep_alive: bool, measured: bool, pieces: list[bytes]
) -> None:
    """Whatever the messages, their framing and the method, the same bytes leave."""
    pieces = [] if status == 204 else pieces
    length = (b"content-length", b"%d" % sum(map(len, pieces)))
    messages: list[Message] = [
        {"type": "http.response.start", "status": status, "headers": [length] if measured else []},
        *({"type": "http.response.body", "body": piece, "more_body": True} for piece in pieces),
        {"type": "http.response.body"},
    ]
    at_once, told = Below(), Below()
    at_once.cycle = Cycle(at_once, {"method": method}, keep_alive=keep_alive)
    cycle = Cycle(told, {"method": method}, keep_alive=keep_alive)
    for message in messages:
        at_once.cycle.send_nowait(message)
        await cycle.send(message)
    await asyncio.sleep(0)  # the turn ends
    assert at_once.sink.written == told.sink.written
    assert at_once.cycle.response_complete


@given(
    st.sampled_from([200, 204, 404, 502]),
    st.sampled_from(["GET", "HEAD", "POST"]),
    st.booleans(),
    st.booleans(),
    st.binary(max_size=80_000),
)
async def test_an_answer_that_is_sent_whole_is_what_is_sent(
    status: int, method: str, keep_alive: bool, measured: bool, body: bytes
) -> None:
    """The bytes of its two messages; to who has left, none."""
    body = b"" if status == 204 else body
    headers = [(b"content-length", b"%d" % len(body))] if measured else []
    whole, told, gone = Below(), Below(), Below()
    whole.cycle, cycle, left = (
        Cycle(below, {"method": method}, keep_alive=keep_alive) for below in (whole, told, gone)
    )
    whole.cycle.answer_nowait(status, headers, body)
    await cycle.send({"type": "http.response.start", "status": status, "headers": headers})
    await cycle.send({"type": "http.response.body", "body": body})
    left.disconnected = True
    left.answer_nowait(status, headers, body)
    await asyncio.sleep(0)  # the turn ends
    assert whole.sink.written == told.sink.written != b""
    assert whole.cycle.response_complete
    assert gone.sink.written == b""
    with pytest.raises(RuntimeError, match="begun"):
        whole.cycle.answer_nowait(status, headers, body)


async def test_nothing_flows_to_nobody() -> None:
    """Where there is no wire, or no client any more, everything takes the long way."""
    assert not Connection().flowing
    connection = Connection(Below())
    assert connection.flowing
    connection.lost()
    assert not connection.flowing
