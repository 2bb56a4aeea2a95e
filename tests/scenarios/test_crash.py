"""SIGKILL at any moment, under every kind of load: nothing is lost, doubled, zeroed or left open."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from pathlib import Path
from statistics import median

import pytest

from app.simulator.child import SimulatorChild
from tests.harness import UPSTREAM_KEY
from tests.scenarios.gateway_process import (
    READY_SECONDS_MAX,
    READY_SECONDS_MAX_BESIDE_OTHERS,
    GatewayProcess,
    Start,
    gateway_process,
)
from tests.scenarios.judgement import compare, ledger_rows
from tests.scenarios.mixed_load import MixedLoad
from tests.store.by_stretch import wrong

pytestmark = pytest.mark.scenario

CLIENTS = 16

# Of some keys nothing is held, of some always enough is left, and one is refused after a while.
BUDGETS: dict[str, list[str]] = {"free": [], "budgeted": ["100000/month", "5000/day"], "tight": ["0.3/day"]}


async def keys_for(gateway: GatewayProcess, requests: int) -> dict[str, str]:
    """Enough of each kind for so many requests that each has a number of its own."""
    return {
        f"{kind}-{number}": await gateway.create_key(f"{kind}-{number}", budgets=budgets)
        for number in range(1 + requests // 10_000)
        for kind, budgets in BUDGETS.items()
    }


async def assert_recovered(gateway: GatewayProcess) -> None:
    """Nothing of the process before is open, the totals are those of the rows, and the file is sound."""
    now = "(SELECT id FROM instances ORDER BY started_at DESC, id DESC LIMIT 1)"
    assert gateway.ask_ledger(f"SELECT id FROM requests WHERE state = 'open' AND instance_id <> {now}") == []
    assert gateway.ask_ledger("PRAGMA integrity_check") == ["ok"]
    assert gateway.ask_ledger(wrong()) == []
    assert (await gateway.admin("POST", "verify"))["differences"] == []


async def killed_again_and_again(directory: Path, kills: int, **settings: str) -> tuple[str, list[Start]]:
    """What was compared in the end, and every start."""
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    starts: list[Start] = []
    with SimulatorChild(directory / "bill.jsonl", expected_key=UPSTREAM_KEY) as simulator:
        async with gateway_process(directory, simulator.url, **settings) as gateway:
            await gateway.start()
            load = MixedLoad(gateway.port, await keys_for(gateway, kills * 150), chance)
            async with load.running(CLIENTS):
                for _ in range(kills):
                    await asyncio.sleep(chance.uniform(0.02, 0.5))
                    if chance.random() < 0.2:  # also while it ends
                        gateway.send(signal.SIGTERM)
                        await asyncio.sleep(chance.uniform(0, 0.3))
                    await gateway.kill()
                    starts.append(await gateway.start())
                    await assert_recovered(gateway)
            assert await gateway.end() == 0
            code, told = await gateway.irg("verify", "--json")
            assert (code, json.loads(told)["differences"]) == (0, [])
            rows = await ledger_rows(gateway.database)
        figures = compare(load.asked, rows, simulator.bill())
    assert figures.ends_seen > kills
    assert figures.lost >= kills / 2  # or it was not killed under load
    return str(figures), starts


def assert_quick(starts: list[Start], seconds_max: float) -> str:
    """Back in time, as far as it was let run; what others took of the machine is not held against it."""
    walls, owns = [start.seconds for start in starts], [start.own_seconds for start in starts]
    told = (
        f"ready again after at most {max(walls):.2f} s, median {median(walls):.2f} s "
        f"(without waiting for a processor: {max(owns):.2f} s, {median(owns):.2f} s)"
    )
    assert median(owns) <= seconds_max, told
    return told


@pytest.mark.parametrize(("durability", "transport"), [("process", "direct"), ("power", "httpx")])
async def test_twenty_kills_under_load(tmp_path: Path, durability: str, transport: str) -> None:
    """Ten with each kind of durability, ten with each HTTP client."""
    settings = {"IRG_DURABILITY": durability, "IRG_UPSTREAM_TRANSPORT": transport}
    figures, starts = await killed_again_and_again(tmp_path, 10, **settings)
    print(figures, assert_quick(starts, READY_SECONDS_MAX_BESIDE_OTHERS), sep="; ")


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_two_hundred_kills_under_load(tmp_path: Path) -> None:
    """The same, two hundred times on one ledger, and back in two seconds."""
    figures, starts = await killed_again_and_again(tmp_path, 200)
    print(figures, assert_quick(starts, READY_SECONDS_MAX), sep="; ")
