"""What a ledger's size costs: admission and settlement, start, reports and proof, on ledgers of different sizes.

`python -m tests.bench.growth LEDGER LEDGER … [--times 3]`: ledgers of `tests.bench.synthetic`, the smallest first; one
that is not there is made empty. Prints, for each, microseconds of the processor per request (admitted and settled, one
at a time and 64 at once, in turns) and their ratio to the first, how long opening takes, the slowest reports and, with
`--verify`, how long the proof takes. The requests that it makes stay in the ledgers. Only ratios of one run mean
anything on a shared machine; nothing is asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import statistics
import subprocess
import sys
import time
from pathlib import Path
from zoneinfo import ZoneInfo

from app.accounts.reports import Reports
from app.store.engine import open_store
from app.store.port import Store
from tests.bench.books import answers
from tests.store.entries import Holder, a_holder, settled

CROWDS = ((1, 1500), (64, 12_800))
KEYS, MODELS = 8, 6

# Of the reports so many are told, the slowest first.
REPORTS_TOLD = 8


async def _requests(store: Store, holders: list[Holder], crowd: int, count: int) -> None:
    """Costs and ids are spread as real ones are: each goes to another place of its index."""

    async def one(number: int) -> None:
        for each in range(count // crowd):
            intent = holders[(number + each) % KEYS].intent(model=f"openai/model-{each % MODELS}")
            await store.admit(intent)
            await asyncio.sleep(0)  # its answer comes later: meanwhile the others ask
            reading = {"response_id": f"resp_{secrets.token_hex(24)}"}
            cost, upstream = f"0.{secrets.randbelow(10**9):012d}", f"req_{secrets.token_hex(16)}"
            await store.settle(settled(intent.request_id, cost, reading=reading, upstream_request_id=upstream), 5)

    await asyncio.gather(*(one(number) for number in range(crowd)))


async def _one_run(path: Path, crowd: int, count: int) -> None:
    """Prints microseconds of the processor per request, and milliseconds of opening."""
    began = time.perf_counter()
    store = await open_store(path)
    opening = time.perf_counter() - began
    mark = secrets.token_hex(4)
    holders = [await a_holder(store, f"growth-{mark}-{number}") for number in range(KEYS)]
    await _requests(store, holders, crowd, crowd * 2)
    used = time.process_time()
    await _requests(store, holders, crowd, count)
    print((time.process_time() - used) / count * 1e6, opening * 1000)
    await store.aclose()


def _in_its_own_process(path: Path, crowd: int, count: int) -> tuple[float, float]:
    command = [sys.executable, "-m", "tests.bench.growth", str(path), "--one", str(crowd), str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    used, opening = done.stdout.split()[-2:]
    return float(used), float(opening)


def _writes(paths: list[Path], times: int) -> None:
    openings: dict[Path, list[float]] = {path: [] for path in paths}
    for crowd, count in CROWDS:
        used: dict[Path, list[float]] = {path: [] for path in paths}
        for _ in range(times):
            for path in paths:
                one, opening = _in_its_own_process(path, crowd, count)
                used[path].append(one)
                openings[path].append(opening)
        for path in paths:
            ratios = [one / first for one, first in zip(used[path], used[paths[0]], strict=True)]
            found = f"{statistics.median(used[path]):7.1f} µs a request, ratio {statistics.median(ratios):.3f}"
            print(f"{crowd:3} at once  {found}  {path}", flush=True)
    for path in paths:
        print(f"opened in {statistics.median(openings[path]):.0f} ms  {path}", flush=True)


async def _reports(path: Path, times: int) -> None:
    found = sorted([answer async for answer in answers(path, times)], key=lambda answer: -answer.processor)
    for answer in found[:REPORTS_TOLD]:
        print(f"{answer}  {path}", flush=True)


async def _verify(path: Path) -> None:
    store = await open_store(path)
    began, used = time.perf_counter(), time.process_time()
    verified = await Reports(store, zone=ZoneInfo("UTC")).verify()
    took, used = time.perf_counter() - began, time.process_time() - used
    print(f"verified in {took:.1f} s ({used:.1f} s of the processor): ok={verified.ok} rows={verified.rows}  {path}")
    await store.aclose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", type=Path, nargs="+", metavar="LEDGER")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--verify", action="store_true")
    parser.add_argument("--one", nargs=2, type=int, metavar=("CROWD", "COUNT"))
    arguments = parser.parse_args()
    if arguments.one:
        asyncio.run(_one_run(arguments.paths[0], *arguments.one))
        return
    _writes(arguments.paths, arguments.times)
    print("reports, milliseconds: median, slowest, processor")
    for path in arguments.paths:
        if path != arguments.paths[0]:  # an empty one has nothing to tell
            asyncio.run(_reports(path, arguments.times))
        if arguments.verify:
            asyncio.run(_verify(path))


if __name__ == "__main__":
    main()
