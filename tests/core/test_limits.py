"""Where owners stand: what is in the way of a request, what is left, and sums that stay within bounds."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.binding import Binding
from app.core.budgets import ALWAYS_FROM_MS, ALWAYS_TO_MS, Budget, BudgetPeriod, Span
from app.core.clock import from_ms
from app.core.holds import Billing
from app.core.limits import BudgetStanding, Ended, Limits, Standing, Window
from app.core.money import SUM_MAX
from app.core.rates import rate_from
from app.core.records import Allowance, LimitHit, RefusalReason, Scope

NOW_MS = 1_790_000_000_000
_SMALL = st.integers(0, 12)


def _standing(*budgets: tuple[int, int, int, int], limits: Limits | None = None) -> Standing:
    """`budgets`: amount, settled, kept, held, each in a window around now."""
    found = [
        BudgetStanding(
            Budget(amount, BudgetPeriod.DAY),
            [Window(Span(NOW_MS - 1, NOW_MS + 1), Billing.CHARGED, settled, kept, held)],
        )
        for amount, settled, kept, held in budgets
    ]
    return Standing("key_1", Scope.KEY, "alice", limits=limits or Limits(), budgets=found)


# --- budgets -------------------------------------------------------------------------------


@given(st.lists(st.tuples(_SMALL, _SMALL, _SMALL, _SMALL), max_size=4), _SMALL)
def test_a_budget_is_in_the_way_exactly_when_the_sum_is_above_it(
    budgets: list[tuple[int, int, int, int]], hold: int
) -> None:
    """Spent: what is settled and kept, and this hold, are too much already; held: only with what runs."""
    expected = []
    for amount, settled, kept, held in budgets:
        if settled + kept + held + hold > amount:
            spent = settled + kept + hold > amount
            expected.append(
                (
                    RefusalReason.BUDGET_SPENT if spent else RefusalReason.BUDGET_HELD,
                    None if spent else 2000,
                    (amount, settled + kept, held, hold),
                )
            )
    found = [
        (
            one.reason,
            one.retry_after_ms,
            (
                one.hit.limit_picodollars,
                one.hit.spent_picodollars,
                one.hit.held_picodollars,
                one.hit.hold_picodollars,
            ),
        )
        for one in _standing(*budgets).violations(NOW_MS, NOW_MS, hold, 0)
    ]
    assert found == expected


def test_a_budget_says_whose_it_is_and_when_it_resets() -> None:
    """The end of its window; nothing for a total, which never does."""
    standing = _standing((5, 6, 0, 0))
    standing.budgets.append(
        BudgetStanding(Budget(5, BudgetPeriod.TOTAL), [Window(Span(ALWAYS_FROM_MS, ALWAYS_TO_MS), Billing.CHARGED, 6)])
    )
    day, total = standing.violations(NOW_MS, NOW_MS, 1, 0)
    money = {"limit_picodollars": 5, "spent_picodollars": 6, "held_picodollars": 0, "hold_picodollars": 1}
    assert day.hit == LimitHit(Scope.KEY, "alice", period="day", resets_at=from_ms(NOW_MS + 1), **money)
    assert total.hit == LimitHit(Scope.KEY, "alice", period="total", resets_at=None, **money)


# --- sums ----------------------------------------------------------------------------------

_HUGE = st.integers(0, 10**16) | st.just(10**16) | st.integers(0, SUM_MAX)


@given(st.lists(st.tuples(_HUGE, st.sampled_from(["settled", "free", "kept"])), max_size=50))
def test_a_window_is_the_sum_of_what_ended_in_it(requests: list[tuple[int, str]]) -> None:
    """Whatever an upstream says that things cost; beyond 64 bits it stays at its bound, and is never free again."""
    window = Window(Span(0, 1), Billing.CHARGED, held=sum(amount for amount, _ in requests))
    for amount, how in requests:
        kept = amount if how == "kept" else 0
        window.end(Ended(amount, 0, kept=kept, charged=amount if how == "settled" else 0))
    settled, kept = (sum(amount for amount, how in requests if how == what) for what in ("settled", "kept"))
    assert (window.settled, window.kept, window.held) == (min(SUM_MAX, settled), min(SUM_MAX, kept), 0)


@pytest.mark.parametrize(("billing", "cost"), [(Billing.CHARGED, 7), (Billing.TRUE_COST, 5)])
def test_a_window_counts_the_cost_that_it_began_with(billing: Billing, cost: int) -> None:
    """Charges or true costs, whatever the setting has become."""
    window = Window(Span(0, 1), billing, settled=100, held=30)
    window.end(Ended(20, 0, charged=7, true_cost=5))
    assert (window.settled, window.kept, window.held) == (100 + cost, 0, 10)


@pytest.mark.parametrize(("billing", "more"), [(Billing.CHARGED, 7), (Billing.TRUE_COST, 5)])
def test_a_resolved_cost_takes_the_place_of_what_was_kept(billing: Billing, more: int) -> None:
    """By the cost that the window counts; a later word only moves the difference, and nothing falls below zero."""
    window = Window(Span(0, 1), billing, settled=100, kept=30)
    window.resolve(30, true_cost=5, charged=7)
    assert (window.settled, window.kept) == (100 + more, 0)
    window.resolve(0, true_cost=-5, charged=-7)
    assert (window.settled, window.kept) == (100, 0)
    window.resolve(1, true_cost=-500, charged=-500)
    assert (window.settled, window.kept) == (0, 0)


# --- rates and what runs at once -------------------------------------------------------------


@dataclass
class _Plain:
    """The same limits over plain lists."""

    limits: Limits
    running: list[int] = field(default_factory=list)  # the tokens that each is taken for
    made: list[int] = field(default_factory=list)
    closed: list[tuple[int, int]] = field(default_factory=list)

    def in_the_way(self, now_ms: int, tokens: int) -> set[RefusalReason]:
        found = set()
        made = sum(at_ms + 60_000 > now_ms for at_ms in self.made)
        if self.limits.rpm is not None and made + 1 > self.limits.rpm:
            found.add(RefusalReason.REQUESTS_PER_MINUTE)
        if self.limits.tpm is not None and self.tokens(now_ms) + min(tokens, self.limits.tpm) > self.limits.tpm:
            found.add(RefusalReason.TOKENS_PER_MINUTE)
        if self.limits.concurrency is not None and len(self.running) + 1 > self.limits.concurrency:
            found.add(RefusalReason.CONCURRENCY)
        return found

    def tokens(self, now_ms: int) -> int:
        return sum(self.running) + sum(tokens for at_ms, tokens in self.closed if at_ms + 60_000 > now_ms)


_LIMITS = st.builds(
    Limits,
    rpm=st.none() | st.integers(1, 5),
    tpm=st.none() | st.integers(1, 30),
    concurrency=st.none() | st.integers(1, 3),
)
# Seconds that pass, the tokens that a request is taken for, and which running one ends before with how many tokens.
_STORY = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0, 1, 20, 59, 60, 61]),
        st.integers(0, 40),
        st.none() | st.tuples(st.integers(0, 5), st.integers(0, 60)),
    ),
    max_size=40,
)


@given(_LIMITS, _STORY)
def test_limits_are_in_the_way_exactly_when_plain_lists_say_so(
    limits: Limits, story: list[tuple[int, int, tuple[int, int] | None]]
) -> None:
    """Requests count for a minute from when they were made, tokens while they run and a minute from when they ended."""
    standing, plain, now_ms = _standing(limits=limits), _Plain(limits), NOW_MS
    for seconds, asked, ending in story:
        now_ms += seconds * 1000
        if ending is not None and plain.running:
            taken = plain.running.pop(ending[0] % len(plain.running))
            standing.end(now_ms, Ended(0, taken, tokens=ending[1], requests=1))
            plain.closed.append((now_ms, ending[1]))
        tokens = min(asked, limits.tpm) if limits.tpm is not None else 0
        assert Binding([standing]).has_room(now_ms, tokens) == (not plain.in_the_way(now_ms, asked))
        found = list(standing.violations(now_ms, now_ms, 0, tokens))
        assert {one.reason for one in found} == plain.in_the_way(now_ms, tokens)
        assert len({one.reason for one in found}) == len(found)
        if not found:
            standing.take(now_ms, tokens)
            plain.running.append(tokens)
            plain.made.append(now_ms)
            assert limits.tpm is None or plain.tokens(now_ms) <= limits.tpm


@given(_LIMITS.filter(lambda limits: limits.rpm or limits.tpm), _STORY)
def test_who_waits_as_told_is_not_refused_for_the_same_reason(
    limits: Limits, story: list[tuple[int, int, tuple[int, int] | None]]
) -> None:
    """If nobody else came meanwhile and what ran has ended: also the largest request comes through some time."""
    standing, now_ms = _standing(limits=limits), NOW_MS
    for seconds, asked, ending in story:
        now_ms += seconds * 1000 + 7 * asked
        tokens = min(asked, limits.tpm) if limits.tpm is not None else 0
        found = {one.reason: one.retry_after_ms for one in standing.violations(now_ms, now_ms, 0, tokens)}
        for reason, wait_ms in found.items():
            assert wait_ms is not None
            assert 0 < wait_ms <= 60_000
            if reason is not RefusalReason.CONCURRENCY:
                later = now_ms + wait_ms
                again = _standing(limits=limits)
                again.rate = rate_from(standing.rate.steps)
                assert reason not in {one.reason for one in again.violations(later, later, 0, tokens)}
        if not found:
            standing.take(now_ms, tokens)
            if ending is not None:
                standing.end(now_ms, Ended(0, tokens, tokens=ending[1], requests=1))


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(rpm=3), RefusalReason.REQUESTS_PER_MINUTE),
        (Limits(tpm=30), RefusalReason.TOKENS_PER_MINUTE),
        (Limits(concurrency=3), RefusalReason.CONCURRENCY),
    ],
)
def test_as_many_as_a_limit_says_and_not_one_more(limits: Limits, reason: RefusalReason) -> None:
    """Three of ten tokens each: the third is not in the way, the fourth is."""
    standing = _standing(limits=limits)
    for _ in range(3):
        assert not list(standing.violations(NOW_MS, NOW_MS, 0, 10))
        standing.take(NOW_MS, 10)
    assert [one.reason for one in standing.violations(NOW_MS, NOW_MS, 0, 10)] == [reason]


def test_without_limits_nothing_is_in_the_way() -> None:
    """An owner with budgets alone has nothing too many."""
    standing = _standing((5, 0, 0, 0))
    assert standing.too_many(NOW_MS, 100) == []


def test_what_the_limits_of_a_minute_leave() -> None:
    """Running requests count with the tokens they are taken for; the reset is when nothing made so far counts."""
    standing = _standing(limits=Limits(rpm=3, tpm=100))
    assert standing.requests_allowance(NOW_MS) == Allowance(3, 3, 0)
    assert standing.tokens_allowance(NOW_MS) == Allowance(100, 100, 0)
    standing.take(NOW_MS, 30)
    assert standing.tokens_allowance(NOW_MS) == Allowance(100, 70, 60_000)  # also of what has not ended yet
    standing.take(NOW_MS + 5000, 30)
    standing.end(NOW_MS + 9000, Ended(0, 30, tokens=50, requests=1))
    assert standing.requests_allowance(NOW_MS + 9000) == Allowance(3, 1, 56_000)
    assert standing.tokens_allowance(NOW_MS + 9000) == Allowance(100, 20, 60_000)
    standing.limits = Limits(rpm=1, tpm=10)  # lowered: never less than nothing is left
    assert standing.requests_allowance(NOW_MS + 9000) == Allowance(1, 0, 56_000)
    assert standing.tokens_allowance(NOW_MS + 9000) == Allowance(10, 0, 60_000)


def test_limits_are_true_when_there_is_one() -> None:
    """What decides whether anything is counted for an owner."""
    assert not Limits()
    assert Limits(rpm=1)
    assert Limits(tpm=1)
    assert Limits(concurrency=1)
