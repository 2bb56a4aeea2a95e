"""The Codex CLI with a team key: it works, runs the commands that the model asks for, and every turn is booked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.simulator.child import SimulatorChild
from tests.harness import GatewayUnderTest
from tests.scenarios.books import assert_booked_as_billed, assert_costs_untold
from tests.scenarios.codex import codex
from tests.scenarios.conftest import Behind
from tests.scenarios.tools import Ran

pytestmark = pytest.mark.scenario


@dataclass(frozen=True)
class Told:
    """What `codex exec --json` tells of one run, without ids."""

    commands: list[tuple[str, str]]  # command and its output
    messages: list[str]
    usage: list[dict[str, int]]


def told_by(ran: Ran) -> Told:
    events = [json.loads(line) for line in ran.text.splitlines()]
    items = [event["item"] for event in events if event["type"] == "item.completed"]
    return Told(
        [(item["command"], item["aggregated_output"]) for item in items if item["type"] == "command_execution"],
        [item["text"] for item in items if item["type"] == "agent_message"],
        [event["usage"] for event in events if event["type"] == "turn.completed"],
    )


async def test_codex_works_and_sees_no_difference(
    behind: list[Behind], simulator: SimulatorChild, tmp_path: Path
) -> None:
    """A task with a command in it, asked directly and through the gateway."""
    for one in behind:
        direct = told_by(await codex(tmp_path, one.direct))
        through = told_by(await codex(tmp_path, await one.through()))
        # Codex writes ids and times of its own into what it sends: words and tokens may differ by these.
        assert through.commands == direct.commands, one.name
        assert len(through.messages) == len(direct.messages) == len(through.usage) == 1, one.name
        rows = await one.gateway.settled(2)
        assert len(rows) == 2, one.name
        if one.name == "simulator":
            assert through.commands[0][1].strip() == "simulated"
            assert through.messages[0].startswith("The function said: ")
            assert_booked_as_billed(rows, simulator.bill())
        else:
            assert_costs_untold(rows)


async def test_codex_shows_who_refused_its_key(gateway: GatewayUnderTest, tmp_path: Path) -> None:
    """The message of the gateway, with its mend, reaches the terminal; nothing is booked."""
    ran = await codex(tmp_path, {"base_url": gateway.base_url, "api_key": "irg_wrong"})
    assert ran.code != 0
    assert "irg keys create" in ran.out
    assert await gateway.rows() == []
