"""A gateway as operators run it: a process of its own, with limits and a clock that a test can set.

Its state lies in a directory; what it says is read line by line; it is asked over HTTP alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.harness import ADMIN_TOKEN, UPSTREAM_KEY
from tests.scenarios.tools import ROOT

START_SECONDS_MAX = 30.0

NONE: Mapping[str, str] = {}


class GatewayChild:
    """Made by `gateway_child`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []
        self.errors = b""
        self.url = ""
        self._ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._readers = [asyncio.create_task(self._read()), asyncio.create_task(self._read_errors())]

    async def started(self) -> None:
        async with asyncio.timeout(START_SECONDS_MAX):
            self.url = await self._ready

    async def end(self) -> None:
        """As SIGTERM ends it; it must end well."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(30):
                await self.process.wait()
        await asyncio.gather(*self._readers)
        assert self.process.returncode == 0, self.errors.decode()[-2000:]
        assert b"Traceback" not in self.errors, self.errors.decode()[-3000:]

    def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()

    def events(self) -> list[str]:
        return [str(line["event"]) for line in self.lines]

    def admin(self) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {ADMIN_TOKEN}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, trust_env=False, verify=False, timeout=20)

    async def create_key(self, name: str = "alice", **fields: Any) -> str:
        async with self.admin() as admin:
            made = await admin.post("/admin/v1/keys", json={"name": name, **fields})
        assert made.status_code in (200, 201), made.text
        return str(made.json()["secret"])

    async def key(self, name: str = "alice") -> dict[str, Any]:
        async with self.admin() as admin:
            found: dict[str, Any] = (await admin.get(f"/admin/v1/keys/{name}")).json()
        return found

    async def rows(self) -> list[dict[str, Any]]:
        """Every row, oldest first."""
        async with self.admin() as admin:
            answer = await admin.get("/admin/v1/requests", params={"limit": 1000})
        assert answer.status_code == 200, answer.text
        rows: list[dict[str, Any]] = list(reversed(answer.json()["items"]))
        return rows

    async def readyz(self) -> int:
        async with httpx.AsyncClient(base_url=self.url, trust_env=False, verify=False, timeout=20) as client:
            return (await client.get("/readyz")).status_code

    async def until_ready(self, status: int = 200, timeout: float = 20) -> None:
        """Waits until /readyz answers so."""

        async def so() -> bool:
            return await self.readyz() == status

        await until(so, timeout)

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            self.lines.append(json.loads(line))
            if self.lines[-1]["event"] == "ready" and not self._ready.done():
                self._ready.set_result(self.lines[-1]["url"])
        if not self._ready.done():
            self._ready.set_exception(ChildProcessError(self.errors.decode()[-2000:] or "it ended before it was ready"))

    async def _read_errors(self) -> None:
        assert self.process.stderr is not None
        while content := await self.process.stderr.read(4096):
            self.errors += content


async def until(condition: Callable[[], Awaitable[bool]], timeout: float = 20) -> None:
    async with asyncio.timeout(timeout):
        while not await condition():
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def gateway_child(
    upstream_url: str, directory: Path, settings: Mapping[str, str] = NONE, *, descriptors_max: int | None = None
) -> AsyncIterator[GatewayChild]:
    """`settings`: environment variables. `descriptors_max`: how many files and sockets it may have open."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "IMAGEROUTER_API_KEY": UPSTREAM_KEY,
        "IRG_ADMIN_TOKEN": ADMIN_TOKEN,
        "IRG_UPSTREAM_URL": upstream_url,
        "IRG_DATABASE_URL": f"sqlite:///{directory}/gateway.db",
        "IRG_SHUTDOWN_GRACE_SECONDS": "5",
        **settings,
    }

    def limit() -> None:
        if descriptors_max is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors_max, descriptors_max))

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", "serve", "--port", "0"),
        cwd=directory.parent,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=limit,
        limit=2**22,
    )
    child = GatewayChild(process)
    try:
        await child.started()
        yield child
        await child.end()
    finally:
        child.kill()
        await process.wait()
