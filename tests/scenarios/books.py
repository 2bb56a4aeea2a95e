"""What the ledger must say of requests that a real client made."""

from __future__ import annotations

from app.core.records import Outcome, State
from app.core.views import RequestRecord
from app.simulator.amounts import picodollars
from app.simulator.bill import Bill


def assert_booked_as_billed(rows: list[RequestRecord], bill: Bill) -> None:
    """Each row is settled with the very costs of its line on the simulator's bill."""
    lines = {line.response_id: line for line in bill.lines}
    for row in rows:
        assert row.state is State.SETTLED, row
        assert row.response_id is not None
        line = lines[row.response_id]
        assert row.true_cost_picodollars == picodollars(line.true_cost)
        assert row.charged_picodollars == picodollars(line.charged)
        assert row.usage.total_tokens == line.total_tokens


def assert_costs_untold(rows: list[RequestRecord]) -> None:
    """The answers were whole and told no cost: unknown with a reason, never zero."""
    for row in rows:
        assert (row.state, row.outcome, row.status) == (State.UNKNOWN, Outcome.COMPLETED, 200), row
        assert (row.true_cost_picodollars, row.charged_picodollars) == (None, None), row
        assert row.unknown_reason, row
