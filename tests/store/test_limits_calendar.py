"""Windows of budgets over a real ledger: on the calendar, to the millisecond, whatever becomes of clocks and zones."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.core.records import Admitted, RefusalReason, Refused
from tests.store.entries import settled
from tests.store.limited import LimitedLedger, utc

USD = 10**12

# Edges in Berlin, a millisecond before and exactly; a dollar is spent where it may be, else the budget that says no
# and when it resets. The budgets are 1/day, 2/week and 3/month.
SPRING = [
    ("2026-03-28T12:00", None),  # a Saturday
    ("2026-03-28T22:59:59.999", ("day", "2026-03-28T23:00")),
    ("2026-03-28T23:00", None),  # Sunday has 23 hours
    ("2026-03-29T21:59:59.999", ("week", "2026-03-29T22:00")),
    ("2026-03-29T22:00", None),
    ("2026-03-30T22:00", ("month", "2026-03-31T22:00")),
    ("2026-03-31T21:59:59.999", ("month", "2026-03-31T22:00")),
    ("2026-03-31T22:00", None),
    ("2026-04-01T22:00", ("week", "2026-04-05T22:00")),
]
AUTUMN = [
    ("2026-10-24T12:00", None),
    ("2026-10-24T21:59:59.999", ("day", "2026-10-24T22:00")),
    ("2026-10-24T22:00", None),  # Sunday has 25 hours
    ("2026-10-25T22:59:59.999", ("week", "2026-10-25T23:00")),
    ("2026-10-25T23:00", None),
    ("2026-10-30T12:00", ("month", "2026-10-31T23:00")),
    ("2026-10-31T22:59:59.999", ("month", "2026-10-31T23:00")),
    ("2026-10-31T23:00", None),
    ("2026-11-01T22:59:59.999", ("week", "2026-11-01T23:00")),
    ("2026-11-01T23:00", None),
]


@pytest.mark.parametrize("story", [SPRING, AUTUMN], ids=["spring", "autumn"])
async def test_three_budgets_at_once_at_their_edges(
    path: Path, story: list[tuple[str, tuple[str, str] | None]]
) -> None:
    """Each counts in its own window, to the millisecond, also on the days on which the clocks change."""
    ledger = LimitedLedger(path, story[0][0])
    await ledger.open(zone="Europe/Berlin")
    alice = await ledger.holder("alice", "1/day", "2/week", "3/month")
    for at, refusal in story:
        ledger.clock.at = utc(at)
        verdict = await ledger.ask(alice, "1")
        if refusal is None:
            assert isinstance(verdict, Admitted), at
            await ledger.store.settle(settled(verdict.request_id, "1"), 5)
            continue
        assert isinstance(verdict, Refused), at
        assert verdict.hit is not None
        assert verdict.reason is RefusalReason.BUDGET_SPENT
        assert verdict.hit.resets_at == utc(refusal[1])
        spent = {"day": "1.00", "week": "2.00", "month": "3.00"}[refusal[0]]
        assert (await ledger.budgets(alice))[refusal[0]] == (spent, "0.00")
    await ledger.verify()
    await ledger.close()


async def test_a_request_counts_in_the_window_in_which_it_was_made(ledger: LimitedLedger) -> None:
    """However late it is admitted and ends; also when requests of two windows end at once."""
    alice = await ledger.holder("alice", "10/day")
    early = await ledger.admit(alice, "1")
    ledger.clock.at = utc("2026-11-03T00:00")
    just_before = await ledger.admit(alice, "1", at=utc("2026-11-02T23:59:59.999"))
    late = await ledger.admit(alice, "1")
    ledger.clock.move(days=9)
    settlements = [settled(late, "2"), settled(early, "3"), settled(just_before, "4")]
    await asyncio.gather(*(ledger.store.settle(settlement, 5) for settlement in settlements))
    sums = [(begins, *sums) for _, begins, _, *sums in await ledger.windows(alice.key.id)]
    assert sums == [(utc("2026-11-02"), 7 * USD, 0, 0), (utc("2026-11-03"), 2 * USD, 0, 0)]
    assert await ledger.budgets(alice) == {"day": ("0.00", "0.00")}
    await ledger.verify()


async def test_a_window_begins_with_the_first_request_that_is_asked_for(ledger: LimitedLedger) -> None:
    """Also with one that is refused: what the new window has spent is not summed up for each of them again."""
    alice = await ledger.holder("alice", "0/day")
    ledger.clock.move(days=1)
    for _ in range(2):
        assert (await ledger.refused(alice)).reason is RefusalReason.BUDGET_SPENT
    edges = [(begins, ends) for _, begins, ends, *_ in await ledger.windows(alice.key.id)]
    assert edges == [(utc(f"2026-11-0{day}"), utc(f"2026-11-0{day + 1}")) for day in (2, 3)]


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
