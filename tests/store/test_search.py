"""Requests by any conditions: what is found is what a look at every row finds, however few rows one page looks at."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, func, select, update

from app.accounts.corrections import Corrections, resolution
from app.accounts.keyring import Keyring
from app.core.patterns import model_allowed
from app.core.records import Outcome, Reading, State
from app.core.value import replace
from app.core.views import RequestFilter, RequestRecord
from app.store.engine import open_store
from app.store.hot import raw_of
from app.store.port import Store
from app.store.queries import find_request
from app.store.schema import requests
from app.store.schema_stretches import STRETCH_BITS, stretches
from app.store.search import Effort, list_requests
from app.store.stretches import Stretches
from tests.scratch import SCRATCH
from tests.store.entries import a_holder, free, rows, settled, unknown

BEGIN = datetime(2026, 10, 30, tzinfo=UTC)
COSTS = ["0", "0.0000123", "0.01", "2.5"]

# From the default to one that looks at next to nothing: the answers must be the same.
EFFORTS = [Effort(), Effort(few_rows=0, steps=2, step_rows=3), Effort(few_rows=5, steps=1, step_rows=7)]


async def fill(store: Store, seed: int, count: int = 120) -> list[RequestRecord]:
    """Requests of every kind, newest first, some of them resolved."""
    chance = random.Random(seed)
    await Keyring(store).create_team("blue")
    holders = [
        await a_holder(store, "alice", team="blue", tags=("prod", "eu")),
        await a_holder(store, "bob", tags=("prod",)),
        await a_holder(store, "carol", team="blue"),
    ]
    for number in range(count):
        at = BEGIN + timedelta(hours=number // 2)
        intent = chance.choice(holders).intent(at, model=chance.choice(["openai/a", "openai/b", "x/[a]", "*"]))
        await store.admit(intent)
        upstream = f"up-{number % 7}" if number % 3 else None
        kinds: list[Callable[..., Any] | None] = [settled, settled, free, unknown, None]
        made = chance.choice(kinds)
        if made is settled:
            outcome = chance.choice([Outcome.COMPLETED, Outcome.CLIENT_DISCONNECTED])
            closing = settled(intent.request_id, chance.choice(COSTS), upstream_request_id=upstream)
            closing = replace(closing, outcome=outcome)
            if number % 10 == 0:  # only the charge is known
                closing = replace(closing, reading=replace(closing.reading, true_cost=None))
            await store.settle(closing, 1)
        elif made is unknown:
            status = chance.choice([200, 502, 504, None])
            closing = replace(unknown(intent.request_id, chance.choice(["no_cost", "lost"])), status=status)
            await store.settle(replace(closing, outcome=Outcome.TIMED_OUT, reading=Reading()), 1)
        elif made is free:
            await store.settle(replace(free(intent.request_id), status=chance.choice([400, 429])), 1)
    corrections = Corrections(store, zone=ZoneInfo("UTC"), clock=lambda: BEGIN + timedelta(days=5))
    for record in (await rows(store)).values():
        if record.state is State.UNKNOWN and chance.random() < 0.4:
            await corrections.resolve([record.id], resolution(chance.choice(COSTS), None, by="test", reason="told"))
    await store.change(_spread)
    return sorted((await rows(store)).values(), key=lambda record: record.id, reverse=True)


def _spread(connection: Connection) -> None:
    """As if many others had been closed between any two: their costs and ids lie in many stretches, and those of the
    last few are not sorted yet."""
    connection.execute(update(requests).values(closed_seq=requests.c.closed_seq * 1000))
    Stretches(connection).add_complete(connection.scalar(select(func.max(requests.c.closed_seq))) or 0)


def meets(record: RequestRecord, wanted: RequestFilter) -> bool:
    """The filter's own words, over one record."""
    cost = record.true_cost_picodollars
    least, most = wanted.cost_min_picodollars, wanted.cost_max_picodollars
    idents = (record.id, record.response_id or "", record.upstream_request_id or "")
    return all(
        (
            wanted.key in (None, record.key),
            wanted.team in (None, record.team),
            wanted.model is None or record.model == wanted.model or model_allowed(record.model, [wanted.model]),
            wanted.state in (None, record.state),
            wanted.from_at is None or record.created_at >= wanted.from_at,
            wanted.to_at is None or record.created_at < wanted.to_at,
            wanted.outcome in (None, record.outcome),
            wanted.status is None
            or (record.status is not None and wanted.status[0] <= record.status <= wanted.status[1]),
            least is None or (cost is not None and cost >= least),
            most is None or (cost is not None and cost <= most),
            wanted.unknown_reason in (None, record.unknown_reason),
            wanted.tag is None or wanted.tag in record.tags,
            wanted.ident is None or any(ident.startswith(wanted.ident) for ident in idents),
        )
    )


