"""The ledger before the judge: whatever a simulated model does, the gateway's rows say what its bill says."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx

from app.core.records import State
from app.core.views import RequestRecord
from app.simulator.amounts import picodollars
from app.simulator.bill import Bill
from app.simulator.registry import REGISTRY
from tests.harness import RESPONSES, GatewayUnderTest, gateway_before
from tests.simulator.conftest import SimulatorUnderTest

# Nothing was billed, and the status alone does not prove it.
UNSURE = {"sim/500", "sim/html-error"}
QUICK = {"sim/slow": "sim/slow:1", "sim/stream-pause": "sim/stream-pause:1"}
IDLE_SECONDS = 1.0


async def test_the_ledger_knows_of_every_model_what_the_bill_tells(
    simulator: SimulatorUnderTest, tmp_path: Path
) -> None:
    """Settled with the very amounts where they were told, unknown where not, free where nothing was billed."""
    models = [*(QUICK.get(name, name) for name in REGISTRY), "openai/gpt-5", "openai/gpt-4o-mini:both"]
    async with gateway_before(simulator.url, tmp_path, upstream_idle_seconds=IDLE_SECONDS) as gateway:
        secret = await gateway.create_key()
        await asyncio.gather(*(_ask(gateway, secret, name, stream) for name in models for stream in (True, False)))
        rows = await gateway.settled(2 * len(models))
    bill = simulator.bill()
    assert {(row.model, row.stream) for row in rows} == {(name, stream) for name in models for stream in (True, False)}
    for row in rows:
        _compare(row, bill)


async def _ask(gateway: GatewayUnderTest, secret: str, model: str, stream: bool) -> None:
    body = {"model": model, "input": "What is on the bill?", "stream": stream}
    async with gateway.client(secret) as client:
        try:
            await client.post(RESPONSES, json=body)
        except httpx.RemoteProtocolError:  # a cut upstream stream is a cut client stream
            assert model in {"sim/cut-midstream", "sim/stall"}


def _compare(row: RequestRecord, bill: Bill) -> None:
    lines = bill.where(lambda line: line.request_id == row.upstream_request_id).lines
    what = f"{row.model}, stream={row.stream}"
    if not lines:
        assert row.state == (State.UNKNOWN if row.model in UNSURE else State.FREE), what
        return
    (line,) = lines
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
