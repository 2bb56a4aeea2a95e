"""Whoever asks may leave at any moment: what was queued is done, and nothing stays open for nobody."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import pytest

from app.core.records import Admitted, Outcome, State
from app.store.engine import open_store
from app.store.port import LedgerUnavailable, Store
from tests.store.entries import Elsewhere, a_holder, row, rows, settled


async def test_a_request_given_up_while_it_was_admitted_is_closed_as_free(store: Store) -> None:
    """Cancelled before, while and after the writer took it: no row, or one that is free."""
    alice = await a_holder(store)
    asking = [asyncio.ensure_future(store.admit(alice.intent())) for _ in range(200)]
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    choose = random.Random(seed)
    for task in asking:
        if choose.random() < 0.3:
            await asyncio.sleep(0)
        if choose.random() < 0.7:
            task.cancel()
    results = await asyncio.gather(*asking, return_exceptions=True)
    kept = {result.request_id for result in results if isinstance(result, Admitted)}
    await store.change(lambda connection: None)  # behind everything that was queued
    async with asyncio.timeout(5):
        while any(found.state is State.OPEN for found in (await rows(store)).values() if found.id not in kept):
            await asyncio.sleep(0.005)
    found = await rows(store)
    assert {request_id for request_id, entry in found.items() if entry.state is State.OPEN} == kept
    for entry in found.values():
        if entry.id not in kept:
            assert (entry.state, entry.outcome) == (State.FREE, Outcome.CLIENT_DISCONNECTED)


async def test_a_request_cancelled_just_after_its_answer_came_is_closed_as_free(store: Store) -> None:
    """The answer is there, but who asked is cancelled before it can look at it: it must not stay open."""
    alice = await a_holder(store)
    intent = alice.intent()
    # While the writer is busy, two operations get into one batch; whoever waits for the first wakes first.
    busy = asyncio.ensure_future(store.change(lambda connection: time.sleep(0.1)))
    await asyncio.sleep(0.02)
    reached = []

    async def first() -> None:
        await store.change(lambda connection: None)
        reached.append(asking.done())
        asking.cancel()

    cancelling = asyncio.ensure_future(first())
    await asyncio.sleep(0)
    asking = asyncio.ensure_future(store.admit(intent))
    await cancelling
    assert reached == [False]
    await asyncio.gather(busy, asking, return_exceptions=True)
    assert asking.cancelled()
    await store.change(lambda connection: None)
    assert (await row(store, intent.request_id)).state is State.FREE


async def test_a_settlement_is_written_although_its_task_was_cancelled(store: Store) -> None:
    """Queued is queued: leaving does not take it back."""
    alice = await a_holder(store)
    intents = [alice.intent() for _ in range(50)]
    await asyncio.gather(*(store.admit(intent) for intent in intents))
    settling = [asyncio.ensure_future(store.settle(settled(intent.request_id), 1)) for intent in intents]
    await asyncio.sleep(0)
    for task in settling:
        task.cancel()
    await asyncio.gather(*settling, return_exceptions=True)
    await store.change(lambda connection: None)
    assert {found.state for found in (await rows(store)).values()} == {State.SETTLED}


async def test_a_settlement_given_up_during_an_outage_is_written_when_it_is_over(store: Store, path: Path) -> None:
    """Or spooled, whichever comes first: nobody needs to wait for it."""
    alice = await a_holder(store)
    intent = alice.intent()
    await store.admit(intent)
    elsewhere = Elsewhere(path)
    settling = asyncio.ensure_future(store.settle(settled(intent.request_id), 0.2))
    await asyncio.sleep(0.05)
    settling.cancel()
    elsewhere.let_go()
    async with asyncio.timeout(5):
        while (await row(store, intent.request_id)).state is not State.SETTLED:
            await asyncio.sleep(0.01)


async def test_a_request_refused_by_an_outage_is_not_written_later(store: Store, path: Path) -> None:
    """`LedgerUnavailable` is final: when the database is back, no row appears."""
    alice = await a_holder(store)
    elsewhere = Elsewhere(path)
    with pytest.raises(LedgerUnavailable):
        await store.admit(alice.intent())
    elsewhere.let_go()
    async with asyncio.timeout(5):
        while not store.healthy:
            await asyncio.sleep(0.01)
    await store.change(lambda connection: None)
    assert await rows(store) == {}


async def test_closing_waits_for_everything_that_was_queued(path: Path) -> None:
    """Admissions and settlements queued just before are in the file, what was admitted for nobody is closed."""
    store = await open_store(path)
    alice = await a_holder(store)
    intents = [alice.intent() for _ in range(100)]
    await asyncio.gather(*(store.admit(intent) for intent in intents))
    left = [asyncio.ensure_future(store.admit(alice.intent())) for _ in range(50)]
    settling = [asyncio.ensure_future(store.settle(settled(intent.request_id), 1)) for intent in intents]
    await asyncio.sleep(0)
    for task in left:
        task.cancel()
    await store.aclose()
    await asyncio.gather(*settling)
    again = await open_store(path)
    found = await rows(again)
    await again.aclose()
    assert {found[intent.request_id].state for intent in intents} == {State.SETTLED}
    assert all(entry.state in (State.SETTLED, State.FREE) for entry in found.values())
