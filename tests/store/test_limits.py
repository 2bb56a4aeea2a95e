"""Budgets, rates and limits of what runs, over a real ledger and a clock that the tests move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.core.budgets import parse_budget
from app.core.limits import GATEWAY, Limits
from app.core.money import SUM_MAX
from app.core.owners import KeyChange, LimitsChange
from app.core.records import Admitted, Allowance, Asked, RefusalReason, Scope
from tests.store.entries import rows, settled
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


# --- rates ---------------------------------------------------------------------------------


async def test_a_limit_that_is_set_anew_knows_the_last_minute(ledger: LimitedLedger) -> None:
    """Requests count when they were made, tokens when they were known; taking a limit away forgets nothing."""
    limits = Limits(rpm=3, tpm=100)
    alice = await ledger.holder("alice", limits=limits)
    long = await ledger.admit(alice, asked=Asked(max_output_tokens=1))
    ledger.clock.move(minutes=10)
    await ledger.admit(alice, asked=Asked(max_output_tokens=1))
    await ledger.store.settle(settled(long), 5)  # 36 tokens
    ledger.clock.move(seconds=30)
    for wanted in (Limits(), limits):
        change = LimitsChange(rpm=wanted.rpm, tpm=wanted.tpm)
        await ledger.keyring.change("alice", KeyChange(limits=change))
    verdict = await ledger.ask(alice, asked=Asked(max_output_tokens=2))
    assert isinstance(verdict, Admitted)
    assert verdict.allowances.requests == Allowance(3, 1, 60_000)
    assert verdict.allowances.tokens == Allowance(100, 100 - 36 - 1 - 2, 30_000)


# --- calendars -----------------------------------------------------------------------------


async def test_after_a_change_of_the_calendar_a_window_begins_where_the_last_one_ended(ledger: LimitedLedger) -> None:
    """Nothing counts twice: neither in what decides nor in what is shown, also when it is changed back."""
    alice = await ledger.holder("alice", "1/day")
    await ledger.close()
    await ledger.open(zone="Europe/Berlin")
    bob = await ledger.holder("bob", "1/day")
    await ledger.spend(bob, "0.90")
    ledger.clock.at = utc("2026-11-02T23:30")  # the next day in Berlin; alice's and UTC's day is not over
    assert await ledger.budgets(alice) == {"day": ("0.00", "0.00")}
    await ledger.close()
    await ledger.open(zone="UTC")
    assert await ledger.budgets(bob) == {"day": ("0.00", "0.00")}
    await ledger.spend(bob, "0.80")
    assert await ledger.budgets(bob) == {"day": ("0.80", "0.00")}
    ledger.clock.at = utc("2026-11-03T00:00")
    await ledger.spend(bob, "0.70")
    await ledger.close()
    await ledger.open(zone="Europe/Berlin")
    ledger.clock.at = utc("2026-11-04T00:00")
    await ledger.spend(bob, "0.60")
    edges = [(begins, ends, spent) for _, begins, ends, spent, *_ in await ledger.windows(bob.key.id)]
    assert edges == [
        (utc("2026-11-01T23:00"), utc("2026-11-02T23:00"), 900_000_000_000),
        (utc("2026-11-02T23:00"), utc("2026-11-03T00:00"), 800_000_000_000),
        (utc("2026-11-03T00:00"), utc("2026-11-04T00:00"), 700_000_000_000),
        (utc("2026-11-04T00:00"), utc("2026-11-04T23:00"), 600_000_000_000),
    ]
    await ledger.verify()


# --- money ---------------------------------------------------------------------------------


async def test_absurd_costs_are_booked_all_the_same(ledger: LimitedLedger) -> None:
    """Thousands of 10,000 USD each: no settlement is lost, no later day is, and no budget ever seems to be free."""
    await ledger.keyring.set_gateway_budgets((parse_budget("1000000/total"),))
    alice = await ledger.holder("alice", "1000000/day")
    admitted = await asyncio.gather(*(ledger.admit(alice, "0.01") for _ in range(3000)))
    await asyncio.gather(*(ledger.store.settle(settled(request_id, "10000"), 5) for request_id in admitted))
    assert {row.charged_picodollars for row in (await rows(ledger.store)).values()} == {10**16}
    assert (await ledger.refused(alice)).reason is RefusalReason.BUDGET_SPENT
    ((*_, spent, kept, held),) = await ledger.windows(GATEWAY)
    assert (spent, kept, held) == (SUM_MAX, 0, 0)
    await ledger.verify()
    for _ in range(2):
        await ledger.close()
        ledger.clock.move(days=1)
        await ledger.open()
        await ledger.verify()
        refused = await ledger.refused(alice)
        assert refused.hit is not None
        assert refused.hit.scope is Scope.GATEWAY
