"""What a change to the ledger costs the hot path: admit and settle, before and after, in turns.

`python -m tests.bench.writes BEFORE AFTER` takes two checkouts, runs each in processes of its own,
one after the other, several times, and prints their medians and the ratio. Only ratios of one run
mean anything on a shared machine.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

ONE_RUN = """
import asyncio, sys, tempfile, time
from pathlib import Path
from app.store.engine import open_store
from tests.store.entries import a_holder, settled

async def main(crowd, count, made):
    with tempfile.TemporaryDirectory() as directory:
        store = await open_store(Path(directory) / "gateway.db")
        holders = [await a_holder(store, f"key-{number}", tags=("prod",) if number % 2 else ()) for number in range(8)]
        async def one(number):
            for each in range(count // crowd):
                intent = holders[(number + each) % 8].intent(model=f"model-{each % 6}")
                await store.admit(intent)
                await asyncio.sleep(0)  # its answer comes later: meanwhile the others ask
                reading = {"made": tuple(f"msg_{intent.request_id}_{item}" for item in range(made))} if made else {}
                await store.settle(settled(intent.request_id, f"0.{each * 7919 % 1000003:09d}", reading=reading), 5)
        await one(0)
        started = time.process_time()
        await asyncio.gather(*(one(number) for number in range(crowd)))
        print(crowd * (count // crowd) / (time.process_time() - started))
        await store.aclose()

asyncio.run(main(*map(int, sys.argv[1:])))
"""


def run(checkout: str, crowd: int, count: int, made: int = 0) -> float:
    """Requests per second of this process's own time: others on the machine count less so."""
    command = [sys.executable, "-c", ONE_RUN, str(crowd), str(count), str(made)]
    done = subprocess.run(
        command, cwd=checkout, env={"PYTHONPATH": checkout}, capture_output=True, text=True, check=True, timeout=300
    )
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--made", type=int, default=0, help="so many items in each answer of AFTER")
    arguments = parser.parse_args()
    for crowd, count in ((1, 1500), (64, 12_800)):
        before, after = [], []
        for _ in range(arguments.times):
            before.append(run(arguments.before, crowd, count))
            after.append(run(arguments.after, crowd, count, arguments.made))
        medians = statistics.median(before), statistics.median(after)
        ratios = [after_one / before_one for before_one, after_one in zip(before, after, strict=True)]
        ratio = statistics.median(ratios)
        print(f"{crowd:3} at once: {medians[0]:7.0f} → {medians[1]:7.0f} requests/s, ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
