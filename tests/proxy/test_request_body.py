"""A request's body is taken whole where all of it is there, and read where it is not; its bytes are counted once."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from app.core.errors import ApiError
from app.proxy.guard import Connection
from app.proxy.inflight import Inflight
from app.proxy.request_body import ClientLeft, RequestBody

BODY = b'{"model": "a/b"}'
BYTES_MAX = 64


class Below:
    """A connection's wire, as far as a body needs one."""

    def __init__(self, body: bytes | None) -> None:
        self.body = body

    def take_body(self) -> bytes | None:
        body, self.body = self.body, None
        return body


def inflight(bodies_bytes_max: int = 1000) -> Inflight:
    return Inflight(
        concurrency_max=9, request_bytes_max=BYTES_MAX, bodies_bytes_max=bodies_bytes_max, answers_bytes_max=1000
    )


def body_of(
    places: Inflight,
    there: bytes | None,
    *pieces: bytes,
    headers: tuple[tuple[bytes, bytes], ...] = (),
    whole: bool = True,
) -> RequestBody:
    """`there`: what has come whole; None: `pieces` come one after the other, then the client leaves. `whole`: the last
    of them is the body's last."""
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": piece, "more_body": not whole or number < len(pieces) - 1}
        for number, piece in enumerate(pieces)
    ]

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    connection = Connection(cast(Any, Below(there)))
    return RequestBody(receive, headers, connection, places, bytes_max=BYTES_MAX, stall_seconds=5)


def test_what_is_there_whole_is_taken_and_counted_until_it_is_given_back() -> None:
    """Once, however often it is released."""
    places = inflight()
    body = body_of(places, BODY)
    assert body.take_whole("key_1") == BODY
    assert body.complete
    assert places.bodies_bytes == len(BODY)
    body.release()
    body.release()
    assert places.bodies_bytes == 0


async def test_what_is_not_there_is_read_piece_by_piece() -> None:
    """Its bytes count as they come, and nothing of it is complete before the last one."""
    places = inflight()
    body = body_of(places, None, BODY[:5], BODY[5:])
    assert body.take_whole("key_1") is None
    assert not body.complete
    assert await body.read("key_1") == BODY
    assert body.complete
    assert places.bodies_bytes == len(BODY)
    body.release()
    assert places.bodies_bytes == 0


@pytest.mark.parametrize(
    ("there", "headers", "status"),
    [
        (None, ((b"content-length", b"%d" % (BYTES_MAX + 1)),), 413),
        (b"x" * (BYTES_MAX + 1), (), 413),
    ],
    ids=["announced too large", "too large in chunks"],
)
def test_what_is_refused_is_refused_before_it_is_read(
    there: bytes | None, headers: tuple[tuple[bytes, bytes], ...], status: int
) -> None:
    """Whether or not it is there already; nothing is counted for it."""
    places = inflight()
    with pytest.raises(ApiError) as refused:
        body_of(places, there, headers=headers).take_whole("key_1")
    assert refused.value.status == status
    assert places.bodies_bytes == 0


def test_what_has_no_room_is_refused_and_holds_nothing() -> None:
    """The bound is that of all bodies together."""
    places = inflight(bodies_bytes_max=len(BODY) + 5)
    assert body_of(places, BODY).take_whole("key_1") == BODY
    second = body_of(places, BODY)
    with pytest.raises(ApiError) as refused:
        second.take_whole("key_2")
    assert refused.value.status == 503
    second.release()
    assert places.bodies_bytes == len(BODY)


async def test_who_leaves_in_the_middle_gives_back_what_came() -> None:
    """There is nobody to answer."""
    places = inflight()
    body = body_of(places, None, BODY[:5], whole=False)
    assert body.take_whole("key_1") is None
    with pytest.raises(ClientLeft):
        await asyncio.wait_for(body.read("key_1"), 5)
    assert not body.complete
    assert places.bodies_bytes == 5
    body.release()
    assert places.bodies_bytes == 0
