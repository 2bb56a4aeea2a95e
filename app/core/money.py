"""Money as integers of 10⁻¹² USD and as decimal text; no float anywhere.

A cost is read from its JSON token as a decimal, kept as received, and counted rounded
half-even to 12 places. The charge is a ceiling of the token itself, not of the count.
Called by the tap, the reports and the command line.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Context, Decimal, localcontext

from app.core.records import Cost

PICODOLLARS_PER_USD = 10**12

# A cost above this is booked as said and reported: more than any one request should cost.
COST_ALARM_PICODOLLARS = 100 * PICODOLLARS_PER_USD

# Above this a token is no cost: sums must stay far from the 64-bit integers of a database.
COST_USD_MAX = 10_000

# The charge is a multiple of 1/10,000 USD.
CHARGE_STEP = Decimal("0.0001")

# JSON's grammar for numbers (RFC 8259 §6), negative ones included so that they are told apart.
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_AMOUNT = re.compile(r"[0-9]+(?:\.[0-9]{1,12})?")

# Longer tokens are no prices; the bound keeps arithmetic quick whatever is sent.
_TOKEN_CHARACTERS_MAX = 200
_CONTEXT = Context(prec=2 * _TOKEN_CHARACTERS_MAX, traps=[])


class BadCost(ValueError):
    """A token that is no usable cost. `reason`: `negative`, `not_a_number` or `out_of_range`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def parse_cost(token: str) -> Cost:
    """The cost that a JSON number token states, in USD. Raises: `BadCost`."""
    if _NUMBER.fullmatch(token) is None:
        raise BadCost("not_a_number")
    if len(token) > _TOKEN_CHARACTERS_MAX:
        raise BadCost("out_of_range")
    value = _CONTEXT.create_decimal(token)
    if value < 0:
        raise BadCost("negative")
    if value.is_infinite() or value > COST_USD_MAX:
        raise BadCost("out_of_range")
    return Cost(token, _picodollars(value))


def charged_from(true: Cost) -> Cost:
    """What a true cost is charged as: the exact ceiling of its token to 1/10,000 USD."""
    value = _CONTEXT.create_decimal(true.raw)
    if value and value.adjusted() < -20:  # far below a step: the ceiling needs none of its digits
        charged = CHARGE_STEP
    else:
        charged = value.quantize(CHARGE_STEP, rounding=ROUND_CEILING, context=_CONTEXT)
    return Cost(format(abs(charged), "f"), _picodollars(abs(charged)))


def parse_usd(text: str) -> int:
    """An amount that a person wrote (`45`, `45.00`), in 10⁻¹² USD. Raises: `ValueError` with a sentence."""
    if _AMOUNT.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not an amount in USD: write digits with at most 12 decimals, such as 45 or 0.05")
    whole, _, fraction = text.partition(".")
    if len(whole) > 12:
        raise ValueError(f"{text!r} is too large an amount")
    return int(whole) * PICODOLLARS_PER_USD + int(fraction.ljust(12, "0"))


def format_usd(picodollars: int) -> str:
    """Exact plain decimal text with at least two decimals: `0.0000123`, `45.00`."""
    sign = "-" if picodollars < 0 else ""
    whole, rest = divmod(abs(picodollars), PICODOLLARS_PER_USD)
    fraction = f"{rest:012d}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole}.{fraction}"


def _picodollars(value: Decimal) -> int:
    if value and value.adjusted() < -20:
        return 0
    with localcontext(_CONTEXT):
        return int((value * PICODOLLARS_PER_USD).to_integral_value(rounding=ROUND_HALF_EVEN))
