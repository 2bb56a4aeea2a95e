"""Money as integers of 10⁻¹² USD and as decimal text; no float anywhere.

A cost is read from its JSON token as a decimal, kept as received, and counted rounded
half-even to 12 places. The charge is a ceiling of the token itself, not of the count. The price
of a model's token, from which only holds are made, is rounded up.
Must not live here: what two costs mean together (`core.costs`), what is allowed to be spent.
Called by the tap, the reports and the command line.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Context, Decimal

from app.core.records import Cost

PICODOLLARS_PER_USD = 10**12

# A cost above this is booked as said, and the admin is told: more than any one request should cost.
COST_ALARM_PICODOLLARS = 100 * PICODOLLARS_PER_USD

# Above this a token is no cost: sums must stay far from the 64-bit integers of a database.
COST_USD_MAX = 10_000

# Nobody sells a token for more: such a price is a mistake of unit.
PRICE_USD_MAX = 1

# A sum that the ledger keeps stays there, within 64 bits, whatever an upstream says that things cost.
SUM_MAX = 8 * 10**18

# The charge is a multiple of 1/10,000 USD.
CHARGE_STEP = Decimal("0.0001")
CHARGE_STEP_PICODOLLARS = PICODOLLARS_PER_USD // 10_000

# A person's amount: a million dollars is 10¹⁸ picodollars, a tenth of a 64-bit integer.
AMOUNT_USD_MAX = 1_000_000

# JSON's grammar for numbers (RFC 8259 §6), negative ones included so that they are told apart.
_NUMBER = re.compile(r"(-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?)(?:[eE]([+-]?[0-9]+))?")
# What nearly every cost is: below the bound, and with no more decimals than are counted.
_PLAIN = re.compile(r"(0|[1-9][0-9]{0,3})(?:\.([0-9]{1,12}))?")
_AMOUNT = re.compile(r"([0-9]+)(?:\.([0-9]{1,12}))?")

# Longer tokens are no prices; the bound keeps arithmetic quick whatever is sent.
_TOKEN_CHARACTERS_MAX = 200

# An exponent beyond this decides alone, whatever the (at most 200) digits of its token:
# capped here, every number stays exact and small, and 1e-999999999 is still more than nothing.
_EXPONENT_MAX = 1000
_CONTEXT = Context(prec=3 * _EXPONENT_MAX, Emax=10 * _EXPONENT_MAX, Emin=-10 * _EXPONENT_MAX)
_PICODOLLAR = Decimal(1).scaleb(-12)


class BadCost(ValueError):
    """A token that is no usable cost. `reason`: `negative`, `not_a_number` or `out_of_range`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def parse_cost(token: str) -> Cost:
    """The cost that a JSON number token states, in USD. Raises: `BadCost`."""
    if (plain := plain_cost(token)) is not None:
        return plain
    value = _exact(token)
    if value < 0:
        raise BadCost("negative")
    if value > COST_USD_MAX:
        raise BadCost("out_of_range")
    return Cost(token, _picodollars(value))


def plain_cost(token: str) -> Cost | None:
    """The same of a token as nearly every cost is, in integers alone: less than half of the time that decimals take."""
    plain = _PLAIN.fullmatch(token)
    if plain is None:
        return None
    whole, fraction = plain.groups("")
    return Cost(token, int(whole + fraction.ljust(12, "0")))


def parse_price(token: str) -> int:
    """What a token costs by a number token in USD, in 10⁻¹² USD, rounded up. Raises: `BadCost`."""
    value = _exact(token)
    if value < 0:
        raise BadCost("negative")
    if value > PRICE_USD_MAX:
        raise BadCost("out_of_range")
    return _picodollars(value, ROUND_CEILING)


def charge_steps(true: Cost) -> int:
    """How many steps of 1/10,000 USD are charged for a true cost: the exact ceiling of its token.

    Rounding moves nothing past a step: where a count is between two of them, so is the token. A count that is a step
    may have been rounded onto it; then the token decides.
    """
    steps, beyond = divmod(true.picodollars, CHARGE_STEP_PICODOLLARS)
    if beyond or _exact(true.raw) > steps * CHARGE_STEP:
        return steps + 1
    return steps


def charged_from(true: Cost) -> Cost:
    """What a true cost is charged as."""
    steps = charge_steps(true)
    whole, rest = divmod(steps, 10_000)
    return Cost(f"{whole}.{rest:04d}", steps * CHARGE_STEP_PICODOLLARS)


def parse_usd(text: str) -> int:
    """An amount that a person wrote (`45`, `45.00`), in 10⁻¹² USD. Raises: `ValueError` with a sentence."""
    amount = _AMOUNT.fullmatch(text)
    if amount is None:
        raise ValueError(
            f"{text[:60]!r} is not an amount in USD: write digits with at most 12 decimals, such as 45 or 0.05"
        )
    whole = amount[1].lstrip("0")
    if len(whole) <= len(str(AMOUNT_USD_MAX)):
        picodollars = int(whole or "0") * PICODOLLARS_PER_USD + int((amount[2] or "").ljust(12, "0"))
        if picodollars <= AMOUNT_USD_MAX * PICODOLLARS_PER_USD:
            return picodollars
    raise ValueError(f"{text[:60]!r} is too large an amount: at most {AMOUNT_USD_MAX} USD")


def format_usd(picodollars: int) -> str:
    """Exact plain decimal text with at least two decimals: `0.0000123`, `45.00`."""
    sign = "-" if picodollars < 0 else ""
    digits = str(abs(picodollars)).zfill(13)
    fraction = digits[-12:].rstrip("0").ljust(2, "0")
    return f"{sign}{digits[:-12]}.{fraction}"


def _exact(token: str) -> Decimal:
    """The value of a token; one with an absurd exponent keeps its side of every bound. Raises: `BadCost`."""
    number = _NUMBER.fullmatch(token)
    if number is None:
        raise BadCost("not_a_number")
    if len(token) > _TOKEN_CHARACTERS_MAX:
        raise BadCost("out_of_range")
    mantissa, exponent = number.groups()
    value = Decimal(mantissa)
    if exponent is None or not value:
        return value
    return value.scaleb(max(-_EXPONENT_MAX, min(_EXPONENT_MAX, int(exponent))), context=_CONTEXT)


def _picodollars(value: Decimal, rounding: str = ROUND_HALF_EVEN) -> int:
    return int(value.quantize(_PICODOLLAR, rounding=rounding, context=_CONTEXT).scaleb(12, context=_CONTEXT))
