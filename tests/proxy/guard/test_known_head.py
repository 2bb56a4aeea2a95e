"""A head that came before is not parsed again: nobody can tell, whatever comes in whatever pieces."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.proxy.guard import GuardProtocol
from app.proxy.guard.known_head import HEAD_BYTES_MAX, KnownHead, learn
from tests.proxy.guard.connections import guarded

HEAD = (
    b"POST /v1/responses?x=%%41 HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer s\r\n"
    b"content-LENGTH: %d\r\nX-Stainless-Lang: python\r\n\r\n"
)


class Forgetful(GuardProtocol):
    """Parses each head."""

    def _learn(self, head: bytes) -> None:
        return


class Seen(GuardProtocol):
    """Counts what was not parsed."""

    again = 0

    def _begin_again(self, again: Any, data: bytes) -> int:
        Seen.again += 1
        return super()._begin_again(again, data)


def request(body: bytes, head: bytes = HEAD) -> bytes:
    return head % len(body) + body


async def told(pieces: Sequence[bytes], protocol: type[GuardProtocol]) -> list[Any]:
    """What the application was asked, and what was answered."""
    requests: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
        requests.append(({name: value for name, value in scope.items() if name != "extensions"}, body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    connection, transport = guarded(app, protocol)
    for piece in pieces:
        connection.data_received(piece)
        for _ in range(4):
            await asyncio.sleep(0)
    closed, answers = transport.closed, transport.written
    connection.connection_lost(None)
    for task in list(connection.tasks):
        await task
    return [requests, _without_ids(answers), closed]


def _without_ids(answers: bytes) -> list[bytes]:
    """A refusal's own id and date differ each time."""
    return [line for line in answers.split(b"\r\n") if not line.startswith((b"x-", b"date:"))]


def same(pieces: Sequence[bytes]) -> list[Any]:
    """What both kinds of connection tell."""
    known = asyncio.run(told(pieces, GuardProtocol))
    assert known == asyncio.run(told(pieces, Forgetful))
    return known


def cut(whole: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(whole) + 1) for place in places), len(whole)]
    return [whole[start:end] for start, end in itertools.pairwise(edges) if end > start]


BODIES = st.sampled_from([b"x", b"{}", b"a" * 9, b"b" * 10, b"c" * 123, request(b"inner"), b"\r\n\r\n"])
HEADS = st.sampled_from(
    [
        HEAD,
        HEAD.replace(b"python", b"js"),
        HEAD.replace(b"POST", b"PUT"),
        HEAD.replace(b"Host: g\r\n", b""),
        HEAD.replace(b"content-LENGTH: ", b"content-length:"),
        HEAD.replace(b"content-LENGTH: ", b"Content-Length: 0"),
        HEAD.replace(b"%d\r\n", b"%d \r\n"),
        HEAD.replace(b"%d", b"+%d"),
        HEAD.replace(b"X-St", b"Content-Length: %%d\r\nX-St"),
        HEAD.replace(b"X-St", b"X-Note: content-length\r\nX-St"),
        HEAD.replace(b"X-St", b"Transfer-Encoding: chunked\r\nX-St"),
        HEAD.replace(b"X-St", b"Expect: 100-continue\r\nX-St"),
        HEAD.replace(b"X-St", b"Connection: close\r\nX-St"),
        HEAD.replace(b"X-St", b"Connection: upgrade\r\nUpgrade: websocket\r\nX-St"),
        HEAD.replace(b"1.1", b"1.0"),
    ]
)


@given(st.lists(st.builds(request, BODIES, st.just(HEAD) | HEADS), min_size=2, max_size=7), st.lists(st.integers(0)))
def test_nobody_can_tell(requests: list[bytes], places: list[int]) -> None:
    """One request after the other, pipelined or not, cut anywhere: the same requests, bodies and answers."""
    same(cut(b"".join(requests), places))


@given(st.integers(0), st.integers(0, 255), BODIES)
@example(HEAD.index(b"%d"), ord("0"), b"x")
def test_a_byte_that_differs_is_another_head(place: int, byte: int, body: bytes) -> None:
    """Whatever byte of a head is another one the second time, it is read as the parser reads it."""
    first, second = request(b"{}"), bytearray(request(body))
    second[place % len(second)] = byte
    same([first, first, bytes(second), request(b"after")])


@pytest.mark.parametrize("length", [b"0", b"00", b"01", b"", b" 1", b"1 ", b"-1", b"0x1", b"\xb2", b"1" * 10, b"1,1"])
def test_a_length_that_is_none(length: bytes) -> None:
    """Only plain digits are a length that may differ; what else stands there goes to the parser."""
    odd = HEAD.replace(b"%d", length).replace(b"%%", b"%") + b"1" * 20
    same([request(b"{}"), request(b"{}"), odd])
    known = learn(HEAD % 2, {"headers": [(b"content-length", b"2")]}, {})
    assert known is not None
    assert known.again(odd, 0) is None


def test_it_does_know_it_again() -> None:
    """From the third request on, the body with its head or behind it, however long it is."""
    Seen.again = 0
    big = b"x" * 300_000
    small = [request(b"0"), request(b"1"), request(b"22"), HEAD % 3, b"333"]
    pieces = [*small, HEAD % len(big), big[:100_000], big[100_000:]]
    requests, *_ = asyncio.run(told(pieces, Seen))
    assert [body for _, body in requests] == [b"0", b"1", b"22", b"333", big]
    assert Seen.again == 3
    lengths = [dict(scope["headers"])[b"content-length"] for scope, _ in requests]
    assert lengths == [b"1", b"1", b"2", b"3", b"300000"]


def test_heads_that_always_differ_are_not_learnt() -> None:
    """It would be work for nothing."""
    Seen.again = 0
    pieces = [request(b"1", HEAD.replace(b"python", b"%d" % number + b"x")) for number in range(9)]
    requests, *_ = asyncio.run(told([*pieces, pieces[-1]], Seen))
    assert len(requests) == 10
    assert Seen.again == 0


def test_what_was_made_of_a_head_comes_again_with_it() -> None:
    """And with no other head."""
    facts = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        connection = scope["extensions"]["irg.connection"]
        facts.append(connection.facts.get("seen"))
        connection.facts["seen"] = len(facts)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def ask() -> None:
        connection, _ = guarded(app)
        other = HEAD.replace(b"python", b"js")
        for head in (HEAD, HEAD, HEAD, other, HEAD, HEAD, HEAD):
            connection.data_received(request(b"x", head))
            for _ in range(4):
                await asyncio.sleep(0)
        connection.connection_lost(None)

    asyncio.run(ask())
    assert facts == [None, None, 2, None, None, None, 6]


def test_what_is_learnt_is_bounded() -> None:
    """A large head is parsed each time."""
    scope = {"headers": [(b"content-length", b"2")]}
    assert isinstance(learn(HEAD % 2, scope, {}), KnownHead)
    assert learn(HEAD.replace(b"python", b"p" * HEAD_BYTES_MAX) % 2, scope, {}) is None
