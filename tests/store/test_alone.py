"""A request that is the only one is written in the loop's own thread, all else in the writer's: the same is written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from app.core.records import Admitted, Refused, State
from app.core.value import replace
from app.store.batch import LedgerBatch
from app.store.engine import SqliteStore
from app.store.operations import Operation
from app.store.port import LedgerUnavailable, Store
from app.store.writer import Writer
from tests.store.entries import row, rows, settled
from tests.store.turns import at_rest


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
