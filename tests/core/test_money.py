"""Costs are read exactly from whatever a JSON token may be, and charged by an exact ceiling."""

from __future__ import annotations

import json
import time
from decimal import Context, Decimal
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from app.core.money import (
    AMOUNT_USD_MAX,
    COST_USD_MAX,
    PICODOLLARS_PER_USD,
    PRICE_USD_MAX,
    BadCost,
    charged_from,
    format_usd,
    parse_cost,
    parse_price,
    parse_usd,
)

_DIGITS = st.text("0123456789", min_size=1, max_size=40)
_TOKENS = st.builds(
    lambda whole, fraction, exponent: (
        (whole.lstrip("0") or "0") + (f".{fraction}" if fraction else "") + (f"e{exponent}" if exponent else "")
    ),
    st.one_of(st.just("0"), st.text("0123456789", min_size=1, max_size=5)),
    st.one_of(st.just(""), _DIGITS),
    st.integers(-40, 6),
)
_WIDE = Context(prec=100)
_PICODOLLARS = st.integers(-(10**30), 10**30)


def _reason(token: str) -> str:
    with pytest.raises(BadCost) as caught:
        parse_cost(token)
    return caught.value.reason


def _half_even(value: Fraction) -> int:
    return round(value)  # Python rounds a Fraction half to even, in integers


@pytest.mark.parametrize(
    ("token", "charged"),
    [
        ("0.0000123", "0.0001"),
        ("0.0001", "0.0001"),
        ("0.00010001", "0.0002"),
        ("0.00010000000000000000000000000001", "0.0002"),
        ("1.23e-05", "0.0001"),
        ("1E+1", "10.0000"),
        ("45", "45.0000"),
        ("10000", "10000.0000"),
        ("9999.99990000000001", "10000.0000"),
        ("0", "0.0000"),
        ("-0.0", "0.0000"),
        ("0e999999999999", "0.0000"),
        ("1e-400", "0.0001"),
        ("1e-99999999999999999999999", "0.0001"),
    ],
)
def test_the_charge_is_the_ceiling_of_the_token_as_received(token: str, charged: str) -> None:
    """A step of 1/10,000 USD, decided by every digit that was sent, also those that the count rounds away."""
    cost = charged_from(parse_cost(token))
    assert cost.raw == charged
    assert cost.picodollars == Fraction(charged) * PICODOLLARS_PER_USD


@given(_TOKENS)
@example("10000")
@example("0.00000000000050")
@example("0.0000000000015")
def test_count_and_charge_are_exact(token: str) -> None:
    """Against rational arithmetic: the count is half-even to 12 places, the charge the ceiling to 4."""
    value = Fraction(token)
    assume(value <= COST_USD_MAX)
    cost = parse_cost(token)
    assert cost.raw == token
    assert cost.picodollars == _half_even(value * PICODOLLARS_PER_USD)
    charged = charged_from(cost)
    assert Fraction(charged.raw) == Fraction(ceil(value * 10_000), 10_000)
    assert charged.picodollars == Fraction(charged.raw) * PICODOLLARS_PER_USD
    assert charged_from(charged) == charged


@given(st.integers(1, COST_USD_MAX * 10_000 - 1), st.integers(-9, 9), st.integers(5, 60))
def test_a_token_close_to_a_step_is_on_its_own_side(steps: int, digit: int, place: int) -> None:
    """Also where the count is rounded onto the step, from below or from above."""
    exact = _WIDE.add(Decimal(steps).scaleb(-4), Decimal(digit).scaleb(-place))
    for token in (format(exact, "f"), format(exact, "e")):
        charged = charged_from(parse_cost(token))
        assert Fraction(charged.raw) == Fraction(ceil(Fraction(token) * 10_000), 10_000)
        assert charged.picodollars == Fraction(charged.raw) * PICODOLLARS_PER_USD


