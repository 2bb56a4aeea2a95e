"""How an exchange ends when it is cancelled: nobody cancels one but a server that is torn down."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import cast

import pytest

from app.accounts.catalog import Catalog
from app.accounts.ledger import Ledger
from app.accounts.pricing import Pricing
from app.core.records import Admitted, Intent, Reading, Settlement, State
from app.proxy.exchange import ClientGone, Exchange
from app.proxy.guard import Connection
from app.proxy.inflight import Inflight
from app.proxy.upstream.port import Answer, Framing, Take, Upstream, UpstreamHead, UpstreamRequest


class Books:
    """A ledger that admits everything and keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Settlement] = []

    async def admit(self, intent: Intent) -> Admitted:
        return Admitted(intent.request_id, "alice", None)

    async def settle(self, settlement: Settlement) -> None:
        await asyncio.sleep(0)
        self.told.append(settlement)


class SlowAnswer:
    """An answer, and the upstream that gives it, whose connection takes its time to close."""

    status, headers, framing, closed = 200, (), Framing.CHUNKED, False
    named: Mapping[bytes, bytes] = {}

    def __init__(self) -> None:
        self.closing = asyncio.Event()

    async def open(self, request: UpstreamRequest) -> Answer:
        return self

    async def read(self) -> bytes | None:
        return None

    def take_rest(self) -> bytes | None:
        return None

    async def pour(self, take: Take) -> bytes | None:
        return None

    def abort(self) -> None:
        return

    async def aclose(self) -> None:
        self.closing.set()
        await asyncio.Event().wait()


async def test_cancelled_while_it_closes_it_is_settled_all_the_same() -> None:
    """The row is closed and the place is free, whatever became of the connection."""
    inflight = Inflight(concurrency_max=1, request_bytes_max=1, bodies_bytes_max=1, answers_bytes_max=1)
    books, answer = Books(), SlowAnswer()

    async def run() -> None:
        exchange = Exchange(Connection(), cast(Ledger, books), inflight, ClientGone(True, 1))
        async with exchange:
            exchange.take_place()
            now = datetime.now(UTC)
            intent = Intent(exchange.request_id, "key_1", "hash", now, "m", stream=False)
            await exchange.admit(intent, Pricing(cast(Catalog, None)), {})
            await exchange.open(cast(Upstream, answer), UpstreamRequest(UpstreamHead(()), b""))

    running = asyncio.create_task(run())
    await answer.closing.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [(one.state, one.unknown_reason) for one in books.told] == [(State.UNKNOWN, "gateway_fault")]
    assert len(inflight) == 0


class EndedAnswer(SlowAnswer):
    """One that came to its end."""

    closed = True


@pytest.mark.parametrize(("answer", "waits"), [(SlowAnswer(), True), (EndedAnswer(), False)])
async def test_what_is_settled_closes_its_answer_unless_that_has_ended(answer: SlowAnswer, waits: bool) -> None:
    """Either way nothing is held any more, and the place is free."""
    inflight = Inflight(concurrency_max=1, request_bytes_max=1, bodies_bytes_max=1, answers_bytes_max=10**6)
    exchange = Exchange(Connection(), cast(Ledger, Books()), inflight, ClientGone(True, 1))

    async def run() -> None:
        async with exchange:
            exchange.take_place()
            intent = Intent(exchange.request_id, "key_1", "hash", datetime.now(UTC), "m", stream=False)
            await exchange.admit(intent, Pricing(cast(Catalog, None)), {})
            await exchange.open(cast(Upstream, answer), UpstreamRequest(UpstreamHead(()), b""))
            assert exchange.memory.hold(200_000)
            await exchange.settle(Reading(complete=True))

    running = asyncio.create_task(run())
    if waits:
        await asyncio.wait_for(answer.closing.wait(), 5)
        running.cancel()
    await asyncio.wait((running,), timeout=5)
    assert running.cancelled() == waits
    assert answer.closing.is_set() == waits
    assert inflight.answers.taken_bytes == 0
    assert len(inflight) == 0
