"""The live feed: every closed request once, in the order of closing, across breaks."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.admin.books import Books
from tests.harness import GatewayUnderTest
from tests.scripted_upstream import ScriptedUpstream, json_answer


@contextlib.asynccontextmanager
async def feed(books: Books, query: str = "", **headers: str) -> AsyncIterator[AsyncIterator[tuple[int, str]]]:
    """Reads the feed: (event id, request id) as they come."""
    async with asyncio.timeout(20):
        async with books.client.stream("GET", f"/admin/v1/events{query}", headers=headers) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            yield events(answer)


async def events(answer: Any) -> AsyncIterator[tuple[int, str]]:
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        name, _, value = line.partition(": ")
        if line:
            fields[name] = value
        elif "data" in fields:
            assert fields["event"] == "request"
            yield int(fields["id"]), json.loads(fields["data"])["id"]
            fields = {}


async def test_requests_appear_as_they_close(books: Books) -> None:
    """In the order of closing, in the shape of the list; open ones do not."""
    await books.key()
    await books.book()
    async with feed(books) as came:
        first, second = await books.open(), await books.open()
        await books.close(second)
        await books.close(first, None)
        assert [(await anext(came))[1], (await anext(came))[1]] == [second, first]


async def test_a_reader_that_comes_back_misses_nothing_and_sees_nothing_twice(books: Books) -> None:
    """Broken off after any event: the header goes on behind it, also against an older `after` in the URL."""
    await books.key()
    booked = [await books.book() for _ in range(12)]
    seen: list[str] = []
    last = 0
    for take in (1, 3, 2):
        headers = {"Last-Event-ID": str(last)} if last else {}
        async with feed(books, "?after=0", **headers) as came:
            for _ in range(take):
                last, ident = await anext(came)
                seen.append(ident)
        booked.append(await books.book())
    async with feed(books, f"?after={last}") as came:
        seen += [(await anext(came))[1] for _ in range(len(booked) - len(seen))]
        late = await books.book()
        assert (await anext(came))[1] == late
    assert seen == booked


async def test_a_long_backlog_comes_whole(books: Books) -> None:
    """More than one batch of the poll."""
    await books.key()
    booked = [await books.book() for _ in range(1100)]
    async with feed(books, "?after=0") as came:
        assert [(await anext(came))[1] for _ in booked] == booked


async def test_the_feed_ends_at_once_when_the_gateway_does(books: Books) -> None:
    """Cleanly, without waiting for the next poll or ping."""
    async with feed(books) as came:
        asyncio.get_running_loop().call_later(0.05, books.services.closing.set)
        async with asyncio.timeout(2):
            assert [ident async for ident in came] == []


async def test_a_place_that_cannot_be_right_is_refused(books: Books, subtests: pytest.Subtests) -> None:
    """Never a feed from somewhere else."""
    wrong: list[tuple[str, dict[str, str]]] = [("?after=-1", {}), ("?since=1", {}), ("", {"Last-Event-ID": "x"})]
    wrong += [(f"?after={2**63}", {}), ("", {"Last-Event-ID": str(2**63)})]
    for query, headers in wrong:
        with subtests.test(query=query, headers=headers):
            assert (await books.refused("GET", f"events{query}", headers=headers))[0] == 400


@pytest.mark.parametrize("front", ["on"], indirect=True)
async def test_the_feed_over_a_socket(gateway: GatewayUnderTest, upstream: ScriptedUpstream) -> None:
    """A request through the data plane appears in a feed over HTTP, at once."""
    secret = await gateway.create_key()
    upstream.answer(json_answer(b'{"output": [], "usage": {"cost": 0.0000123}, "cost": 0.0001}'))
    async with asyncio.timeout(10), gateway.admin() as client, client.stream("GET", "/admin/v1/events") as answer:
        async with gateway.post({"model": "m", "input": "hi"}, secret) as reply:
            await reply.body()
        _, ident = await anext(events(answer))
        assert ident == reply.request_id
