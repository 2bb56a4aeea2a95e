"""What is set aside for a request, and what counts of it when it is over."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.holds import (
    HOLD_PICODOLLARS_MAX,
    OUTPUT_TOKENS_DEFAULT,
    PART_TOKENS,
    SAMPLES_MAX,
    SAMPLES_MIN,
    Billing,
    Counting,
    Recent,
    Sample,
    counted,
    counted_both,
    hold,
    keeps_hold,
    prompt_tokens,
    tokens_held,
)
from app.core.money import AMOUNT_USD_MAX, COST_USD_MAX, PICODOLLARS_PER_USD
from app.core.records import Asked, Cost, Outcome, Prices, Reading, Settlement, State
from tests.store.most import most_of

DEFAULT = 50_000_000_000  # 0.05 USD
PRICES = Prices(2_500_000, 10_000_000)  # 2.50 and 10 USD a million


def samples(*picodollars: int) -> list[Sample]:
    """Settled requests, newest first, of a token for each picodollar."""
    return [Sample(amount, amount) for amount in picodollars]


def asked(
    prompt: int = 1000,
    output: int | None = None,
    *,
    prices: Prices | None = PRICES,
    ceiling: int | None = None,
) -> Asked:
    return Asked(prompt, output, prices, ceiling, DEFAULT)


FIVE = samples(10, 30, 20, 11, 12)

HOLDS = [
    # By prices: the prompt, and what the client allows or 4,096 tokens of output; up to the next 1/10,000 USD.
    (asked(), [], 43_500_000_000),  # 0.0025 + 0.04096
    (asked(output=10), [], 2_600_000_000),
    (asked(output=0), [], 2_500_000_000),
    (asked(output=10**6), [], 10_002_500_000_000),
    (asked(prompt=0), [], 41_000_000_000),
    (asked(prompt=1, output=0), [], 100_000_000),
    (asked(prices=Prices(0, 0)), [], 0),
    # Without prices a fixed amount, whatever is asked.
    (asked(prices=None), [], DEFAULT),
    (asked(prices=None, output=10**6), [], DEFAULT),
    # Once five are settled, half more than the dearest of the last fifty.
    (asked(), FIVE[:4], 43_500_000_000),
    (asked(prices=None), FIVE[:4], DEFAULT),
    (asked(prompt=0), FIVE, 45),
    (asked(prices=None), FIVE, 45),
    (asked(prices=None), samples(1, 1, 1, 1, 1), 2),
    (asked(prices=None), samples(0, 0, 0, 0, 0), 0),
    (asked(prompt=0), samples(*[10] * 49, 20, 10**9), 30),
    (asked(prompt=0), samples(*[10] * 50, 10**9), 15),
    # But never below what it costs by its own length, where that has a price.
    (asked(), FIVE, 500 * 2_500_000),
    (asked(prompt=7), FIVE, 3 * 2_500_000),
    (asked(output=7), FIVE, 500 * 2_500_000 + 7 * 10_000_000),
    (asked(prompt=0, output=7), FIVE, 7 * 10_000_000),
    (asked(prompt=0, output=7, prices=Prices(1, 1)), FIVE, 45),
    (asked(output=10**6, prices=None), FIVE, 45),
    # And never above the operator's ceiling.
    (asked(ceiling=100), [], 100),
    (asked(ceiling=100, output=10**6), [], 100),
    (asked(ceiling=44), FIVE, 44),
    (asked(prompt=0, ceiling=46), FIVE, 45),
    (asked(ceiling=100, prices=None), [], 100),
    (asked(ceiling=0), FIVE, 0),
]


@pytest.mark.parametrize(("request_", "seen", "held"), HOLDS)
def test_what_is_held(request_: Asked, seen: list[Sample], held: int) -> None:
    """Examples of every way to it."""
    assert hold(request_, most_of(seen)) == held


@pytest.mark.parametrize(
    ("request_", "seen", "held"),
    [
        (asked(), [], 1000 + 4096),
        (asked(output=5), [], 1005),
        (asked(output=5), FIVE[:4], 1005),
        (asked(output=5), FIVE, 45),
        (asked(), samples(*[10] * 50, 10**9), 15),
    ],
)
def test_how_many_tokens_are_held(request_: Asked, seen: list[Sample], held: int) -> None:
    """By the same samples, else by the request itself; prices do not matter."""
    assert tokens_held(request_, most_of(seen)) == held


tokens = st.integers(0, 10**18)
prices = st.builds(Prices, st.integers(0, PICODOLLARS_PER_USD), st.integers(0, PICODOLLARS_PER_USD))
amounts = st.integers(0, AMOUNT_USD_MAX * PICODOLLARS_PER_USD)
requests = st.builds(
    Asked,
    prompt_tokens=st.integers(0, 10**9),
    max_output_tokens=st.none() | tokens,
    prices=st.none() | prices,
    ceiling_picodollars=st.none() | amounts,
    default_picodollars=amounts,
)
seen = st.lists(
    st.builds(Sample, st.integers(0, COST_USD_MAX * PICODOLLARS_PER_USD), st.integers(0, 2**40)), max_size=60
)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.booleans()), max_size=3 * SAMPLES_MAX))
def test_the_most_of_the_last_is_known_at_every_time(story: list[tuple[int, int, bool]]) -> None:
    """As if all of them were looked at anew, whether or not it was asked for meanwhile."""
    recent, told = Recent(), list[Sample]()
    for cost, count, asked_for in story:
        recent.add(cost, count)
        told.insert(0, Sample(cost, count))
        assert not asked_for or recent.most == most_of(told)
    assert recent.most == most_of(told)


@given(requests, seen)
def test_a_hold_is_an_amount_within_its_ceiling(request_: Asked, earlier: list[Sample]) -> None:
    """A whole one, never negative, and small enough for a database, whatever a client asks for."""
    held = hold(request_, most_of(earlier))
    assert type(held) is int
    assert 0 <= held <= HOLD_PICODOLLARS_MAX < 2**63
    if request_.ceiling_picodollars is not None:
        assert held <= request_.ceiling_picodollars


@given(requests, seen)
def test_a_hold_covers_what_is_known_before(request_: Asked, earlier: list[Sample]) -> None:
    """Under a ceiling that does not bind: its own length at its price, and the dearest of the last requests."""
    held = hold(request_, most_of(earlier))
    limit = HOLD_PICODOLLARS_MAX if request_.ceiling_picodollars is None else request_.ceiling_picodollars
    if request_.prices is not None:
        prompt_cost = request_.prompt_tokens // 2 * request_.prices.prompt_picodollars
        output_cost = (request_.max_output_tokens or 0) * request_.prices.completion_picodollars
        assert held >= min(limit, prompt_cost + output_cost)
    if len(earlier) >= SAMPLES_MIN:
        most = max(sample.counted_picodollars for sample in earlier[:SAMPLES_MAX])
        assert held >= min(limit, -(-3 * most // 2))


@given(requests, seen, st.lists(st.builds(Sample, amounts, tokens)))
def test_only_the_last_fifty_matter(request_: Asked, earlier: list[Sample], older: list[Sample]) -> None:
    """What came before them says nothing."""
    latest = (earlier * SAMPLES_MAX)[:SAMPLES_MAX]
    if latest:
        assert hold(request_, most_of(latest + older)) == hold(request_, most_of(latest))
        assert tokens_held(request_, most_of(latest + older)) == tokens_held(request_, most_of(latest))


@given(st.integers(0, 2**26), st.integers(0, 1000), prices)
def test_a_longer_prompt_is_never_held_cheaper(text_bytes: int, parts: int, priced: Prices) -> None:
    """Each byte and each part adds something, or nothing where prompts are free."""
    one = Asked(prompt_tokens(text_bytes, parts), prices=priced)
    for more in (prompt_tokens(text_bytes + 1, parts), prompt_tokens(text_bytes, parts + 1)):
        assert hold(Asked(more, prices=priced), None) >= hold(one, None)
    assert 2 * one.prompt_tokens - 2 * parts * PART_TOKENS in (text_bytes, text_bytes + 1)
    assert hold(one, None) >= OUTPUT_TOKENS_DEFAULT * priced.completion_picodollars


# --- afterwards ------------------------------------------------------------------------------

TRUE, CHARGED = Cost("0.0000123", 12_300_000), Cost("0.0001", 100_000_000)


@pytest.mark.parametrize(
    ("reading", "by_charged", "by_true_cost"),
    [
        (Reading(true_cost=TRUE, charged=CHARGED), CHARGED, TRUE),
        (Reading(true_cost=TRUE), TRUE, TRUE),
        (Reading(charged=CHARGED), CHARGED, CHARGED),
        (Reading(true_cost=TRUE, charged=Cost("0", 0)), Cost("0", 0), TRUE),
        (Reading(true_cost=Cost("0", 0), charged=CHARGED), CHARGED, Cost("0", 0)),
        (Reading(), None, None),
    ],
)
def test_the_cost_that_counts(reading: Reading, by_charged: Cost | None, by_true_cost: Cost | None) -> None:
    """The one that is billed by, else the other; a true zero is a cost."""
    assert counted(reading, Billing.CHARGED) == by_charged
    assert counted(reading, Billing.TRUE_COST) == by_true_cost
    both = (by_charged.picodollars, by_true_cost.picodollars) if by_charged and by_true_cost else None
    assert counted_both(reading) == both


@pytest.mark.parametrize(
    ("state", "status", "keeps"),
    [
        (State.UNKNOWN, 200, True),
        (State.UNKNOWN, 408, True),
        (State.UNKNOWN, None, True),
        (State.UNKNOWN, 500, False),
        (State.UNKNOWN, 503, False),
        (State.SETTLED, 200, False),
        (State.FREE, 429, False),
    ],
)
def test_what_an_unknown_cost_keeps_held(state: State, status: int | None, keeps: bool) -> None:
    """Its hold, unless the upstream failed before any output, or the operator counts nothing for it."""
    settlement = Settlement("req_1", state, Outcome.COMPLETED, Reading(), status)
    assert keeps_hold(settlement, Counting()) is keeps
    assert keeps_hold(settlement, Counting(unknown_keeps_hold=False)) is False
