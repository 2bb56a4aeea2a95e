"""The ledger before the judge: whatever a simulated model does, the gateway's rows say what its bill says."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx

from app.simulator.registry import REGISTRY
from tests.harness import RESPONSES, GatewayUnderTest, gateway_before
from tests.judge import by_request, judge
from tests.simulated_upstream import SimulatorUnderTest

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
    lines = by_request(simulator.bill())
    assert {(row.model, row.stream) for row in rows} == {(name, stream) for name in models for stream in (True, False)}
    for row in rows:
        judge(row, lines)


async def _ask(gateway: GatewayUnderTest, secret: str, model: str, stream: bool) -> None:
    body = {"model": model, "input": "What is on the bill?", "stream": stream}
    async with gateway.client(secret) as client:
        try:
            await client.post(RESPONSES, json=body)
        except httpx.RemoteProtocolError:  # a cut upstream stream is a cut client stream
            assert model in {"sim/cut-midstream", "sim/stall"}
