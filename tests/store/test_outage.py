"""The database locked, full, or gone: nothing settled is lost, nothing new is taken, and it comes back by itself."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.accounts.keyring import Keyring
from app.core.records import Admitted, State
from app.store import engine, writer
from app.store.engine import open_store
from app.store.port import LedgerUnavailable, Store
from app.store.spool import Spool
from tests.store.entries import Elsewhere, a_holder, crashed_copy, row, rows, settled


async def until(condition: Callable[[], bool], timeout: float = 10) -> None:
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.01)


def spooled(path: Path) -> int:
    spool = Spool(path.with_name(path.name + ".spool"))
    try:
        return len(spool.entries())
    finally:
        spool.close()


async def test_a_locked_database_refuses_new_requests_quickly(store: Store, path: Path) -> None:
    """`LedgerUnavailable` in about a second, also when many ask; red meanwhile; green by itself without any traffic."""
    alice = await a_holder(store)
    elsewhere = Elsewhere(path)
    started = time.monotonic()
    results = await asyncio.gather(*(store.admit(alice.intent()) for _ in range(50)), return_exceptions=True)
    assert time.monotonic() - started < 3
    assert {type(result) for result in results} == {LedgerUnavailable}
    with pytest.raises(LedgerUnavailable):
        await Keyring(store).create_team("blue")
    assert not store.healthy
    elsewhere.let_go()
    await until(lambda: store.healthy)
    assert await rows(store) == {}
    assert isinstance(await store.admit(alice.intent()), Admitted)


async def test_a_writer_that_hangs_is_not_waited_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that answers nothing at all: the request is refused in time; if it was written in the end, it is free."""
    monkeypatch.setattr(engine, "ADMIT_WAIT_SECONDS", 0.2)
    alice = await a_holder(store)
    back = threading.Event()
    hanging = asyncio.ensure_future(store.change(lambda connection: back.wait(20)))
    await asyncio.sleep(0)
    started = time.monotonic()
    with pytest.raises(LedgerUnavailable):
        await store.admit(alice.intent())
    assert time.monotonic() - started < 5
    back.set()
    assert await hanging
    for _ in range(2):  # behind the closing of what was admitted for nobody
        await store.change(lambda connection: None)
    assert {found.state for found in (await rows(store)).values()} <= {State.FREE}


