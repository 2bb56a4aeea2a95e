"""Models that differ in what they cost and in how they tell it."""

from __future__ import annotations

from decimal import Decimal

from app.simulator.behaviours import Behaviour, Costs, Streamed, Telling


def _fixed(usd: str) -> Costs:
    return Costs(amount=Decimal(usd))


# Tokens that are no usable cost; both costs are told so, and the bill has the truth.
_UNUSABLE = {
    "sim/cost-null": "null",
    "sim/cost-negative": "-0.0001",
    "sim/cost-nan": "NaN",
    "sim/cost-infinity": "Infinity",
    "sim/cost-minus-infinity": "-Infinity",
    "sim/cost-1e999": "1e999",
    "sim/cost-string": '"0.0001"',
    "sim/cost-empty-string": '""',
    "sim/cost-true": "true",
    "sim/cost-false": "false",
    "sim/cost-object": '{"amount":0.0001,"currency":"USD"}',
    "sim/cost-list": "[0.0001]",
    "sim/cost-absurd": "1000000",
}

COSTS: dict[str, Behaviour] = {
    "sim/seed": Behaviour(summary="true cost 0.0000123, charged 0.0001", usage=(12, 24), costs=_fixed("0.0000123")),
    "sim/exact": Behaviour(summary="true cost 0.0001, charged 0.0001", costs=_fixed("0.0001")),
    "sim/just-over": Behaviour(summary="true cost 0.00010001, charged 0.0002", costs=_fixed("0.00010001")),
    "sim/free": Behaviour(summary="true cost 0, charged 0", costs=_fixed("0")),
    "sim/float-cost": Behaviour(
        summary="a true cost of 22 decimals, as a float sum gives it", costs=_fixed("0.0000123456789012345678")
    ),
    "sim/exponent-cost": Behaviour(
        summary="true cost 1.23e-05, written so",
        costs=Costs(amount=Decimal("0.0000123"), true_cost="1.23e-05", charged="1e-04"),
    ),
    "sim/cost-minus-zero": Behaviour(
        summary="costs nothing, written -0.0", costs=Costs(amount=Decimal(0), true_cost="-0.0", charged="-0.0")
    ),
    "sim/cost-tiny": Behaviour(
        summary="true cost 1e-30: charged all the same", costs=Costs(amount=Decimal("1e-30"), true_cost="1e-30")
    ),
    "sim/cost-huge": Behaviour(summary="true cost 250 USD, and it is true", costs=_fixed("250.00001")),
    "sim/charged-in-stream": Behaviour(
        summary="streams tell the charged cost too (any model: suffix :both)",
        costs=Costs(streamed=Streamed.RESPONSE),
    ),
    "sim/charged-in-event": Behaviour(
        summary="the same, beside the terminal event's response (any model: suffix :beside)",
        costs=Costs(streamed=Streamed.EVENT),
    ),
    "sim/charged-more": Behaviour(
        summary="charged 0.0003 for a true cost of 0.0001",
        costs=Costs(amount=Decimal("0.0001"), charged_amount=Decimal("0.0003"), streamed=Streamed.RESPONSE),
    ),
    "sim/charged-nan": Behaviour(
        summary="the true cost as it should be, the charged one is NaN",
        costs=Costs(charged="NaN", streamed=Streamed.RESPONSE),
    ),
    "sim/charged-null": Behaviour(
        summary="the true cost as it should be, the charged one is null",
        costs=Costs(charged="null", streamed=Streamed.RESPONSE),
    ),
    "sim/no-charged": Behaviour(summary="the true cost alone, in a body too", costs=Costs(charged=Telling.LEFT_OUT)),
    "sim/no-true-cost": Behaviour(
        summary="the charged cost alone", costs=Costs(true_cost=Telling.LEFT_OUT, streamed=Streamed.RESPONSE)
    ),
    "sim/no-cost": Behaviour(
        summary="billed, but no cost is told", costs=Costs(true_cost=Telling.LEFT_OUT, charged=Telling.LEFT_OUT)
    ),
    "sim/cost-twice": Behaviour(
        summary="billed, but both costs stand twice, with 0 the second time",
        costs=Costs(true_cost=Telling.TWICE, charged=Telling.TWICE),
    ),
    **{
        name: Behaviour(summary=f"billed, but both costs are {token}", costs=Costs(true_cost=token, charged=token))
        for name, token in _UNUSABLE.items()
    },
}
