"""The transport that calls an application directly: answers as they come, failures as they are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from app.cli.in_process import PIECES_MAX, InProcessTransport

Send = Callable[[Any], Awaitable[None]]
HEAD = {"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"1")]}


def piece(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


def client(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=InProcessTransport(app), base_url="http://gateway")


async def test_the_application_gets_the_request_as_a_server_would_give_it() -> None:
    """Method, path, query, headers and body."""

    async def app(scope: Any, receive: Any, send: Send) -> None:
        assert (scope["method"], scope["path"], scope["raw_path"]) == ("POST", "/a b", b"/a%20b")
        assert scope["query_string"] == b"c=%3F"
        assert (b"x-y", b"2") in scope["headers"]
        message = await receive()
        await send(HEAD)
        await send(piece(message["body"], more=False))

    async with client(app) as asking:
        answer = await asking.post("/a b", params={"c": "?"}, headers={"X-Y": "2"}, content=b"hello")
    assert (answer.status_code, answer.headers["x-a"], answer.content) == (200, "1", b"hello")


async def test_an_answer_is_never_held_whole() -> None:
    """The application waits for its reader after a few pieces."""
    sent = 0

    async def app(scope: Any, receive: Any, send: Send) -> None:
        nonlocal sent
        await send(HEAD)
        for _ in range(100):
            await send(piece(b"x"))
            sent += 1

    async with client(app) as asking, asking.stream("GET", "/") as answer:
        pieces = answer.aiter_raw()
        assert await anext(pieces) == b"x"
        assert sent <= PIECES_MAX + 1
        assert len([piece async for piece in pieces]) == 99


async def test_who_stops_reading_ends_the_application() -> None:
    """Also while it waits to send."""
    ended = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Send) -> None:
        try:
            await send(HEAD)
            while True:
                await send(piece(b"x"))
        finally:
            ended.set()

    async with asyncio.timeout(5), client(app) as asking:
        async with asking.stream("GET", "/") as answer:
            await anext(answer.aiter_raw())
        await ended.wait()


@pytest.mark.parametrize("begun", [False, True])
async def test_a_failure_of_the_application_is_the_readers(begun: bool) -> None:
    """Before the head and inside the body."""

    async def app(scope: Any, receive: Any, send: Send) -> None:
        if begun:
            await send(HEAD)
        raise LookupError("broken")

    async with client(app) as asking:
        with pytest.raises(LookupError, match="broken"):
            await asking.get("/")
