"""The gateway as it is measured: `irg serve` with a ledger on a file, its keys made over the admin API.

`gateway@DIRECTORY` is the gateway of another checkout: what a change costs is measured by both in one run.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.subjects import UPSTREAM_KEY, Place, Running, spawn
from tests.bench.upstream import CA_FILE
from tests.scenarios.gateway_process import free_port
from tests.scenarios.tools import ROOT

ADMIN_TOKEN = "bench-admin-token-0123456789abcdef"

KEYS = 8  # in turn, one for each connection

# More than any bench asks for: they decide over every request and refuse none.
LIMITS = {
    "budgets": ["900000/day", "1000000/month"],
    "rpm": 1_000_000,
    "tpm": 1_000_000_000,
    "concurrency": 100_000,
}


@dataclass(frozen=True)
class Kind:
    """A gateway: its settings, whether every request of it meets limits on key, team and gateway, and its code."""

    settings: Mapping[str, str] = field(default_factory=dict)
    limited: bool = False
    module: str = "app"
    root: Path = ROOT

    def __call__(self, place: Place) -> Running:
        port = free_port()
        environment = {
            "PYTHONPATH": str(self.root),
            "IMAGEROUTER_API_KEY": UPSTREAM_KEY,
            "IRG_ADMIN_TOKEN": ADMIN_TOKEN,
            "IRG_UPSTREAM_URL": place.upstream.url,
            "IRG_DATABASE_URL": f"sqlite:///{place.directory}/gateway.db",
            "IRG_PORT": str(port),
            "IRG_CONCURRENCY_MAX": "20000",
            "IRG_CONNECTIONS_MAX": "20000",
            **({"IRG_UPSTREAM_CA_FILE": str(CA_FILE)} if place.tls else {}),
            **self.settings,
        }
        command = [sys.executable, "-P", "-m", self.module, "serve"]
        running = spawn("gateway", place, command, port, keys=[], environment=environment)
        try:
            running.target.keys.write_text("\n".join(_keys(port, LIMITS if self.limited else {})))
        except BaseException:  # nobody else knows of it yet
            running.kill()
            raise
        return running


KINDS = {
    "gateway": Kind(),
    "no-ledger": Kind(module="tests.bench.references.no_ledger"),
    "power": Kind({"IRG_DURABILITY": "power"}),
    "limits": Kind(limited=True),
    "httpx": Kind({"IRG_UPSTREAM_TRANSPORT": "httpx"}),
}


def _keys(port: int, limits: Mapping[str, Any]) -> list[str]:
    """Keys of two teams."""
    for team in range(2):
        _admin(port, "POST", "teams", {"name": f"team-{team}", **limits})
    _admin(port, "PUT", "budget", {"budgets": limits.get("budgets", [])})
    specs = [{"name": f"key-{number}", "team": f"team-{number % 2}", **limits} for number in range(KEYS)]
    return [str(_admin(port, "POST", "keys", spec)["secret"]) for spec in specs]


def _admin(port: int, method: str, path: str, body: Mapping[str, Any]) -> Any:
    headers = {"authorization": f"Bearer {ADMIN_TOKEN}", "content-type": "application/json"}
    url = f"http://127.0.0.1:{port}/admin/v1/{path}"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)
