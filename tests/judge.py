"""The simulator's bill judges one ledger row."""

from __future__ import annotations

from collections.abc import Mapping

from app.core.records import State
from app.core.views import RequestRecord
from app.simulator.amounts import picodollars
from app.simulator.bill import Bill, BillLine

Lines = Mapping[str, BillLine]


def by_request(bill: Bill) -> Lines:
    """The bill's answers by the upstream's request id, as far as a head told one."""
    return {line.request_id: line for line in bill.answers if line.request_id is not None}


def judge(row: RequestRecord, line: BillLine) -> None:
    """Settled with the very amounts where they were told, unknown where not, free where nothing was billed."""
    what = f"{line.model}, {line.marker}, stream={row.stream}, {row.outcome}, {row.unknown_reason}"
    if "free" in line.told:
        assert (row.state, row.true_cost_picodollars, row.charged_picodollars) == (State.FREE, None, None), what
        return
    if not line.told:
        assert (row.state, row.true_cost_picodollars, row.charged_picodollars) == (State.UNKNOWN, None, None), what
        assert row.unknown_reason, what
        return
    assert row.state is State.SETTLED, what
    true_told, charged_told = "true_cost" in line.told, "charged" in line.told
    assert row.true_cost_picodollars == (picodollars(line.true_cost) if true_told else None), what
    assert row.charged_picodollars == picodollars(line.charged), what
    assert row.charged_derived == (not charged_told), what
    assert row.charge_mismatch == line.charge_mismatch, what
    assert (row.response_id or "") == line.response_id, what
    tokens = row.usage
    assert (tokens.input_tokens, tokens.output_tokens) == (line.input_tokens, line.output_tokens), what
    assert (tokens.cached_tokens, tokens.reasoning_tokens) == (line.cached_tokens, line.reasoning_tokens), what
