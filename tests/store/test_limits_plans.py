"""What limits ask of the ledger is found through an index, however long the ledger and however old its budgets."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection

from app.core.budgets import ALWAYS_FROM_MS, ALWAYS_TO_MS, BudgetPeriod, Span
from app.core.clock import to_ms
from app.core.holds import Billing
from app.core.limits import GATEWAY
from app.store import desk, limit_statements, past
from tests.store.limited import LimitedLedger, utc
from tests.store.test_plans import bad, plans

NOW = utc("2026-11-02T12:00")
MONTH = Span(to_ms(utc("2026-11-01")), to_ms(utc("2026-12-01")))
ALWAYS = Span(ALWAYS_FROM_MS, ALWAYS_TO_MS)


def _window(owner: str, span: Span, connection: Connection) -> Any:
    return past.window_sums(connection, span, Billing.CHARGED, owner)


QUESTIONS: dict[str, Callable[[Connection], Any]] = {
    **{f"a month of {owner}": partial(_window, owner, MONTH) for owner in ("key_1", "team_1", GATEWAY)},
    **{f"all of {owner}": partial(_window, owner, ALWAYS) for owner in ("key_1", "team_1", GATEWAY)},
    "what runs of a key": lambda c: past.running(c, "key_1"),
    "what runs of a team": lambda c: past.running(c, "team_1"),
    "the last minute of a key": lambda c: past.last_minute(c, "key_1", to_ms(NOW)),
    "the last minute of a team": lambda c: past.last_minute(c, "team_1", to_ms(NOW)),
    "windows beside a new one": lambda c: desk.standing_spans(c, "key_1", BudgetPeriod.MONTH, MONTH),
}


@pytest.mark.parametrize("name", QUESTIONS)
async def test_what_a_new_window_or_limit_asks_is_searched(ledger: LimitedLedger, name: str) -> None:
    """It is asked in the writer's transaction, for which every request waits."""
    steps = await ledger.store.read(plans, QUESTIONS[name])
    assert steps
    assert [step for step in steps if bad(step) or step.startswith("SCAN windows")] == []


RARE = {
    **{f"a month of {owner}": ("one_cost", "unknown", "open") for owner in ("key_1", "team_1", GATEWAY)},
    "what runs of a key": ("open",),
    "what runs of a team": ("open",),
}


@pytest.mark.parametrize("name", RARE)
async def test_rows_in_a_rare_state_are_found_by_it(ledger: LimitedLedger, name: str) -> None:
    """Not among the millions that their owner may have made."""
    steps = await ledger.store.read(plans, QUESTIONS[name])
    ways_in = [step.split("INDEX ")[1].split(" ")[0] for step in steps if step.startswith("SEARCH requests")]
    assert ways_in == [f"requests_{state}" for state in RARE[name]]


async def test_where_owners_stand_is_searched(ledger: LimitedLedger) -> None:
    """By their names alone, with the minute behind it."""
    text = limit_statements.LIMITS.text(2)

    def plan(connection: Connection) -> list[str]:
        return [row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", ("a", "b")).all()]

    steps = await ledger.store.read(plan)
    for table in ("limits", "minutes"):
        assert [step for step in steps if f"SEARCH {table} USING PRIMARY KEY (owner_id=?)" in step], steps
        assert not [step for step in steps if f"SCAN {table}" in step]


async def test_an_old_budget_is_as_quick_as_a_new_one(ledger: LimitedLedger) -> None:
    """Of its windows those are read that may hold a request, not all that ever were."""
    alice = await ledger.holder("alice", "1/day", "5/total")
    for _ in range(40):
        await ledger.admit(alice)
        ledger.clock.move(days=1)
    since_ms = to_ms(ledger.clock.at)
    asked, text = (alice.key.id, since_ms), limit_statements.BUDGETS.text(1)

    def looked_at(connection: Connection) -> tuple[list[str], int]:
        found = connection.exec_driver_sql(text, asked).all()
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", asked).all()
        return [row[-1] for row in plan], len(found)

    steps, count = await ledger.store.read(looked_at)
    assert count == 2  # the day has no window yet, the total has its only one
    assert [step for step in steps if "(owner_id=? AND period=? AND starts_at>?)" in step], steps
