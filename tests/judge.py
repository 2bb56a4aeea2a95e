"""The simulator's bill judges one ledger row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from app.core.records import State
from app.core.views import RequestRecord
from app.simulator.amounts import picodollars
from app.simulator.bill import Bill, BillLine

# Nothing was billed, and the status alone does not prove it.
UNSURE = {"sim/500", "sim/html-error"}

Lines = Mapping[str | None, Sequence[BillLine]]


def by_request(bill: Bill) -> Lines:
    """The bill's lines by the upstream's request id."""
    lines: defaultdict[str | None, list[BillLine]] = defaultdict(list)
    for line in bill.lines:
        lines[line.request_id].append(line)
    return lines


def judge(row: RequestRecord, lines: Lines) -> None:
    """Settled with the very amounts where they were told, unknown where not, free where nothing was billed."""
    found = lines.get(row.upstream_request_id, ())
    what = f"{row.model}, stream={row.stream}, {row.outcome}"
    if not found:
        assert row.state == (State.UNKNOWN if row.model in UNSURE else State.FREE), what
        return
    (line,) = found
    if "true_cost" not in line.told:
        assert (row.state, row.true_cost_picodollars) == (State.UNKNOWN, None), what
        return
    assert row.state is State.SETTLED, what
    assert row.true_cost_picodollars == picodollars(line.true_cost), what
    assert row.charged_picodollars == picodollars(line.charged), what
    assert row.charged_derived == ("charged" not in line.told), what
    assert not row.charge_mismatch, what
    assert row.response_id == line.response_id, what
    tokens = row.usage
    assert (tokens.input_tokens, tokens.output_tokens) == (line.input_tokens, line.output_tokens), what
    assert (tokens.cached_tokens, tokens.reasoning_tokens) == (line.cached_tokens, line.reasoning_tokens), what