CHOICES: dict[str, list[Any]] = {
    "key": ["alice", "bob"],
    "team": ["blue"],
    "model": ["openai/a", "openai/*", "x/[a]", "x/[[]a]", "*", "none/*", "none"],
    "state": list(State),
    "outcome": list(Outcome),
    "status": [(200, 200), (504, 504), (500, 599), (400, 499), (100, 199), (200, 299)],
    "cost_min_picodollars": [0, 12_300_000, 10**10, 10**13],
    "cost_max_picodollars": [0, 12_300_000, 10**12],
    "unknown_reason": ["no_cost", "lost", "never"],
    "tag": ["prod", "eu", "never"],
    "ident": ["req_", "resp_", "up-3", "up", "never"],
    "from_at": [BEGIN + timedelta(hours=20)],
    "to_at": [BEGIN + timedelta(hours=30)],
}
WANTED = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in CHOICES.items()})


def found_by(
    connection: Connection, wanted: RequestFilter, limit: int, oldest_first: bool, effort: Effort
) -> list[str]:
    """All pages, one after the other."""
    ids: list[str] = []
    after: str | None = None
    while True:
        page = list_requests(connection, wanted, after, limit, oldest_first=oldest_first, effort=effort)
        assert len(page.items) <= limit
        ids += [record.id for record in page.items]
        if page.next is None:
            return ids
        assert after is None or (page.next > after if oldest_first else page.next < after)
        after = page.next


