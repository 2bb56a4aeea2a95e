"""The six snippets of ImageRouter's own page, run as they stand: only the key and the base URL are others."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from app.simulator.child import SimulatorChild
from tests.harness import GatewayUnderTest
from tests.scenarios.books import assert_booked_as_billed
from tests.scenarios.tools import CLIENTS, Ran, node, node_bench, python, run

pytestmark = pytest.mark.scenario

SNIPPETS = CLIENTS / "snippets"


async def run_snippet(name: str, gateway: GatewayUnderTest, directory: Path) -> Ran:
    environment = {"API_KEY": await gateway.create_key(name), "BASE_URL": gateway.base_url}
    if name.endswith(".mjs"):
        command: list[str | Path] = [node(), node_bench(directory, openai="openai-7") / name]
    elif name.endswith(".py"):
        command = [python(None), "-P", SNIPPETS / name]
    else:
        command = ["bash", SNIPPETS / name]
    return await run(*command, cwd=directory, environment=environment)


async def test_curl_gets_the_text_and_both_costs(
    gateway: GatewayUnderTest, simulator: SimulatorChild, tmp_path: Path
) -> None:
    """The JSON tells the true and the charged cost; the ledger holds exactly these."""
    ran = await run_snippet("plain.sh", gateway, tmp_path)
    answer = json.loads(ran.text, parse_float=Decimal)
    assert answer["output"][0]["content"][0]["text"].startswith("Simulated answer to: Write a haiku about the ocean.")
    (row,) = await gateway.settled(1)
    assert (row.true_cost_raw, row.charged_raw) == (str(answer["usage"]["cost"]), str(answer["cost"]))
    assert_booked_as_billed([row], simulator.bill())


async def test_curl_gets_the_stream_and_its_cost(
    gateway: GatewayUnderTest, simulator: SimulatorChild, tmp_path: Path
) -> None:
    """The deltas make up the text, and the last event tells the true cost; the ledger holds exactly this."""
    ran = await run_snippet("stream.sh", gateway, tmp_path)
    data = [line.removeprefix("data: ") for line in ran.text.splitlines() if line.startswith("data: {")]
    events = [json.loads(line, parse_float=Decimal) for line in data]
    deltas = [event["delta"] for event in events if event["type"] == "response.output_text.delta"]
    end = events[-1]
    assert end["type"] == "response.completed"
    assert len(deltas) > 5
    assert "".join(deltas) == end["response"]["output"][0]["content"][0]["text"]
    (row,) = await gateway.settled(1)
    assert row.true_cost_raw == str(end["response"]["usage"]["cost"])
    assert_booked_as_billed([row], simulator.bill())


@pytest.mark.parametrize("language", ["mjs", "py"])
async def test_the_sdk_snippets_print_the_same_answer(
    language: str, gateway: GatewayUnderTest, simulator: SimulatorChild, tmp_path: Path
) -> None:
    """Node and Python, plain and streamed: what curl receives is what they print, and every one is booked."""
    answer = json.loads((await run_snippet("plain.sh", gateway, tmp_path)).text)
    text = answer["output"][0]["content"][0]["text"]
    plain = await run_snippet(f"plain.{language}", gateway, tmp_path)
    stream = await run_snippet(f"stream.{language}", gateway, tmp_path)
    assert plain.text == text + "\n"
    assert stream.text == text
    rows = await gateway.settled(3)
    assert [row.stream for row in rows] == [False, False, True]
    assert_booked_as_billed(rows, simulator.bill())
