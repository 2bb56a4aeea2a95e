"""Costs and ids by stretches: what is found is what a look at each row finds, whatever is closed, undone, let go of."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import ColumnElement, Connection, Table, create_engine, delete, func, insert, select

from app.accounts.verification import Verifier
from app.core.views import Difference
from app.store.connections import WritingConnection
from app.store.engine import open_store
from app.store.migrate import migrate
from app.store.schema import metadata, requests
from app.store.schema_limits import minutes
from app.store.schema_stretches import BY_STRETCH
from app.store.schema_stretches import stretches as kept
from app.store.stretches import STRETCH, Stretches, ids_where, let_go_of
from app.store.verify_search import differences_in, verify_stretches
from tests.bench.synthetic import Shape, make
from tests.store.by_stretch import wrong
from tests.store.entries import a_holder, settled

COSTS = [None, 0, 1, 5, 2**62]
IDS = [None, "a", "ab", "b"]

OLD_INDICES = {
    "requests_true_cost": "true_cost",
    "requests_response": "response_id",
    "requests_upstream": "upstream_request_id",
}

VALUES = st.tuples(st.sampled_from(COSTS), st.sampled_from(IDS), st.sampled_from(IDS))


@dataclass(frozen=True)
class LetGo:
    """Of so many rows, the oldest ones."""

    count: int


STEPS = st.one_of(
    st.lists(VALUES, min_size=1, max_size=9),
    st.sampled_from(["crash", "undone"]),
    st.integers(1, 9).map(LetGo),
)


class Books:
    """A ledger's rows, as far as they matter here, and the stretches over them."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        metadata.create_all(connection, [requests, kept, *BY_STRETCH.values()])
        connection.execute(insert(kept), [{"of_column": name, "until": 0} for name in BY_STRETCH])
        self.there: dict[int, tuple[Any, ...]] = {}  # by the order of closing
        self.last_seq = 0
        self.stretches = Stretches(connection)

    def close(self, values: list[tuple[Any, ...]]) -> None:
        rows = dict(enumerate(values, self.last_seq + 1))
        self.connection.execute(insert(requests), [_row(seq, row) for seq, row in rows.items()])
        self.last_seq += len(rows)
        self.there |= rows
        self.stretches.add_complete(self.last_seq)

    def undo(self, values: list[tuple[Any, ...]]) -> None:
        """A transaction that failed: whoever wrote it goes with it."""
        before = dict(self.there), self.last_seq
        with self.connection.begin_nested() as failed:
            self.close(values)
            failed.rollback()
        (self.there, self.last_seq), self.stretches = before, Stretches(self.connection)

    def let_go(self, count: int) -> None:
        oldest = sorted(self.there)[:count]
        its = select(requests.c.id).where(requests.c.closed_seq.in_(oldest))
        let_go_of(self.connection, its)
        self.connection.execute(delete(requests).where(requests.c.id.in_(its)))
        for seq in oldest:
            del self.there[seq]

    def step(self, step: Any) -> None:
        if isinstance(step, list):
            self.close(step)
        elif isinstance(step, LetGo):
            self.let_go(step.count)
        elif step == "crash":
            self.stretches = Stretches(self.connection)
        else:
            self.undo([(5, "ab", "b")] * 9)

    def until(self) -> dict[str, int]:
        return {row.of_column: row.until for row in self.connection.execute(select(kept))}


def _row(seq: int, values: tuple[Any, ...]) -> dict[str, Any]:
    given = dict(zip(BY_STRETCH, values, strict=True))
    plain: dict[str, Any] = dict.fromkeys(("created_at", "stream", "sdk_retry", "hold"), 0)
    named = {"id": f"r{seq}", "key_id": "", "tags": "[]", "model": "", "instance_id": "", "state": "free"}
    return {**plain, **named, "closed_seq": seq, **given}


@contextlib.contextmanager
def books() -> Iterator[Books]:
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        yield Books(connection)
    engine.dispose()


