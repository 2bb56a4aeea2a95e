"""A request that is the only one is written in the loop's own thread, which waits for nothing there; all else in the
writer's. What is written is the same."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core.records import Admitted, State
from app.store import connections, writer
from app.store.batch import LedgerBatch
from app.store.connections import CHECKPOINT_PAGES
from app.store.database import Database
from app.store.engine import open_store
from app.store.port import LedgerUnavailable, Store
from tests.store.entries import Elsewhere, Holder, a_holder, row, rows, settled


@pytest.fixture
def by_loop(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each transaction that was begun: whether the loop made it."""
    made: list[bool] = []
    transaction, loop_thread = Database.transaction, threading.get_ident()

    @contextlib.contextmanager
    def noted(self: Database, *, patient: bool = True) -> Iterator[LedgerBatch]:
        made.append(threading.get_ident() == loop_thread)
        with transaction(self, patient=patient) as batch:
            yield batch

    monkeypatch.setattr(Database, "transaction", noted)
    return made


async def at_rest(store: Store) -> Holder:
    """Somebody with a key, in a ledger whose writer has done what it does at its start."""
    holder = await a_holder(store)
    await store.change(lambda connection: None)
    return holder


async def test_a_request_alone_is_written_by_the_loop(store: Store, by_loop: list[bool]) -> None:
    """Both of its commits, before the verb is awaited at all; an equal one of two is not."""
    alice = await at_rest(store)
    by_loop.clear()
    for _ in range(3):
        intent = alice.intent()
        assert isinstance(await store.admit(intent), Admitted)
        await store.settle(settled(intent.request_id), 5)
        assert (await row(store, intent.request_id)).state is State.SETTLED
    assert by_loop == [True] * 6


async def test_beside_an_open_request_the_other_thread_writes(store: Store, by_loop: list[bool]) -> None:
    """The first is admitted alone; while it is open nothing else is; the last of several is settled alone."""
    alice = await at_rest(store)
    by_loop.clear()
    first, second = alice.intent(), alice.intent()
    await store.admit(first)
    await store.admit(second)
    await store.settle(settled(first.request_id), 5)
    await store.settle(settled(second.request_id), 5)
    assert by_loop == [True, False, False, True]
    assert {found.state for found in (await rows(store)).values()} == {State.SETTLED}


async def test_of_many_at_once_only_the_first_is_alone(store: Store, by_loop: list[bool]) -> None:
    alice = await at_rest(store)
    by_loop.clear()
    intents = [alice.intent() for _ in range(20)]
    await asyncio.gather(*(store.admit(intent) for intent in intents))
    assert by_loop == [True, False]
    await asyncio.gather(*(store.settle(settled(intent.request_id), 5) for intent in intents))
    assert {found.state for found in (await rows(store)).values()} == {State.SETTLED}


async def test_what_is_refused_or_left_is_open_no_more(store: Store, by_loop: list[bool]) -> None:
    """The next request is alone again."""
    alice = await at_rest(store)
    kept = alice.intent()
    await store.admit(kept)
    left = asyncio.ensure_future(store.admit(alice.intent()))
    await asyncio.sleep(0)
    left.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await left
    await store.settle(settled(kept.request_id), 5)
    for _ in range(3):  # behind the closing of what was admitted for nobody
        await store.change(lambda connection: None)
    by_loop.clear()
    await store.admit(alice.intent())
    assert by_loop == [True]


async def test_a_change_is_the_other_threads(store: Store, by_loop: list[bool]) -> None:
    await at_rest(store)
    by_loop.clear()
    await store.change(lambda connection: None)
    assert by_loop == [False]


async def test_with_durability_power_the_loop_never_waits_for_the_disk(path: Path, by_loop: list[bool]) -> None:
    store = await open_store(path, durability="power")
    alice = await at_rest(store)
    by_loop.clear()
    intent = alice.intent()
    await store.admit(intent)
    await store.settle(settled(intent.request_id), 5)
    assert by_loop == [False, False]
    await store.aclose()


async def test_a_lock_elsewhere_does_not_keep_the_loop_waiting(
    path: Path, by_loop: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop tries, and turns on at once, so that it can let go of the lock; the other thread waits for that."""
    monkeypatch.setattr(connections, "BUSY_SECONDS", 60)
    store = await open_store(path)
    alice = await at_rest(store)
    elsewhere = Elsewhere(path)
    asyncio.get_running_loop().call_later(0.05, elsewhere.let_go)
    by_loop.clear()
    async with asyncio.timeout(30):
        assert isinstance(await store.admit(alice.intent()), Admitted)
    assert by_loop == [True, False]
    await store.aclose()


async def test_a_settlement_that_meets_a_lock_is_written_behind_it(store: Store, path: Path) -> None:
    """Once, by the other thread."""
    alice = await at_rest(store)
    intent = alice.intent()
    await store.admit(intent)
    elsewhere = Elsewhere(path)
    settling = asyncio.ensure_future(store.settle(settled(intent.request_id), 30))
    async with asyncio.timeout(10):
        while store.healthy:
            await asyncio.sleep(0.01)
    elsewhere.let_go()
    await settling
    assert (await row(store, intent.request_id)).state is State.SETTLED


async def test_now_and_then_it_is_the_other_threads_turn(
    store: Store, by_loop: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "ALONE_COMMITS_MAX", 4)
    alice = await at_rest(store)
    by_loop.clear()
    for _ in range(5):
        intent = alice.intent()
        await store.admit(intent)
        await store.settle(settled(intent.request_id), 5)
    assert by_loop == [True, True, True, True, False] * 2


async def test_requests_alone_do_not_let_the_log_grow(store: Store, path: Path) -> None:
    """The loop makes no checkpoint; the other thread's turn comes often enough."""
    alice = await at_rest(store)
    for _ in range(1500):
        intent = alice.intent()
        await store.admit(intent)
        await store.settle(settled(intent.request_id), 5)
    pages = path.with_name(path.name + "-wal").stat().st_size / (4096 + 24)
    assert CHECKPOINT_PAGES / 2 < pages < CHECKPOINT_PAGES * 2


async def test_what_is_wrong_by_itself_is_told_by_the_other_thread(
    store: Store, by_loop: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails twice, is refused once, and the ledger goes on."""
    alice = await at_rest(store)
    admit = LedgerBatch.admit
    by_loop.clear()

    def broken(self: LedgerBatch, intents: object) -> list[Admitted]:
        raise ValueError("wrong")

    monkeypatch.setattr(LedgerBatch, "admit", broken)
    with pytest.raises(LedgerUnavailable, match="could not be written"):
        await store.admit(alice.intent())
    assert by_loop == [True, False]
    monkeypatch.setattr(LedgerBatch, "admit", admit)
    assert isinstance(await store.admit(alice.intent()), Admitted)
