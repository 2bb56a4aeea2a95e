"""Upgrade and the way back: the ledger of every released version opens, and a copy is made before it is changed."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from app.accounts.reports import Reports
from app.core.clock import from_ms
from app.core.holds import Billing
from app.core.limits import Limits
from app.core.owners import KeyFilter
from app.core.records import State
from app.core.views import RequestFilter, RequestRecord
from app.core.windows import Period
from app.store.connections import WritingConnection
from app.store.desk import Desk
from app.store.engine import open_store
from app.store.migrate import HEAD, migrate
from app.store.port import UpgradeFailed
from app.store.queries import list_keys

# Each is the dump of a ledger that its version filled: every kind of end, two teams' keys, one request still open.
RELEASED = sorted((Path(__file__).parent / "released").glob("*.sql"))
YEAR = Period(from_ms(1_767_225_600_000), from_ms(1_798_761_600_000))  # 2026


@pytest.fixture(params=RELEASED, ids=lambda dump: str(dump.stem))
def released(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The database of a released version, as that version left it."""
    path = tmp_path / "gateway.db"
    connection = sqlite3.connect(path)
    connection.executescript(request.param.read_text("utf-8"))
    connection.close()
    return path


def content(path: Path, *tables: str) -> dict[str, list[tuple[object, ...]]]:
    connection = sqlite3.connect(path)
    try:
        return {table: connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in tables}
    finally:
        connection.close()


def revision(path: Path) -> object:
    ((found,),) = content(path, "alembic_version")["alembic_version"]
    return found


ALL = ("requests", "keys", "teams", "key_secrets", "usage", "responses", "instances", "alembic_version")


async def test_the_ledger_of_a_released_version_opens_with_everything_in_it(released: Path) -> None:
    """Every closed row, key and total is as it was; what was open is unknown; the proof adds up."""
    before = {row[0]: row for row in content(released, "requests")["requests"]}
    store = await open_store(released)
    reports = Reports(store, zone=ZoneInfo("UTC"))
    year = RequestFilter(from_at=YEAR.from_at, to_at=YEAR.to_at)
    entries = [entry async for some in reports.export(year) for entry in some]
    rows = {row.id: row for row in entries if isinstance(row, RequestRecord)}
    assert rows.keys() == before.keys()
    lost = [row for row in rows.values() if row.unknown_reason == "instance_lost"]
    assert [row.model for row in lost] == ["sim/slow:3000"]
    assert {row.state for row in rows.values()} == {State.SETTLED, State.FREE, State.UNKNOWN}
    assert sum(row.true_cost_picodollars or 0 for row in rows.values()) > 0
    assert (await reports.verify()).ok
    keys = await store.read(list_keys, KeyFilter(), None, 10, from_ms(1_797_000_000_000))
    assert [(key.name, key.team, key.state) for key in keys.items] == [
        ("alice", "research", "active"),
        ("bob", None, "active"),
        ("gone", None, "revoked"),
    ]
    await store.aclose()
    assert revision(released) == HEAD


async def test_the_copy_is_the_ledger_as_it_was(released: Path) -> None:
    """Whole, for its owner alone; with it in the ledger's place everything is as before the upgrade."""
    old, before = revision(released), content(released, *ALL)
    await (await open_store(released)).aclose()
    copy = released.with_name(f"gateway.db.before-{HEAD}")
    if old == HEAD:  # the newest release has nothing to upgrade
        assert not copy.exists()
        return
    assert content(copy, *ALL) == before
    assert copy.stat().st_mode & 0o077 == 0
    assert not copy.with_name(copy.name + ".part").exists()
    copy.replace(released)
    await (await open_store(released)).aclose()
    assert content(copy, *ALL) == before