@pytest.mark.usefixtures("short_stretches")
@given(st.lists(STEPS, max_size=12))
def test_what_is_found_is_what_a_look_at_each_row_finds(steps: list[Any]) -> None:
    """In a complete stretch or not yet, behind a crash, a transaction that failed, and rows that are gone."""

    def between(value: ColumnElement[Any], least: Any, most: Any) -> ColumnElement[bool]:
        return value.between(least, most)

    with books() as ledger:
        for step in steps:
            ledger.step(step)
        assert ledger.connection.exec_driver_sql(wrong()).all() == []
        assert verified(ledger.connection) == []
        for place, name in enumerate(BY_STRETCH):
            for least, most in ((0, 0), (1, 5), (5, 2**62), (2, 4)) if place == 0 else (("a", "a"), ("a", "az")):
                found = ids_where(requests.c[name], partial(between, least=least, most=most))
                assert sorted(ledger.connection.scalars(found)) == sorted(
                    f"r{seq}"
                    for seq, row in ledger.there.items()
                    if row[place] is not None and least <= row[place] <= most
                )


def verified(connection: Connection) -> list[Difference]:
    """What the proof finds, in all of its steps."""
    found, start = verify_stretches(connection, None)
    differences = [*found]
    while start is not None:
        found, start = verify_stretches(connection, start)
        differences += found
    return differences


CHANGES = {
    "DELETE FROM true_costs_by_stretch WHERE closed_seq = 41": [("true_cost finds each request", "r41")],
    "UPDATE response_ids_by_stretch SET value = 'z' WHERE closed_seq = 2": [
        ("response_id finds each request", "r2"),
        ("response_id finds nothing else", "r2"),
    ],
    "UPDATE requests SET true_cost = 7 WHERE closed_seq = 90": [
        ("true_cost finds each request", "r90"),
        ("true_cost finds nothing else", "r90"),
    ],
    "DELETE FROM requests WHERE closed_seq = 5": [
        (f"{column} finds nothing else", "5") for column in ("true_cost", "response_id", "upstream_request_id")
    ],
    "INSERT INTO upstream_ids_by_stretch VALUES (500, 'b', 2000)": [("upstream_request_id finds nothing else", "2000")],
    "INSERT INTO upstream_ids_by_stretch VALUES (-1, 'b', 5)": [("upstream_request_id finds nothing else", "r5")],
    f"INSERT INTO true_costs_by_stretch VALUES ({2**63 - 1}, 1, 3)": [("true_cost finds nothing else", "r3")],
    f"INSERT INTO true_costs_by_stretch VALUES ({2**62}, 1, 3)": [("true_cost finds nothing else", "r3")],
    f"INSERT INTO true_costs_by_stretch VALUES ({-(2**63)}, 1, 3)": [("true_cost finds nothing else", "r3")],
    "DELETE FROM stretches WHERE of_column = 'true_cost'": [
        ("true_cost knows what is sorted", "None"),
        *(("true_cost finds nothing else", f"r{seq}") for seq in range(1, 96)),
    ],
    "UPDATE stretches SET until = -4 WHERE of_column = 'true_cost'": [
        ("true_cost knows what is sorted", "-4"),
        *(("true_cost finds nothing else", f"r{seq}") for seq in range(1, 96)),
    ],
    "UPDATE stretches SET until = until + 4 WHERE of_column = 'response_id'": [
        ("response_id finds each request", f"r{seq}") for seq in range(96, 100)
    ],
    "UPDATE stretches SET until = until - 4 WHERE of_column = 'response_id'": [
        ("response_id finds nothing else", f"r{seq}") for seq in range(92, 96)
    ],
    "UPDATE upstream_ids_by_stretch SET stretch = 1 WHERE closed_seq = 50": [
        ("upstream_request_id finds nothing else", "r50"),
        ("upstream_request_id finds each request", "r50"),
    ],
}