@given(st.floats(min_value=0, max_value=COST_USD_MAX))
def test_a_number_that_a_float_wrote_counts_as_its_text_says(value: float) -> None:
    """`json.dumps` of an upstream's float is read as the decimal it shows, not as the binary fraction behind it."""
    token = json.dumps(value)
    assert parse_cost(token).picodollars == _half_even(Fraction(token) * PICODOLLARS_PER_USD)


@given(st.lists(_TOKENS, max_size=30))
def test_a_sum_of_counts_is_the_sum_of_the_rounded_costs(tokens: list[str]) -> None:
    """Counts are integers: adding them in any order loses nothing, and the text of the sum says all of it."""
    tokens = [token for token in tokens if Fraction(token) <= COST_USD_MAX]
    total = sum(parse_cost(token).picodollars for token in tokens)
    expected = sum((Decimal(_half_even(Fraction(token) * PICODOLLARS_PER_USD)) for token in tokens), Decimal(0))
    assert Decimal(format_usd(total)).scaleb(12) == expected
    assert total == sum(parse_cost(token).picodollars for token in reversed(tokens))


@pytest.mark.parametrize(
    "token",
    [
        "",
        " 1",
        "1 ",
        "1\n",
        "+1",
        ".5",
        "1.",
        "01",
        "1e",
        "1e+",
        "0x1",
        "1_000",
        "1,5",
        "--1",
        "\u0661",
        "½",
        "NaN",
        "Infinity",
        "-Infinity",
        "nan",
        "inf",
        "true",
        "null",
        '"0.1"',
        "{}",
        "1e5.5",
        "1" * 300 + "x",
    ],
)
def test_what_json_does_not_call_a_number_is_no_cost(token: str) -> None:
    """Only RFC 8259's grammar counts: nothing that Python's own parsers would take beyond it."""
    assert _reason(token) == "not_a_number"


@pytest.mark.parametrize("token", ["-1", "-0.0000000000000001", "-1e-400", "-1e-99999999999999999", "-1e999"])
def test_less_than_nothing_is_negative(token: str) -> None:
    """However small: a negative cost never passes for zero."""
    assert _reason(token) == "negative"


@pytest.mark.parametrize("token", ["10000.00000000000000000001", "10001", "1e5", "1e999", "1e99999999999999999999999"])
def test_more_than_any_request_costs_is_out_of_range(token: str) -> None:
    """The bound is exact, and an infinite or absurd token is a refusal, not an exception of another kind."""
    assert _reason(token) == "out_of_range"


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("9" * 1_000_000, id="a million nines"),
        pytest.param("0." + "0" * 1_000_000 + "1", id="a million zeros"),
        pytest.param("1e" + "9" * 1_000_000, id="a million digits of exponent"),
        pytest.param("1e-" + "9" * 1_000_000, id="a million digits of negative exponent"),
        pytest.param("1e" + "9" * 150, id="150 digits of exponent"),
    ],
)
def test_absurd_tokens_are_refused_quickly(token: str) -> None:
    """Neither time nor the interpreter's limit on integer digits stands in the way: as integers, a million digits
    would take minutes or raise another error; the bound here is wide."""
    begun = time.perf_counter()
    assert _reason(token) == "out_of_range"
    assert time.perf_counter() - begun < 2


@pytest.mark.parametrize("token", ["0e999999999", "1e-" + "9" * 150, "1" + "0" * 150 + "e-150"])
def test_absurd_exponents_of_usable_costs_are_quick(token: str) -> None:
    """An exponent that says "nothing" or takes back its own zeros is a cost, read without writing out the zeros."""
    begun = time.perf_counter()
    assert parse_cost(token).picodollars in (0, PICODOLLARS_PER_USD)
    charged_from(parse_cost(token))
    assert time.perf_counter() - begun < 2


