"""What a key asks of its own books is answered one after the other, and nobody else waits behind it."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from app.admin import turns
from app.admin.turns import Turns
from app.core.errors import ApiError
from app.store.engine import SqliteStore
from tests.admin.books import Books


async def test_each_name_has_one_turn_at_a_time_in_the_order_of_asking() -> None:
    """Another name's is not waited for; a fault, or a client that is cancelled, gives the turn on."""
    line, order = Turns(), list[str]()
    go = asyncio.Event()

    async def ask(name: str, what: str) -> None:
        async with line.of(name):
            order.append(what)
            if what == "first":
                await go.wait()
                raise ValueError("a fault")

    first, second, cancelled, third = (
        asyncio.create_task(ask("ann", what)) for what in ("first", "second", "cancelled", "third")
    )
    await asyncio.sleep(0)
    await ask("ben", "ben's")
    cancelled.cancel()
    await asyncio.sleep(0)
    assert order == ["first", "ben's"]
    go.set()
    with pytest.raises(ValueError, match="a fault"):
        await first
    with contextlib.suppress(asyncio.CancelledError):
        await cancelled
    await asyncio.gather(second, third)
    assert order == ["first", "ben's", "second", "third"]
    assert vars(line) == {"_lines": {}}  # nothing is kept of who is gone


async def test_so_many_wait_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who left has asked all the same, so the line would grow with every connection that comes and goes."""
    monkeypatch.setattr(turns, "WAITING_MAX", 2)
    line, go = Turns(), asyncio.Event()

    async def ask() -> None:
        async with line.of("ann"):
            await go.wait()

    asking = [asyncio.create_task(ask()) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(ApiError) as refused:
        await ask()
    assert (refused.value.status, refused.value.code) == (503, "overloaded")
    async with line.of("ben"):
        go.set()
    await asyncio.gather(*asking)
    await ask()


@pytest.mark.parametrize("path", ["", "/usage", "/requests", "/refusals", "/requests/req_0", "/refusals/req_0"])
async def test_a_key_that_asks_without_end_keeps_nobody_out(
    books: Books, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Its own pages, each as slow as can be: of the readers it has one, so others are let in and answered meanwhile."""
    for name in ("greedy", "bob"):
        await books.key(name)
    await books.book("bob")
    reading, most, go = 0, 0, asyncio.Event()
    read = SqliteStore.read

    async def slow(self: SqliteStore, query: object, *values: object) -> object:
        nonlocal reading, most
        if query.__name__ not in ("key_behind", "key_of_secret") and not go.is_set():  # type: ignore[attr-defined]
            reading += 1
            most = max(most, reading)
            await go.wait()
            reading -= 1
        return await read(self, query, *values)  # type: ignore[arg-type]

    monkeypatch.setattr(SqliteStore, "read", slow)
    asking = [asyncio.create_task(books.ask_me("greedy", path)) for _ in range(10)]
    async with asyncio.timeout(10):
        while not most:
            await asyncio.sleep(0.001)
    await asyncio.sleep(0.05)
    assert most == 1
    async with asyncio.timeout(10):
        assert await books.services.keyring.identify(f"Bearer {books.secrets['bob']}".encode()) is not None
    go.set()
    answers = await asyncio.gather(*asking)
    assert len({answer.status_code for answer in answers}) == 1
