"""What was made lately comes to its place, whatever happens in between, and is told from there."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.store import made_lately
from app.store.made_lately import BUCKETS, Entry, MadeLately, packed

TABLES = """
CREATE TABLE made_lately (seq INTEGER PRIMARY KEY, placed INTEGER, entries BLOB);
CREATE TABLE made (id_hash INTEGER PRIMARY KEY, maker_id INTEGER, made_on INTEGER);
"""
# As in `made`, as far as it matters here: an id that two makers were told is nobody's.
PLACE = (
    "INSERT INTO made VALUES (?, ?, ?) ON CONFLICT DO UPDATE"
    " SET maker_id = CASE WHEN maker_id = excluded.maker_id THEN maker_id END, made_on = max(made_on, excluded.made_on)"
)

HASHES = [hash_ for half in (-(2**63), 0) for hash_ in range(half, half + 4 * 2**50, 2**50)] + [2**63 - 1, -1]


class Books:
    """A ledger's two tables, and what should be in them."""

    def __init__(self) -> None:
        self.sql = sqlite3.connect(":memory:", isolation_level=None)
        self.sql.executescript(TABLES)
        self.makers: dict[int, set[int]] = {}
        self.writes: list[int] = []  # how many were put in their place, each time
        self.lately = self.opened()

    def opened(self) -> MadeLately:
        """Over what is committed, as after a crash."""
        return MadeLately(self.sql, self.place)

    def place(self, entries: Sequence[Entry]) -> None:
        self.writes.append(len(entries))
        self.sql.executemany(PLACE, entries)

    def add(self, entries: Sequence[Entry]) -> None:
        self.lately.add(entries)
        for one, maker, _ in entries:
            self.makers.setdefault(one, set()).add(maker)

    def placed(self) -> dict[int, int | None]:
        return dict(self.sql.execute("SELECT id_hash, maker_id FROM made"))

    def expected(self) -> dict[int, int | None]:
        return {one: next(iter(makers)) if len(makers) == 1 else None for one, makers in self.makers.items()}

    def rows(self) -> int:
        (count,) = self.sql.execute("SELECT count(*) FROM made_lately").fetchone()
        return int(count)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Few wait, and few are put in their place at once."""
    with monkeypatch.context() as patch:
        patch.setattr(made_lately, "WAITING_MAX", 6)
        patch.setattr(made_lately, "HEARTBEAT_MIN", 3)
        patch.setattr(made_lately, "AHEAD_MIN", 2)
        yield


ENTRIES = st.lists(st.tuples(st.sampled_from(HASHES), st.integers(1, 2), st.just(20_000)), min_size=1, max_size=5)
STEPS = st.one_of(
    ENTRIES,
    st.sampled_from(["tidy", "crash", "undone"]),
    st.lists(st.sampled_from(HASHES), max_size=3).map(tuple),
)


CHANCE = random.Random(3)


def _scattered(count: int) -> list[Entry]:
    return [(CHANCE.randrange(-(2**63), 2**63), 1, 20_000) for _ in range(count)]


@pytest.mark.usefixtures("few")
@given(st.lists(STEPS, max_size=20))
def test_nothing_is_lost_and_nothing_is_told_to_another(steps: list[list[Entry] | str | tuple[int, ...]]) -> None:
    """Told, asked for, put in place, written in a transaction that failed, read again behind a crash, in any order."""
    with contextlib.closing((books := Books()).sql):
        for step in steps:
            if isinstance(step, list):
                books.add(step)
            elif isinstance(step, tuple):
                books.lately.put_in_place(step)
                assert {one: books.placed().get(one) for one in step} == {
                    one: books.expected().get(one) for one in step
                }
            elif step == "tidy":
                books.lately.place_some()
            else:
                if step == "undone":
                    books.sql.execute("BEGIN")
                    books.lately.add([(one, 1, 20_000) for one in HASHES])
                    books.lately.place_some()
                    books.sql.execute("ROLLBACK")
                books.lately = books.opened()
        while books.rows():
            books.lately.place_some()
        assert books.placed() == books.expected()


@pytest.mark.usefixtures("few")
def test_no_more_wait_than_may() -> None:
    """Nor are more rows kept than those of two rounds, in each of which twice as many are told as wait; however often
    the process ends in between."""
    books = Books()
    for number in range(200):
        books.add(_scattered(1))
        if number % 7 == 0:
            books.lately = books.opened()
        assert books.rows() <= 8 * made_lately.WAITING_MAX
    assert len(books.placed()) >= 200 - made_lately.WAITING_MAX
    books.sql.close()


def test_neighbours_are_put_in_their_place_together() -> None:
    """That is what it is for: each write of it goes to one part of the table, in order."""
    books = Books()
    books.add(_scattered(made_lately.WAITING_MAX + 2000))
    assert sum(books.writes) >= 2000
    assert sum(books.writes) / len(books.writes) > made_lately.WAITING_MAX / BUCKETS / 2
    order = [one for (one,) in books.sql.execute("SELECT id_hash FROM made")]
    width = 2**64 // BUCKETS
    assert len({one // width for one in order}) == len(books.writes)
    books.sql.close()


def test_at_rest_it_comes_to_an_end() -> None:
    """Everything in its place, the table empty, and nothing more to do."""
    books = Books()
    books.add([(one, 1, 20_000) for one in HASHES])
    assert books.placed() == {}
    books.lately.place_some()
    assert books.placed() == books.expected()
    assert books.rows() == 0
    books.writes.clear()
    books.lately.place_some()
    assert books.writes == []
    books.sql.close()


def test_at_rest_nothing_is_left_of_what_was_asked_for_before() -> None:
    """An id was put in its place when it was asked for; its row in the table goes all the same."""
    books = Books()
    books.add([(HASHES[0], 1, 20_000)])
    books.lately.put_in_place(HASHES[:1])
    books.lately.place_some()
    assert books.rows() == 0
    books.sql.close()


def test_no_call_has_more_to_do_than_its_share() -> None:
    """Behind a start all that the table holds may wait: it is put in its place little by little."""
    books = Books()
    there = 5 * made_lately.WAITING_MAX
    books.sql.execute("INSERT INTO made_lately (placed, entries) VALUES (0, ?)", (packed(_scattered(there)),))
    books.lately = books.opened()
    bucket = 2 * there // BUCKETS
    left = there
    while left > made_lately.WAITING_MAX:
        books.writes.clear()
        books.add(_scattered(2))
        assert 2 < sum(books.writes) <= made_lately.AHEAD_MIN + 4 + bucket
        left += 2 - sum(books.writes)
    books.writes.clear()
    books.lately.place_some()
    assert made_lately.HEARTBEAT_MIN <= sum(books.writes) <= made_lately.HEARTBEAT_MIN + bucket
    books.sql.close()


def test_what_was_asked_for_does_not_wait_any_more() -> None:
    """Each further question about it finds it in its place."""
    books = Books()
    entries = _scattered(10)
    books.add(entries)
    books.lately.put_in_place([entries[0][0]])
    books.lately.put_in_place([entries[0][0]])
    assert books.writes == [1, 0]
    books.sql.close()
