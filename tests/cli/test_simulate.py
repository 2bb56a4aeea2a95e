"""`irg simulate`: the upstream alone."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import httpx

from app.simulator.models import GROUPS
from app.simulator.registry import REGISTRY
from app.simulator.request import SIMULATE_HEADER
from tests.cli.irg import irg, spawn


def test_the_list_names_every_model_that_misbehaves() -> None:
    """As a table and as JSON, group by group; the header stands below."""
    table, listed = irg("simulate", "--list"), irg("simulate", "--list", "--json").json["items"]
    assert [cells[0] for cells in table.cells] == list(REGISTRY)
    assert SIMULATE_HEADER in table.err
    assert [item["model"] for item in listed] == list(REGISTRY)
    assert list(dict.fromkeys(item["group"] for item in listed)) == list(GROUPS)
    assert {item["model"]: item["number"] for item in listed}["sim/slow"] == "ms to the first byte"
    assert all(item["summary"] for item in listed)


def test_a_shape_of_lists_that_does_not_exist_is_refused() -> None:
    """Exit 2, and the shapes there are."""
    ran = irg("simulate", "--models-shape", "round")
    assert ran.code == 2
    assert "keyed" in ran.err


def test_a_taken_port_is_a_clear_error(tmp_path: Path) -> None:
    """Exit 1 and a sentence that names the mend."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ran = irg("simulate", "--port", port, "--bill", str(tmp_path / "bill"))
    assert (ran.code, ran.out) == (1, "")
    assert f"127.0.0.1:{port}" in ran.err
    assert "--port" in ran.err


async def test_a_simulator_answers_and_ends_orderly(tmp_path: Path) -> None:
    """Ready line, an answer, its line on the bill, exit 0."""
    process = await spawn(tmp_path, "simulate", "--port", "0", "--json", "--bill", "bill")
    assert process.stdout is not None
    ready = json.loads(await asyncio.wait_for(process.stdout.readline(), 20))
    async with httpx.AsyncClient(base_url=ready["url"], trust_env=False) as client:
        answer = await client.post(
            "/v1/openai/responses", json={"model": "m", "input": "?"}, headers={"authorization": "Bearer any"}
        )
    assert answer.status_code == 200
    process.terminate()
    _, err = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, err) == (0, b"")
    assert answer.json()["id"] in (tmp_path / "bill").read_text()
