"""Opening a ledger: made, migrated, recovered; and every way in which that can fail, in words."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine

from app.core.clock import now
from app.core.holds import Counting
from app.core.records import Outcome, State
from app.store.calendar import Calendar
from app.store.connections import make_file, reading_engine
from app.store.database import Database
from app.store.engine import open_store
from app.store.migrate import HEAD, MIGRATIONS, migrate
from app.store.port import BadDatabaseUrl, LedgerLost, LedgerUnavailable, SchemaTooNew, Store
from app.store.queries import list_keys
from app.store.schema import metadata
from app.store.spool import Spool
from tests.store.entries import a_holder, crashed_copy, row, rows, settled


def ask(path: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path, timeout=5)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


@pytest.mark.usefixtures("real_migrations")
async def test_the_migrations_make_the_tables_that_the_code_knows(store: Store, path: Path) -> None:
    """Column by column, index by index and trigger by trigger: a migrated database is what the schema says."""
    query = "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE '%alembic%' ORDER BY type, name"
    fresh = create_engine("sqlite://")
    with fresh.connect() as connection:
        metadata.create_all(connection)
        expected = [tuple(found) for found in connection.exec_driver_sql(query)]

    def parts(found: list[tuple[object, ...]]) -> list[tuple[object, object, list[str]]]:
        """The statements, with the order of columns and constraints, and all white space, left aside."""
        cut = re.compile(r",(?![^()]*\))")  # not within an expression
        plain = [(kind, name, [str(sql)]) for kind, name, sql in found if kind == "trigger"]
        bodies = [
            (kind, name, str(sql).partition("(")[2].rpartition(")")) for kind, name, sql in found if kind != "trigger"
        ]
        return plain + [
            (kind, name, [*sorted(" ".join(part.split()) for part in cut.split(body)), " ".join(options.split())])
            for kind, name, (body, _, options) in bodies
        ]

    assert parts(ask(path, query)) == parts(expected)
    fresh.dispose()


def test_the_head_is_the_newest_migration() -> None:
    """An up-to-date database is told by this constant, without Alembic."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