@pytest.mark.usefixtures("short_stretches")
@pytest.mark.parametrize("change", CHANGES)
def test_the_proof_names_what_a_search_would_not_find(change: str) -> None:
    with books() as ledger:
        ledger.close([(1, "a", "b")] * 100)
        assert verified(ledger.connection) == []
        ledger.connection.exec_driver_sql(change)
        found = [(one.what, *one.where.values()) for one in verified(ledger.connection)]
        assert found == [(f"a search by {what}", where) for what, where in CHANGES[change]]


@pytest.mark.usefixtures("short_stretches")
@pytest.mark.parametrize("number", [2**63 - 1, 2**62, -(2**63)])
def test_a_search_ends_whatever_number_somebody_wrote(number: int) -> None:
    """Beside what is found; and alone, when there is nothing more to be found than what is not sorted, and itself."""
    with books() as ledger:
        ledger.close([(1, "a", "b")] * 100)
        ledger.connection.exec_driver_sql(f"INSERT INTO true_costs_by_stretch VALUES ({number}, 1, 3)")
        driver: Any = ledger.connection.connection.driver_connection
        driver.set_progress_handler(lambda: 1, 1_000_000)  # else the search would have no end
        assert len(set(ledger.connection.scalars(ids_where(requests.c.true_cost, lambda cost: cost == 1)))) == 100
        ledger.connection.exec_driver_sql(f"DELETE FROM true_costs_by_stretch WHERE stretch <> {number}")
        found = set(ledger.connection.scalars(ids_where(requests.c.true_cost, lambda cost: cost == 1)))
        assert found == {f"r{seq}" for seq in range(96, 101)} | ({"r3"} if number >= 0 else set())
        driver.set_progress_handler(None, 0)


def test_a_step_of_the_proof_takes_as_long_in_a_longer_ledger() -> None:
    """What it reads ends with its stretches, not with what is sorted."""

    def work(count: int) -> int:
        steps = 0

        def note() -> int:
            nonlocal steps
            steps += 1
            return 0

        with books() as ledger:
            ledger.close([(1, "a", "b")] * count)
            driver: Any = ledger.connection.connection.driver_connection
            driver.set_progress_handler(note, 10)
            assert list(differences_in(ledger.connection, "response_id", 0, 0)) == []
            driver.set_progress_handler(None, 0)
        return steps

    assert work(20 * STRETCH) < 1.1 * work(2 * STRETCH)


def test_whoever_knows_no_more_what_is_sorted_refuses_no_settlement() -> None:
    with books() as ledger:
        ledger.connection.exec_driver_sql("DELETE FROM stretches")
        Stretches(ledger.connection).add_complete(10 * STRETCH)


@pytest.mark.usefixtures("short_stretches")
async def test_verify_proves_what_searches_find(tmp_path: Path) -> None:
    path = tmp_path / "gateway.db"
    store = await open_store(path)
    holder = await a_holder(store)
    for _ in range(9):
        intent = holder.intent()
        await store.admit(intent)
        await store.settle(settled(intent.request_id, "0.5"), 1)
    assert (await Verifier(store).run()).ok
    await store.aclose()
    with contextlib.closing(WritingConnection(path, "process")) as writing:
        writing.raw.execute("DELETE FROM true_costs_by_stretch WHERE closed_seq = 2")
    store = await open_store(path)
    found = await Verifier(store).run()
    await store.aclose()
    assert [one.what for one in found.differences] == ["a search by true_cost finds each request"]


@pytest.mark.usefixtures("short_stretches")
def test_a_transaction_adds_one_column_of_one_stretch() -> None:
    """Others wait for it meanwhile. (Sequence numbers begin with 1, stretches with 0.)"""
    with books() as ledger:
        ledger.close([(1, "a", "b")] * 2)
        assert set(ledger.until().values()) == {0}
        for complete in range(1, 4):
            ledger.close([(1, "a", "b")])
            assert sorted(ledger.until().values()) == [0] * (3 - complete) + [4] * complete


