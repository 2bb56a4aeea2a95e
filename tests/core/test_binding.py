"""What binds a request, taken together: its windows, what they leave, and what is counted in them."""

from __future__ import annotations

from itertools import pairwise, product
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from app.core.binding import NOTHING_BINDS, Binding, Endings
from app.core.budgets import ALWAYS_FROM_MS, ALWAYS_TO_MS, Budget, BudgetPeriod, Span
from app.core.holds import Billing
from app.core.limits import BudgetStanding, Ended, Limits, Standing, Window
from app.core.rates import rate_of
from app.core.records import Allowances, Cost, Reading, Scope

NOW_MS = 1_790_000_000_000
_SMALL = st.integers(0, 12)


def _window(starts_at_ms: int, ends_at_ms: int, *sums: int) -> Window:
    return Window(Span(starts_at_ms, ends_at_ms), Billing.CHARGED, *sums)


def _standing(*budgets: BudgetStanding, limits: Limits | None = None) -> Standing:
    return Standing("key_1", Scope.KEY, "alice", limits=limits or Limits(), budgets=list(budgets))


def _day(amount: int, *windows: Window) -> BudgetStanding:
    return BudgetStanding(Budget(amount, BudgetPeriod.DAY), list(windows))


# --- windows -------------------------------------------------------------------------------

_EDGES = st.integers(0, 30)
# Budgets of several owners, each by the edges between which it may get windows; which of them are there from the start,
# and then: when is asked, and whether what is missing then begins before the next.
_CALENDARS = st.lists(st.lists(st.sets(_EDGES, min_size=2, max_size=6), max_size=3), max_size=3)
_QUESTIONS = st.lists(st.tuples(st.integers(-1, 31), st.booleans()), max_size=30)


@given(_CALENDARS, st.randoms(use_true_random=False), _QUESTIONS)
def test_the_windows_are_those_that_a_plain_search_finds(
    calendars: list[list[set[int]]], chance: Random, questions: list[tuple[int, bool]]
) -> None:
    """Whatever was asked before, in whatever order windows begin, and where some are missing."""
    standings, later = [], list[tuple[BudgetStanding, Window]]()
    for owner in calendars:
        standings.append(_standing(*(_day(1) for _ in owner)))
        for budget, edges in zip(standings[-1].budgets, owner, strict=True):
            for starts, ends in pairwise(sorted(edges)):
                if chance.random() < 0.7:
                    budget.windows.append(_window(starts, ends))
                else:
                    later.append((budget, _window(starts, ends)))
            chance.shuffle(budget.windows)
    binding = Binding(standings)
    for at_ms, begins in questions:
        there = [(one, window) for standing in standings for one in standing.budgets for window in one.windows]
        plain = [(one.budget, id(window)) for one, window in there if window.span.holds(at_ms)]
        assert [(budget, id(window)) for budget, window in binding.windows(at_ms)] == plain
        for standing, window in [one for one in later if begins and one[1].span.holds(at_ms)]:
            standing.windows.append(window)
            later.remove((standing, window))


def test_there_is_room_where_nothing_is_too_many() -> None:
    """Of an owner beside another, whatever its limits are, and whatever it did and runs."""
    for limits in product((None, 1, 2, 3), repeat=3):
        for requests, tokens, running in product(range(4), repeat=3):
            one, beside = _standing(limits=Limits(*limits)), _standing(limits=Limits(9, 3, 9))
            one.rate = rate_of([(NOW_MS, requests, tokens)])
            one.running = one.running_tokens = running
            for asked in range((limits[1] or 3) + 1):
                assert Binding([beside, one]).has_room(NOW_MS, asked) == (not one.too_many(NOW_MS, asked))


