"""Gateways of others that come as packages: LiteLLM (Python), Portkey (Node), Shepherd Model Gateway (Rust).

Each in an environment of its own beside the clients of the scenarios, installed when it is first asked for. They run as
they come, with one process and without a database: no budgets, no ledger. What one cannot do voids its windows.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.bench.subjects import NotThere, Place, Running, spawn
from tests.scenarios.gateway_process import free_port
from tests.scenarios.tools import ROOT, TOOLS

LITELLM, PORTKEY, SMG = "litellm[proxy]==1.105.0", "@portkey-ai/gateway@1.15.2", "smg==1.13.0"

MASTER_KEY = "sk-bench"

# Of a model that it does not know LiteLLM makes no stream.
LITELLM_CONFIG = """
model_list:
  - model_name: "*"
    litellm_params: {{model: "openai/gpt-4o-mini", api_base: "{upstream}/v1", api_key: sk-upstream}}
general_settings: {{master_key: {key}}}
"""


def installed(name: str, package: str, install: Callable[[Path, str], list[list[str]]]) -> Path:
    """The directory of a peer, made anew when its version has changed. Raises: `NotThere`."""
    directory = TOOLS / "peers" / name
    mark = directory / ".pins"
    if mark.exists() and mark.read_text() == package:
        return directory
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    found = re.search(r'^exclude-newer = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    for command in install(directory, found[1] if found else ""):
        try:
            done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, timeout=600)
        except FileNotFoundError:
            raise NotThere(f"{command[0]} is missing") from None
        if done.returncode != 0:
            raise NotThere(f"{package} cannot be installed: {done.stderr.strip()[-300:]}")
    mark.write_text(package)
    return directory


def _python(package: str) -> Callable[[Path, str], list[list[str]]]:
    def install(directory: Path, until: str) -> list[list[str]]:
        python = str(directory / "bin/python")
        return [
            ["uv", "venv", "-q", "--clear", "--no-project", "--python", sys.executable, str(directory)],
            ["uv", "pip", "install", "-q", "--exclude-newer", until, "--python", python, package],
        ]

    return install


def _node(directory: Path, until: str) -> list[list[str]]:
    return [["npm", "install", "--before", until, "--no-package-lock", "--no-audit", "--no-fund", PORTKEY]]


def _asked(running: Running, headers: tuple[str, ...] = ()) -> Running:
    """A peer is asked where OpenAI's clients ask, and may write an answer anew."""
    running.target = replace(running.target, path="/v1/responses", exact=False, headers=headers)
    return running


def _litellm(place: Place) -> Running:
    directory, port = installed("litellm", LITELLM, _python(LITELLM)), free_port()
    config = place.directory / "config.yaml"
    config.write_text(LITELLM_CONFIG.format(upstream=place.upstream.url, key=MASTER_KEY))
    command = [str(directory / "bin/litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    return _asked(spawn("litellm", place, command, port, keys=[MASTER_KEY], environment=environment))


def _portkey(place: Place) -> Running:
    directory, port = installed("portkey", PORTKEY, _node), free_port()
    script = directory / "node_modules/@portkey-ai/gateway/build/start-server.js"
    command = ["node", str(script), f"--port={port}", "--headless"]
    headers = ("x-portkey-provider: openai", f"x-portkey-custom-host: {place.upstream.url}/v1")
    return _asked(spawn("portkey", place, command, port, keys=["any"]), headers)


def _smg(place: Place) -> Running:
    directory, port = installed("smg", SMG, _python(SMG)), free_port()
    command = [
        *(str(directory / "bin/smg"), "launch", "--backend", "openai", "--worker-urls", place.upstream.url),
        *("--host", "127.0.0.1", "--port", str(port), "--prometheus-port", str(free_port()), "--log-level", "error"),
    ]
    return _asked(spawn("smg", place, command, port, keys=["any"]))


PEERS = {"litellm": _litellm, "portkey": _portkey, "smg": _smg}
