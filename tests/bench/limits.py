"""What limits cost the hot path: admit and settle without any, and with budgets on key, team and gateway.

`python -m tests.bench.limits` runs each kind in a process of its own, in turns, several times, and prints medians of
requests per second of the process's own time, and their ratio to a ledger without limits. `--profile budgets` says
where the time goes. Only ratios of one run mean anything on a shared machine.

`--minute` is about what a busy gateway has: requests were made in each second of the last minute. It prints the time of
the processor and the frames of the write-ahead log that a request takes then, alone and among 32, in two transactions.

On two shared cores, Python 3.11, 1 December 2026, `--times 5`, ratios to a ledger without limits at 1 and at 64
tasks: rates 0.77 and 0.77, budgets (two each on key, team and gateway) 0.72 and 0.93, all of it 0.63 and 0.83.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import io
import itertools
import pstats
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from app.accounts.keyring import Keyring
from app.core.budgets import parse_budget
from app.core.clock import now
from app.core.holds import Counting
from app.core.limits import Limits
from app.core.owners import LimitsChange, NewKey
from app.core.records import Intent, Settlement
from app.store.calendar import Calendar
from app.store.database import Database
from app.store.engine import open_store
from app.store.port import Store
from tests.store.entries import Holder, settled, unknown
from tests.store.limited import holding

KEYS = 8

# With --minute: so many requests are there already, and so many are measured.
FILLED, COUNTED = 40_000, 6_400
WAL_HEAD_BYTES, WAL_FRAME_BYTES = 32, 24 + 4096
CROWDS = ((1, 1500), (64, 12_800))

BUDGETS = tuple(parse_budget(text) for text in ("900000/day", "1000000/month"))
RATES = Limits(rpm=1_000_000, tpm=1_000_000_000, concurrency=100_000)
# What keys, teams and the gateway have in each kind of run; in the last one no cost is ever told.
KINDS: dict[str, tuple[LimitsChange, Limits, bool]] = {
    "none": (LimitsChange(), Limits(), False),
    "rates": (LimitsChange(rpm=RATES.rpm, concurrency=RATES.concurrency), RATES, False),
    "budgets": (LimitsChange(budgets=BUDGETS), Limits(), True),
    "all": (LimitsChange(budgets=BUDGETS, rpm=RATES.rpm, concurrency=RATES.concurrency), RATES, True),
    "unknown": (LimitsChange(budgets=BUDGETS), Limits(), True),
}


async def _holders(store: Store, kind: str) -> list[Holder]:
    change, limits, budgets = KINDS[kind]
    keyring, found = Keyring(store), []
    for team in range(2):
        await keyring.create_team(f"team-{team}", change)
    if budgets:
        await keyring.set_gateway_budgets(BUDGETS)
    for number in range(KEYS):
        spec = NewKey(f"key-{number}", team=f"team-{number % 2}", budgets=BUDGETS if budgets else (), limits=limits)
        key, secret = await keyring.create(spec)
        identified = await keyring.identify(f"Bearer {secret}".encode())
        assert identified is not None
        found.append(Holder(key, identified.secret_hash, b""))
    return found


def _ended(kind: str, request_id: str, cost: str) -> Settlement:
    return unknown(request_id) if kind == "unknown" else settled(request_id, cost)


async def _one_run(kind: str, crowd: int, count: int) -> float:
    with tempfile.TemporaryDirectory() as directory:
        store = await open_store(Path(directory) / "gateway.db")
        holders = await _holders(store, kind)
        asked = holding("0.001")

        async def one(number: int) -> None:
            for each in range(count // crowd):
                intent = holders[(number + each) % KEYS].intent(model=f"model-{each % 6}", asked=asked)
                await store.admit(intent)
                await asyncio.sleep(0)  # its answer comes later: meanwhile the others ask
                cost = f"0.{each * 7919 % 1000003:09d}"
                await store.settle(_ended(kind, intent.request_id, cost), 5)

        await one(0)
        started = time.process_time()
        await asyncio.gather(*(one(number) for number in range(crowd)))
        speed = crowd * (count // crowd) / (time.process_time() - started)
        await store.aclose()
        return speed


def _in_its_own_process(kind: str, crowd: int, count: int) -> float:
    command = [sys.executable, "-m", "tests.bench.limits", "--one", kind, str(crowd), str(count)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout)


async def _made(path: Path, kind: str) -> list[Holder]:
    store = await open_store(path)
    holders = await _holders(store, kind)
    await store.aclose()
    return holders


def _profiled(kind: str, lines: int) -> str:
    """What the writer does, without its thread: batches of 64 that settle the last ones and admit the next."""
    profile, text = cProfile.Profile(), io.StringIO()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "gateway.db"
        holders = asyncio.run(_made(path, kind))
        database = Database(path, "process", Calendar(now, ZoneInfo("UTC"), Counting()))
        database.begin()
        running: list[Intent] = []
        profile.enable()
        for _ in range(200):
            with database.transaction() as batch:
                if running:
                    batch.settle([_ended(kind, intent.request_id, "0.0005") for intent in running])
                running = [holders[number % KEYS].intent(asked=holding("0.001")) for number in range(64)]
                batch.admit(running)
        profile.disable()
        database.close()
    pstats.Stats(profile, stream=text).sort_stats("cumulative").print_stats("app|sqlite", lines)
    return text.getvalue()


def _full_minute(kind: str, at_once: int) -> tuple[float, float]:
    """µs of the processor's time and frames of the log, a request: over a clock that goes on by 8 ms for each batch."""
    clock = _Clock()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "gateway.db"
        holders = asyncio.run(_made(path, kind))
        database = Database(path, "process", Calendar(clock, ZoneInfo("UTC"), Counting()))
        database.begin()
        numbers = itertools.count()

        def settled_and_admitted(batches: int, passing: timedelta, size: int) -> None:
            for _ in range(batches):
                clock.at += passing
                intents = [
                    holders[number % KEYS].intent(clock.at, model=f"model-{number % 6}", asked=holding("0.001"))
                    for number in itertools.islice(numbers, size)
                ]
                with database.transaction() as batch:
                    batch.admit(intents)
                with database.transaction() as batch:
                    batch.settle([_ended(kind, intent.request_id, "0.0005") for intent in intents])

        settled_and_admitted(62, timedelta(seconds=1), 32)
        settled_and_admitted(FILLED // 32, timedelta(0), 32)
        raw = database.connection.raw
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        raw.execute("PRAGMA wal_autocheckpoint = 0")
        started = time.process_time()
        settled_and_admitted(COUNTED // at_once, timedelta(milliseconds=8), at_once)
        took = time.process_time() - started
        frames = (path.with_name(path.name + "-wal").stat().st_size - WAL_HEAD_BYTES) / WAL_FRAME_BYTES
        database.close()
    count = COUNTED // at_once * at_once
    return 1e6 * took / count, frames / count


class _Clock:
    """It goes on when it is told to."""

    def __init__(self) -> None:
        self.at = now()

    def __call__(self) -> datetime:
        return self.at


def _print_full_minutes(times: int) -> None:
    for at_once in (1, 32):
        for kind in ("none", "all"):
            took = [_full_minute(kind, at_once) for _ in range(times)]
            us, frames = (statistics.median(one) for one in zip(*took, strict=True))
            print(f"{at_once:3} at once, {kind:8} {us:6.1f} µs, {frames:5.2f} frames")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--profile", choices=KINDS)
    parser.add_argument("--minute", action="store_true", help="with a last minute that is full")
    parser.add_argument("--one", nargs=3, metavar=("KIND", "CROWD", "COUNT"))
    arguments = parser.parse_args()
    if arguments.one:
        kind, crowd, count = arguments.one
        print(asyncio.run(_one_run(kind, int(crowd), int(count))))
        return
    if arguments.minute:
        _print_full_minutes(arguments.times)
        return
    if arguments.profile:
        print(_profiled(arguments.profile, 25))
        return
    for crowd, count in CROWDS:
        speeds: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for _ in range(arguments.times):
            for kind, found in speeds.items():
                found.append(_in_its_own_process(kind, crowd, count))
        for kind, found in speeds.items():
            ratios = [one / other for one, other in zip(found, speeds["none"], strict=True)]
            median, ratio = statistics.median(found), statistics.median(ratios)
            print(f"{crowd:3} at once, {kind:8} {median:7.0f} requests/s, ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
