"""One soak: an upstream, a gateway with a window, clients; samples at rest, and the ledger against the bill.

Called by `python -m tests.bench.soak` and by the scenario that is its short form.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.bench.soak.load import Load
from tests.bench.soak.upstream import Model
from tests.bench.soak.window import Holds, look
from tests.harness import ADMIN_TOKEN, UPSTREAM_KEY
from tests.scenarios.tools import ROOT

START_SECONDS_MAX = 60.0
REST_SECONDS_MAX = 60.0

KEYS = 10
LIMITED_RPM = 60

SETTINGS = {
    "IRG_UPSTREAM_IDLE_SECONDS": "2",  # what falls silent is given up
    "IRG_UPSTREAM_KEEPALIVE_SECONDS": "1",  # so that rest comes soon
    "IRG_LOG_LEVEL": "info",
}


@dataclass(frozen=True)
class Sample:
    """The gateway at rest, after so many requests."""

    requests: int
    seconds: float
    rss_bytes: int
    descriptors: Counter[str]  # by what they are
    holds: Holds


@dataclass(frozen=True)
class Books:
    """Differences between ledger and bill, as sentences, and what they agreed on."""

    differences: list[str]
    rows: int
    settled: int
    unknown: int
    free: int
    refused: int


class Soak:
    """Made by `soaking`."""

    def __init__(self, gateway: subprocess.Popen[bytes], directory: Path, port: int, upstream_url: str) -> None:
        self.pid = gateway.pid
        self.samples: list[Sample] = []
        self.load: Load
        self._began = time.monotonic()
        self._port = port
        self._upstream_url = upstream_url
        self._window = directory / "window"
        self._database = directory / "gateway.db"
        self._resting: Counter[str] = Counter()

    async def make_keys(self, connections: int, chance: random.Random) -> None:
        """Most of them far from any limit, one of them mostly at its own."""
        unlimited = {"budgets": ["900000/day"], "rpm": 10**6, "tpm": 10**9, "concurrency": 10_000}
        headers = {"authorization": f"Bearer {ADMIN_TOKEN}"}
        secrets = []
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self._port}/admin/v1", headers=headers) as admin:
            for team in ("one", "other"):
                (await admin.post("/teams", json={"name": team, "budgets": ["900000/month"]})).raise_for_status()
            for number in range(KEYS):
                body = {"name": f"key-{number}", "team": ("one", "other")[number % 2], **unlimited}
                made = await admin.post("/keys", json=body)
                assert made.is_success, made.text
                secrets += [made.json()["secret"]] * 5
            limited = await admin.post("/keys", json={"name": "limited", "rpm": LIMITED_RPM})
            secrets.append(limited.json()["secret"])
        self.load = Load(self._port, secrets, connections, chance)

    async def step(self, requests: int, deadline: float) -> Sample:
        """So many requests, then rest, then a sample."""
        await self.load.ask(requests, deadline)
        await self._rest()
        sample = self._sample()
        self.samples.append(sample)
        return sample

    async def _rest(self) -> None:
        """Until nothing is open, and idle connections to the upstream are closed."""
        deadline = time.monotonic() + REST_SECONDS_MAX
        while time.monotonic() < deadline:
            if self._open_rows() == 0 and descriptors(self.pid)["socket"] <= self._sockets_at_rest():
                return
            await asyncio.sleep(0.2)

    def _sockets_at_rest(self) -> int:
        if not self._resting:
            self._resting = descriptors(self.pid)
        return self._resting["socket"]

    def remember_rest(self) -> None:
        """What is open now is what is open without any request."""
        self._resting = descriptors(self.pid)

    def _sample(self) -> Sample:
        opened = descriptors(self.pid)  # before the window is looked through: that opens another
        holds = look(self._window)
        rss = re.search(r"^Rss:\s+(\d+) kB", Path(f"/proc/{self.pid}/smaps_rollup").read_text(), re.MULTILINE)
        assert rss is not None
        seconds = time.monotonic() - self._began
        return Sample(self.load.seen.asked, seconds, int(rss[1]) * 1024, opened, holds)

    def _open_rows(self) -> int:
        return int(self._ask("SELECT count(*) FROM requests WHERE state = 'open'")[0][0])

    def _ask(self, sql: str) -> list[Any]:
        connection = sqlite3.connect(f"{self._database.as_uri()}?mode=ro", uri=True, timeout=10)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    async def compare(self) -> Books:
        """Every model's rows with its account on the bill: as many, with the same costs to the last digit."""
        async with httpx.AsyncClient() as client:
            bill = (await client.get(f"{self._upstream_url}/bill")).json()
        sql = "SELECT model, state, count(*), sum(true_cost), sum(charged) FROM requests GROUP BY model, state"
        rows = {(model.removeprefix("soak/"), state): sums for model, state, *sums in self._ask(sql)}
        differences = []
        for model in Model:
            account = bill.get(model, {"seen": 0, "told": 0, "true_cost": 0, "charged": 0})
            settled, unknown = rows.get((model, "settled"), [0, 0, 0]), rows.get((model, "unknown"), [0, 0, 0])
            wanted = [account["told"], account["true_cost"], account["charged"]]
            if [value or 0 for value in settled] != wanted:
                differences.append(f"{model}: settled {settled}, on the bill {wanted}")
            if settled[0] + unknown[0] != account["seen"]:
                differences.append(f"{model}: {settled[0]} + {unknown[0]} rows, {account['seen']} on the bill")
        by_state = Counter[str]()
        for (_, state), sums in rows.items():
            by_state[state] += sums[0]
        if by_state["open"]:
            differences.append(f"{by_state['open']} rows are open")
        refused = int(self._ask("SELECT coalesce(sum(refused), 0) FROM refusal_counts")[0][0])
        return Books(differences, by_state.total(), by_state["settled"], by_state["unknown"], by_state["free"], refused)


