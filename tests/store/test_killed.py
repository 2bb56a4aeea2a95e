"""The process killed, and the disk refusing everything: what was acknowledged is there, what was not is said."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from app.accounts.reports import Reports
from app.core.records import State
from app.store.engine import open_store
from tests.store.entries import rows

WORKER = """
import asyncio, sys
from pathlib import Path
from app.core.records import Admitted
from app.store.engine import open_store
from tests.store.entries import a_holder, settled

async def main():
    store = await open_store(Path(sys.argv[1]), durability=sys.argv[2])
    alice = await a_holder(store)

    async def work():
        while True:
            intent = alice.intent()
            assert isinstance(await store.admit(intent), Admitted)
            print("admitted", intent.request_id, flush=True)
            await asyncio.sleep(0)  # its answer comes later: meanwhile the others ask
            await store.settle(settled(intent.request_id), 5)
            print("settled", intent.request_id, flush=True)

    await asyncio.gather(*(work() for _ in range(int(sys.argv[3]))))

asyncio.run(main())
"""

BOTH_REFUSE = """
import asyncio, resource, signal, sys
from pathlib import Path
from app.store.engine import open_store
from app.store.port import LedgerLost, LedgerUnavailable
from tests.store.entries import a_holder, row, settled

async def main():
    store = await open_store(Path(sys.argv[1]))
    alice = await a_holder(store)
    intent = alice.intent()
    await store.admit(intent)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limit[1]))  # no file takes another byte
    for what in (store.settle(settled(intent.request_id), 0.2), store.admit(alice.intent())):
        try:
            await what
        except (LedgerLost, LedgerUnavailable) as error:
            print(type(error).__name__, store.healthy)
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    while not store.healthy:
        await asyncio.sleep(0.01)
    print((await row(store, intent.request_id)).state)
    await store.aclose()

asyncio.run(main())
"""


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.getcwd()}


@pytest.mark.parametrize("tasks", [1, 16])
async def test_a_killed_process_loses_nothing_that_it_acknowledged(tmp_path: Path, tasks: int) -> None:
    """SIGKILL in the middle of it all: every settled request is settled, every admitted one has exactly its row."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    path = tmp_path / "gateway.db"
    durability = random.Random(seed).choice(["process", "power"])
    command = [sys.executable, "-c", WORKER, str(path), durability, str(tasks)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as worker:
        assert worker.stdout is not None
        said = [worker.stdout.readline() for _ in range(300)]
        time.sleep(random.Random(seed).random() / 10)
        worker.send_signal(signal.SIGKILL)
        said += [line for line in worker.stdout if line.endswith("\n")]
    admitted = {line.split()[1] for line in said if line.startswith("admitted")}
    settled = {line.split()[1] for line in said if line.startswith("settled")}
    store = await open_store(path)
    found = await rows(store)
    verification = await Reports(store, zone=ZoneInfo("UTC")).verify()
    await store.aclose()
    assert admitted <= found.keys()
    assert {found[request_id].state for request_id in settled} == {State.SETTLED}
    for request_id in found.keys() - settled:  # killed before it could say so, or lost
        entry = found[request_id]
        assert entry.state is State.SETTLED or entry.unknown_reason == "instance_lost"
    assert verification.ok, verification.differences
    assert verification.rows == len(found)


def test_a_settlement_that_nothing_takes_is_said_to_be_lost(tmp_path: Path) -> None:
    """Neither database nor spool can be written: `LedgerLost`, red; and still it is booked when the disk is back."""
    ran = subprocess.run(
        [sys.executable, "-c", BOTH_REFUSE, str(tmp_path / "gateway.db")],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
        check=False,
    )
    told = [
        line for line in ran.stdout.splitlines() if line.split()[0] in ("LedgerLost", "LedgerUnavailable", "settled")
    ]
    assert told == ["LedgerLost False", "LedgerUnavailable False", "settled"], ran.stdout + ran.stderr
