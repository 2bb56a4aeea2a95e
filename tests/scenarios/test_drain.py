"""SIGTERM under load: what was accepted is answered, whole; nothing is left open; the process ends in time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.core.records import Outcome, State
from app.main import DRAIN_SECONDS
from app.simulator.child import SimulatorChild
from tests.harness import RESPONSES, UPSTREAM_KEY, Reply
from tests.scenarios.gateway_process import GatewayProcess, gateway_process
from tests.scenarios.judgement import compare, ledger_rows, statuses
from tests.scenarios.mixed_load import MixedLoad

pytestmark = pytest.mark.scenario

CLIENTS = 16

# The slowest answer of the load takes a second or two; the rest is for a busy machine.
END_SECONDS_MAX = 20.0


async def ended_again_and_again(directory: Path, times: int) -> None:
    """Clients that stay, some on connections that they keep: each request that was sent is answered to its end."""
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    seconds: list[float] = []
    with SimulatorChild(directory / "bill.jsonl", expected_key=UPSTREAM_KEY) as simulator:
        async with gateway_process(directory, simulator.url, IRG_SHUTDOWN_GRACE_SECONDS="30") as gateway:
            await gateway.start()
            secrets = {f"key-{number}": await gateway.create_key(f"key-{number}") for number in range(4)}
            load = MixedLoad(gateway.port, secrets, chance, leaving=0)
            async with load.running(CLIENTS):
                for number in range(times):
                    if number:
                        await gateway.start()
                    assert gateway.ask_ledger("SELECT count(*) FROM requests WHERE unknown_reason IS NOT NULL") == [0]
                    await asyncio.sleep(chance.uniform(0.1, 0.5))
                    told = time.monotonic()
                    assert await gateway.end() == 0
                    seconds.append(time.monotonic() - told)
                    assert gateway.ask_ledger("SELECT id FROM requests WHERE state = 'open'") == []
            rows = await ledger_rows(gateway.database)
        figures = compare(load.asked, rows, simulator.bill())
    unanswered = [one for one in load.asked if one.sent and not one.saw_end]
    assert unanswered == [], f"{len(unanswered)} of {len(load.asked)}"
    assert set(statuses(load.asked)) <= {200, 0}  # 0: the connection was closed before anything was sent
    assert max(seconds) <= END_SECONDS_MAX
    print(f"{times} signals: {figures}; ended after at most {max(seconds):.2f} s")


async def test_ten_signals_under_load(tmp_path: Path) -> None:
    await ended_again_and_again(tmp_path, 10)


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_fifty_signals_under_load(tmp_path: Path) -> None:
    await ended_again_and_again(tmp_path, 50)


async def test_a_signal_while_it_starts_ends_it(tmp_path: Path) -> None:
    """At whatever moment: exit code 0, and soon; nothing listens, nothing is open, the next start is as any other."""
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    async with gateway_process(tmp_path, "http://127.0.0.1:9") as gateway:
        await gateway.spawn()
        await until_there(tmp_path / "gateway.db.lock")
        assert await gateway.end() == 0
        start = await gateway.start()
        assert await gateway.end() == 0
        for _ in range(2):
            await gateway.spawn()
            await until_listed(gateway)
            await asyncio.sleep(chance.uniform(0, start.seconds))
            assert await gateway.end() == 0
        assert gateway.ask_ledger("PRAGMA integrity_check") == ["ok"]
        await gateway.start()


async def until_there(path: Path) -> None:
    async with asyncio.timeout(30):
        while not path.exists():
            await asyncio.sleep(0.001)


async def until_listed(gateway: GatewayProcess) -> None:
    """Its first instructions are the interpreter's; from its own first on it has asked for the signal."""
    caught = 1 << (signal.SIGTERM - 1)
    status = Path(f"/proc/{gateway.process.pid}/status")
    async with asyncio.timeout(30):
        while not int(status.read_text().split("SigCgt:")[1].split()[0], 16) & caught:
            await asyncio.sleep(0.001)


async def test_a_second_signal_ends_it_now(tmp_path: Path) -> None:
    """Whatever the grace is: what is open is cut, and booked as unknown."""
    with SimulatorChild(tmp_path / "bill.jsonl", expected_key=UPSTREAM_KEY) as simulator:
        async with gateway_process(tmp_path, simulator.url, IRG_SHUTDOWN_GRACE_SECONDS="600") as gateway:
            await gateway.start()
            async with streaming(gateway, "sim/stall") as reply:
                gateway.send(signal.SIGTERM)
                async with asyncio.timeout(30):
                    while not gateway.lines("shutting_down"):
                        await asyncio.sleep(0.01)
                assert gateway.process.returncode is None
                assert await gateway.end() == 0
                assert b"event: error" in await reply.body_until_cut()
            (row,) = await ledger_rows(gateway.database)
            assert (row.state, row.unknown_reason) == (State.UNKNOWN, "shut_down")


async def test_a_client_that_never_ends_is_cut_when_the_grace_is_over(tmp_path: Path) -> None:
    """The stream's error event, no clean end; and one that left before: read on, then booked. Nobody keeps it alive."""
    with SimulatorChild(tmp_path / "bill.jsonl", expected_key=UPSTREAM_KEY) as simulator:
        async with gateway_process(tmp_path, simulator.url, IRG_SHUTDOWN_GRACE_SECONDS="1") as gateway:
            await gateway.start()
            async with streaming(gateway, "sim/stall") as reply, streaming(gateway, "sim/slow:3000") as left:
                left.reset()
                told = time.monotonic()
                assert await gateway.end() == 0
                assert time.monotonic() - told < 1 + DRAIN_SECONDS + END_SECONDS_MAX
                cut = await reply.body_until_cut()
            assert b"event: error" in cut
            assert b"response.completed" not in cut
            rows = {row.model: row for row in await ledger_rows(gateway.database)}
    assert (rows["sim/stall"].state, rows["sim/stall"].unknown_reason) == (State.UNKNOWN, "shut_down")
    assert rows["sim/stall"].kept_picodollars == rows["sim/stall"].hold_picodollars
    assert (rows["sim/slow:3000"].state, rows["sim/slow:3000"].outcome) == (
        State.SETTLED,
        Outcome.CLIENT_DISCONNECTED,
    )


@contextlib.asynccontextmanager
async def streaming(gateway: GatewayProcess, model: str) -> AsyncIterator[Reply]:
    """A stream that has been forwarded; of a stalled one the first event has come."""
    secret = await gateway.create_key(f"key-{model.replace(':', '-').replace('/', '-')}")
    body = json.dumps({"model": model, "input": "Say hello", "stream": True}).encode()
    head = f"POST {RESPONSES} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {secret}\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    reply = Reply(reader, writer)
    try:
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        if model == "sim/stall":
            await reply.read_head()
            await reply.chunk()
        async with asyncio.timeout(30):
            while not gateway.ask_ledger(f"SELECT id FROM requests WHERE model = '{model}'"):
                await asyncio.sleep(0.01)
        yield reply
    finally:
        writer.close()