def descriptors(pid: int) -> Counter[str]:
    """What a process has open, by kind: sockets, and files by their names."""
    found = Counter[str]()
    for one in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(one)
        except FileNotFoundError:
            continue
        found[re.sub(r":.*", "", target) if ":" in target else Path(target).name] += 1
    return found


def slope(samples: list[Sample], value: Callable[[Sample], float]) -> float:
    """By how much a value grows with every 100,000 requests: the line of the least squares."""
    xs, ys = [sample.requests / 100_000 for sample in samples], [value(sample) for sample in samples]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread


def grown(before: Sample, after: Sample) -> dict[str, int]:
    """Kinds of objects that became more, by how many, the most first."""
    more = Counter(after.holds.objects)
    more.subtract(before.holds.objects)
    return {kind: count for kind, count in more.most_common() if count > 0}


@asynccontextmanager
async def soaking(directory: Path, *, connections: int, seed: int, **settings: str) -> AsyncIterator[Soak]:
    """Upstream and gateway, ready and at rest; both are ended with the block, the gateway as SIGTERM ends it."""
    upstream = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.soak.upstream"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert upstream.stdout is not None
    upstream_url = f"http://127.0.0.1:{upstream.stdout.readline().split()[1]}"
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "IMAGEROUTER_API_KEY": UPSTREAM_KEY,
        "IRG_ADMIN_TOKEN": ADMIN_TOKEN,
        "IRG_UPSTREAM_URL": upstream_url,
        "IRG_DATABASE_URL": f"sqlite:///{directory / 'gateway.db'}",
        **SETTINGS,
        **settings,
    }
    command = [sys.executable, "-m", "tests.bench.soak.window", str(directory / "window"), "serve", "--port", "0"]
    log_path = directory / "gateway.log"
    with log_path.open("wb") as log:
        gateway = subprocess.Popen(command, cwd=directory, env=environment, stdout=log, stderr=log)
    try:
        soak = Soak(gateway, directory, await _port(gateway, log_path), upstream_url)
        soak.remember_rest()
        await soak.make_keys(connections, random.Random(seed))
        yield soak
        gateway.terminate()
        assert await asyncio.to_thread(gateway.wait, 60) == 0, log_path.read_text()[-2000:]
    finally:
        for process in (gateway, upstream):
            process.kill()
            process.wait()
        upstream.stdout.close()


async def _port(gateway: subprocess.Popen[bytes], log: Path) -> int:
    """Where the gateway listens, once it does."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline and gateway.poll() is None:
        for line in log.read_bytes().splitlines():
            if b'"event":"ready"' in line:
                return int(json.loads(line)["url"].rpartition(":")[2])
        await asyncio.sleep(0.05)
    raise ChildProcessError(f"the gateway did not start: {log.read_text()[-2000:]}")
