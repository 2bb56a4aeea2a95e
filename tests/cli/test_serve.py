"""`irg serve` as a process: it starts, renews its key, and ends as told."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.store.lock import DatabaseLock
from tests.cli.irg import irg_process
from tests.scripted_upstream import UNTIL_GONE, ScriptedUpstream

pytestmark = pytest.mark.scenario  # whole processes, seconds each

FIRST, SECOND = "first-upstream-key-0123456789", "second-upstream-key-0123456789"


class Serving:
    """A running `irg serve` and the lines it has logged."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []

    async def line(self, event: str, timeout: float = 20) -> dict[str, Any]:
        """Waits for the next line of an event."""
        assert self.process.stdout is not None
        async with asyncio.timeout(timeout):
            while True:
                read = await self.process.stdout.readline()
                assert read, f"it ended before it logged {event}"
                self.lines.append(json.loads(read))
                if self.lines[-1]["event"] == event:
                    return self.lines[-1]


@asynccontextmanager
async def serving(upstream: ScriptedUpstream, directory: Path) -> AsyncIterator[Serving]:
    environment = {"PATH": os.environ["PATH"], "IRG_UPSTREAM_URL": upstream.url}
    environment["IMAGEROUTER_API_KEY_FILE"] = str(directory / "key")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", "serve", "--port", "0"),
        cwd=directory,
        env=environment | {"PYTHONPATH": str(Path(__file__).parent.parent.parent)},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Serving(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_a_rotated_admin_token_counts_at_once(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """`irg admin-token rotate` beside a running gateway: the old token is refused, the new one opens."""
    (tmp_path / "key").write_text(FIRST)
    path = tmp_path / "data/admin-token"
    async with serving(upstream, tmp_path) as serve:
        url = (await serve.line("ready"))["url"]
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:

            async def answered(token: str) -> int:
                return (await client.get("/admin/v1/keys", headers={"authorization": f"Bearer {token}"})).status_code

            old = path.read_text().strip()
            assert await answered(old) == 200
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "app", "admin-token", "rotate", "--yes"),
                cwd=tmp_path,
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parent.parent.parent)},
                stdout=asyncio.subprocess.PIPE,
            )
            printed, _ = await process.communicate()
            new = path.read_text().strip()
            assert printed.decode().strip() == new != old
            assert (await answered(old), await answered(new)) == (401, 200)


