"""The gateway in its container, brought up as the README says: answers, books, restarts."""

from __future__ import annotations

import re
from typing import Any

import openai
import pytest

from tests.scenarios.docker.conftest import CANARY, Gateway, Simulator
from tests.scenarios.docker.engine import wait_until

pytestmark = pytest.mark.scenario

# A request's line in the log and its entry in the ledger name these alike; the line has the tokens beside the rest.
TOKENS = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "total_tokens")
OF_THE_LINE = {"at", "level", "event"}
OF_THE_ENTRY = {"created_at", "tags", "hold", "resolved", "counted_from"}


def ask(gateway: Gateway, model: str, *, stream: bool) -> tuple[str, str]:
    """The gateway's id of the request, and the answer's text; the answer is read to its end."""
    body: dict[str, Any] = {"model": model, "input": "Say hello"}
    with gateway.project.client(gateway.secret) as client:
        if not stream:
            answer = client.responses.with_raw_response.create(**body)
            return str(answer.headers["x-irg-request-id"]), answer.parse().output_text
        with client.responses.with_streaming_response.create(**body, stream=True) as raw:
            events = list(raw.parse())
            assert events[-1].type == "response.completed"
            text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
            return str(raw.headers["x-irg-request-id"]), text


def test_a_key_made_in_the_container_is_a_team_key(gateway: Gateway) -> None:
    """`exec` prints the secret and nothing else."""
    assert re.fullmatch(r"irg_[0-9a-z]+", gateway.secret)
    assert [key["name"] for key in gateway.project.irg("keys", "list")["items"]] == ["alice"]


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_the_sdk_is_answered(gateway: Gateway, stream: bool) -> None:
    """Through the container, with a team key, whole or event by event."""
    _, text = ask(gateway, "openai/gpt-4o-mini", stream=stream)
    assert text.startswith("Simulated answer to: Say hello")


@pytest.mark.parametrize(
    ("model", "stream", "true_cost", "charged"),
    [
        ("sim/seed", False, "0.0000123", "0.0001"),
        ("sim/seed", True, "0.0000123", "0.0001"),
        ("sim/just-over:both", True, "0.00010001", "0.0002"),
        ("sim/free", False, "0.00", "0.00"),
        ("sim/no-cost", False, None, None),
        ("openai/gpt-5-mini", True, ..., ...),
    ],
)
def test_the_log_the_ledger_and_the_bill_say_the_same(
    gateway: Gateway, simulator: Simulator, model: str, stream: bool, true_cost: Any, charged: Any
) -> None:
    """One line per closed request; every field of it is what `irg requests show` tells, the costs what was billed."""
    request_id, _ = ask(gateway, model, stream=stream)
    line = gateway.project.line(request_id)
    entry = gateway.project.irg("requests", "show", request_id)
    assert line["request_id"] == entry.pop("id")
    said = {name: line[name] for name in line.keys() - OF_THE_LINE - {"request_id", *TOKENS}}
    said["usage"] = {name: line[name] for name in TOKENS}
    assert said == {name: entry[name] for name in entry.keys() - OF_THE_ENTRY}
    billed = simulator.bill().line(line["response_id"])
    if true_cost is ...:
        true_cost, charged = format(billed.true_cost, "f"), format(billed.charged, "f")
    assert (line["true_cost"], line["charged"]) == (true_cost, charged)
    assert (line["key"], line["model"], line["status"], line["stream"]) == ("alice", model, 200, stream)
    assert line["state"] == ("settled" if true_cost is not None else "unknown")
    assert line["total_tokens"] == billed.total_tokens


def test_an_upstream_error_is_logged_and_booked(gateway: Gateway) -> None:
    """Surely not billed: free."""
    with gateway.project.client(gateway.secret) as client, pytest.raises(openai.RateLimitError) as caught:
        client.responses.create(model="sim/429", input="Say hello")
    request_id = caught.value.response.headers["x-irg-request-id"]
    line, entry = gateway.project.line(request_id), gateway.project.irg("requests", "show", request_id)
    assert (line["status"], line["state"]) == (entry["status"], entry["state"]) == (429, "free")


def test_the_container_turns_healthy(gateway: Gateway) -> None:
    """By `irg health`, which the engine runs in it every ten seconds."""
    project = gateway.project
    wait_until(
        lambda: project.engine.inspect(project.container(), "{{.State.Health.Status}}") == "healthy", "it is healthy"
    )


def test_a_restart_keeps_keys_and_rows(gateway: Gateway) -> None:
    """The same entries, field by field; the same secret opens it."""
    ask(gateway, "sim/seed", stream=False)
    before = gateway.project.irg("requests", "list", "--limit", "1000")
    gateway.project.typed("docker compose restart gateway", timeout=90)
    gateway.project.wait_ready()
    assert gateway.project.irg("requests", "list", "--limit", "1000") == before
    ask(gateway, "sim/seed", stream=True)
    assert gateway.project.irg("verify")["ok"] is True


def test_the_upstream_key_is_nowhere_to_be_read(gateway: Gateway) -> None:
    """Neither in what is logged, nor in what the engine tells, nor in any file of the volume; nor is the team key."""
    ask(gateway, "sim/seed", stream=False)
    project = gateway.project
    told = [project.log(), project.engine.docker("inspect", project.container(), "imagerouter-gateway")]
    told += [project.engine.docker("history", "--no-trunc", "imagerouter-gateway")]
    files = [path for path in project.kept().rglob("*") if path.is_file()]
    assert "gateway.db" in {path.name for path in files}
    for secret in (CANARY, gateway.secret):
        assert all(secret not in text for text in told)
        assert all(secret.encode() not in path.read_bytes() for path in files)
