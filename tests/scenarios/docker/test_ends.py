"""How a container ends, with a stream under way: by `docker stop`, out of patience, by `docker kill`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.scenarios.docker.conftest import CANARY, Gateway, Simulator
from tests.scenarios.docker.engine import Engine, wait_until
from tests.scenarios.docker.project import free_port

pytestmark = pytest.mark.scenario


@dataclass
class Streaming:
    """An answer of which the first piece has come."""

    request_id: str
    pieces: Iterator[bytes]
    seen: bytes

    def rest(self) -> bytes:
        """The whole answer, read to its clean end. Raises: `httpx.HTTPError` when it is cut."""
        for piece in self.pieces:
            self.seen += piece
        return self.seen


@contextlib.contextmanager
def streaming(url: str, secret: str, model: str) -> Iterator[Streaming]:
    headers = {"authorization": f"Bearer {secret}"}
    body = {"model": model, "input": "Say hello", "stream": True}
    with (
        httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=60) as client,
        client.stream("POST", "/v1/openai/responses", json=body) as answer,
    ):
        assert answer.status_code == 200
        pieces = answer.iter_raw()
        yield Streaming(answer.headers["x-irg-request-id"], pieces, next(pieces))


def open_rows(gateway: Gateway) -> list[Any]:
    rows: list[Any] = gateway.project.irg("requests", "list", "--state", "open")["items"]
    return rows


def test_a_stop_lets_a_stream_end(gateway: Gateway, simulator: Simulator) -> None:
    """The whole answer arrives, although the signal came with its first event; exit code 0; its cost is booked."""
    project = gateway.project
    with streaming(project.url, gateway.secret, "sim/stream-pause:250") as answer:
        with project.typing("docker compose stop gateway") as stopping:
            wait_until(lambda: project.lines("shutting_down"), "the signal has come")
            assert b"event: response.completed" not in answer.seen
            whole = answer.rest()
        assert stopping.returncode == 0
    assert whole.count(b"event: response.completed") == 1
    assert whole.endswith(b"\n\n")
    assert project.engine.inspect(project.container(), "{{.State.ExitCode}} {{.State.OOMKilled}}") == "0 false"
    line = project.line(answer.request_id)
    assert (line["state"], line["outcome"], line["status"]) == ("settled", "completed", 200)
    project.typed("docker compose up -d")
    project.wait_ready()
    assert project.irg("requests", "show", answer.request_id)["state"] == "settled"
    billed = simulator.bill().line(line["response_id"])
    assert (line["true_cost"], line["charged"]) == (format(billed.true_cost, "f"), format(billed.charged, "f"))
    assert open_rows(gateway) == []


def test_a_killed_stream_is_booked_as_unknown(gateway: Gateway) -> None:
    """The client sees a cut; the next start closes the row as lost with its instance, exactly once, and keeps it so."""
    project = gateway.project
    with streaming(project.url, gateway.secret, "sim/stream-pause:250") as answer:
        assert [row["id"] for row in open_rows(gateway)] == [answer.request_id]
        project.engine.docker("kill", project.container())
        with pytest.raises(httpx.TransportError):
            answer.rest()
    assert project.engine.inspect(project.container(), "{{.State.ExitCode}}") == "137"
    project.typed("docker compose up -d")
    project.wait_ready()
    entry = project.irg("requests", "show", answer.request_id)
    assert (entry["state"], entry["unknown_reason"]) == ("unknown", "instance_lost")
    assert (entry["true_cost"], entry["charged"], entry["key"]) == (None, None, "alice")
    assert open_rows(gateway) == []
    assert project.irg("verify")["ok"] is True
    project.typed("docker compose restart gateway", timeout=90)
    project.wait_ready()
    assert project.irg("requests", "show", answer.request_id) == entry


@pytest.fixture
def impatient(engine: Engine, image: str, simulator: Simulator) -> Iterator[tuple[str, str]]:
    """A gateway that grants one second, run without compose: its container's name and its URL."""
    port = free_port()
    settings = {
        "IMAGEROUTER_API_KEY": CANARY,
        "IRG_HOST": "127.0.0.1",
        "IRG_PORT": str(port),
        "IRG_UPSTREAM_URL": simulator.url,
        "IRG_SHUTDOWN_GRACE_SECONDS": "1",
    }
    given = [part for name, value in settings.items() for part in ("--env", f"{name}={value}")]
    hardened = ("--read-only", "--cap-drop=ALL", "--tmpfs=/tmp", "--network=host", "--volume=impatient:/data")
    name = engine.docker("run", "--detach", *hardened, *given, image)
    try:
        wait_until(lambda: engine.run("docker", "exec", name, "irg", "health", check=False).returncode == 0, "ready")
        yield name, f"http://127.0.0.1:{port}"
    finally:
        engine.docker("rm", "--force", name)
        engine.docker("volume", "rm", "impatient")


def test_a_stream_that_outlasts_the_grace_is_cut_and_booked(
    engine: Engine, image: str, impatient: tuple[str, str]
) -> None:
    """Never an open row, never a guess: what the upstream had not told by then is unknown. Exit code 0."""
    name, url = impatient
    secret = engine.docker("exec", name, "irg", "keys", "create", "alice")
    with streaming(url, secret, "sim/stall") as answer:
        engine.docker("stop", "--time=30", name)
        with contextlib.suppress(httpx.HTTPError):
            answer.rest()
        assert b"response.completed" not in answer.seen
    assert engine.inspect(name, "{{.State.ExitCode}}") == "0"
    ledger = ("run", "--rm", "--network=none", "--volume=impatient:/data", image)
    (entry,) = json.loads(engine.docker(*ledger, "requests", "list", "--json"))["items"]
    assert (entry["id"], entry["state"], entry["outcome"]) == (answer.request_id, "unknown", "shut_down")
    assert (entry["true_cost"], entry["charged"]) == (None, None)
