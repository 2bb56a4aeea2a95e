"""No query reads the whole ledger: SQLite's own plans, for every question that pages and reports ask."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Connection, event

from app.accounts.corrections import resolution
from app.accounts.keyring import Keyring
from app.core.budgets import Budget, BudgetPeriod, span_of
from app.core.clock import to_ms
from app.core.holds import Billing
from app.core.limits import GATEWAY, Limits
from app.core.records import Outcome, RefusalReason, State
from app.core.refused import RefusalFilter
from app.core.views import GroupBy, RequestFilter
from app.core.windows import Period
from app.store import (
    adjustments,
    limit_statements,
    made,
    past,
    queries,
    refusals,
    resolve,
    search,
    standing,
    statements,
    totals,
)
from app.store.hot import ROWS_MAX, Hot
from app.store.letting_go import is_as_sealed, let_go
from app.store.port import RowMissing, Store
from app.store.schema_stretches import BY_STRETCH
from app.store.sealing import Due, Sealing, next_due
from app.store.seals import Piece, Seal, oldest_row_ms
from app.store.verify import verify_step
from app.store.verify_books import verify_adjustments
from app.store.verify_seals import SealProof
from app.store.verify_search import differences_in, verify_stretches
from tests.store.entries import a_holder, settled

UTC_ZONE = ZoneInfo("UTC")

PERIOD = Period(datetime(2026, 10, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))

# A partial index holds only the few rows of its state: reading all of it is the point of it.
# And adjustments are what persons wrote; of refusals only so many are held.
FEW = ("requests_open", "requests_free", "requests_unknown", "adjustments_request", "refusals_key")


def _in_state(state: State, connection: Connection) -> Any:
    return search.list_requests(connection, RequestFilter(state=state), None, 10)


def _usage_by(by: tuple[GroupBy, ...], connection: Connection) -> Any:
    return totals.usage_report(connection, PERIOD, by, UTC_ZONE)


def _usage_of_key_by(by: GroupBy, connection: Connection) -> Any:
    return totals.usage_report(connection, PERIOD, (by,), UTC_ZONE, "key_known")


def _with(name: str, value: Any, connection: Connection) -> Any:
    return search.list_requests(connection, RequestFilter(**{name: value}), None, 10)


def _refused(wanted: RefusalFilter, connection: Connection) -> Any:
    return refusals.refusal_report(connection, wanted, "req_01ZZZ", 10)


OWNERS = ("key_known", "team_known", GATEWAY)

NOW_MS = to_ms(PERIOD.from_at)
SPANS = {period.value: span_of(period, NOW_MS, UTC_ZONE) for period in BudgetPeriod}


def _proven(name: str, connection: Connection) -> None:
    list(differences_in(connection, name, 0, 7))


def _begun(period: str, owner_id: str, connection: Connection) -> Any:
    return past.window_sums(connection, SPANS[period], Billing.CHARGED, owner_id)


REFUSED: dict[str, RefusalFilter] = {
    "refused": RefusalFilter(),
    "refused of a key": RefusalFilter(key="alice"),
    "refused of a team": RefusalFilter(team="blue"),
    "refused of a model": RefusalFilter(model="openai/*"),
    "refused for a reason": RefusalFilter(reason=RefusalReason.CONCURRENCY),
    "refused in a period": RefusalFilter(from_at=PERIOD.from_at, to_at=PERIOD.to_at),
    "refused by id": RefusalFilter(ident="req_0"),
    "refused of a key, in a period, for a reason": RefusalFilter(
        key="alice", team="blue", reason=RefusalReason.CONCURRENCY, from_at=PERIOD.from_at, to_at=PERIOD.to_at
    ),
}


FILTERS: dict[str, list[Any]] = {
    "model": ["openai/*"],
    "outcome": [Outcome.TIMED_OUT, Outcome.COMPLETED],
    "status": [(504, 504), (500, 599), (200, 200)],
    "cost_min_picodollars": [10**12],
    "cost_max_picodollars": [1],
    "unknown_reason": ["lost"],
    "tag": ["prod"],
    "ident": ["resp_0", "req_0", "up_0"],
}


A_MONTH = Due(SPANS["month"].starts_at_ms, SPANS["month"].ends_at_ms, "2026-10", 1, 0, 10**6, 0, None)
A_SEAL = Seal(A_MONTH.from_ms, A_MONTH.to_ms, 1, 0, 10**6, "2026-10", 1, "", "")

QUESTIONS: dict[str, Callable[[Connection], Any]] = {
    "list": lambda c: search.list_requests(c, RequestFilter(), None, 10),
    "next page": lambda c: search.list_requests(c, RequestFilter(), "req_01ZZZ", 10),
    "of a key": lambda c: search.list_requests(c, RequestFilter(key="alice"), None, 10),
    "of a team": lambda c: search.list_requests(c, RequestFilter(team="blue"), None, 10),
    "of a model": lambda c: search.list_requests(c, RequestFilter(model="m"), None, 10),
    "of a period": lambda c: search.list_requests(
        c, RequestFilter(from_at=PERIOD.from_at, to_at=PERIOD.to_at), None, 10
    ),
    "export": lambda c: search.list_requests(
        c, RequestFilter(from_at=PERIOD.from_at, to_at=PERIOD.to_at), "req_01A", 10, oldest_first=True
    ),
    **{f"that are {state}": partial(_in_state, state) for state in State},
    "by our id": lambda c: queries.find_request(c, "req_known"),
    "by response id": lambda c: queries.find_request(c, "resp_known"),
    "by upstream id": lambda c: queries.find_request(c, "up_known"),
    "of a key by any id": lambda c: queries.find_request(c, "known", "key_known"),
    **{f"with {name} {value}": partial(_with, name, value) for name, values in FILTERS.items() for value in values},
    "with many conditions": lambda c: search.list_requests(
        c, RequestFilter(key="alice", model="openai/*", status=(500, 599), tag="prod", state=State.SETTLED), None, 10
    ),
    "a walk of small steps": lambda c: search.list_requests(
        c, RequestFilter(key="alice", tag="prod"), None, 10, effort=search.Effort(few_rows=0, steps=2, step_rows=1)
    ),
    "late adjustments": lambda c: adjustments.late_adjustments(
        c, adjustments.dated(PERIOD.from_at, PERIOD.to_at), "adj_01A", 10
    ),
    "preview": lambda c: resolve.preview_resolution(
        c, RequestFilter(unknown_reason="lost"), resolution("1", None, by="ann", reason="why"), UTC_ZONE, PERIOD.to_at
    ),
    "live feed": lambda c: queries.closed_since(c, 1, 10),
    "end of the feed": queries.last_closed_seq,
    **{f"usage by {by}": partial(_usage_by, (by,)) for by in GroupBy},
    **{f"usage by {pair}": partial(_usage_by, pair) for pair in itertools.combinations(GroupBy, 2)},
    **{f"usage of a key by {by}": partial(_usage_of_key_by, by) for by in GroupBy},
    "verify": lambda c: verify_step(c, 0, 10),
    "verify searches": lambda c: verify_stretches(c, None),
    "verify further searches": lambda c: verify_stretches(c, 1),
    **{f"verify searches by {name}": partial(_proven, name) for name in BY_STRETCH},
    "verify adjustments": lambda c: verify_adjustments(c, ""),
    "what is let go of next": lambda c: next_due(c, PERIOD.to_at, UTC_ZONE),
    "a step of sealing": lambda c: Sealing(A_MONTH).step(c),
    "a row that belongs to a seal": lambda c: oldest_row_ms(c, A_SEAL),
    "whether rows are as sealed": lambda c: is_as_sealed(c, A_SEAL, Piece(NOW_MS, NOW_MS + 900_000, 1, "")),
    "a step of a seal's proof": lambda c: SealProof(A_SEAL).step(c),
    **{name: partial(_refused, wanted) for name, wanted in REFUSED.items()},
    "one that was refused": lambda c: refusals.find_refusal(c, "req_known"),
    "one of a key that was refused": lambda c: refusals.find_refusal(c, "req_known", "key_known"),
    "secret": lambda c: queries.key_of_secret(c, "hash"),
    **{f"{period} of a window of {owner}": partial(_begun, period, owner) for owner in OWNERS for period in SPANS},
    **{f"running of {owner}": partial(past.running, owner_id=owner) for owner in OWNERS},
    **{f"last minute of {owner}": partial(past.last_minute, owner_id=owner, now_ms=NOW_MS) for owner in OWNERS},
}


def plans(connection: Connection, question: Callable[[Connection], Any]) -> list[str]:
    """The plan of every statement that a question runs."""
    asked: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    event.listen(connection, "before_cursor_execute", note)
    try:
        question(connection)
    except RowMissing:
        pass
    finally:
        event.remove(connection, "before_cursor_execute", note)
    return [
        str(row[-1])
        for statement, parameters in asked
        for row in connection.exec_driver_sql(
            f"EXPLAIN QUERY PLAN {statement}", parameters[0] if isinstance(parameters, list) else parameters
        )
    ]


def bad(step: str) -> bool:
    tables = ("requests", "usage", "adjustments", "refusals", "refusal_counts", *map(str, BY_STRETCH.values()))
    scan = step.startswith(tuple(f"SCAN {table}" for table in tables)) and not step.endswith(FEW)
    return scan or step == "USE TEMP B-TREE FOR ORDER BY"


async def test_no_question_reads_the_whole_ledger(store: Store, subtests: pytest.Subtests) -> None:
    """Searches only, and lists come in the order of an index, so that a page costs a page."""
    await Keyring(store).create_team("blue")
    alice = await a_holder(store, team="blue")
    intent = alice.intent()
    await store.admit(intent)
    await store.settle(settled(intent.request_id), 1)
    for name, question in QUESTIONS.items():
        with subtests.test(question=name):
            steps = await store.read(plans, question)
            assert steps
            assert [step for step in steps if bad(step)] == []


INDICES = {
    "with model openai/*": "requests_model (model",
    "with outcome timed_out": "requests_outcome (outcome=?",
    "with status (504, 504)": "requests_status (status=?",
    "with status (500, 599)": "requests_status (status=?",
    "with cost_min_picodollars 1000000000000": "true_costs_by_stretch USING PRIMARY KEY (stretch=? AND value>?",
    "with unknown_reason lost": "requests_unknown_reason (unknown_reason=?",
    "with tag prod": "requests_tags (tags=?",
    "with ident resp_0": "response_ids_by_stretch USING PRIMARY KEY (stretch=? AND value>? AND value<?",
    "with ident up_0": "upstream_ids_by_stretch USING PRIMARY KEY (stretch=? AND value>? AND value<?",
    "by response id": "response_ids_by_stretch USING PRIMARY KEY (stretch=? AND value=?",
    "by upstream id": "upstream_ids_by_stretch USING PRIMARY KEY (stretch=? AND value=?",
    "late adjustments": "adjustments_dated",
    "refused": "SEARCH refusals USING PRIMARY KEY (id>? AND id<?)",
    "refused of a key": "SEARCH refusals USING INDEX refusals_key (key_id=? AND id>? AND id<?)",
    "refused of a team": "SEARCH refusals USING PRIMARY KEY (id>? AND id<?)",
    "refused in a period": "SEARCH refusal_counts USING PRIMARY KEY (bucket_at>? AND bucket_at<?)",
    "of a key by any id": "requests USING PRIMARY KEY (id=?)",
    "usage of a key by model": "requests USING INDEX requests_open (id>? AND id<?)",
    "usage by key": "usage_days USING PRIMARY KEY (bucket_at>? AND bucket_at<?",
}


async def test_what_is_not_sorted_yet_is_found_by_the_order_of_closing(store: Store) -> None:
    """By costs and ids that are not ours: those of no complete stretch."""
    for name in ("with cost_min_picodollars 1000000000000", "with ident resp_0", "by response id", "by upstream id"):
        steps = await store.read(plans, QUESTIONS[name])
        assert any("requests USING INDEX requests_closed_seq (closed_seq>?)" in step for step in steps), (name, steps)


async def test_a_rare_value_is_found_through_its_own_index(store: Store, subtests: pytest.Subtests) -> None:
    """Each filter has a way in that holds little more than its rows."""
    await Keyring(store).create_team("blue")
    alice = await a_holder(store, team="blue", tags=("prod",))
    intent = alice.intent(model="openai/a")
    await store.admit(intent)
    await store.settle(settled(intent.request_id), 1)
    for name, index in INDICES.items():
        with subtests.test(question=name):
            steps = await store.read(plans, QUESTIONS[name])
            assert [step for step in steps if index in step], steps


@pytest.mark.parametrize("owner", OWNERS)
async def test_a_window_that_begins_does_not_read_all_that_its_owner_ever_made(store: Store, owner: str) -> None:
    """It begins in the writer's transaction, for many owners at the same midnight: all others wait meanwhile."""
    steps = [step for period in SPANS for step in await store.read(plans, partial(_begun, period, owner))]
    steps += await store.read(plans, partial(past.running, owner_id=owner))
    assert {step.split("INDEX ")[1].split()[0] for step in steps if step.startswith("SEARCH requests USING INDEX")} == {
        "requests_open",
        "requests_unknown",
        "requests_one_cost",
    }
    assert not any(step.startswith("SEARCH requests USING PRIMARY KEY") for step in steps), steps


