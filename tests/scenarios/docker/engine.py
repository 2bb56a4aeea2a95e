"""A Docker engine of the tests' own: its daemon, its socket and everything it keeps live in one temporary directory.

It touches nothing that the machine's own engine would use, changes no firewall and makes no network: containers share
the host's, or have none. What it needs comes from `.ci/engine`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pytest

# Read now: while tests run, no IRG_… variable is set.
TOOLS = Path(os.environ.get("TEST_TOOLS", Path.home() / ".cache/irg-tests")) / "docker"
BASE = TOOLS / "python-3.13-slim-1.tar"
COMPOSE_V2 = TOOLS / "packages/compose/docker-compose"
HADOLINT = TOOLS / "packages/bin/hadolint"
# The engine's own client, even if the machine has a newer one first in its path.
CLIENT = Path("/usr/bin/docker")


def needed(what: str | Path) -> str:
    """Where a command or a file is. Fails when it is not there, or, outside CI, skips."""
    found = shutil.which(what)
    if found is None and not Path(what).is_file():
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing(f"{what} is not there: .ci/engine brings it")
    return found or str(what)


def wait_until(condition: Callable[[], object], what: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain: {what}"
        time.sleep(0.05)


@dataclass(frozen=True)
class Engine:
    """A running engine: what its commands answer."""

    directory: Path

    @property
    def environment(self) -> dict[str, str]:
        """In which `docker` and `docker compose` mean this engine; nothing of the machine's settings."""
        dropped = ("IRG_", "DOCKER_", "COMPOSE_", "IMAGEROUTER_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
        return kept | {
            "PATH": f"{self.directory}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "DOCKER_HOST": f"unix://{self.directory}/sock",
            "DOCKER_CONFIG": f"{self.directory}/client",
        }

    def run(
        self,
        *command: str | Path,
        within: Path | None = None,
        timeout: float = 60,
        check: bool = True,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=within or self.directory,
            env=self.environment | dict(settings),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0 or not check, f"{command} ended with {done.returncode}: {done.stdout}{done.stderr}"
        return done

    def docker(self, *arguments: str | Path, timeout: float = 60) -> str:
        return self.run("docker", *arguments, timeout=timeout).stdout.strip()

    def inspect(self, name: str, template: str) -> str:
        return self.docker("inspect", "--format", template, name)

    def build(self, context: Path, tag: str, *, buildkit: bool = True) -> None:
        """The network is the host's, because packages are fetched; nothing is pulled, because nothing can be."""
        command = ("docker", "build", "--network=host", "--pull=false", "--tag", tag, str(context))
        self.run(*command, timeout=240, settings={"DOCKER_BUILDKIT": str(int(buildkit))})

    def import_base(self, tag: str) -> None:
        """The stand-in for the real base image, as `.ci/engine` made it."""
        path = "ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
        self.docker("import", "--change", path, "--change", 'CMD ["python3"]', needed(BASE), tag, timeout=120)


@contextlib.contextmanager
def running_engine() -> Iterator[Engine]:
    """Starts a daemon, and ends it by its own id; leaves nothing behind."""
    daemon, client = needed("dockerd"), needed(CLIENT)
    # Not pytest's directory: a socket's path may have a hundred characters.
    directory = Path(tempfile.mkdtemp(prefix="irg-docker-"))
    (directory / "bin").mkdir()
    (directory / "bin/docker").symlink_to(client)
    (directory / "client/cli-plugins").mkdir(parents=True)
    (directory / "client/cli-plugins/docker-compose").symlink_to(needed(COMPOSE_V2))
    engine = Engine(directory)
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            # It ends with this process, whatever ends that; and its mounts are its own, so none outlives it.
            ["setpriv", "--pdeathsig", "TERM", "unshare", "--mount", daemon, *_options(directory)],
            env=_daemon_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: _answers(engine, process, directory / "log"), "the engine starts")
        yield engine
        # What a failed test left running would be stopped as patiently as it asks for.
        if running := engine.docker("ps", "--quiet").split():
            engine.docker("rm", "--force", *running)
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(directory, ignore_errors=True)
        left = directory.exists()
    assert not left, f"{directory} could not be removed"


def _options(directory: Path) -> list[str]:
    places = {"data-root": "state", "exec-root": "exec", "pidfile": "pid"}
    return [
        f"--host=unix://{directory}/sock",
        *(f"--{option}={directory / name}" for option, name in places.items()),
        *("--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"),
        "--shutdown-timeout=5",
    ]


def _daemon_environment() -> Mapping[str, str]:
    return os.environ | {"PATH": f"/usr/sbin:/usr/bin:/sbin:/bin:{os.environ['PATH']}"}


def _answers(engine: Engine, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, f"the engine ended: {log.read_text()[-2000:]}"
    return engine.run("docker", "version", check=False).returncode == 0
