"""The three ways to a gateway: beside a running one, over the network, and with none running."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from pathlib import Path

import pytest

from app.cli import client
from app.store.lock import DatabaseLock
from tests.cli.irg import irg, irg_process, spawn
from tests.harness import ADMIN_TOKEN, GatewayUnderTest
from tests.scripted_upstream import ScriptedUpstream, json_answer

ANSWER = b'{"id": "resp_1", "output": [], "usage": {"cost": 0.0000123}, "cost": 0.0001}'


@pytest.fixture(params=["on"])
def front(request: pytest.FixtureRequest) -> str:
    """The control plane has one way in."""
    return str(request.param)


@pytest.fixture
def beside(gateway: GatewayUnderTest) -> dict[str, str]:
    """The environment of a command on the gateway's machine."""
    return {"IRG_DATABASE_URL": gateway.services.settings.database_url}


async def test_a_command_beside_the_gateway_is_effective_at_once(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream, beside: dict[str, str], tmp_path: Path
) -> None:
    """No token is needed there; the next request already meets the change, and figures are the same everywhere."""
    made = await irg_process(tmp_path, "keys", "create", "alice", **beside)
    assert made.code == 0, made.err
    secret = made.out.strip()
    upstream.answer(json_answer(ANSWER))
    async with gateway.post({"model": "m"}, secret) as reply:
        assert reply.status == 200
        await reply.body()
    shown, usage, lines, verified = await asyncio.gather(
        irg_process(tmp_path, "requests", "show", reply.request_id, "--json", **beside),
        irg_process(tmp_path, "usage", "--json", **beside),
        irg_process(tmp_path, "export", "--format", "jsonl", **beside),
        irg_process(tmp_path, "verify", "--json", **beside),
    )
    assert (shown.json["true_cost"], shown.json["charged"]) == ("0.0000123", "0.0001")
    assert [json.loads(line) for line in lines.out.splitlines()] == [shown.json | {"adjusts": None}]
    assert usage.json["total"]["true_cost"] == "0.0000123"
    assert verified.json["rows"] == 1
    async with gateway.admin() as admin:
        assert (await admin.get("/admin/v1/usage")).json() == usage.json
    revoked = await irg_process(tmp_path, "keys", "revoke", "alice", "--yes", **beside)
    assert revoked.code == 0, revoked.err
    async with gateway.post({"model": "m"}, secret) as reply:
        assert reply.status == 401


async def test_a_gateway_elsewhere_wants_the_admin_token(gateway: GatewayUnderTest, tmp_path: Path) -> None:
    """With it all is the same; without it, or with another, a sentence and an exit code."""
    elsewhere = {"IRG_URL": gateway.url, "IRG_DATABASE_URL": f"sqlite:///{tmp_path}/none/gateway.db"}
    right, wrong, none = await asyncio.gather(
        irg_process(tmp_path, "keys", "create", "bob", "--json", **elsewhere, IRG_ADMIN_TOKEN=ADMIN_TOKEN),
        irg_process(tmp_path, "keys", **elsewhere, IRG_ADMIN_TOKEN="another-admin-token-0123456789abcd"),
        irg_process(tmp_path, "keys", "--url", gateway.url),
    )
    assert right.json["name"] == "bob"
    assert (wrong.code, wrong.out) == (1, "")
    assert "IRG_ADMIN_TOKEN" in wrong.err
    assert (none.code, none.out) == (78, "")
    assert "IRG_ADMIN_TOKEN" in none.err
    assert not (tmp_path / "none").exists()


async def test_tail_prints_requests_as_they_close(
    gateway: GatewayUnderTest, upstream: ScriptedUpstream, beside: dict[str, str], tmp_path: Path
) -> None:
    """One JSON line each; when the gateway ends, so does the command, and says so."""
    secret = await gateway.create_key()
    upstream.answer(json_answer(ANSWER))
    tailing = await spawn(tmp_path, "requests", "tail", "--json", **beside)
    assert tailing.stdout is not None
    asked: list[str] = []

    async def ask() -> None:
        while True:
            async with gateway.post({"model": "m"}, secret) as reply:
                await reply.body()
            asked.append(reply.request_id)
            await asyncio.sleep(0.05)

    asking = asyncio.create_task(ask())
    async with asyncio.timeout(30):
        seen = [json.loads(await tailing.stdout.readline())["id"] for _ in range(3)]
        asking.cancel()
        await asyncio.wait({asking})
        gateway.services.closing.set()
        _, err = await tailing.communicate()
    start = asked.index(seen[0])
    assert asked[start : start + 3] == seen
    assert tailing.returncode == 1
    assert b"ended the feed" in err