async def test_an_up_to_date_ledger_opens_quickly_and_without_alembic(path: Path) -> None:
    """So that short commands are quick: a tenth of a second's work, once the program itself is loaded."""
    await (await open_store(path)).aclose()
    script = f"""
import asyncio, sys, time
from pathlib import Path
from app.store.engine import open_store
async def main():
    started = time.process_time()
    store = await open_store(Path({str(path)!r}))
    took = time.process_time() - started
    await store.aclose()
    return took
took = min(asyncio.run(main()) for _ in range(3))
print(took, "alembic" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    took, alembic = ran.stdout.split()
    assert alembic == "False"
    assert float(took) < 0.1


async def test_a_database_of_a_newer_version_is_refused_and_left_alone(path: Path) -> None:
    """The sentence names both schemas and what to do."""
    await (await open_store(path)).aclose()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    with pytest.raises(SchemaTooNew, match=r"schema 9999.*newer"):
        await open_store(path)
    assert ask(path, "SELECT version_num FROM alembic_version") == [("9999",)]


@pytest.mark.parametrize("content", [b"this is no database, but it is long enough to look at" * 40])
async def test_a_file_that_is_no_database_is_refused_in_words(path: Path, content: bytes) -> None:
    """It is named and left as it is; the lock is free again."""
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    for _ in range(2):
        with pytest.raises(BadDatabaseUrl, match=r"gateway\.db cannot be opened as a ledger"):
            await open_store(path)
    assert path.read_bytes() == content


async def test_a_place_that_cannot_be_used_is_refused_in_words(tmp_path: Path) -> None:
    """A file where a directory should be, a directory where the file should be."""
    (tmp_path / "file").write_text("")
    (tmp_path / "directory.db").mkdir()
    for path in (tmp_path / "file" / "gateway.db", tmp_path / "directory.db"):
        with pytest.raises(BadDatabaseUrl, match="IRG_DATABASE_URL"):
            await open_store(path)


async def test_only_its_owner_may_read_the_ledger(store: Store, path: Path) -> None:
    """Nor look into the directory that was made for it."""
    for file in (path.parent, *path.parent.iterdir()):
        assert file.stat().st_mode & 0o077 == 0, file.name


async def test_rows_that_a_dead_process_left_open_become_unknown(store: Store, path: Path, tmp_path: Path) -> None:
    """Never free: they may have been billed. Closed rows stay as they are, a late cost is ignored."""
    alice = await a_holder(store)
    done, lost = alice.intent(), alice.intent()
    for intent in (done, lost):
        await store.admit(intent)
    await store.settle(settled(done.request_id), 1)
    again = await open_store(crashed_copy(path, tmp_path / "crashed"))
    found = await row(again, lost.request_id)
    assert (found.state, found.outcome, found.unknown_reason) == (State.UNKNOWN, Outcome.SHUT_DOWN, "instance_lost")
    assert found.closed_at is not None
    assert await row(again, done.request_id) == await row(store, done.request_id)
    await again.settle(settled(lost.request_id), 1)
    assert await row(again, lost.request_id) == found
    await again.aclose()


async def test_a_spooled_cost_wins_over_a_lost_instance(store: Store, path: Path, tmp_path: Path) -> None:
    """The spool is applied before what is open is given up; one that is in the database already changes nothing."""
    alice = await a_holder(store)
    intents = [alice.intent() for _ in range(3)]
    for intent in intents:
        await store.admit(intent)
    await store.settle(settled(intents[0].request_id, "0.25"), 1)
    copy = crashed_copy(path, tmp_path / "crashed")
    spool = Spool(copy.with_name("gateway.db.spool"))
    spool.append([settled(intent.request_id, "0.5") for intent in intents[:2]])
    spool.close()
    again = await open_store(copy)
    found = await rows(again)
    assert [found[intent.request_id].true_cost_raw for intent in intents] == ["0.25", "0.5", None]
    await again.aclose()


async def test_an_entry_that_can_never_be_written_is_put_aside(store: Store, path: Path, tmp_path: Path) -> None:
    """It does not keep its neighbours, nor the gateway, from starting."""
    alice = await a_holder(store)
    good, bad = alice.intent(), alice.intent()
    for intent in (good, bad):
        await store.admit(intent)
    copy = crashed_copy(path, tmp_path / "crashed")
    spool = Spool(copy.with_name("gateway.db.spool"))
    spool.append([settled(bad.request_id, duration_ms=2**62 * 2 - 1, status=2**63 - 1), settled(good.request_id)])
    spool.close()
    meddler = sqlite3.connect(copy)
    meddler.execute(
        "CREATE TRIGGER poison BEFORE UPDATE ON requests WHEN new.status > 599 BEGIN SELECT raise(ABORT, 'no'); END"
    )
    meddler.commit()
    meddler.close()
    again = await open_store(copy)
    found = await rows(again)
    assert found[good.request_id].state is State.SETTLED
    assert found[bad.request_id].unknown_reason == "instance_lost"
    assert again.healthy
    await again.aclose()
    assert bad.request_id.encode() in copy.with_name("gateway.db.spool.rejected").read_bytes()


async def test_instances_say_when_they_began_and_ended_and_are_forgotten_in_time(path: Path) -> None:
    """One row per opening; those that ended a month ago are removed."""
    at = datetime(2026, 11, 1, tzinfo=UTC)
    for days in (0, 1, 40):
        moment = at + timedelta(days=days)
        store = await open_store(path, clock=lambda moment=moment: moment)  # type: ignore[misc]
        await store.aclose()
    begun = ask(path, "SELECT started_at, ended_at FROM instances ORDER BY started_at")
    assert len(begun) == 1
    assert begun[0][1] is not None


async def test_a_closed_store_takes_nothing_and_says_so(path: Path) -> None:
    """`LedgerUnavailable` for requests, changes and reports; a settlement that comes too late is `LedgerLost`."""
    store = await open_store(path)
    alice = await a_holder(store)
    intent = alice.intent()
    await store.admit(intent)
    await store.aclose()
    await store.aclose()
    assert not store.healthy
    with pytest.raises(LedgerUnavailable):
        await store.admit(alice.intent())
    with pytest.raises(LedgerUnavailable):
        await store.change(lambda connection: None)
    with pytest.raises(LedgerUnavailable):
        await store.read(list_keys)
    with pytest.raises(LedgerLost):
        await store.settle(settled(intent.request_id), 1)


async def test_a_directory_is_made_and_a_strange_name_is_no_matter(tmp_path: Path) -> None:
    """Question marks, spaces, percent signs and umlauts in a path are part of it."""
    path = tmp_path / "ä b?c%20" / "gate#way.db"
    started = time.time()
    store = await open_store(path)
    alice = await a_holder(store)
    await store.admit(alice.intent())
    await store.aclose()
    assert path.stat().st_mtime >= started - 1
    assert ask(path, "SELECT count(*) FROM requests") == [(1,)]


def test_only_the_writer_keeps_temporary_things_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also behind a connection that was lost; but not before the migrations. Who reads whole ledgers sorts in files."""

    def migrated(connection: Connection, path: Path) -> None:
        assert connection.exec_driver_sql("PRAGMA temp_store").scalar() == 0
        migrate(connection, path)

    monkeypatch.setattr("app.store.database.migrate", migrated)
    path = tmp_path / "gateway.db"
    make_file(path)
    database = Database(path, "process", Calendar(now, ZoneInfo("UTC"), Counting()))
    reading = reading_engine(path)
    try:
        for _ in range(2):
            assert database.connection.raw.execute("PRAGMA temp_store").fetchone() == (2,)  # memory
            database.connection.close()
        with reading.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA temp_store").scalar() == 0
    finally:
        reading.dispose()
        database.close()