@pytest.mark.usefixtures("short_stretches")
def test_where_many_wait_more_are_added() -> None:
    """As behind an upgrade from a ledger in which none were: a search would read all their rows."""
    with books() as ledger:
        ledger.close([(1, "a", "b")] * 100)
        assert 100 - 2 * 4 < min(ledger.until().values()) < 100  # a search reads the rows of the rest


@pytest.mark.usefixtures("short_stretches")
async def test_settlements_complete_a_stretch(tmp_path: Path) -> None:
    """The writer's own do; an opened ledger goes on where it was."""
    path = tmp_path / "gateway.db"
    for name in ("alice", "bob"):
        store = await open_store(path)
        holder = await a_holder(store, name)
        for _ in range(6):
            intent = holder.intent()
            await store.admit(intent)
            await store.settle(settled(intent.request_id, "0.5"), 1)
        last = await store.read(lambda c: c.scalar(select(func.max(requests.c.closed_seq))))
        until = await store.read(lambda c: c.scalars(select(kept.c.until)).all())
        assert max(until) == (last + 1) // 4 * 4 > 0
        assert await store.read(lambda c: c.exec_driver_sql(wrong()).all()) == []
        await store.aclose()


def test_an_upgrade_sorts_all_complete_stretches(tmp_path: Path) -> None:
    """Of a ledger whose indices were SQLite's own, which go."""
    path = tmp_path / "gateway.db"
    make(path, Shape(rows=2 * STRETCH + 50))
    writing = WritingConnection(path, "process")
    for _ in range(2 * len(BY_STRETCH)):  # those that wait for their turn, too
        Stretches(writing.sql).add_complete(2 * STRETCH + 50)
    before = {name: _content(writing, table) for name, table in BY_STRETCH.items()}
    assert [len(rows) > STRETCH for rows in before.values()] == [True] * 3
    _back_to_0011(writing)
    migrate(writing.sql, path)
    indices = writing.raw.execute("SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'requests'")
    assert not {name for (name,) in indices} & OLD_INDICES.keys()
    assert {name: _content(writing, table) for name, table in BY_STRETCH.items()} == before
    assert set(_content(writing, kept)) == {(name, 2 * STRETCH) for name in BY_STRETCH}
    writing.close()


def _content(writing: WritingConnection, table: Table) -> list[tuple[object, ...]]:
    return writing.raw.execute(f"SELECT * FROM {table.name} ORDER BY 1, 2").fetchall()


def _back_to_0011(writing: WritingConnection) -> None:
    """Nobody has limits, so their table is as good as that of before."""
    for table in (*BY_STRETCH.values(), kept, minutes):
        writing.raw.execute(f"DROP TABLE {table.name}")
    for index, column in OLD_INDICES.items():
        where = f"(closed_seq >> 11, {column}) WHERE {column} IS NOT NULL"
        writing.raw.execute(f"CREATE INDEX {index} ON requests {where}")
    writing.raw.execute("UPDATE alembic_version SET version_num = '0011'")


def test_an_upgrade_knows_of_requests_that_are_gone(tmp_path: Path) -> None:
    """Else the first settlement would add all their stretches, which are empty."""
    path = tmp_path / "gateway.db"
    make(path, Shape(rows=10))
    writing = WritingConnection(path, "process")
    _back_to_0011(writing)
    writing.raw.execute("DELETE FROM requests")
    writing.raw.execute(
        "INSERT INTO seals (from_at, number, to_at, after_seq, through_seq, month, sealed_at, form, rows, sha256,"
        " usage_sha256, totals, pieces) VALUES (1, 1, 2, 0, ?, '1970-01', 3, 1, 10, '', '', '[]', '[]')",
        (3 * STRETCH,),
    )
    migrate(writing.sql, path)
    assert set(_content(writing, kept)) == {(name, 3 * STRETCH) for name in BY_STRETCH}
    writing.close()
