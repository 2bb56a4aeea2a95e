"""Thousands of requests at once through the real writer: one row each, closed once, the sums exact."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from app.accounts.keyring import Keyring
from app.accounts.reports import Reports
from app.core.money import parse_cost
from app.core.records import Admitted, Refused, State
from app.core.views import GroupBy
from app.core.windows import Period
from app.store.port import Store
from tests.store.entries import Holder, a_holder, free, rows, settled, unknown

REQUESTS = 3000
TASKS = 64


async def test_a_crowd_is_booked_exactly(store: Store) -> None:
    """64 tasks, 5 keys, one of them revoked on the way; a tenth of the callers leave; the model in memory agrees."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    choose = random.Random(seed)
    holders = [await a_holder(store, f"key-{number}", tags=("all", f"t{number % 2}")) for number in range(5)]
    expected: dict[str, tuple[State, int]] = {}
    gone: set[str] = set()
    numbers = iter(range(REQUESTS))

    async def one(holder: Holder, number: int) -> None:
        intent = holder.intent()
        asking = asyncio.ensure_future(store.admit(intent))
        if choose.random() < 0.1:
            gone.add(intent.request_id)
            await asyncio.sleep(choose.choice((0, 0.001)))
            asking.cancel()
        (verdict,) = await asyncio.gather(asking, return_exceptions=True)
        if isinstance(verdict, Refused):
            assert holder is holders[4]
            return
        if not isinstance(verdict, Admitted):
            return
        gone.discard(intent.request_id)
        cost = f"0.{choose.randrange(10**12):012d}"
        kind = choose.random()
        settlement = settled(intent.request_id, cost)
        expected[intent.request_id] = (State.SETTLED, parse_cost(cost).picodollars)
        if kind > 0.8:
            settlement = free(intent.request_id) if kind > 0.9 else unknown(intent.request_id)
            expected[intent.request_id] = (settlement.state, 0)
        await asyncio.gather(*(store.settle(settlement, 5) for _ in range(choose.choice((1, 1, 2)))))

    async def task(number: int) -> None:
        for request in numbers:
            await one(holders[(number + request) % 5], request)
            if request == REQUESTS // 2:
                await Keyring(store).revoke("key-4")

    await asyncio.gather(*(task(number) for number in range(TASKS)))
    for _ in range(2):  # behind the closing of what was admitted for nobody
        await store.change(lambda connection: None)
    found = await rows(store)
    assert {i: (e.state, e.true_cost_picodollars or 0) for i, e in found.items() if i not in gone} == expected
    assert {found[request_id].state for request_id in gone & found.keys()} <= {State.FREE}
    report = await Reports(store, zone=ZoneInfo("UTC")).usage(
        Period(datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)), GroupBy.KEY
    )
    assert report.total.requests == len(found)
    assert report.total.true_cost_picodollars == sum(cost for _, cost in expected.values())
    assert report.total.open == 0
    sequence = sorted(entry.closed_seq or 0 for entry in found.values())
    assert len(set(sequence)) == len(found)
    verification = await Reports(store, zone=ZoneInfo("UTC")).verify()
    assert (verification.ok, verification.rows) == (True, len(found))