def test_only_the_window_of_the_request_counts() -> None:
    """A request made at the edge counts in the window that begins there, whatever time it is by now."""
    first, second = (_window(at, at + 10, 7) for at in (NOW_MS, NOW_MS + 10))
    binding = Binding([_standing(_day(9, second, first))])
    binding.take(NOW_MS + 9, NOW_MS + 500, 2, 0)
    assert (first.held, second.held) == (2, 0)
    assert binding.violations(NOW_MS + 9, NOW_MS + 500, 1, 0)
    assert not binding.violations(NOW_MS + 10, NOW_MS + 500, 1, 0)
    binding.end(NOW_MS + 9, NOW_MS + 90_000, Ended(2, 0, kept=1))
    assert (first.settled, first.kept, first.held, second.spent) == (7, 1, 0, 7)


def test_a_request_is_held_for_until_it_ends_wherever_others_fell_meanwhile() -> None:
    """Days and a month of key, team and gateway; two requests on either side of midnight end after both began."""
    days = [[_window(NOW_MS - 5, NOW_MS), _window(NOW_MS, NOW_MS + 5)] for _ in range(3)]
    always = [_window(ALWAYS_FROM_MS, ALWAYS_TO_MS) for _ in range(3)]
    binding = Binding([_standing(_day(90, *day), _day(90, month)) for day, month in zip(days, always, strict=True)])
    for at_ms, hold in ((NOW_MS - 1, 3), (NOW_MS, 5), (NOW_MS - 1, 7)):
        binding.take(at_ms, NOW_MS, hold, 0)
    assert [[one.held for one in day] for day in days] == [[10, 5]] * 3
    binding.end(NOW_MS, NOW_MS, Ended(5, 0, charged=1))
    binding.end(NOW_MS - 1, NOW_MS, Ended(3, 0, charged=2))
    assert [[(one.held, one.settled) for one in day] for day in days] == [[(7, 2), (0, 1)]] * 3
    assert [(one.held, one.settled) for one in always] == [(7, 3)] * 3


_ENDED = st.tuples(
    st.integers(0, 2),  # whose it was
    st.integers(NOW_MS - 3, NOW_MS + 2),  # when it was created
    st.tuples(_SMALL, _SMALL, _SMALL),  # its hold, the tokens that it was taken for, and its tokens
    st.none() | _SMALL,  # what was charged, and what it cost; None = not known, and its hold is kept
    st.none() | _SMALL,
)


@given(st.lists(_ENDED, max_size=30), st.sampled_from(Billing))
def test_requests_that_end_together_count_as_one_after_the_other(
    ended: list[tuple[int, int, tuple[int, int, int], int | None, int | None]], billing: Billing
) -> None:
    """On either side of midnight, of keys that share an owner, and where a window is missing."""
    stood = [_two_days(billing) for _ in range(2)]
    (together, together_owners), (singly, singly_owners) = stood
    endings = Endings()
    for whose, at_ms, (hold, taken, tokens), charged, true_cost in ended:
        reading = Reading(true_cost=_cost(true_cost), charged=_cost(charged))
        kept = hold if not reading.cost_known else 0
        endings.of(together[whose], at_ms).add(hold, taken, kept, tokens, reading)
        known = [cost for cost in (charged, true_cost) if cost is not None]
        one = Ended(hold, taken, kept, tokens, known[0] if known else 0, known[-1] if known else 0, requests=1)
        singly[whose].end(at_ms, NOW_MS + 5, one)
    endings.count(NOW_MS + 5)
    assert together_owners == singly_owners


def _two_days(billing: Billing) -> tuple[list[Binding], list[Standing]]:
    """Three keys beside one team; the third has a budget of which one window has not begun."""
    owners = []
    for spans in ([-9, 0, 9], [-9, 0, 9], [-9, 0], [-9, 0, 9]):
        windows = [
            Window(Span(NOW_MS + starts, NOW_MS + ends), billing, held=200, kept=1) for starts, ends in pairwise(spans)
        ]
        owners.append(_standing(_day(99, *windows), limits=Limits(rpm=99)))
        owners[-1].running, owners[-1].running_tokens = 25, 200
    return [Binding([owner, owners[-1]]) for owner in owners[:-1]], owners


def _cost(picodollars: int | None) -> Cost | None:
    return None if picodollars is None else Cost("", picodollars)


