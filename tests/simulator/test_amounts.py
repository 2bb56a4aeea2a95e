"""Exact amounts, against fractions: arithmetic of another kind."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from app.simulator.amounts import charge_for, exact_sum, picodollars, plain

amounts = st.decimals(min_value=0, max_value=100_000, places=24)


def test_the_charges_of_imagerouters_own_examples() -> None:
    """The three costs that the documentation and its edge name."""
    told = {"0.0000123": "0.0001", "0.0001": "0.0001", "0.00010001": "0.0002", "0": "0"}
    assert {true: plain(charge_for(Decimal(true))) for true in told} == told


@given(amounts)
def test_a_charge_is_the_least_multiple_of_a_step_that_covers_the_cost(amount: Decimal) -> None:
    """By fractions: ceiling to 1/10,000."""
    assert Fraction(charge_for(amount)) == Fraction(math.ceil(Fraction(amount) * 10_000), 10_000)


@given(amounts)
def test_counted_picodollars_are_rounded_half_to_even(amount: Decimal) -> None:
    """Python rounds fractions half to even too."""
    assert picodollars(amount) == round(Fraction(amount) * 10**12)


@given(st.lists(amounts))
def test_sums_are_exact(given_amounts: list[Decimal]) -> None:
    """No digit is lost, whatever the magnitudes."""
    assert Fraction(exact_sum(given_amounts)) == sum((Fraction(amount) for amount in given_amounts), Fraction(0))


@given(amounts)
def test_plain_text_says_the_same_amount_without_exponent(amount: Decimal) -> None:
    """Every digit, no superfluous one."""
    text = plain(amount)
    assert Decimal(text) == amount
    assert set(text) <= set("0123456789.")
    assert "." not in text or text[-1] not in "0."