class Ledger:
    """One ledger for all examples: searching changes nothing."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.directory = tempfile.TemporaryDirectory(prefix="irg-search-", dir=SCRATCH)
        self.store = self.run(open_store(Path(self.directory.name) / "gateway.db"))
        self.records: list[RequestRecord] = self.run(fill(self.store, 3))

    def run(self, what: Any) -> Any:
        return self.loop.run_until_complete(what)

    def close(self) -> None:
        self.run(self.store.aclose())
        self.run(self.loop.shutdown_default_executor())
        self.loop.close()
        self.directory.cleanup()


@pytest.fixture(scope="module")
def ledger() -> Any:
    opened = Ledger()
    yield opened
    opened.close()


def test_the_choices_cover_every_condition() -> None:
    """A condition that is added is tested as well."""
    assert CHOICES.keys() == set(RequestFilter.__struct_fields__)


@given(wanted=WANTED, limit=st.sampled_from([1, 4, 50]), oldest_first=st.booleans(), effort=st.sampled_from(EFFORTS))
def test_pages_hold_what_a_look_at_every_row_finds(
    ledger: Ledger, wanted: dict[str, Any], limit: int, oldest_first: bool, effort: Effort
) -> None:
    """Any conditions, any size of page, either order, however little is looked at for one page."""
    conditions = RequestFilter(**wanted)
    expected = [record.id for record in ledger.records if meets(record, conditions)]
    found = ledger.run(ledger.store.read(found_by, conditions, limit, oldest_first, effort))
    assert found == (expected[::-1] if oldest_first else expected)


@pytest.mark.parametrize("name", CHOICES)
def test_each_condition_alone(ledger: Ledger, name: str) -> None:
    """Each value that a condition can have here, in both orders; most of them find something and not everything."""
    some = 0
    for value in CHOICES[name]:
        conditions = RequestFilter(**{name: value})
        expected = [record.id for record in ledger.records if meets(record, conditions)]
        for effort in EFFORTS:
            assert ledger.run(ledger.store.read(found_by, conditions, 7, False, effort)) == expected
        some += 0 < len(expected) < len(ledger.records)
    assert some


def test_a_request_is_found_by_each_of_its_ids_wherever_it_lies(ledger: Ledger) -> None:
    """Ours, the response's and the upstream's: of several requests with the same one, the newest; of one key or all."""
    newest: dict[tuple[str | None, str], str] = {}
    for record in ledger.records:
        for ident in filter(None, (record.id, record.response_id, record.upstream_request_id)):
            newest.setdefault((None, ident), record.id)
            newest.setdefault((record.key_id, ident), record.id)
    for (key_id, ident), expected in newest.items():
        assert ledger.run(ledger.store.read(find_request, ident, key_id)).id == expected
    assert len({(record.closed_seq or 0) >> STRETCH_BITS for record in ledger.records}) > 10
    until = ledger.run(ledger.store.read(lambda c: c.scalar(select(func.min(stretches.c.until)))))
    assert 0 < until <= max(record.closed_seq or 0 for record in ledger.records if record.response_id)


def test_a_page_that_ends_early_says_where_to_go_on(ledger: Ledger) -> None:
    """Nothing found yet is not the end."""

    def first_page(connection: Connection) -> Any:
        wanted = RequestFilter(key="bob", tag="eu")
        return list_requests(connection, wanted, None, 5, effort=Effort(few_rows=0, steps=1, step_rows=3))

    page = ledger.run(ledger.store.read(first_page))
    assert page.items == ()
    assert page.next is not None


STEPS_AT_ONCE = 100


def _steps_of(connection: Connection, wanted: RequestFilter) -> int:
    """How many steps of SQLite's machine a page takes, in hundreds. It must find nothing."""
    counted = [0]

    def count() -> int:
        counted[0] += 1
        return 0

    raw_of(connection).set_progress_handler(count, STEPS_AT_ONCE)
    page = list_requests(connection, wanted, None, 10, effort=Effort(few_rows=50))
    raw_of(connection).set_progress_handler(None, 0)
    assert page.items == ()
    return counted[0]


def _multiply(connection: Connection, request_id: str, first: int, last: int) -> None:
    """So many older requests like this one."""
    columns = ", ".join(column.name for column in requests.c if column.name not in ("id", "closed_seq"))
    connection.exec_driver_sql(
        f"WITH RECURSIVE n(i) AS (VALUES ({first}) UNION ALL SELECT i + 1 FROM n WHERE i < {last}) "
        f"INSERT INTO requests (id, closed_seq, {columns}) SELECT printf('req_0%025d', i), i, {columns} "
        "FROM n, requests WHERE requests.id = ?",
        (request_id,),
    )


@pytest.mark.parametrize("wanted", [{"cost_min_picodollars": 1}, {"ident": "resp_"}])
async def test_a_short_period_is_no_reason_to_look_at_every_cost_or_id(store: Store, wanted: dict[str, Any]) -> None:
    """They are in no order of time: of many that fit none may lie in the period, and a walk through it is quick."""
    alice = await a_holder(store)
    intent = alice.intent(BEGIN)
    await store.admit(intent)
    await store.settle(settled(intent.request_id), 1)
    await store.change(_multiply, intent.request_id, 2, 500)
    later = RequestFilter(**wanted, from_at=BEGIN + timedelta(days=1))
    of_some = await store.read(_steps_of, later)
    await store.change(_multiply, intent.request_id, 501, 5_000)
    assert await store.read(_steps_of, later) < 1.5 * of_some