# --- what is left --------------------------------------------------------------------------


@given(st.lists(st.lists(st.tuples(_SMALL, _SMALL, _SMALL, _SMALL), max_size=3), max_size=3))
def test_what_remains_is_what_the_tightest_budget_leaves(owners: list[list[tuple[int, int, int, int]]]) -> None:
    """A hold of so much is admitted, a larger one is not; less than nothing is left after an overrun."""
    binding = Binding(
        [
            _standing(*(_day(amount, _window(NOW_MS - 1, NOW_MS + 1, *sums)) for amount, *sums in budgets))
            for budgets in owners
        ]
    )
    left = binding.left(NOW_MS)
    if not any(owners):
        assert left is None
        return
    assert left is not None
    overrun = any(settled + kept + held > amount for one in owners for amount, settled, kept, held in one)
    assert (left < 0) == overrun
    assert not binding.violations(NOW_MS, NOW_MS, left, 0)
    assert binding.violations(NOW_MS, NOW_MS, left + 1, 0)


_LIMITS = st.builds(Limits, rpm=st.none() | st.integers(1, 4), tpm=st.none() | st.integers(1, 9))
_USED = st.lists(st.tuples(st.integers(0, 99), st.integers(0, 3)), max_size=6)


@given(st.lists(st.tuples(_LIMITS, _USED, st.integers(0, 9)), max_size=3), st.none() | st.integers(-9, 9))
def test_of_each_kind_the_tightest_limit_is_told(
    owners: list[tuple[Limits, list[tuple[int, int]], int]], left: int | None
) -> None:
    """The one that leaves least, of several the lowest, of equals that of the first; less than nothing is nothing."""
    standings = []
    for limits, used, running_tokens in owners:
        standings.append(_standing(limits=limits))
        standings[-1].rate = rate_of((NOW_MS - before_ms, 1, tokens) for before_ms, tokens in used)
        standings[-1].running_tokens = running_tokens
    requests = [one.requests_allowance(NOW_MS) for one in standings if one.limits.rpm is not None]
    tokens = [one.tokens_allowance(NOW_MS) for one in standings if one.limits.tpm is not None]
    for told in (requests, tokens):
        told.sort(key=lambda one: (one.remaining, one.limit))  # a sort keeps equals in their order
    expected = Allowances(
        requests[0] if requests else None, tokens[0] if tokens else None, None if left is None else max(0, left)
    )
    assert Binding(standings).allowances(left, NOW_MS) == expected


# --- rates and what runs at once -----------------------------------------------------------


def test_nothing_is_counted_for_owners_without_limits() -> None:
    """An owner with budgets alone has no rate to keep; beside it, one with limits has."""
    poor, limited = _standing(_day(5, _window(NOW_MS, NOW_MS + 1))), _standing(limits=Limits(concurrency=2))
    binding = Binding([poor, limited])
    binding.take(NOW_MS, NOW_MS, 1, 100)
    assert (poor.running, poor.running_tokens, poor.rate.steps) == (0, 0, [])
    assert (limited.running, limited.running_tokens, limited.rate.requests) == (1, 100, 1)
    assert binding.has_room(NOW_MS, 0)
    binding.take(NOW_MS, NOW_MS, 1, 0)
    assert not binding.has_room(NOW_MS, 0)
    binding.end(NOW_MS, NOW_MS, Ended(1, 100, tokens=3, requests=1))
    assert (poor.running, limited.running, limited.running_tokens, limited.rate.tokens) == (0, 1, 0, 3)
    assert poor.rate.steps == []


def test_nothing_binds_who_has_no_limits() -> None:
    """It always has room, and tells of nothing."""
    assert NOTHING_BINDS.windows(NOW_MS) == []
    assert (NOTHING_BINDS.left(NOW_MS), NOTHING_BINDS.has_room(NOW_MS, 10**9)) == (None, True)
    assert NOTHING_BINDS.allowances(None, NOW_MS) == Allowances()
