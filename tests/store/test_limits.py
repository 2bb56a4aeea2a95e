"""Budgets over a real ledger and a clock that tests move: changed while requests run, spent by costs of all kinds."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.core.budgets import parse_budget
from app.core.holds import Counting
from app.core.limits import GATEWAY, Limits
from app.core.money import SUM_MAX, parse_usd
from app.core.owners import KeyChange
from app.core.records import Admitted, Outcome, Reading, RefusalReason, Refused, Scope, Settlement, State
from app.core.value import replace
from tests.store.entries import Holder, crashed_copy, free, rows, settled
from tests.store.limited import BY_TRUE_COST, NOTHING_UNKNOWN_COUNTS, LimitedLedger

USD = 10**12
MILLI = 10**9


# --- changes while requests run --------------------------------------------------------------


async def test_a_changed_budget_counts_at_once_with_all_that_was_and_runs(ledger: LimitedLedger) -> None:
    """Lowered below what is held, raised, taken away, set again for another period: nothing is forgotten."""
    alice = await ledger.holder("alice", "1/day")
    await ledger.spend(alice, "0.20")
    running = [await ledger.admit(alice, "0.30") for _ in range(2)]
    await ledger.set_budgets("alice", "0.40/day")
    assert (await ledger.refused(alice, "0.10")).reason is RefusalReason.BUDGET_HELD
    assert (await ledger.refused(alice, "0.21")).reason is RefusalReason.BUDGET_SPENT
    await ledger.set_budgets("alice", "0.90/day")
    running.append(await ledger.admit(alice, "0.10"))
    assert (await ledger.refused(alice, "0.01")).reason is RefusalReason.BUDGET_HELD
    await ledger.set_budgets("alice")
    without = await ledger.admit(alice, "0.70")
    await ledger.store.settle(settled(running.pop(), "0.05"), 5)
    await ledger.set_budgets("alice", "1/week", "2/total")
    assert await ledger.budgets(alice) == {"week": ("0.25", "0.60"), "total": ("0.25", "0.60")}
    await ledger.store.settle(settled(without, "0.50"), 5)
    assert await ledger.budgets(alice) == {"week": ("0.75", "0.60"), "total": ("0.75", "0.60")}
    await ledger.store.settle(settled(running.pop(), "0.30"), 5)
    await ledger.store.settle(free(running.pop()), 5)
    assert await ledger.budgets(alice) == {"week": ("1.05", "0.00"), "total": ("1.05", "0.00")}
    assert (await ledger.refused(alice, "0.01")).reason is RefusalReason.BUDGET_SPENT
    await ledger.verify()


async def test_a_team_that_a_key_leaves_keeps_what_was_made_in_it(ledger: LimitedLedger) -> None:
    """Requests count for the team that the key belonged to, while they run and when they end."""
    blue, red = await ledger.team("blue", "1/day"), await ledger.team("red", "1/day")
    alice = await ledger.holder("alice", team="blue")
    running = await ledger.admit(alice, "0.80")
    await ledger.keyring.change("alice", KeyChange(team="red"))
    await ledger.admit(alice, "0.70")
    await ledger.store.settle(settled(running, "0.90"), 5)
    found = {team: [row[3:] for row in await ledger.windows(team)] for team in (blue, red)}
    assert found == {blue: [(900 * MILLI, 0, 0)], red: [(0, 0, 700 * MILLI)]}
    await ledger.verify()


async def test_each_threshold_is_told_once(ledger: LimitedLedger) -> None:
    """When it is reached, by whatever reaches it; not again after a change of the amount within the same window."""
    alice = await ledger.holder("alice", "1/day")
    for cost, told in (("0.49", []), ("0.01", [50]), ("0.29", [50]), ("0.21", [50, 80, 100])):
        await ledger.spend(alice, cost)
        assert await ledger.alert_facts("budget", "threshold_percent") == told
    await ledger.set_budgets("alice", "1.10/day")
    await ledger.spend(alice, "0.10")
    assert await ledger.alert_facts("budget", "threshold_percent") == [50, 80, 100]
    ledger.clock.move(days=1)
    await ledger.spend(alice, "0.60")
    assert await ledger.alert_facts("budget", "threshold_percent") == [50, 80, 100, 50]
    await ledger.set_budgets("alice", "0.60/day")
    assert await ledger.alert_facts("budget", "threshold_percent") == [50, 80, 100, 50, 80, 100]


# --- money ---------------------------------------------------------------------------------


async def test_absurd_costs_are_booked_all_the_same(ledger: LimitedLedger) -> None:
    """Thousands of 10,000 USD each: no settlement is lost, no later day is, and no budget ever seems to be free."""
    await ledger.keyring.set_gateway_budgets((parse_budget("1000000/total"),))
    alice = await ledger.holder("alice", "1000000/day")
    # So many at a time as even a busy machine admits before it gives up.
    admitted = [
        request_id
        for _ in range(15)
        for request_id in await asyncio.gather(*(ledger.admit(alice, "0.01") for _ in range(200)))
    ]
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


@pytest.mark.parametrize(("amount", "hold"), [("1.00", "0.01"), ("10.00", "0.07"), ("0.999", "0.001")])
async def test_a_thousand_at_once_are_admitted_to_the_last_that_fits(
    ledger: LimitedLedger, amount: str, hold: str
) -> None:
    """In batches as they come, from the keys of a team: exactly as many holds as the amount has room for."""
    await ledger.team("blue", f"{amount}/month")
    holders = [await ledger.holder(f"key-{number}", team="blue") for number in range(8)]

    async def some(number: int) -> list[Admitted | Refused]:
        return [await ledger.ask(holders[(number + each) % 8], hold) for each in range(25)]

    verdicts = [verdict for found in await asyncio.gather(*(some(number) for number in range(40))) for verdict in found]
    admitted = [verdict.request_id for verdict in verdicts if isinstance(verdict, Admitted)]
    assert len(admitted) == min(1000, parse_usd(amount) // parse_usd(hold))
    assert {one.reason for one in verdicts if isinstance(one, Refused)} <= {RefusalReason.BUDGET_HELD}
    await asyncio.gather(*(ledger.store.settle(free(request_id), 5) for request_id in admitted))
    await ledger.admit(holders[0], amount)
    await ledger.verify()


async def test_a_budget_of_nothing_refuses_whatever_may_cost_something(ledger: LimitedLedger) -> None:
    """It never resets to more; what surely costs nothing passes."""
    alice = await ledger.holder("alice", "0/day")
    for _ in range(2):
        assert (await ledger.refused(alice, "0.000000000001")).reason is RefusalReason.BUDGET_SPENT
        await ledger.spend(alice, "0")
        ledger.clock.move(days=1)


# --- what nobody can tell --------------------------------------------------------------------


def _unknown(request_id: str, status: int | None) -> Settlement:
    outcome = Outcome.UPSTREAM_ERROR if status else Outcome.UPSTREAM_DISCONNECTED
    return Settlement(request_id, State.UNKNOWN, outcome, Reading(), status, unknown_reason="no_cost")


@pytest.mark.parametrize("counting", [Counting(), NOTHING_UNKNOWN_COUNTS], ids=["hold", "nothing"])
async def test_half_an_hour_of_failing_upstream_blocks_no_budget(path: Path, counting: Counting) -> None:
    """500s to every request and both retries of the SDKs: nothing was told, nothing is kept."""
    ledger = LimitedLedger(path, "2026-11-02T12:00")
    await ledger.open(counting=counting)
    alice = await ledger.holder("alice", "1/day")
    for _ in range(30 * 4):
        for retry in range(3):
            request_id = await ledger.admit(alice, "0.30", sdk_retry=retry)
            await ledger.store.settle(_unknown(request_id, 500), 5)
            ledger.clock.move(seconds=1)
        ledger.clock.move(seconds=12)
    assert await ledger.budgets(alice) == {"day": ("0.00", "0.00")}
    await ledger.verify()
    await ledger.close()


@pytest.mark.parametrize("status", [None, 200, 408])
async def test_an_unknown_cost_counts_as_its_hold_unless_the_operator_says_nothing(
    ledger: LimitedLedger, status: int | None
) -> None:
    """What was kept stays kept when that changes; it is spent, not held: no waiting helps."""
    alice = await ledger.holder("alice", "1/day")
    await ledger.store.settle(_unknown(await ledger.admit(alice, "0.60"), status), 5)
    assert await ledger.budgets(alice) == {"day": ("0.60", "0.00")}
    assert (await ledger.refused(alice, "0.50")).reason is RefusalReason.BUDGET_SPENT
    await ledger.close()
    await ledger.open(counting=NOTHING_UNKNOWN_COUNTS)
    for _ in range(3):
        await ledger.store.settle(_unknown(await ledger.admit(alice, "0.40"), status), 5)
    assert await ledger.budgets(alice) == {"day": ("0.60", "0.00")}
    await ledger.verify()


async def test_an_unknown_cost_is_told_once_in_an_hour_of_each_key(ledger: LimitedLedger) -> None:
    """However many there are; also when the batch in which it was told first was undone, and done again."""
    alice, bob = [await ledger.holder(name) for name in ("alice", "bob")]

    async def one_more(holder: Holder) -> None:
        await ledger.store.settle(_unknown(await ledger.admit(holder), 500), 5)

    async def undone() -> None:
        await ledger.store.change(lambda connection: 1 // 0)

    request_id = await ledger.admit(alice)
    await asyncio.gather(ledger.store.settle(_unknown(request_id, 500), 5), undone(), return_exceptions=True)
    for holder in (alice, bob, alice, bob):
        await one_more(holder)
    assert await ledger.alert_facts("unknown_cost", "key") == ["alice", "bob"]
    await ledger.close()
    await ledger.open()
    await one_more(alice)
    ledger.clock.move(minutes=59, seconds=59)
    await one_more(bob)
    assert await ledger.alert_facts("unknown_cost", "key") == ["alice", "bob"]
    ledger.clock.move(seconds=1)
    for holder in (bob, alice, bob):
        await one_more(holder)
    assert await ledger.alert_facts("unknown_cost", "key") == ["alice", "bob", "bob", "alice"]


@pytest.mark.parametrize("counting", [Counting(), NOTHING_UNKNOWN_COUNTS], ids=["hold", "nothing"])
async def test_what_a_crash_left_running_is_counted_once(
    ledger: LimitedLedger, tmp_path: Path, counting: Counting
) -> None:
    """Its requests become unknown: their holds are kept (or not), nothing is held, nothing runs; also after another."""
    alice = await ledger.holder("alice", "1/day", limits=Limits(concurrency=3))
    await ledger.spend(alice, "0.10")
    for _ in range(3):
        await ledger.admit(alice, "0.20")
    for crash in range(2):
        copy = crashed_copy(ledger.path, tmp_path / f"crash-{crash}")
        await ledger.close()
        await ledger.open(counting=counting, path=copy)
        kept = "0.70" if counting.unknown_keeps_hold else "0.10"
        assert await ledger.budgets(alice) == {"day": (kept, "0.00")}
        await ledger.verify()
    running = [await ledger.admit(alice, "0.05") for _ in range(3)]
    assert (await ledger.refused(alice, "0.05")).reason is RefusalReason.CONCURRENCY
    assert len(running) == 3


async def test_a_window_counts_the_cost_that_was_billed_by_when_it_began(ledger: LimitedLedger) -> None:
    """Another setting counts from the next window on; a cost that is alone counts either way."""
    alice = await ledger.holder("alice", "1/day")
    await ledger.spend(alice, "0.00995")  # charged 0.0100
    await ledger.close()
    await ledger.open(counting=BY_TRUE_COST)
    await ledger.spend(alice, "0.00995")
    assert await ledger.budgets(alice) == {"day": ("0.02", "0.00")}
    ledger.clock.move(days=1)
    await ledger.spend(alice, "0.00995")
    only_charged = settled(await ledger.admit(alice), "0.00995")
    await ledger.store.settle(replace(only_charged, reading=replace(only_charged.reading, true_cost=None)), 5)
    assert await ledger.budgets(alice) == {"day": ("0.01995", "0.00")}
    await ledger.set_budgets("alice")
    await ledger.set_budgets("alice", "1/day", "1/month")
    assert await ledger.budgets(alice) == {"day": ("0.01995", "0.00"), "month": ("0.03985", "0.00")}
    await ledger.verify()