async def test_what_binds_a_key_is_found_by_its_owners(store: Store) -> None:
    """Three owners' rows, however many keys there are. (Their windows are read by a hot statement, see below.)"""
    await a_holder(store, budgets=(Budget(1, BudgetPeriod.DAY),), limits=Limits(rpm=1))
    steps = await store.read(plans, lambda c: standing.key_standing(c, "alice", PERIOD.from_at))
    for table in ("keys", "windows", "requests", "usage"):
        assert not any(step.startswith(f"SCAN {table}") for step in steps), steps


async def test_pruning_reads_an_index_and_deletes_by_id(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer's heartbeat counts along the narrowest index, and takes the oldest from the end of the table."""
    alice = await a_holder(store, models=("other",))
    await store.admit(alice.intent())
    monkeypatch.setattr(refusals, "ROWS_MAX", 0)
    steps = await store.change(plans, refusals.prune_refusals)
    assert [step for step in steps if bad(step) or step.startswith("USE TEMP")] == []
    assert any("refusals USING PRIMARY KEY (id=?)" in step for step in steps), steps


async def test_letting_go_walks_along_the_ids_and_deletes_by_them(store: Store) -> None:
    """The writer's other work waits for it: it reads nothing but the rows that go."""
    alice = await a_holder(store)
    intent = alice.intent(PERIOD.from_at)
    await store.admit(intent)
    await store.settle(settled(intent.request_id, upstream_request_id="up"), 1)
    steps = await store.change(plans, lambda c: let_go(c, A_SEAL, A_SEAL.to_ms, 1))
    assert [step for step in steps if bad(step)] == []
    found = [step for step in steps if step.startswith("SEARCH requests")]
    assert {step.split(" USING ")[1] for step in found} == {"PRIMARY KEY (id>? AND id<?)", "PRIMARY KEY (id=?)"}, found
    for table in BY_STRETCH.values():
        assert [step.split(" USING ")[1] for step in steps if f" {table} " in step] == [
            "PRIMARY KEY (stretch=? AND value=? AND closed_seq=?)"
        ], steps


HOT = {
    f"{module.__name__}.{name} of {count} rows": hot.text(count)
    for module in (statements, limit_statements, made)
    for name, hot in vars(module).items()
    if isinstance(hot, Hot)
    for count in (1, 2, ROWS_MAX)
}


async def test_no_hot_statement_reads_more_than_it_is_asked_for(store: Store, subtests: pytest.Subtests) -> None:
    """Admission and settlement look rows up by their keys, whatever the size of the tables."""

    def plan(connection: Connection, statement: str) -> list[str]:
        values = (None,) * statement.count("?")
        return [str(row[-1]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]

    for name, statement in HOT.items():
        with subtests.test(statement=name):
            steps = await store.read(plan, statement)
            scanned = {step.split()[1] for step in steps if step.startswith("SCAN") and "CONSTANT ROW" not in step}
            assert scanned <= {"rows_"}