@pytest.mark.parametrize(
    ("picodollars", "text"),
    [
        (12_300_000, "0.0000123"),
        (45 * PICODOLLARS_PER_USD, "45.00"),
        (PICODOLLARS_PER_USD // 2, "0.50"),
        (0, "0.00"),
        (1, "0.000000000001"),
        (-1, "-0.000000000001"),
        (-3 * PICODOLLARS_PER_USD // 2, "-1.50"),
        (10**25, "10000000000000.00"),
    ],
)
def test_amounts_are_shown_plainly(picodollars: int, text: str) -> None:
    """Plain notation, every digit, at least two decimals."""
    assert format_usd(picodollars) == text


@given(_PICODOLLARS)
def test_the_text_of_an_amount_says_exactly_the_amount(picodollars: int) -> None:
    """No exponent, no rounding, no needless zero."""
    text = format_usd(picodollars)
    assert Fraction(text) * PICODOLLARS_PER_USD == picodollars
    assert "e" not in text.lower()
    whole, fraction = text.lstrip("-").split(".")
    assert len(fraction) == 2 or not fraction.endswith("0")
    assert whole == str(int(whole))


@given(st.integers(0, AMOUNT_USD_MAX * PICODOLLARS_PER_USD))
@example(0)
@example(AMOUNT_USD_MAX * PICODOLLARS_PER_USD)
def test_what_is_shown_can_be_typed_again(picodollars: int) -> None:
    """`parse_usd` is the inverse of `format_usd`."""
    assert parse_usd(format_usd(picodollars)) == picodollars


@pytest.mark.parametrize(
    ("text", "usd"),
    [
        ("45", "45"),
        ("045.00", "45"),
        ("0.05", "0.05"),
        ("0.000000000001", "1e-12"),
        pytest.param("0" * 5000 + "7", "7", id="5000 zeros"),
    ],
)
def test_people_may_write_whole_dollars_or_decimals(text: str, usd: str) -> None:
    """Both are exact."""
    assert parse_usd(text) == Fraction(usd) * PICODOLLARS_PER_USD


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "1e3", "$5", "5 USD", "1,50", ".5", "5.", "\u0663", "1.0000000000001"]
)
def test_an_amount_that_is_unclear_is_asked_for_again(text: str) -> None:
    """The sentence names what was written and what to write instead."""
    with pytest.raises(ValueError, match="such as 45 or") as caught:
        parse_usd(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    "text", ["1000000.000000000001", "1000001", "9" * 13, pytest.param("9" * 1_000_000, id="a million nines")]
)
def test_an_amount_that_sums_could_not_hold_is_refused(text: str) -> None:
    """A million dollars is far from a 64-bit integer of picodollars, and more digits cost no time."""
    with pytest.raises(ValueError, match="at most 1000000 USD") as caught:
        parse_usd(text)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("token", "picodollars"),
    [
        ("0.0000025", 2_500_000),
        ("2.5e-6", 2_500_000),
        ("1.1e-12", 2),
        ("1e-30", 1),
        ("1e-999999999", 1),
        ("0", 0),
        ("-0.0", 0),
        ("1", PICODOLLARS_PER_USD),
    ],
)
def test_a_price_is_rounded_up(token: str, picodollars: int) -> None:
    """Nothing that costs something is held as if it were free."""
    assert parse_price(token) == picodollars


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("-1", "negative"),
        ("-1e-30", "negative"),
        ("1.000000000001", "out_of_range"),
        ("1e999999999", "out_of_range"),
        ("0" + "." + "1" * 300, "out_of_range"),
        ("NaN", "not_a_number"),
        ("", "not_a_number"),
        ("$1", "not_a_number"),
        ("1,5", "not_a_number"),
    ],
)
def test_what_is_no_price(token: str, reason: str) -> None:
    """More than a dollar a token is a mistake of unit."""
    with pytest.raises(BadCost) as caught:
        parse_price(token)
    assert caught.value.reason == reason


@given(_TOKENS)
def test_any_price_is_the_exact_ceiling(token: str) -> None:
    """To whole picodollars, of the decimal itself."""
    assume(Fraction(token) <= PRICE_USD_MAX)
    assert parse_price(token) == ceil(Fraction(token) * PICODOLLARS_PER_USD)
