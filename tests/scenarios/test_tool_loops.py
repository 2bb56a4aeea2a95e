"""Tool loops of real SDKs: every way of going on works with the key that began, and only what is whole with another.

The simulated upstream keeps what is stored by account and refuses what it does not know, as OpenAI does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.core.records import RefusalReason, State
from app.core.refused import RefusalFilter
from app.simulator.child import SimulatorChild
from tests.harness import GatewayUnderTest
from tests.scenarios.books import assert_booked_as_billed
from tests.scenarios.tools import CLIENTS, node, node_bench, python, run

pytestmark = pytest.mark.scenario

# A first turn, plain and streamed; four second turns of the key itself and one of another, both ways.
ROWS = 2 * (1 + 4 + 1)


async def meet(gateway: GatewayUnderTest, command: list[str | Path], directory: Path) -> dict[str, Any]:
    environment = {
        "API_KEY": await gateway.create_key("alice"),
        "OTHER_KEY": await gateway.create_key("bob"),
        "BASE_URL": gateway.base_url,
    }
    met: dict[str, Any] = (await run(*command, cwd=directory, environment=environment)).json
    return met


async def assert_private(met: dict[str, Any], gateway: GatewayUnderTest, simulator: SimulatorChild) -> None:
    for how in ("plain", "streamed"):
        for way, text in met[f"API_KEY {how}"].items():
            assert text.startswith("The function said: no rain"), (how, way)
        other = met[f"OTHER_KEY {how}"]
        assert other.pop("whole").startswith("The function said: no rain")
        assert other == {
            "previous": "400 previous_response_not_found previous_response_id",
            "referred": "400 previous_response_not_found input[1].id",
            "bare": "400 previous_response_not_found input[1].id",
        }
    rows = await gateway.settled(ROWS)
    assert len(rows) == ROWS
    assert {row.state for row in rows} == {State.SETTLED}
    assert_booked_as_billed(rows, simulator.bill())
    refusals = await gateway.services.reports.refusals(RefusalFilter())
    assert [one.reason for one in refusals.page.items] == [RefusalReason.RESPONSE_NOT_FOUND] * 6


@pytest.mark.parametrize("environment", ["openai-1", None], ids=["oldest", "newest"])
async def test_loops_of_the_python_sdk(
    environment: str | None, gateway: GatewayUnderTest, simulator: SimulatorChild, tmp_path: Path
) -> None:
    """Plain and streamed: by the response, by items' ids, and with all items sent back."""
    met = await meet(gateway, [python(environment), "-P", CLIENTS / "loops.py"], tmp_path)
    await assert_private(met, gateway, simulator)


@pytest.mark.parametrize("package", ["openai-4", "openai-7"], ids=["oldest", "newest"])
async def test_loops_of_the_node_sdk(
    package: str, gateway: GatewayUnderTest, simulator: SimulatorChild, tmp_path: Path
) -> None:
    """Plain and streamed: by the response, by items' ids, and with all items sent back."""
    met = await meet(gateway, [node(), node_bench(tmp_path, openai=package) / "loops.mjs"], tmp_path)
    await assert_private(met, gateway, simulator)


async def test_loops_of_the_agents_sdk(gateway: GatewayUnderTest, simulator: SimulatorChild, tmp_path: Path) -> None:
    """Its items sent back with their ids, stored and not, reasoning among them; and a run chained by responses."""
    met = await meet(gateway, [python("frameworks"), "-P", CLIENTS / "loops_agents.py"], tmp_path)
    for name, text in met.items():
        assert text, name
    rows = await gateway.settled(8)
    assert {row.state for row in rows} == {State.SETTLED}
    assert any(row.usage.reasoning_tokens for row in rows)
    assert_booked_as_billed(rows, simulator.bill())
