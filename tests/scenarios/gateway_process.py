"""`irg serve` as the operator runs it: a process of its own that is started, signalled, killed and started again.

    gateway = GatewayProcess(tmp_path, simulator.url)
    start = await gateway.start()           # returns when /readyz says so
    await gateway.kill()                    # SIGKILL
    await gateway.start()                   # the same port, the same ledger
    assert await gateway.end() == 0         # SIGTERM, and its exit code

Its log goes to a file beside the ledger and outlives it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.harness import ADMIN_TOKEN, UPSTREAM_KEY
from tests.scenarios.tools import ROOT

START_SECONDS_MAX = 30.0
END_SECONDS_MAX = 60.0

COMMAND = (sys.executable, "-P", "-m", "app")

# It is ready again in two seconds, as the long form shows, which runs alone; beside another test, which may run on the
# same core, a process gets less done in its time.
READY_SECONDS_MAX = 2.0
READY_SECONDS_MAX_BESIDE_OTHERS = 2 * READY_SECONDS_MAX


@dataclass(frozen=True)
class Start:
    """How long a start took until it was ready."""

    seconds: float
    waited_seconds: float  # of these, while others had the processors

    @property
    def own_seconds(self) -> float:
        """What it would have taken on a machine that has nothing else to do: what a test can rely on."""
        return self.seconds - self.waited_seconds


class GatewayProcess:
    def __init__(self, directory: Path, upstream_url: str, **settings: str) -> None:
        """`settings`: further ones, as the environment names them."""
        self.directory = directory
        self.database = directory / "gateway.db"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = directory / "gateway.log"
        self.environment = {
            **{name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ},
            "PYTHONPATH": str(ROOT),
            "IMAGEROUTER_API_KEY": UPSTREAM_KEY,
            "IRG_ADMIN_TOKEN": ADMIN_TOKEN,
            "IRG_UPSTREAM_URL": upstream_url,
            "IRG_DATABASE_URL": f"sqlite:///{self.database}",
            "IRG_PORT": str(self.port),
            **settings,
        }
        self._process: asyncio.subprocess.Process | None = None

    @property
    def process(self) -> asyncio.subprocess.Process:
        assert self._process is not None, "it was never started"
        return self._process

    @property
    def base_url(self) -> str:
        return self.url + "/v1/openai"

    # --- its life -------------------------------------------------------------------------

    async def spawn(self, *before: str) -> None:
        """Starts it, and does not wait. `before`: a command that runs it, such as strace."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(*before, *COMMAND, "serve"),
                cwd=self.directory,
                env=self.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def start(self, *before: str) -> Start:
        started = time.monotonic()
        await self.spawn(*before)
        await self.ready()
        return Start(time.monotonic() - started, _waited_for_a_processor(self.process.pid))

    async def ready(self) -> None:
        async with asyncio.timeout(START_SECONDS_MAX):
            while not await self.is_ready():
                assert self.process.returncode is None, self.log.read_text()[-3000:]
                await asyncio.sleep(0.005)

    async def is_ready(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(b"GET /readyz HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n")
            head = await reader.readline()
            writer.close()
        except OSError:
            return False
        return b" 200 " in head

    def send(self, number: signal.Signals) -> None:
        """A signal, if it still lives."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    async def wait(self, seconds: float = END_SECONDS_MAX) -> int:
        """Its exit code; that of a signal is negative."""
        return await asyncio.wait_for(self.process.wait(), seconds)

    async def kill(self) -> None:
        self.send(signal.SIGKILL)
        await self.wait()

    async def end(self) -> int:
        self.send(signal.SIGTERM)
        return await self.wait()

    # --- what it says ---------------------------------------------------------------------

    def lines(self, event: str) -> list[dict[str, Any]]:
        """What it has logged of an event, over all its lives."""
        whole = self.log.read_bytes().rpartition(b"\n")[0].splitlines()
        told = [json.loads(line) for line in whole if line.startswith(b"{")]
        return [line for line in told if line.get("event") == event]

    async def admin(self, method: str, path: str, body: Any = None) -> Any:
        """An answer of the admin API."""
        made = self.directory / "admin-token"
        token = self.environment.get("IRG_ADMIN_TOKEN") or made.read_text().strip()
        headers = {"authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=self.url, headers=headers, trust_env=False, timeout=30) as client:
            answer = await client.request(method, f"/admin/v1/{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json()

    async def create_key(self, name: str, **spec: Any) -> str:
        return str((await self.admin("POST", "keys", {"name": name, **spec}))["secret"])

    async def irg(self, *arguments: str, given: str = "") -> tuple[int, str]:
        """Runs a command on this ledger, beside the gateway or without it: its exit code and what it printed."""
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *arguments,
            cwd=self.directory,
            env=self.environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await asyncio.wait_for(process.communicate(given.encode()), 120)
        assert process.returncode is not None
        return process.returncode, out.decode()

    def ask_ledger(self, sql: str) -> list[Any]:
        """Reads the database as it is on the disk, with or without a gateway on it: the first column."""
        connection = sqlite3.connect(f"{self.database.as_uri()}?mode=ro", uri=True, timeout=10)
        try:
            return [row[0] for row in connection.execute(sql)]
        finally:
            connection.close()


def _waited_for_a_processor(pid: int) -> float:
    """Seconds for which the main thread could have run and was not let (proc(5), schedstat)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def free_port() -> int:
    """One that nobody listens on, and that no outgoing connection is ever given: those lie above 32768."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@contextlib.asynccontextmanager
async def gateway_process(directory: Path, upstream_url: str, **settings: str) -> AsyncIterator[GatewayProcess]:
    """Not yet started; killed in the end if it still lives then."""
    gateway = GatewayProcess(directory, upstream_url, **settings)
    try:
        yield gateway
    finally:
        if gateway._process is not None and gateway.process.returncode is None:
            await gateway.kill()
