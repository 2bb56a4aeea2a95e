"""What frameworks do directly, they do through the gateway: one script asks both, and sees no difference.

In front of the project's simulator, and of two servers that others wrote.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.simulator.child import SimulatorChild
from tests.scenarios.books import assert_booked_as_billed, assert_costs_untold
from tests.scenarios.conftest import Behind
from tests.scenarios.tools import CLIENTS, node, node_bench, python, run

pytestmark = pytest.mark.scenario

# The script, the environment that it runs in, and how many requests it makes of each target.
SCRIPTS = [
    ("with_agents.py", "frameworks", 4),
    ("with_langchain.py", "frameworks", 5),
    ("with_pydantic_ai.py", "frameworks", 4),
    ("with_litellm.py", "litellm", 4),
    ("with_instructor.py", "instructor", 1),
    ("with_vercel.mjs", "", 5),
    ("with_agents.mjs", "", 4),
    ("with_langchain.mjs", "", 5),
]


async def ask(script: str, environment: str, directory: Path, targets: list[dict[str, str]]) -> list[dict[str, Any]]:
    if script.endswith(".mjs"):
        command: list[str | Path] = [node(), node_bench(directory) / script]
    else:
        command = [python(environment), "-P", CLIENTS / script]
    # LiteLLM would fetch its price list; Instructor and others have nothing to be told.
    variables = {"TARGETS": json.dumps(targets), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    told: list[dict[str, Any]] = (await run(*command, cwd=directory, environment=variables)).json
    return told


def assert_meaningful(told: dict[str, Any]) -> None:
    """The framework really did what its script says."""
    for name in set(told) - {"deltas"}:
        assert told[name], name
    if "deltas" in told:
        assert len(told["deltas"]) > 1
        assert "".join(told["deltas"]) == told["streamed"]
    if "structured" in told:
        assert set(told["structured"]) == {"city", "degrees"}


@pytest.mark.parametrize(("script", "environment", "requests"), SCRIPTS, ids=[script for script, _, _ in SCRIPTS])
async def test_a_framework_sees_no_difference(
    script: str, environment: str, requests: int, behind: list[Behind], simulator: SimulatorChild, tmp_path: Path
) -> None:
    """Texts, deltas, tool calls, structures and token counts are the same; every request is booked."""
    targets = [target for one in behind for target in (one.direct, await one.through())]
    told = await ask(script, environment, tmp_path, targets)
    for index, one in enumerate(behind):
        direct, through = told[2 * index : 2 * index + 2]
        assert through == direct, one.name
        assert_meaningful(direct)
        rows = await one.gateway.settled(requests)
        assert len(rows) == requests, one.name
        if one.name == "simulator":
            assert_booked_as_billed(rows, simulator.bill())
        else:
            assert_costs_untold(rows)
