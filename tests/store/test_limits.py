"""Budgets, rates and limits of what runs, over a real ledger and a clock that the tests move."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.core.limits import Limits
from app.core.records import Admitted, RefusalReason
from tests.store.entries import settled
from tests.store.limited import LimitedLedger, utc


@pytest.fixture
async def ledger(path: Path) -> AsyncIterator[LimitedLedger]:
    opened = LimitedLedger(path, "2026-11-02T12:00")  # a Monday
    await opened.open()
    yield opened
    await opened.close()


# --- clocks --------------------------------------------------------------------------------


async def test_a_clock_that_was_set_back_locks_nobody_out(ledger: LimitedLedger) -> None:
    """What then lies in the future counts as of the first request that is asked for: a minute later it is over."""
    alice = await ledger.holder("alice", limits=Limits(rpm=2))
    for _ in range(2):
        await ledger.store.settle(settled(await ledger.admit(alice)), 5)
    ledger.clock.move(hours=-1)
    for _ in range(3):
        refused = await ledger.refused(alice)
        assert refused.reason is RefusalReason.REQUESTS_PER_MINUTE
        assert refused.retry_after_ms is not None
        ledger.clock.move(seconds=20)
    assert isinstance(await ledger.ask(alice), Admitted)


async def test_a_window_begins_with_the_first_request_that_is_asked_for(ledger: LimitedLedger) -> None:
    """Also with one that is refused: what the new window has spent is not summed up for each of them again."""
    alice = await ledger.holder("alice", "0/day")
    ledger.clock.move(days=1)
    for _ in range(2):
        assert (await ledger.refused(alice)).reason is RefusalReason.BUDGET_SPENT
    edges = [(begins, ends) for _, begins, ends, *_ in await ledger.windows(alice.key.id)]
    assert edges == [(utc(f"2026-11-0{day}"), utc(f"2026-11-0{day + 1}")) for day in (2, 3)]
