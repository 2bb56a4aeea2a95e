"""Killed while it starts, while it upgrades an older ledger, while it takes in its spool: the next start mends it."""

from __future__ import annotations

import asyncio
import itertools
import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.accounts.reports import Reports
from app.core.keys import is_secret
from app.core.records import State
from app.store.database import spool_path
from app.store.engine import UTC, open_store
from app.store.migrate import HEAD
from app.store.spool import Spool
from tests.scenarios.gateway_process import GatewayProcess, gateway_process
from tests.scenarios.judgement import ledger_rows
from tests.store.entries import a_holder, settled

pytestmark = pytest.mark.scenario

NOWHERE = "http://127.0.0.1:9"
RELEASED = Path(__file__).parents[1] / "store/released/0.1.0.sql"

# What a first start makes, one after the other: it is killed as soon as each is there.
MADE = ["admin-token", "gateway.db", "gateway.db-wal", "gateway.db.spool"]

SETTLED = "SELECT count(*) FROM requests WHERE state = 'settled'"


async def until(gateway: GatewayProcess, happened: Callable[[], bool]) -> bool:
    """Waits for a moment in the life of a gateway; false if it was ready before."""
    async with asyncio.timeout(60):
        for look in itertools.count(1):
            if happened():
                return True
            assert gateway.process.returncode is None, gateway.log.read_text()[-3000:]
            if look % 50 == 0 and await gateway.is_ready():
                return happened()
            await asyncio.sleep(0.001)
    return False


async def assert_works(gateway: GatewayProcess) -> None:
    """Starts, is sound and takes a key; no half-made file lies about."""
    await gateway.start()
    assert gateway.ask_ledger("PRAGMA integrity_check") == ["ok"]
    assert gateway.ask_ledger("SELECT version_num FROM alembic_version") == [HEAD]
    assert is_secret(await gateway.create_key(f"key-{time.monotonic_ns()}"))
    assert await gateway.end() == 0
    assert [path.name for path in gateway.directory.iterdir() if path.name.endswith((".part", "-journal"))] == []


async def test_killed_in_its_first_starts(tmp_path: Path) -> None:
    """Each time at what it has just begun to make: the next start finds nothing half-made that it cannot use."""
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    async with gateway_process(tmp_path, NOWHERE) as gateway:
        del gateway.environment["IRG_ADMIN_TOKEN"]  # it makes its own
        for made in MADE:
            if not (tmp_path / made).exists():  # the one before may have come further than to its own
                await gateway.spawn()
                assert await until(gateway, (tmp_path / made).exists)
                await asyncio.sleep(chance.uniform(0, 0.01))
                await gateway.kill()
        await assert_works(gateway)


def older_ledger(path: Path, copies: int) -> int:
    """The ledger of a released version, each of its closed rows so many times: returns the rows there are."""
    connection = sqlite3.connect(path)
    connection.executescript(RELEASED.read_text("utf-8"))
    names = [row[1] for row in connection.execute("PRAGMA table_info(requests)")]
    changed = {
        "id": "substr(id, 1, 24) || printf('%06d', :copy)",
        "closed_seq": "closed_seq + 1000 * :copy",
        "response_id": "NULL",
        "upstream_request_id": "NULL",
    }
    copied = ", ".join(changed.get(name, name) for name in names)
    rows = "WHERE state <> 'open' AND closed_seq < 1000"
    for copy in range(1, copies):
        connection.execute(f"INSERT INTO requests SELECT {copied} FROM requests {rows}", {"copy": copy})
    counted = [row[1] for row in connection.execute("PRAGMA table_info(usage)") if row[2] == "INTEGER"]
    times = ", ".join(f"{name} = {name} * {copies}" for name in counted if name != "bucket_at")
    connection.execute(f"UPDATE usage SET {times} WHERE state <> 'open'")
    connection.commit()
    (count,) = connection.execute("SELECT count(*) FROM requests").fetchone()
    connection.close()
    return int(count)


async def test_killed_while_it_upgrades_an_older_ledger(tmp_path: Path) -> None:
    """Again and again, at the copy or in the steps: in the end the upgrade is whole, and so are copy and totals."""
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    copy, part = tmp_path / f"gateway.db.before-{HEAD}", tmp_path / f"gateway.db.before-{HEAD}.part"
    async with gateway_process(tmp_path, NOWHERE) as gateway:
        count = older_ledger(gateway.database, 600)
        for copied in (False, True, True):
            if gateway.ask_ledger("SELECT version_num FROM alembic_version") == [HEAD]:
                break  # it was quicker than the kill
            copy.unlink(missing_ok=True)
            await gateway.spawn()
            assert await until(gateway, lambda copied=copied: copy.exists() or (part.exists() and not copied))  # type: ignore[misc]
            await asyncio.sleep(chance.uniform(0, 0.1) if copied else 0)
            await gateway.kill()
        await assert_works(gateway)
        rows = await ledger_rows(gateway.database)
        assert len(rows) == count
        assert {row.state for row in rows} == {State.SETTLED, State.FREE, State.UNKNOWN}
        connection = sqlite3.connect(copy)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)
        assert connection.execute("SELECT count(*) FROM requests").fetchone() == (count,)
        connection.close()


async def spooled_ledger(path: Path, count: int) -> set[str]:
    """A ledger with so many open rows of a process that is dead, and a spool that holds the end of each."""
    store = await open_store(path)
    alice = await a_holder(store)
    intents = [alice.intent() for _ in range(count)]
    await asyncio.gather(*(store.admit(intent) for intent in intents))
    await store.aclose()
    spool = Spool(spool_path(path))
    spool.append([settled(intent.request_id) for intent in intents])
    spool.close()
    return {intent.request_id for intent in intents}


async def test_killed_while_it_takes_in_its_spool(tmp_path: Path) -> None:
    """Half of it in the ledger, all of it in the spool: each settlement counts once, and none is taken for lost."""
    async with gateway_process(tmp_path, NOWHERE) as gateway:
        asked = await spooled_ledger(gateway.database, 2500)
        taken: list[int] = []
        for share in (1, 1500):
            await gateway.spawn()
            await until(gateway, lambda share=share: gateway.ask_ledger(SETTLED)[0] >= share)  # type: ignore[misc]
            await gateway.kill()
            taken += gateway.ask_ledger(SETTLED)
        print("killed with so many of 2500 taken in:", taken)
        await assert_works(gateway)
        rows = await ledger_rows(gateway.database)
        assert {row.id for row in rows} == asked
        assert {row.state for row in rows} == {State.SETTLED}
        store = await open_store(gateway.database)
        usage = (await Reports(store, zone=UTC).usage(Reports(store, zone=UTC).period(last="2d"))).total
        await store.aclose()
        assert (usage.requests, usage.true_cost_picodollars) == (2500, 2500 * 12_300_000)
