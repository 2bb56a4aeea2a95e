"""Which of a request's two costs counts against budgets."""

from __future__ import annotations

import pytest

from app.core.holds import Billing, counted, counted_from
from app.core.records import Cost, Reading

COSTS = [None, 0, 7]


@pytest.mark.parametrize("billing", Billing)
@pytest.mark.parametrize("true_cost", COSTS)
@pytest.mark.parametrize("charged", COSTS)
def test_it_names_the_cost_that_was_counted(true_cost: int | None, charged: int | None, billing: Billing) -> None:
    """The one that is billed by, else the other, also when it is zero; nothing when both are unknown."""
    known = {Billing.TRUE_COST: true_cost, Billing.CHARGED: charged}
    costs = {name: None if value is None else Cost(str(value), value) for name, value in known.items()}
    reading = Reading(true_cost=costs[Billing.TRUE_COST], charged=costs[Billing.CHARGED])
    named = counted_from(true_cost, charged, billing)
    assert counted(reading, billing) == (None if named is None else costs[named])
    assert named is None or named is billing or known[billing] is None
