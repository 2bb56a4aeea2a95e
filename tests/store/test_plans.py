"""No query reads the whole ledger: SQLite's own plans, for every question that pages and reports ask."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Connection, event

from app.accounts.keyring import Keyring
from app.core.records import State
from app.core.views import GroupBy, RequestFilter
from app.core.windows import Period
from app.store import queries, search, statements, totals
from app.store.port import RowMissing, Store
from app.store.verify import verify_step
from tests.store.entries import a_holder, settled

PERIOD = Period(datetime(2026, 10, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))

# A partial index holds only the few rows of its state: reading all of it is the point of it.
FEW = ("requests_open", "requests_free", "requests_unknown")


def _in_state(state: State, connection: Connection) -> Any:
    return search.list_requests(connection, RequestFilter(state=state), None, 10)


def _usage_by(by: GroupBy, connection: Connection) -> Any:
    return totals.usage_report(connection, PERIOD, (by,), ZoneInfo("UTC"))


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
    "live feed": lambda c: queries.closed_since(c, 1, 10),
    "end of the feed": queries.last_closed_seq,
    **{f"usage by {by}": partial(_usage_by, by) for by in GroupBy},
    "verify": lambda c: verify_step(c, 0, 10),
    "secret": lambda c: queries.key_of_secret(c, "hash"),
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
        for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
    ]


def bad(step: str) -> bool:
    scan = step.startswith(("SCAN requests", "SCAN usage")) and not step.endswith(FEW)
    return scan or step == "USE TEMP B-TREE FOR ORDER BY"


@pytest.mark.parametrize("name", QUESTIONS)
async def test_no_question_reads_the_whole_ledger(store: Store, name: str) -> None:
    """Searches only, and lists come in the order of an index, so that a page costs a page."""
    await Keyring(store).create_team("blue")
    alice = await a_holder(store, team="blue")
    intent = alice.intent()
    await store.admit(intent)
    await store.settle(settled(intent.request_id), 1)
    steps = await store.read(plans, QUESTIONS[name])
    assert steps
    assert [step for step in steps if bad(step)] == []


HOT = [name for name, text in vars(statements).items() if name.isupper() and isinstance(text, str)]


@pytest.mark.parametrize("name", HOT)
async def test_no_hot_statement_reads_more_than_it_is_asked_for(store: Store, name: str) -> None:
    """Admission and settlement look rows up by their keys, whatever the size of the tables."""

    def plan(connection: Connection) -> list[str]:
        text = getattr(statements, name)
        return [str(row[-1]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", ("[]",))]

    steps = await store.read(plan)
    scanned = {step.split()[1] for step in steps if step.startswith("SCAN") and "CONSTANT ROW" not in step}
    assert scanned <= {"rows_"}