async def test_a_hangup_renews_the_upstream_key_and_a_signal_ends_it(
    upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    """Requests after SIGHUP carry the new key; neither key is ever logged; SIGTERM ends with exit code 0."""
    (tmp_path / "key").write_text(FIRST)
    async with serving(upstream, tmp_path) as serve:
        url = (await serve.line("ready"))["url"]
        admin = {"authorization": f"Bearer {(tmp_path / 'data/admin-token').read_text().strip()}"}
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            made = await client.post("/admin/v1/keys", headers=admin, json={"name": "alice"})
            bearer = {"authorization": f"Bearer {made.json()['secret']}"}
            await client.post("/v1/responses", headers=bearer, json={"model": "m"})
            (tmp_path / "key").write_text(SECOND)
            serve.process.send_signal(signal.SIGHUP)
            await serve.line("upstream_key_renewed")
            await client.post("/v1/responses", headers=bearer, json={"model": "m"})
            (tmp_path / "key").unlink()
            serve.process.send_signal(signal.SIGHUP)
            await serve.line("upstream_key_not_renewed")
            await client.post("/v1/responses", headers=bearer, json={"model": "m"})
        serve.process.send_signal(signal.SIGTERM)
        await serve.line("shutting_down")
        assert await serve.process.wait() == 0
    shown = [request.header(b"authorization") for request in upstream.requests]
    assert shown == [f"Bearer {key}".encode() for key in (FIRST, SECOND, SECOND)]
    assert FIRST not in json.dumps(serve.lines)
    assert SECOND not in json.dumps(serve.lines)


async def test_starts_and_hangups_are_in_the_audit_log(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """What differs from the start before; another upstream key, but never a word of it; nothing, if nothing does."""
    told: list[list[tuple[dict[str, Any], dict[str, Any]]]] = []
    for key, entries in ((FIRST, 1), (FIRST, 2), (SECOND, 2)):
        (tmp_path / "key").write_text(key)
        async with serving(upstream, tmp_path) as serve:
            url = (await serve.line("ready"))["url"]
            (tmp_path / "key").write_text(SECOND)
            if key == FIRST and entries == 2:
                serve.process.send_signal(signal.SIGHUP)
                await serve.line("upstream_key_renewed")
            admin = {"authorization": f"Bearer {(tmp_path / 'data/admin-token').read_text().strip()}"}
            async with httpx.AsyncClient(base_url=url, trust_env=False, headers=admin) as client:
                items: list[dict[str, Any]] = []
                while len(items) < entries:  # a hang-up is noted a moment after it counts
                    items = (await client.get("/admin/v1/audit")).json()["items"]
            told.append([(entry["before"], entry["after"]) for entry in items])
            serve.process.terminate()
            assert await serve.process.wait() == 0
    port, there = {"IRG_PORT": 8000}, {"IMAGEROUTER_API_KEY": "unset", "IRG_UPSTREAM_URL": "https://api.imagerouter.io"}
    first = (there | port, {"IMAGEROUTER_API_KEY": "set", "IRG_UPSTREAM_URL": upstream.url, "IRG_PORT": 0})
    renewed = ({"IMAGEROUTER_API_KEY": "set"}, {"IMAGEROUTER_API_KEY": "changed"})
    assert told == [[first], [renewed, first], [renewed, first]]


async def test_a_command_at_work_on_the_ledger_is_waited_for(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """`irg serve` and at once a command, which may be first at the ledger: the gateway starts all the same."""
    (tmp_path / "key").write_text(FIRST)
    (tmp_path / "data").mkdir()
    command = DatabaseLock(tmp_path / "data/gateway.db")
    async with serving(upstream, tmp_path) as serve:
        await serve.line("admin_token_made")  # the last thing before the ledger is opened
        with pytest.raises(TimeoutError):
            await serve.line("ready", timeout=1)
        command.release()
        await serve.line("ready")


async def test_another_gateway_is_not_waited_for(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """It would not go away: exit 1 at once, with a sentence that names it."""
    (tmp_path / "key").write_text(FIRST)
    async with serving(upstream, tmp_path) as first:
        await first.line("ready")
        second = await irg_process(
            *(tmp_path, "serve", "--port", "0"),
            IMAGEROUTER_API_KEY_FILE=str(tmp_path / "key"),
            IRG_UPSTREAM_URL=upstream.url,
        )
    assert second.code == 1
    assert f"in use by process {first.process.pid}" in second.err


async def test_a_second_signal_ends_it_at_once_and_books_what_was_open(
    upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    """Also when nothing but abandoned answers is left to wait for; and a hang-up never kills."""
    (tmp_path / "key").write_text(FIRST)
    upstream.answer(UNTIL_GONE)
    async with serving(upstream, tmp_path) as serve:
        url = (await serve.line("ready"))["url"]
        admin = {"authorization": f"Bearer {(tmp_path / 'data/admin-token').read_text().strip()}"}
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            made = await client.post("/admin/v1/keys", headers=admin, json={"name": "alice"})
            bearer = {"authorization": f"Bearer {made.json()['secret']}"}
            with pytest.raises(httpx.ReadTimeout):
                await client.post("/v1/responses", headers=bearer, json={"model": "m"}, timeout=0.2)
        serve.process.send_signal(signal.SIGTERM)
        await serve.line("shutting_down")
        await asyncio.sleep(0.3)  # nobody is connected any more: uvicorn has ended
        serve.process.send_signal(signal.SIGHUP)
        await serve.line("upstream_key_renewed")
        serve.process.send_signal(signal.SIGTERM)
        closed = await serve.line("request", timeout=5)
        assert (closed["state"], closed["unknown_reason"]) == ("unknown", "shut_down")
        assert await serve.process.wait() == 0