async def test_a_writer_at_work_is_waited_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind many others a request waits longer than a hanging disk gets: it is written, not refused."""
    monkeypatch.setattr(engine, "ADMIT_WAIT_SECONDS", 0.4)
    monkeypatch.setattr(writer, "BATCH_OPERATIONS_MAX", 1)
    alice = await a_holder(store)
    started = time.monotonic()
    others = [asyncio.ensure_future(store.change(lambda connection: time.sleep(0.1))) for _ in range(10)]
    await asyncio.sleep(0)
    assert isinstance(await store.admit(alice.intent()), Admitted)
    assert time.monotonic() - started > 0.8
    await asyncio.gather(*others)


async def test_a_settlement_waits_then_goes_to_the_spool_then_to_the_database(store: Store, path: Path) -> None:
    """It is on the disk when settle returns; when the database is back, the row is closed once and the spool empty."""
    alice = await a_holder(store)
    intents = [alice.intent() for _ in range(5)]
    await asyncio.gather(*(store.admit(intent) for intent in intents))
    elsewhere = Elsewhere(path)
    started = time.monotonic()
    await asyncio.gather(*(store.settle(settled(intent.request_id), 0.6) for intent in intents))
    assert 0.6 <= time.monotonic() - started < 5
    assert spooled(path) == 5
    assert not store.healthy
    assert {found.state for found in (await rows(store)).values()} == {State.OPEN}  # reading goes on
    elsewhere.let_go()
    await until(lambda: store.healthy)
    assert spooled(path) == 0
    assert {found.state for found in (await rows(store)).values()} == {State.SETTLED}


async def test_a_short_lock_costs_a_settlement_only_time(store: Store, path: Path) -> None:
    """Within its wait the database came back: the spool is never used."""
    alice = await a_holder(store)
    intent = alice.intent()
    await store.admit(intent)
    elsewhere = Elsewhere(path)
    settling = asyncio.ensure_future(store.settle(settled(intent.request_id), 30))
    await until(lambda: not store.healthy)
    elsewhere.let_go()
    await settling
    assert (await row(store, intent.request_id)).state is State.SETTLED
    assert spooled(path) == 0


async def test_what_was_spooled_survives_a_crash(store: Store, path: Path, tmp_path: Path) -> None:
    """Spooled while locked, then killed: the next start books the cost; rows nobody settled become unknown."""
    alice = await a_holder(store)
    known, lost = alice.intent(), alice.intent()
    await store.admit(known)
    await store.admit(lost)
    elsewhere = Elsewhere(path)
    await store.settle(settled(known.request_id), 0)
    copy = crashed_copy(path, tmp_path / "crashed")
    elsewhere.let_go()
    again = await open_store(copy)
    found = await rows(again)
    assert (found[known.request_id].state, found[known.request_id].true_cost_raw) == (State.SETTLED, "0.0000123")
    assert (found[lost.request_id].state, found[lost.request_id].unknown_reason) == (State.UNKNOWN, "instance_lost")
    assert again.healthy
    await again.aclose()
    assert spooled(copy) == 0


async def test_a_store_that_closes_during_an_outage_leaves_its_settlements_in_the_spool(path: Path) -> None:
    """Also those whose caller has left, and whose wait was not over."""
    store = await open_store(path)
    alice = await a_holder(store)
    intents = [alice.intent() for _ in range(3)]
    await asyncio.gather(*(store.admit(intent) for intent in intents))
    elsewhere = Elsewhere(path)
    settling = [asyncio.ensure_future(store.settle(settled(intent.request_id), 600)) for intent in intents]
    await until(lambda: not store.healthy)
    settling[0].cancel()
    await store.aclose()
    await asyncio.gather(*settling[1:])
    elsewhere.let_go()
    assert spooled(path) == 3
    again = await open_store(path)
    assert {found.state for found in (await rows(again)).values()} == {State.SETTLED}
    await again.aclose()


async def test_a_full_disk_refuses_requests_and_loses_no_settlement(store: Store, path: Path) -> None:
    """With no page left: admissions are refused, settlements are booked or spooled; with room again all is well."""
    alice = await a_holder(store)
    intents = [alice.intent() for _ in range(200)]
    for intent in intents:
        await store.admit(intent)
    used: int = await store.change(lambda connection: connection.exec_driver_sql("PRAGMA page_count").scalar())
    await store.change(lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count = {used}").scalar())
    settlements = [settled(intent.request_id, reading={"model_answered": "m" * 500}) for intent in intents]
    await asyncio.gather(*(store.settle(settlement, 0) for settlement in settlements))
    assert spooled(path) > 0
    refused = 0
    for _ in range(40):
        try:
            await store.admit(alice.intent())
        except LedgerUnavailable:
            refused += 1
    assert refused > 0
    await store.change(lambda connection: connection.exec_driver_sql("PRAGMA max_page_count = 1000000").scalar())
    await until(lambda: store.healthy)
    found = await rows(store)
    assert {found[intent.request_id].state for intent in intents} == {State.SETTLED}
    assert len(found) == 240 - refused


async def test_a_database_moved_away_is_not_written_any_more(store: Store, path: Path, tmp_path: Path) -> None:
    """What would be written into a removed file would be gone with it; put back, it goes on."""
    alice = await a_holder(store)
    intent = alice.intent()
    await store.admit(intent)
    path.rename(tmp_path / "elsewhere.db")
    with pytest.raises(LedgerUnavailable):
        await store.admit(alice.intent())
    await store.settle(settled(intent.request_id), 0)
    assert spooled(path) == 1
    assert not path.exists()
    (tmp_path / "elsewhere.db").rename(path)
    await until(lambda: store.healthy)
    assert (await row(store, intent.request_id)).state is State.SETTLED


async def test_another_file_in_its_place_is_not_taken_for_it(store: Store, path: Path) -> None:
    """A file that was put there meanwhile has other rows: nothing is written into it."""
    alice = await a_holder(store)
    path.rename(path.with_name("before.db"))
    path.write_bytes(b"")
    with pytest.raises(LedgerUnavailable):
        await store.admit(alice.intent())
    assert path.read_bytes() == b""
