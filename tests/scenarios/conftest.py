"""Every test here runs real clients: with CI=true or by name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from app.simulator.child import SimulatorChild
from tests.harness import UPSTREAM_KEY, GatewayUnderTest, gateway_before


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorChild]:
    """One for all tests of a process; it takes the upstream key alone, so no client reaches it by its team key."""
    bill = tmp_path_factory.mktemp("simulator") / "bill.jsonl"
    with SimulatorChild(bill, expected_key=UPSTREAM_KEY) as child:
        yield child


@pytest.fixture
async def gateway(simulator: SimulatorChild, tmp_path: Path) -> AsyncIterator[GatewayUnderTest]:
    """A gateway with a ledger of its own, in front of the simulator."""
    async with gateway_before(simulator.url, tmp_path) as running:
        yield running
