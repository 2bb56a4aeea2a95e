"""Exact amounts in USD: what a generation costs, what is charged for it, and how both are written.

Decimals only, in a context that raises instead of rounding. Written anew instead of taken
from `app.core.money`, because the bill judges that module.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Context, Decimal, DivisionByZero, Inexact, InvalidOperation

# Wide enough for every sum of a long test; a result that would not fit raises.
EXACT = Context(prec=200, traps=[Inexact, InvalidOperation, DivisionByZero])
_ROUNDING = Context(prec=200, traps=[InvalidOperation])

_CHARGE_STEP = Decimal("0.0001")
_PICODOLLAR = Decimal("0.000000000001")


def exact_sum(amounts: list[Decimal]) -> Decimal:
    total = Decimal(0)
    for amount in amounts:
        total = EXACT.add(total, amount)
    return total


def charge_for(true_cost: Decimal) -> Decimal:
    """What the upstream takes from its credits: the true cost, rounded up to the next 1/10,000 USD."""
    return true_cost.quantize(_CHARGE_STEP, rounding=ROUND_CEILING, context=_ROUNDING)


def picodollars(amount: Decimal) -> int:
    """The amount in 10⁻¹² USD, rounded half-even: how a ledger with 12 places must count it."""
    rounded = amount.quantize(_PICODOLLAR, rounding=ROUND_HALF_EVEN, context=_ROUNDING)
    return int(rounded.scaleb(12, context=EXACT))


def plain(amount: Decimal) -> str:
    """Plain notation, no exponent, no superfluous zeros: `0.0000123`, `0.0001`, `0`."""
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
