"""What the Docker tests share: an engine, the image, a simulator, and the project brought up as the README says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.simulator.bill import Bill
from tests.scenarios.docker.engine import Engine, running_engine
from tests.scenarios.docker.project import CREATE_KEY, KEEP_KEY, UP, Project, clone, own_environment

CANARY = "upstream-key-CANARY-91d2c7a4e8b35f60"
IMAGE = "imagerouter-gateway"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    with running_engine() as running:
        yield running


@pytest.fixture(scope="session")
def base(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image that the Dockerfile starts from, with this machine's way to its packages."""
    context = tmp_path_factory.mktemp("base")
    engine.import_base("base")
    shutil.copy(os.environ.get("SSL_CERT_FILE", CERTIFICATES), context / "certificates")
    (context / "pip.conf").write_text(_pip_configuration())
    steps = ["FROM base", f"COPY certificates {CERTIFICATES}", "COPY pip.conf /etc/pip.conf"]
    (context / "Dockerfile").write_text("\n".join(steps))
    engine.build(context, "python:3.13-slim")
    return "python:3.13-slim"


def _pip_configuration() -> str:
    """Where this machine's pip finds packages: the settings that mean something in a container as well."""
    listed = subprocess.run(["pip", "config", "list"], capture_output=True, text=True, check=False).stdout
    settings = {"cert": CERTIFICATES}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        places = [place for place in value.strip("'").split() if not place.startswith(("/", "file:"))]
        if name.rpartition(".")[2] in ("index-url", "extra-index-url", "proxy", "trusted-host") and places:
            settings[name.rpartition(".")[2]] = " ".join(places)
    return "\n".join(["[global]", *(f"{name} = {value}" for name, value in settings.items()), ""])


@pytest.fixture(scope="session")
def image(engine: Engine, base: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Built by BuildKit, as `docker compose up` does it."""
    del base
    directory = tmp_path_factory.mktemp("image")
    clone(directory)
    engine.build(directory, IMAGE)
    return IMAGE


@dataclass(frozen=True)
class Simulator:
    url: str
    bill_path: Path

    def bill(self) -> Bill:
        return Bill.read(self.bill_path)


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """The simulated upstream, a process on this machine."""
    directory = tmp_path_factory.mktemp("simulator")
    command = [sys.executable, "-m", "app", "simulate", "--port", "0", "--json", "--bill", "bill"]
    with subprocess.Popen(
        command, cwd=directory, env=own_environment(), stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL
    ) as process:
        try:
            assert process.stdout is not None
            yield Simulator(json.loads(process.stdout.readline())["url"], directory / "bill")
        finally:
            process.terminate()


@dataclass(frozen=True)
class Gateway:
    """The project brought up, and the secret of alice's key."""

    project: Project
    secret: str


@pytest.fixture(scope="session")
def brought_up(engine: Engine, image: str, simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    """The README's first three commands, as they stand, one right after the other. The engine's end is its end."""
    del image
    project = Project.make(engine, tmp_path_factory.mktemp("clone"), simulator.url, CANARY)
    project.typed(KEEP_KEY)
    project.typed(UP)
    return Gateway(project, project.typed(CREATE_KEY))


@pytest.fixture
def gateway(brought_up: Gateway) -> Gateway:
    """Running, whatever the test before it has ended."""
    brought_up.project.typed(UP)
    brought_up.project.wait_ready()
    return brought_up
