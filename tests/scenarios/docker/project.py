"""The project as an admin has it: a clone, its README, and a shell in which `docker` is the tests' engine.

Two things differ from the admin's machine, because the engine has no networks of its own: where the compose file
publishes ports, the services share the host's network or have none; and a `docker-compose.override.yml` points the
gateway at a simulator.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from openai import DefaultHttpxClient, OpenAI

from tests.scenarios.docker.engine import Engine, wait_until

ROOT = Path(__file__).parents[3]
SHIPPED = ("app", "config", "Dockerfile", ".dockerignore", "docker-compose.yml", "requirements.lock")

# What the network of each service that publishes ports is here, in the compose file's order.
NETWORKS = ("gateway: host", "demo: none", "tls: host")

OVERRIDE = """\
services:
  gateway:
    environment:
      IRG_HOST: 127.0.0.1
      IRG_PORT: "{port}"
      IRG_UPSTREAM_URL: {upstream_url}
  tls:
    environment:
      GATEWAY_ADDRESS: 127.0.0.1:{port}
"""


def readme_commands() -> list[str]:
    """What the README says under "With Docker", a command a line, without the remarks."""
    readme = (ROOT / "README.md").read_text("utf-8")
    block = re.search(r"^With Docker:\n\n```sh\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert block is not None
    return [re.sub(r"\s+#.*", "", line) for line in block[1].splitlines()]


# Unpacked by hand: a command that is added there is missing here until it is run, too.
KEEP_KEY, UP, CREATE_KEY, UP_DEMO, UP_TLS = readme_commands()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def clone(directory: Path) -> None:
    """What git would bring, as far as Docker sees it."""
    directory.mkdir(exist_ok=True)
    for name in SHIPPED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, directory / name)


def without_ports(compose: str) -> str:
    """The compose file with a network instead of published ports."""
    networks = iter(NETWORKS)
    text, count = re.subn(
        r"^    ports: .*$", lambda _: f"    network_mode: {next(networks).split(': ')[1]}", compose, flags=re.MULTILINE
    )
    assert count == len(NETWORKS)
    return text


@dataclass(frozen=True)
class Project:
    """One clone with its own containers and volumes."""

    engine: Engine
    directory: Path
    upstream_key: str
    port: int

    @classmethod
    def make(cls, engine: Engine, directory: Path, upstream_url: str, upstream_key: str) -> Project:
        clone(directory)
        project = cls(engine, directory, upstream_key, free_port())
        compose = directory / "docker-compose.yml"
        compose.write_text(without_ports(compose.read_text("utf-8")), "utf-8")
        override = OVERRIDE.format(port=project.port, upstream_url=upstream_url)
        (directory / "docker-compose.override.yml").write_text(override, "utf-8")
        return project

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        return {"COMPOSE_PROJECT_NAME": self.directory.name.lower(), "IMAGEROUTER_API_KEY": self.upstream_key}

    def typed(self, command: str, timeout: float = 60) -> str:
        """What a command of the README prints, typed into a shell as it stands."""
        done = self.engine.run("sh", "-c", command, within=self.directory, timeout=timeout, settings=self.environment)
        return done.stdout.strip()

    @contextlib.contextmanager
    def typing(self, command: str) -> Iterator[subprocess.Popen[bytes]]:
        """A command that goes on by itself, until it has ended or Ctrl-C is typed."""
        with subprocess.Popen(
            ["sh", "-c", command],
            cwd=self.directory,
            env=self.engine.environment | self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # as a terminal has it: Ctrl-C reaches every process of the command
        ) as process:
            try:
                yield process
                process.wait(60)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)

    def container(self, service: str = "gateway") -> str:
        """Its id, also when it has ended; "" = none.

        Not by `docker compose ps`, which fails when a container goes between its two questions to the engine.
        """
        labels = {"project": self.environment["COMPOSE_PROJECT_NAME"], "service": service, "oneoff": "False"}
        filters = [f"--filter=label=com.docker.compose.{name}={value}" for name, value in labels.items()]
        return self.engine.docker("ps", "--all", "--quiet", "--no-trunc", *filters)

    def irg(self, *arguments: str) -> Any:
        """What a command says with --json, inside the gateway's container."""
        told = self.engine.docker("exec", self.container(), "irg", *arguments, "--json")
        return json.loads(told)

    def log(self, service: str = "gateway") -> str:
        return self.engine.docker("logs", self.container(service))

    def lines(self, event: str) -> list[dict[str, Any]]:
        """What the gateway has logged of one event."""
        found = [json.loads(line) for line in self.log().splitlines()]
        return [line for line in found if line["event"] == event]

    def line(self, request_id: str) -> dict[str, Any]:
        """The one line of a closed request."""
        (found,) = [line for line in self.lines("request") if line["request_id"] == request_id]
        return found

    def kept(self) -> Path:
        """The directory of the volume that holds the ledger."""
        volume = f"{self.environment['COMPOSE_PROJECT_NAME']}_data"
        return Path(self.engine.docker("volume", "inspect", "--format", "{{.Mountpoint}}", volume))

    def wait_ready(self) -> None:
        wait_until(self._is_ready, "the gateway takes requests")

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    @contextlib.contextmanager
    def client(self, secret: str) -> Iterator[OpenAI]:
        """The SDK as a team member uses it; it says what it meets instead of trying again."""
        transport = DefaultHttpxClient(trust_env=False, timeout=60)
        with OpenAI(base_url=f"{self.url}/v1/openai", api_key=secret, max_retries=0, http_client=transport) as client:
            yield client


def own_environment() -> dict[str, str]:
    """For a process of the project on this machine: none of its settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("IRG_")} | {
        "PYTHONPATH": str(ROOT)
    }