async def test_the_last_minute_of_who_has_limits_stays(tmp_path: Path) -> None:
    """A full minute, a step alone, none: each owner finds what it had done, and may do as much as before."""
    path, now_ms = tmp_path / "gateway.db", 1_797_000_000_000
    await (await open_store(path)).aclose()
    minutes = {
        "gateway": [[now_ms - 1000 * ago, 2, 30 * ago] for ago in range(59, -1, -1)],
        "key_1": [[now_ms - 500, 3, 0]],
        "key_2": [],
    }
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(BEFORE_MINUTES)
        rows = [(owner, 200, None, 7, 3, 40, json.dumps(steps)) for owner, steps in minutes.items()]
        connection.executemany("INSERT INTO limits VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        connection.commit()
    with contextlib.closing(WritingConnection(path, "process")) as writing:
        migrate(writing.sql, path)
        desk = Desk(writing.sql, ZoneInfo("UTC"), Billing.CHARGED)
        desk.load(dict.fromkeys(minutes, ""), now_ms, from_ms(now_ms))
        found = {one.owner_id: one for one in desk.of(*minutes).standings}
    assert {owner: one.rate.steps for owner, one in found.items()} == minutes
    assert {(one.limits, one.running, one.running_tokens) for one in found.values()} == {(Limits(200, None, 7), 3, 40)}
    assert revision(path) == HEAD


@pytest.mark.parametrize(
    "steps", ["", "null", "7", "{}", "[[1]]", "[[1, 2, 3, 4]]", "[[1, 2.5, 3]]", f"[[{1 << 63}, 1, 1]]"]
)
async def test_a_minute_that_cannot_be_read_is_one_without_requests(tmp_path: Path, steps: str) -> None:
    """It would be over in a minute; the limits stay."""
    path = tmp_path / "gateway.db"
    await (await open_store(path)).aclose()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(BEFORE_MINUTES)
        connection.execute("INSERT INTO limits VALUES ('gateway', 5, NULL, NULL, 0, 0, ?)", [steps])
        connection.commit()
    await (await open_store(path)).aclose()
    assert content(path, "limits", "minutes") == {
        "limits": [("gateway", 5, None, None, 0, 0, 0, 0, 0)],
        "minutes": [("gateway", "[]")],
    }


# The tables of limits as schema 0013 had them.
BEFORE_MINUTES = """
DROP TABLE minutes;
DROP TABLE limits;
CREATE TABLE limits (
    owner_id TEXT NOT NULL, rpm INTEGER, tpm INTEGER, concurrency INTEGER, running INTEGER NOT NULL,
    running_tokens INTEGER NOT NULL, steps TEXT NOT NULL, PRIMARY KEY (owner_id)
) STRICT, WITHOUT ROWID;
UPDATE alembic_version SET version_num = '0013';
"""


async def test_constraints_hold_behind_an_upgrade(released: Path) -> None:
    """The one whose words changed refuses what it refused before."""
    store = await open_store(released)
    await store.aclose()
    with sqlite3.connect(released) as connection:
        ((table,),) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'requests'")
        assert "state IN" not in table
        for state in ("closing", "", "OPEN"):
            with pytest.raises(sqlite3.IntegrityError, match="requests_state"):
                connection.execute("UPDATE requests SET state = ?, closed_seq = 10000", [state])
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_where_no_text_may_be_changed_the_constraint_stays(released: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build of SQLite may be in its defensive mode: nothing is lost but time."""
    forbidden = sa.exc.OperationalError(
        "UPDATE sqlite_master …", {}, sqlite3.OperationalError("table sqlite_master may not be modified")
    )
    run = sa.Connection.execute

    def defensive(connection: sa.Connection, statement: Any, *rest: Any, **more: Any) -> Any:
        if "UPDATE sqlite_master" in str(statement):
            raise forbidden
        return run(connection, statement, *rest, **more)

    monkeypatch.setattr(sa.Connection, "execute", defensive)
    with contextlib.closing(WritingConnection(released, "process")) as writing:
        migrate(writing.sql, released)
    assert revision(released) == HEAD
    with sqlite3.connect(released) as connection:
        assert connection.execute("PRAGMA writable_schema").fetchone() == (0,)
        with pytest.raises(sqlite3.IntegrityError, match="requests_state"):
            connection.execute("UPDATE requests SET state = 'closing', closed_seq = 10000")


async def test_the_readmes_way_back_works(released: Path, tmp_path: Path) -> None:
    """As it is written there, beside copies of earlier upgrades; what was booked since is never lost."""
    old, before = revision(released), content(released, *ALL)
    if old == HEAD:
        return
    data = tmp_path / "place" / "data"
    data.mkdir(parents=True)
    path = released.rename(data / "gateway.db")
    await (await open_store(path)).aclose()
    (data / "gateway.db.before-0000").write_bytes(b"of an upgrade before")
    (data / f"gateway.db.before-{HEAD}.part").write_bytes(b"of one that was killed")
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    (command,) = [line for line in readme.splitlines() if line.startswith("(cd data && ")]
    subprocess.run(["sh", "-c", command], cwd=data.parent, check=True)
    assert content(path, *ALL) == before
    assert revision(data / "newer" / "gateway.db") == HEAD
    assert subprocess.run(["sh", "-c", command], cwd=data.parent, check=False).returncode != 0
    assert content(path, *ALL) == before
    assert revision(data / "newer" / "gateway.db") == HEAD


async def test_without_room_for_the_copy_nothing_is_changed(released: Path) -> None:
    """The sentence says how much room is wanted, and the older version goes on."""
    if revision(released) == HEAD:
        return
    before = content(released, *ALL)
    (released.with_name(f"gateway.db.before-{HEAD}.part")).mkdir()
    with pytest.raises(UpgradeFailed, match=r"copied to gateway\.db\.before-\d+ .* Nothing was changed.* bytes"):
        await open_store(released)
    assert content(released, *ALL) == before


async def test_an_upgrade_that_fails_half_way_changes_nothing(released: Path) -> None:
    """All steps are one transaction: the older version still opens what is left."""
    if revision(released) == HEAD:
        return
    connection = sqlite3.connect(released)
    connection.execute("CREATE TABLE catalog (it TEXT)")  # in the way of a step
    connection.commit()
    connection.close()
    before = content(released, *ALL)
    with pytest.raises(UpgradeFailed, match=r"could not be upgraded .*catalog already exists.* Nothing was changed"):
        await open_store(released)
    assert content(released, *ALL) == before


def test_a_disk_that_is_full_during_the_upgrade_is_told(released: Path) -> None:
    """As what it is; the ledger is whole, and neither it nor its copy needs to be mended."""
    if revision(released) == HEAD:
        return
    before = content(released, *ALL)
    writing = WritingConnection(released, "process")
    writing.raw.execute("PRAGMA max_page_count = 1")  # no page more than there are
    with pytest.raises(UpgradeFailed, match=r"database or disk is full.* Nothing was changed"):
        migrate(writing.sql, released)
    writing.close()
    assert content(released, *ALL) == before
