"""A request that is the only one is written in the loop's own thread, which waits for no disk and no lock there; all
else in the writer's. What is written is the same."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app.core.records import Admitted, Refused, State
from app.store import connections, writer
from app.store.batch import LedgerBatch
from app.store.connections import CHECKPOINT_PAGES
from app.store.database import Database
from app.store.engine import SqliteStore, open_store
from app.store.operations import Operation
from app.store.port import LedgerUnavailable, Store
from app.store.writer import Writer
from tests.store.entries import Elsewhere, Holder, a_holder, row, rows, settled


class Seen:
    """The transactions that were begun. `by_loop`: whether the loop made it; `began_log`: whether the write-ahead log
    began anew with it, which waits for the disk."""

    def __init__(self, path: Path) -> None:
        self.by_loop: list[bool] = []
        self.began_log: list[bool] = []
        self._log = path.with_name(path.name + "-wal")

    def checkpoints(self) -> bytes:
        """As many as there were when the log began (sqlite.org/walformat.html)."""
        if not self._log.exists():
            return b""
        with self._log.open("rb") as log:
            return log.read(16)[12:]


@pytest.fixture
def seen(path: Path, monkeypatch: pytest.MonkeyPatch) -> Seen:
    seen, transaction, loop_thread = Seen(path), Database.transaction, threading.get_ident()

    @contextlib.contextmanager
    def noted(self: Database, *, patient: bool = True) -> Iterator[LedgerBatch]:
        seen.by_loop.append(threading.get_ident() == loop_thread)
        before = seen.checkpoints()
        with transaction(self, patient=patient) as batch:
            yield batch
        seen.began_log.append(seen.checkpoints() != before)

    monkeypatch.setattr(Database, "transaction", noted)
    monkeypatch.setattr(writer, "ALONE_SECONDS_MAX", 60)  # the machine may be busy
    return seen


@pytest.fixture
def by_loop(seen: Seen) -> list[bool]:
    return seen.by_loop


async def at_rest(store: Store) -> Holder:
    """Somebody with a key, in a ledger whose writer has done what it does at its start."""
    holder = await a_holder(store)
    await store.change(lambda connection: None)
    return holder


async def test_a_request_alone_is_written_by_the_loop(store: Store, by_loop: list[bool]) -> None:
    """Both of its commits."""
    alice = await at_rest(store)
    by_loop.clear()
    for _ in range(3):
        intent = alice.intent()
        assert isinstance(await store.admit(intent), Admitted)
        await store.settle(settled(intent.request_id), 5)
        assert (await row(store, intent.request_id)).state is State.SETTLED
    assert by_loop == [True] * 6


async def test_beside_an_open_request_the_other_thread_writes(store: Store, by_loop: list[bool]) -> None:
    """The first is admitted alone; beside it the thread writes; the last that is open is settled alone."""
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


async def test_behind_a_refusal_a_request_is_alone(store: Store, by_loop: list[bool]) -> None:
    alice = await at_rest(store)
    by_loop.clear()
    stranger = replace(alice.intent(), secret_hash="0" * 64)
    assert isinstance(await store.admit(stranger), Refused)
    assert isinstance(await store.admit(alice.intent()), Admitted)
    assert by_loop == [True, True]


async def test_behind_one_that_was_admitted_for_nobody_a_request_is_alone(store: Store, by_loop: list[bool]) -> None:
    """Its client left when the answer was there already, and was not taken: the row is closed, nothing is open."""
    alice = await at_rest(store)
    kept = alice.intent()
    await store.admit(kept)
    asked = asyncio.ensure_future(store.admit(alice.intent()))
    await asyncio.sleep(0)
    operations: list[Operation] = []
    deliver = Writer._deliver
    with pytest.MonkeyPatch.context() as patch:

        def leave_then(self: Writer, answered: list[Operation], done: int = 0) -> None:
            operations.extend(answered)
            deliver(self, answered, done)
            asked.cancel()

        patch.setattr(Writer, "_deliver", leave_then)
        with pytest.raises(asyncio.CancelledError):
            await asked
    assert [isinstance(one.result, Admitted) for one in operations] == [True]
    await store.settle(settled(kept.request_id), 5)
    await store.change(lambda connection: None)  # behind the closing of the row
    by_loop.clear()
    await store.admit(alice.intent())
    assert by_loop == [True]


async def test_what_is_queued_comes_first(store: Store, by_loop: list[bool]) -> None:
    alice = await at_rest(store)
    intent = alice.intent()
    by_loop.clear()
    changing = asyncio.ensure_future(store.change(lambda connection: None))
    await asyncio.sleep(0)  # it is gathered
    await asyncio.sleep(0)  # it is handed over; the thread may have taken it already
    admitting = asyncio.ensure_future(store.admit(intent))
    await asyncio.gather(changing, admitting)
    assert by_loop[0] is False


async def test_a_heartbeat_that_is_due_is_the_other_threads(store: Store, by_loop: list[bool]) -> None:
    """Or an instance whose requests come one at a time would seem dead, and its days never be summed up."""
    assert isinstance(store, SqliteStore)
    alice = await at_rest(store)
    store._writer._beat_at = 0.0  # long ago
    by_loop.clear()
    intent = alice.intent()
    await store.admit(intent)
    await store.settle(settled(intent.request_id), 5)
    assert by_loop == [False, True]


async def test_a_change_is_the_other_threads(store: Store, by_loop: list[bool]) -> None:
    await at_rest(store)
    by_loop.clear()
    await store.change(lambda connection: None)
    assert by_loop == [False]


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
    """Behind a commit of the loop's that took long the other thread writes, until the next heartbeat at least."""
    monkeypatch.setattr(writer, "ALONE_SECONDS_MAX", 0)
    alice = await at_rest(store)
    by_loop.clear()
    intent = alice.intent()
    await store.admit(intent)
    await store.settle(settled(intent.request_id), 5)
    await store.admit(alice.intent())
    assert by_loop == [True, False, False]


async def test_beside_an_answer_that_is_not_delivered_yet_the_other_thread_writes(
    store: Store, by_loop: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is committed, and its request open, before its future tells the loop of it."""
    alice = await at_rest(store)
    first = alice.intent()
    await store.admit(first)
    held: list[Callable[[], None]] = []
    deliver = Writer._deliver
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Writer, "_deliver", lambda *answer: held.append(lambda: deliver(*answer)))
        asked = asyncio.ensure_future(store.admit(alice.intent()))
        async with asyncio.timeout(10):
            while not held:
                await asyncio.sleep(0.001)
    await store.settle(settled(first.request_id), 5)
    assert by_loop[-1] is False
    held[0]()
    assert isinstance(await asked, Admitted)


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
