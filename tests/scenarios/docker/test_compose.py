"""The compose file: read by old and new composers, its demo, and its HTTPS front."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import ssl
import time
from pathlib import Path

import httpx
import pytest

from tests.scenarios.docker.conftest import Gateway
from tests.scenarios.docker.engine import Engine, needed, wait_until
from tests.scenarios.docker.project import ROOT, UP_DEMO, UP_TLS, Project, free_port

pytestmark = pytest.mark.scenario

COMPOSERS = [["docker", "compose"], ["docker-compose"]]

# Where the demo listens, as /proc/net/tcp writes it: port 8000 of every address.
EVERYWHERE = "00000000:1F40 00000000:0000 0A"

# The official image's way of running it; the file systems it needs are there with the base.
CADDY_IMAGE = """\
FROM base
COPY caddy /usr/bin/caddy
ENV XDG_CONFIG_HOME=/config XDG_DATA_HOME=/data
CMD ["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]
"""

# Ports of the machine that surely are free, instead of 80 and 443; no port for its own administration.
PORTS = """\
{{
	admin off
	http_port {http}
	https_port {https}
}}
"""

ASK = """
import json, sys, urllib.request as r
body = json.dumps({"model": "sim/seed", "input": "hi", "stream": sys.argv[2] == "stream"}).encode()
headers = {"authorization": f"Bearer {sys.argv[1]}", "content-type": "application/json"}
print(r.urlopen(r.Request("http://127.0.0.1:8000/v1/openai/responses", body, headers)).read().decode())
"""


@pytest.mark.parametrize("composer", COMPOSERS, ids=["v2", "1.29"])
def test_the_file_as_it_is_is_valid(engine: Engine, composer: list[str]) -> None:
    """For the current composer and for the old one; and both see the same three services."""
    file = ("--file", ROOT / "docker-compose.yml", "--profile", "demo", "--profile", "tls", "config")
    listed = engine.run(*composer, *file, "--services").stdout.split()
    assert sorted(listed) == ["demo", "gateway", "tls"]
    read = engine.run(*composer, *file).stdout
    assert re.search(r"stop_grace_period: (1m18s|78s)", read)
    assert "no-new-privileges:true" in read


def test_the_old_composer_runs_the_gateway_too(gateway: Gateway) -> None:
    """docker-compose 1.29 finds the same container unchanged, and lets commands into it."""
    project = gateway.project
    container = project.container()
    told = project.typed("docker-compose exec -T gateway irg keys list --json")
    assert [key["name"] for key in json.loads(told)["items"]] == ["alice"]
    assert project.container() == container


def test_the_demo_needs_no_key_and_leaves_the_gateway_alone(engine: Engine, image: str, tmp_path: Path) -> None:
    """The README's command on a fresh clone: only the demo runs, answers with its own keys, and ends well."""
    del image
    project = Project.make(engine, tmp_path / "fresh", "http://127.0.0.1:9", "")
    with project.typing(UP_DEMO) as attached:
        wait_until(lambda: project.container("demo"), "the demo's container is there")
        wait_until(lambda: "irg requests tail" in project.log("demo"), "the demo has told its page")
        name = project.container("demo")
        assert project.container("gateway") == ""
        assert EVERYWHERE in engine.docker("exec", name, "cat", "/proc/net/tcp")
        secret = re.search(r"alice +(irg_\w+)", project.log("demo"))
        assert secret is not None
        answer = engine.docker("exec", name, "python", "-c", ASK, secret[1], "whole")
        assert json.loads(answer)["status"] == "completed"
        assert "response.completed" in engine.docker("exec", name, "python", "-c", ASK, secret[1], "stream")
        wait_until(lambda: engine.inspect(name, "{{.State.Health.Status}}") == "healthy", "it is healthy")
        os.killpg(attached.pid, signal.SIGINT)
    assert engine.inspect(name, "{{.State.ExitCode}}") == "0"
    project.typed("docker compose --profile demo down --volumes")


@pytest.fixture(scope="session")
def caddy(engine: Engine, base: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A stand-in for the image that the service is made of: Debian's Caddy."""
    del base
    context = tmp_path_factory.mktemp("caddy")
    shutil.copy(needed("caddy"), context / "caddy")
    (context / "Dockerfile").write_text(CADDY_IMAGE)
    engine.build(context, "caddy:2")
    return "caddy:2"


def test_the_caddyfile_as_it_is_is_valid(engine: Engine, caddy: str) -> None:
    """By Caddy's own check; and it is written as `caddy fmt` writes it."""
    mounted = ("run", "--rm", "--network=none", f"--volume={ROOT}/config/caddy:/etc/caddy:ro", caddy, "caddy")
    file = "/etc/caddy/Caddyfile"
    assert "Valid configuration" in engine.docker(*mounted, "validate", "--config", file, "--adapter", "caddyfile")
    assert engine.docker(*mounted, "fmt", file) == (ROOT / "config/caddy/Caddyfile").read_text("utf-8").strip()


@pytest.fixture
def https(gateway: Gateway, caddy: str) -> httpx.Client:
    """A client of the HTTPS front that trusts what Caddy signs, and nobody else."""
    del caddy
    project, port = gateway.project, free_port()
    file = project.directory / "config/caddy/Caddyfile"
    file.write_text(PORTS.format(http=free_port(), https=port) + (ROOT / "config/caddy/Caddyfile").read_text("utf-8"))
    project.typed(UP_TLS)
    certificate = "/data/caddy/pki/authorities/local/root.crt"
    read = ("docker", "exec", project.container("tls"), "cat", certificate)
    wait_until(lambda: project.engine.run(*read, check=False).returncode == 0, "Caddy has a certificate")
    trusted = ssl.create_default_context(cadata=project.engine.run(*read).stdout)
    return httpx.Client(
        base_url=f"https://localhost:{port}/v1/openai",
        headers={"authorization": f"Bearer {gateway.secret}"},
        verify=trusted,
        trust_env=False,
        timeout=30,
    )


def test_https_in_front_of_the_gateway(gateway: Gateway, https: httpx.Client) -> None:
    """An answer arrives whole; a stream arrives as it is made, its first event long before its last."""
    with https:
        wait_until(lambda: _answers(https), "Caddy takes connections")
        answer = https.post("/responses", json={"model": "sim/seed", "input": "Say hello"})
        assert answer.json()["status"] == "completed"
        entry = gateway.project.irg("requests", "show", answer.headers["x-irg-request-id"])
        assert (entry["state"], entry["true_cost"]) == ("settled", "0.0000123")
        body = {"model": "sim/stream-pause:100", "input": "Say hello", "stream": True}
        with https.stream("POST", "/responses", json=body) as streamed:
            arrived = [(time.monotonic(), piece) for piece in streamed.iter_raw()]
    content = b"".join(piece for _, piece in arrived)
    assert content.count(b"event: response.completed") == 1
    events = content.count(b"\n\n")
    assert events >= 10
    assert len(arrived) >= events / 2
    assert arrived[-1][0] - arrived[0][0] >= 0.1 * events / 2


def _answers(https: httpx.Client) -> bool:
    try:
        return https.get("/").status_code == 404
    except httpx.TransportError:
        return False