async def test_health_tells_whether_a_gateway_takes_requests(
    gateway: GatewayUnderTest, beside: dict[str, str], tmp_path: Path
) -> None:
    """Exit code 0 beside a ready one and over its URL, 1 while it drains, and where none runs."""
    local, remote, none = await asyncio.gather(
        irg_process(tmp_path, "health", "--json", **beside),
        irg_process(tmp_path, "health", "--url", gateway.url),
        irg_process(tmp_path, "health", IRG_DATABASE_URL=f"sqlite:///{tmp_path}/none.db"),
    )
    assert local.json["ready"] is True
    assert remote.code == 0
    assert (none.code, none.out) == (1, "")
    gateway.ready.gateway.inflight.draining = True
    assert (await irg_process(tmp_path, "health", **beside)).code == 1


@pytest.mark.usefixtures("directory")
def test_without_a_ledger_only_making_something_begins_one(directory: Path) -> None:
    """A wrong directory is told, not filled with an empty database."""
    for arguments in (["keys"], ["usage"], ["keys", "revoke", "alice", "--yes"], ["verify"]):
        ran = irg(*arguments)
        assert ran.code == 1
        assert f"{directory}/gateway.db" in ran.err
    assert list(directory.iterdir()) == []
    assert irg("keys", "create", "alice").code == 0
    assert irg("keys").cells[0][0] == "alice"


@pytest.mark.parametrize(
    ("url", "says"),
    [("http://127.0.0.1:9", "cannot be reached"), ("ftp://x", "must be a URL"), ("nonsense", "must be a URL")],
)
@pytest.mark.usefixtures("directory")
def test_a_url_that_leads_nowhere_is_told(monkeypatch: pytest.MonkeyPatch, url: str, says: str) -> None:
    """A sentence, never a traceback."""
    monkeypatch.setenv("IRG_ADMIN_TOKEN", ADMIN_TOKEN)
    ran = irg("keys", "--url", url)
    assert ran.code in (1, 78)
    assert says in ran.err


async def test_a_url_of_something_else_is_told(
    upstream: ScriptedUpstream, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it answers."""
    monkeypatch.setenv("IRG_ADMIN_TOKEN", ADMIN_TOKEN)
    upstream.answer(json_answer(b"<html>"))
    ran = await asyncio.to_thread(irg, "keys", "--url", upstream.url)
    assert (ran.code, ran.out) == (1, "")
    assert "not as a gateway does" in ran.err


@pytest.mark.usefixtures("directory")
def test_a_command_waits_for_another_to_finish(directory: Path) -> None:
    """Two scripts at once: the second waits its turn."""
    irg("keys", "create", "alice")
    held = DatabaseLock(directory / "gateway.db")
    threading.Timer(0.3, held.release).start()
    assert irg("keys", "create", "bob").code == 0


@pytest.mark.usefixtures("directory")
def test_a_ledger_that_stays_in_use_is_told(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With who holds it; nothing was changed."""
    monkeypatch.setattr(client, "BUSY_WAIT_SECONDS", 0.2)
    irg("keys", "create", "alice")
    held = DatabaseLock(directory / "gateway.db")
    ran = irg("keys", "create", "bob")
    held.release()
    assert ran.code == 1
    assert f"process {os.getpid()}" in ran.err
    assert [row[0] for row in irg("keys").cells] == ["alice"]


@pytest.mark.scenario
async def test_a_killed_gateway_does_not_stand_in_the_way(directory: Path) -> None:
    """Its lock ends with it, whatever its lock file still says: the next command opens the ledger itself."""
    environment = {"IRG_DATABASE_URL": f"sqlite:///{directory}/gateway.db", "IMAGEROUTER_API_KEY": "k" * 32}
    serving = await spawn(directory, "serve", "--port", "0", **environment)
    assert serving.stdout is not None
    try:
        async with asyncio.timeout(30):
            while b'"ready"' not in await serving.stdout.readline():
                pass
        assert (await irg_process(directory, "keys", "create", "alice", **environment)).code == 0
    finally:
        serving.send_signal(signal.SIGKILL)
        await serving.communicate()
    assert [row[0] for row in (await irg_process(directory, "keys", **environment)).cells] == ["alice"]
