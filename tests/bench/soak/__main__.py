"""A million requests of every kind, and what the gateway holds afterwards.

    python -m tests.bench.soak --requests 1000000 [--minutes 30]

One gateway with its ledger, before an upstream that fails where it is asked to: JSON and streams mixed, one request in
twenty left by its client, one in fifty failing (reset, broken off, silent, 500), budgets and rates on every key, one
key mostly refused. It rests twenty times; then memory, objects, descriptors, tasks and connections are looked at, and
at the end the ledger is compared with the upstream's bill. Exit code 1 if anything grew or differs.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from tests.bench.machine import described
from tests.bench.soak.run import Sample, Soak, grown, slope, soaking
from tests.scenarios.tools import ROOT

STEPS = 20
WARM_STEPS = 4  # caches are full by then

SLOPE_BYTES_MAX = 1_000_000  # in 100,000 requests


def shown(sample: Sample) -> str:
    held = sample.holds
    return (
        f"{sample.requests:>10,}{sample.seconds:8.0f} s{sample.rss_bytes / 1e6:9.1f} MB{held.blocks:>11,}"
        f"{sum(held.objects.values()):>10,}{held.tasks:>6}{held.threads:>8}{sample.descriptors['socket']:>8}"
        f"{sample.descriptors.total():>12}"
    )


HEADINGS = (
    f"{'requests':>10}{'':>10}{'RSS':>12}{'blocks':>11}{'objects':>10}{'tasks':>6}{'threads':>8}{'sockets':>8}"
    f"{'descriptors':>12}"
)


async def soak(directory: Path, requests: int, seconds: float, connections: int, seed: int) -> list[str]:
    """What is wrong, as sentences."""
    async with soaking(directory, connections=connections, seed=seed) as soak:
        deadline = asyncio.get_running_loop().time() + seconds
        print(HEADINGS)
        for _ in range(STEPS):
            print(shown(await soak.step(requests // STEPS, deadline)), flush=True)
        faults = await judged(soak)
    verified = subprocess.run(
        [sys.executable, "-m", "app", "verify", "--json"],
        cwd=directory,
        env={"PYTHONPATH": str(ROOT), "IRG_DATABASE_URL": f"sqlite:///{directory / 'gateway.db'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    print(f"irg verify: {verified.stdout.strip()[:200]}")
    return faults + ([f"irg verify: {verified.stdout} {verified.stderr}"] if verified.returncode else [])


async def judged(soak: Soak) -> list[str]:
    faults = []
    books, seen = await soak.compare(), soak.load.seen
    print(f"clients: {seen}\nledger: {books}")
    faults += books.differences
    warm, last = soak.samples[WARM_STEPS - 1], soak.samples[-1]
    growth = slope(soak.samples[WARM_STEPS - 1 :], lambda sample: sample.rss_bytes)
    blocks = slope(soak.samples[WARM_STEPS - 1 :], lambda sample: sample.holds.blocks)
    more = dict(list(grown(warm, last).items())[:12])
    print(f"in 100,000 requests: {growth / 1e6:+.3f} MB, {blocks:+,.0f} blocks; kinds that became more: {more}")
    if growth > SLOPE_BYTES_MAX:
        faults.append(f"memory grows by {growth / 1e6:.2f} MB in 100,000 requests")
    for what, before, after in (
        ("descriptors", warm.descriptors, last.descriptors),
        ("tasks", warm.holds.tasks, last.holds.tasks),
        ("threads", warm.holds.threads, last.holds.threads),
    ):
        if before != after:
            faults.append(f"{what}: {before} before, {after} after")
    return faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=float, default=60, help="no new request after so long")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    asked = parser.parse_args()
    print("\n".join(described()))
    print(f"seed {asked.seed}")
    with tempfile.TemporaryDirectory(prefix="irg-soak-") as directory:
        faults = uvloop.run(soak(Path(directory), asked.requests, asked.minutes * 60, asked.connections, asked.seed))
    print("\n".join(faults) or "Nothing grew, and nothing differs.")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
