"""How long the books take to answer: every question over the admin API, on a ledger from `synthetic`.

`python -m tests.bench.books FILE [--times 5]` prints a line per question, in milliseconds: the median and the slowest,
and the processor's time, which others on the machine change less. Timings are told, never asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import sqlite3
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from app.core.views import GroupBy
from tests.admin.books import opened_books
from tests.bench.synthetic import RARE_MODEL, RARE_REASON, RARE_TAG

Question = tuple[str, str, dict[str, Any]]

EVERYTHING = {"from": "2026-01-01", "to": "2026-12-31"}
THIRTY_DAYS = {"from": "2026-10-21", "to": "2026-11-19"}

FILTERS: list[dict[str, Any]] = [
    {},
    {"key": "key-3"},
    {"key": "key-19"},
    {"team": "team-1"},
    {"model": "openai/model-1"},
    {"model": "openai/*"},
    {"model": "*"},
    {"model": "*zzz*"},
    {"model": RARE_MODEL},
    {"state": "settled"},
    {"state": "unknown"},
    {"state": "free"},
    {"state": "open"},
    {"outcome": "completed"},
    {"outcome": "timed_out"},
    {"outcome": "client_disconnected"},
    {"outcome": "shut_down"},
    {"status": "200"},
    {"status": "404"},
    {"status": "504"},
    {"status": "4xx"},
    {"status": "5xx"},
    {"min_cost": "1"},
    {"min_cost": "100"},
    {"min_cost": "0.0005"},
    {"max_cost": "0.0000000005"},
    {"min_cost": "0.000123456", "max_cost": "0.000123457"},
    {"unknown_reason": RARE_REASON},
    {"unknown_reason": "no_cost"},
    {"unknown_reason": "never_seen"},
    {"tag": "prod"},
    {"tag": RARE_TAG},
    {"tag": "never"},
    {"min_cost": "0.0005", "from": "2026-11-18", "to": "2026-11-18"},
    {"id": "resp_0123"},
    {"id": "resp_", "from": "2026-11-18", "to": "2026-11-18"},
    {"id": "req_0123"},
    {"last": "7d"},
    {"month": "2026-09"},
    {"key": "key-3", "status": "504"},
    {"key": "key-3", "model": "openai/model-1", "state": "settled", "min_cost": "0.0009"},
    {"key": "key-19", "status": "4xx"},
    {"team": "team-1", "model": "google/*", "outcome": "client_disconnected"},
    {"tag": "prod", "unknown_reason": RARE_REASON},
    {"tag": RARE_TAG, "model": "openai/*"},
    {"key": "key-0", "tag": "dev"},  # each of them common, both never
    {"model": "openai/*", "tag": RARE_TAG, "state": "settled"},
    {"state": "settled", "outcome": "completed", "max_cost": "0.0009", "model": "nothing/*"},
    {"key": "key-3", "model": "*", "outcome": "completed", "min_cost": "0.0000001", "month": "2026-09"},
]


def questions(path: Path) -> Iterator[Question]:
    for span, period in (("30 days", THIRTY_DAYS), ("all", EVERYTHING)):
        for by in GroupBy:
            yield f"usage by {by}, {span}", "usage", {"by": by.value, **period}
        for pair in itertools.combinations(GroupBy, 2):
            yield f"usage by {','.join(pair)}, {span}", "usage", {"by": ",".join(pair), **period}
    for wanted in FILTERS:
        yield f"requests {wanted}", "requests", {"limit": 50, **wanted}
    yield "requests, 1000 of them", "requests", {"limit": 1000}
    ids = _some(path)
    for name, ident in ids.items():
        yield f"show by {name}", f"requests/{ident}", {}
    deep = {"limit": 50, "after": ids["id"]}
    for wanted in ({}, {"key": "key-3"}, {"state": "unknown"}, {"status": "4xx"}, {"model": "openai/*"}):
        yield f"deep page {wanted}", "requests", {**deep, **wanted}


def _some(path: Path) -> dict[str, str]:
    """The ids of a request from the ledger's first tenth."""
    database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    row = database.execute(
        "SELECT id, response_id, upstream_request_id FROM requests WHERE closed_seq > "
        "(SELECT max(closed_seq) / 10 FROM requests WHERE closed_seq > 0) AND response_id IS NOT NULL "
        "AND upstream_request_id IS NOT NULL AND closed_seq IS NOT NULL ORDER BY closed_seq LIMIT 1"
    ).fetchone()
    database.close()
    return dict(zip(("id", "response id", "upstream id"), row, strict=True))


@dataclass(frozen=True, slots=True)
class Answer:
    """How long a question took: milliseconds."""

    name: str
    median: float
    slowest: float
    processor: float  # median
    found: str = ""

    def __str__(self) -> str:
        return f"{self.median:8.1f} {self.slowest:8.1f} {self.processor:8.1f}  {self.name}  {self.found}"


async def answers(path: Path, times: int) -> AsyncIterator[Answer]:
    """Every question, asked so many times."""
    async with opened_books(path.parent, database_url=f"sqlite:///{path.absolute()}") as books:
        for name, place, query in questions(path):
            last, timed = await _timed(times, partial(books.get, place, **query))
            pages = ""
            if place == "requests":
                pages = f"{len(last['items'])} items{'' if last['next'] is None else ', more'}"
            yield Answer(name, *timed, pages)
        # The live feed's poll, at the end of the ledger and far behind it.
        newest = await books.services.reports.last_closed_seq()
        for name, seq in (("at its end", newest), ("500 behind", newest - 500), ("from the first", 0)):
            _, timed = await _timed(times, partial(books.services.reports.closed_since, seq))
            yield Answer(f"feed {name}", *timed)


async def _timed(times: int, ask: Callable[[], Awaitable[Any]]) -> tuple[Any, tuple[float, float, float]]:
    took, used = [], []
    for _ in range(times):
        began, at = time.process_time(), time.perf_counter()
        answer = await ask()
        took.append((time.perf_counter() - at) * 1000)
        used.append((time.process_time() - began) * 1000)
    return answer, (statistics.median(took), max(took), statistics.median(used))


async def main(path: Path, times: int) -> None:
    async for answer in answers(path, times):
        print(answer, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--times", type=int, default=5)
    arguments = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f}; median and slowest of {arguments.times}, processor; milliseconds")
    asyncio.run(main(arguments.path, arguments.times))
