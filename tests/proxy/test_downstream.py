"""What a client is sent arrives in its order, whether or not each piece could leave at once."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from app.core.errors import bad_request
from app.proxy.downstream import Downstream, ReflectedKey
from app.proxy.guard import Connection, Message, connection_of
from tests.proxy.guard.connections import guarded

SECRET = b"an-upstream-key-0123456789"


class Client:
    """A connection whose client takes so many messages at once, and then nothing before it is `awake`."""

    def __init__(self, takes: int) -> None:
        self.came: list[tuple[str, Message]] = []
        self.awake = asyncio.Event()
        self.connection = Connection(cast(Any, self))
        self.is_cut = False
        self._takes = takes

    @property
    def flow(self) -> Client:
        return self

    @property
    def cycle(self) -> Client:
        return self

    @property
    def write_paused(self) -> bool:
        return not self.connection.flowing and not self.connection.gone

    async def drain(self) -> None:
        await self.awake.wait()
        self.connection.flowing = True

    def send_nowait(self, message: Message) -> None:
        self.came.append(("at once", message))
        self._takes -= 1
        self.connection.flowing = self._takes > 0

    def answer_nowait(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.came.append(("at once", {"type": "http.response.whole", "status": status, "body": body}))

    async def send(self, message: Message) -> None:
        self.came.append(("waited for", message))

    def answer_nobody(self) -> None: ...

    def cut(self) -> None:
        self.is_cut = True

    def down(self) -> Downstream:
        return Downstream(self.send, self.connection, stall_seconds=5, secret=SECRET)


class Faulty(Client):
    """Its server refuses what it is given to send."""

    def answer_nowait(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        raise RuntimeError("Invalid HTTP header value.")


def kinds(client: Client) -> list[tuple[str, str]]:
    return [(how, message["type"].removeprefix("http.response.")) for how, message in client.came]


async def test_a_whole_answer_leaves_at_once_where_it_is_taken() -> None:
    """Head and body together, and nothing is waited for."""
    client = Client(takes=9)
    await client.down().whole(200, [(b"content-length", b"2")], b"ok")
    assert client.came == [("at once", {"type": "http.response.whole", "status": 200, "body": b"ok"})]


async def test_a_whole_answer_waits_for_a_client_that_takes_nothing() -> None:
    """Not a byte is lost or comes twice."""
    client = Client(takes=9)
    client.connection.flowing = False
    answering = asyncio.ensure_future(client.down().whole(200, [(b"content-length", b"2")], b"ok"))
    await asyncio.sleep(0)
    assert client.came == []
    client.awake.set()
    await asyncio.wait_for(answering, 5)
    assert [kind for _, kind in kinds(client)] == ["start", "body"]
    assert client.came[1][1]["body"] == b"ok"


async def test_who_left_is_sent_nothing_more() -> None:
    """Nor is anything waited for."""
    client = Client(takes=1)
    down = client.down()
    await down.head(200, [])
    client.connection.lost()
    await down.body(b"data: x\n\n")
    await down.end()
    assert kinds(client) == [("at once", "start")]


async def test_an_answer_with_the_upstream_key_does_not_begin() -> None:
    """So it can still be refused as a whole."""
    client = Client(takes=9)
    with pytest.raises(ReflectedKey):
        await client.down().whole(200, [], b"..." + SECRET)
    assert client.came == []


async def test_an_answer_whose_head_could_not_be_sent_can_still_be_cut() -> None:
    """It has begun and not ended: whoever meets the fault cuts it, and the client is not left waiting."""
    client = Faulty(takes=9)
    down = client.down()
    with pytest.raises(RuntimeError):
        await down.whole(200, [], b"ok")
    down.cut()
    assert client.is_cut


async def test_where_there_is_no_guard_all_is_sent_as_asgi_has_it() -> None:
    """By another server, or in a test that drives the application by hand."""
    client = Client(takes=9)
    await Downstream(client.send, Connection(), stall_seconds=5, secret=None).whole(200, [], b"ok")
    assert kinds(client) == [("waited for", "start"), ("waited for", "body")]


async def test_what_is_said_behind_an_answer_is_not_the_next_ones() -> None:
    """A second request waits on the connection, and begins within the end of the first one's answer."""
    told: list[str] = []

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        down = Downstream(send, connection_of(scope), stall_seconds=5, secret=None)
        await asyncio.sleep(0)
        await down.whole(200, [(b"content-length", b"2")], scope["raw_path"])
        if scope["raw_path"] == b"/1":
            try:
                await down.error(bad_request("too late"), "req_1")
            except RuntimeError as error:
                told.append(str(error))

    connection, transport = guarded(app)
    for path in (b"/1", b"/2"):
        connection.data_received(b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" % path)
    for _ in range(9):
        await asyncio.sleep(0)
    assert [part[-2:] for part in transport.written.split(b"HTTP/1.1 200 ")[1:]] == [b"/1", b"/2"]
    assert b"too late" not in transport.written
    assert len(told) == 1


@pytest.mark.parametrize(
    ("before", "last", "together"),
    [
        (b"x", b"yz", b"yz"),
        (b"x", b"", b""),
        (b"x" + SECRET[:4], b"", SECRET[:4]),  # what waited because the upstream key could have begun there
        (b"x", b"y" + SECRET[:4], SECRET[:4]),
        (b"x", SECRET[:3], SECRET[:3]),
        (b"x" + SECRET[:4], SECRET[4:9] + b"z", b""),
    ],
)
async def test_the_last_piece_leaves_with_the_end(before: bytes, last: bytes, together: bytes) -> None:
    client = Client(takes=9)
    down = client.down()
    await down.head(200, [])
    await down.body(before)
    await down.end(last)
    *pieces, end = [message for _, message in client.came[1:]]
    assert b"".join([piece["body"] for piece in [*pieces, end]]) == before + last
    assert [piece["more_body"] for piece in pieces] == [True] * len(pieces)
    assert (end["body"], end["more_body"]) == (together, False)
    assert down.ended


@pytest.mark.parametrize(("before", "last"), [(b"x", SECRET), (b"x" + SECRET[:4], SECRET[4:] + b"z")])
async def test_with_the_key_in_its_last_piece_an_answer_has_no_end(before: bytes, last: bytes) -> None:
    client = Client(takes=9)
    down = client.down()
    await down.head(200, [])
    await down.body(before)
    with pytest.raises(ReflectedKey):
        await down.end(last)
    sent = [message for _, message in client.came[1:]]
    assert b"".join([message["body"] for message in sent]) == b"x"
    assert all(message["more_body"] for message in sent)
    assert not down.ended
