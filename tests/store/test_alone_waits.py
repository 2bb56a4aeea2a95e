"""What the loop writes for a request that is alone waits for no disk and for no lock."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
from sqlalchemy import Connection

from app.core.records import Admitted, State
from app.store import connections, writer
from app.store.connections import CHECKPOINT_PAGES
from app.store.engine import SqliteStore, open_store
from app.store.port import LedgerUnavailable, Store
from tests.store.entries import Elsewhere, row, settled
from tests.store.turns import Seen, at_rest


async def test_with_durability_power_the_loop_never_waits_for_the_disk(path: Path, by_loop: list[bool]) -> None:
    async with contextlib.AsyncExitStack() as close:
        store = await open_store(path, durability="power")
        close.push_async_callback(store.aclose)
        alice = await at_rest(store)
        by_loop.clear()
        intent = alice.intent()
        await store.admit(intent)
        await store.settle(settled(intent.request_id), 5)
        assert by_loop == [False, False]


async def test_a_lock_elsewhere_does_not_keep_the_loop_waiting(
    path: Path, by_loop: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop tries, and turns on at once, so that it can let go of the lock; the other thread waits for that."""
    monkeypatch.setattr(connections, "BUSY_SECONDS", 60)
    async with contextlib.AsyncExitStack() as close:
        store = await open_store(path)
        close.push_async_callback(store.aclose)
        alice = await at_rest(store)
        elsewhere = Elsewhere(path)
        asyncio.get_running_loop().call_later(0.05, elsewhere.let_go)
        by_loop.clear()
        async with asyncio.timeout(30):
            assert isinstance(await store.admit(alice.intent()), Admitted)
        assert by_loop == [True, False]


async def test_a_settlement_that_meets_a_lock_is_written_behind_it(
    store: Store, path: Path, by_loop: list[bool]
) -> None:
    """Once, by the other thread: while the database cannot be written the loop does not try again."""
    alice = await at_rest(store)
    intent = alice.intent()
    await store.admit(intent)
    by_loop.clear()
    elsewhere = Elsewhere(path)
    settling = asyncio.ensure_future(store.settle(settled(intent.request_id), 30))
    async with asyncio.timeout(10):
        while store.healthy:
            await asyncio.sleep(0.01)
    elsewhere.let_go()
    await settling
    assert by_loop.index(False) == 1
    assert True not in by_loop[1:]
    found = await row(store, intent.request_id)
    assert (found.state, found.true_cost_raw) == (State.SETTLED, "0.0000123")


async def test_a_lock_makes_the_ledger_forget_nothing(store: Store, path: Path) -> None:
    """Nothing was written before it was met: what is remembered of keys, limits and open requests is still true."""
    assert isinstance(store, SqliteStore)
    alice = await at_rest(store)
    await store.admit(alice.intent())
    remembered = store._database._batch
    elsewhere = Elsewhere(path)
    with pytest.raises(LedgerUnavailable):
        await store.admit(alice.intent())
    assert remembered is not None
    assert store._database._batch is remembered
    elsewhere.let_go()


async def test_a_lost_connection_is_opened_anew_by_the_other_thread(store: Store, by_loop: list[bool]) -> None:
    """To open it takes its time, and waits for locks."""
    assert isinstance(store, SqliteStore)
    alice = await at_rest(store)
    store._database.connection.close()
    by_loop.clear()
    intent = alice.intent()
    assert isinstance(await store.admit(intent), Admitted)
    await store.settle(settled(intent.request_id), 5)
    assert by_loop[0] is False
    assert (await row(store, intent.request_id)).state is State.SETTLED


async def test_behind_a_transaction_that_failed_the_other_thread_reads_anew(store: Store, by_loop: list[bool]) -> None:
    """What the ledger remembered is gone with it, and may be long: no answer shall wait for that."""
    alice = await at_rest(store)

    def fail(connection: Connection) -> None:
        raise ValueError("a fault of ours")

    with pytest.raises(ValueError, match="a fault of ours"):
        await store.change(fail)
    by_loop.clear()
    for _ in range(2):
        intent = alice.intent()
        await store.admit(intent)
        await store.settle(settled(intent.request_id), 5)
    assert by_loop == [False, True, True, True]


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


async def test_the_loop_waits_for_no_checkpoint(store: Store, path: Path, seen: Seen) -> None:
    """It makes none, and the log never begins anew with a commit of its; yet the log does not grow for ever."""
    alice = await at_rest(store)
    for _ in range(1500):
        intent = alice.intent()
        await store.admit(intent)
        await store.settle(settled(intent.request_id), 5)
    begun_by = {loop for loop, began in zip(seen.by_loop, seen.began_log, strict=True) if began}
    assert begun_by == {False}
    assert sum(seen.by_loop) > 2500
    pages = path.with_name(path.name + "-wal").stat().st_size / (4096 + 24)
    assert pages < CHECKPOINT_PAGES * 1.5


async def test_a_slow_disk_is_met_once(store: Store, by_loop: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a commit of the loop's that took long the other thread writes, for a while."""
    monkeypatch.setattr(writer, "ALONE_SECONDS_MAX", 0)
    alice = await at_rest(store)
    by_loop.clear()
    intent = alice.intent()
    await store.admit(intent)
    await store.settle(settled(intent.request_id), 5)
    await store.admit(alice.intent())
    assert by_loop == [True, False, False]


async def test_the_loop_makes_no_checkpoint(
    store: Store, path: Path, by_loop: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written into the database's own file, though a page in the log would be reason enough."""
    monkeypatch.setattr(connections, "CHECKPOINT_PAGES", 1)  # from when the connection is told next
    alice = await at_rest(store)
    before = path.stat().st_mtime_ns
    await store.admit(alice.intent())
    assert by_loop[-1] is True
    assert path.stat().st_mtime_ns == before
