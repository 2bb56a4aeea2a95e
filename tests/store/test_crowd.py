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


class Crowd:
    """Callers that do what callers do, and what they were told."""

    def __init__(self, store: Store, holders: list[Holder], choose: random.Random) -> None:
        self.store = store
        self.holders = holders
        self.choose = choose
        self.expected: dict[str, tuple[State, int]] = {}
        self.left: set[str] = set()
        self.numbers = iter(range(REQUESTS))

    async def caller(self, number: int) -> None:
        for request in self.numbers:
            holder = self.holders[(number + request) % len(self.holders)]
            request_id = await self.ask(holder)
            if request_id is not None:
                await self.close(request_id)
            if request == REQUESTS // 2:
                await Keyring(self.store).revoke(self.holders[-1].key.name)

    async def ask(self, holder: Holder) -> str | None:
        intent = holder.intent()
        asking = asyncio.ensure_future(self.store.admit(intent))
        if self.choose.random() < 0.1:
            self.left.add(intent.request_id)
            await asyncio.sleep(self.choose.choice((0, 0.001)))
            asking.cancel()
        (verdict,) = await asyncio.gather(asking, return_exceptions=True)
        assert not isinstance(verdict, Refused) or holder is self.holders[-1]
        if not isinstance(verdict, Admitted):
            return None
        self.left.discard(intent.request_id)
        return intent.request_id

    async def close(self, request_id: str) -> None:
        cost = f"0.{self.choose.randrange(10**12):012d}"
        settlement, picodollars = settled(request_id, cost), parse_cost(cost).picodollars
        if self.choose.random() < 0.2:
            settlement, picodollars = self.choose.choice((free, unknown))(request_id), 0
        self.expected[request_id] = (settlement.state, picodollars)
        await asyncio.gather(*(self.store.settle(settlement, 5) for _ in range(self.choose.choice((1, 1, 2)))))


async def test_a_crowd_is_booked_exactly(store: Store) -> None:
    """64 tasks, 5 keys, one of them revoked on the way; a tenth of the callers leave; the model in memory agrees."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    holders = [await a_holder(store, f"key-{number}", tags=("all", f"t{number % 2}")) for number in range(5)]
    crowd = Crowd(store, holders, random.Random(seed))
    await asyncio.gather(*(crowd.caller(number) for number in range(TASKS)))
    for _ in range(2):  # behind the closing of what was admitted for nobody
        await store.change(lambda connection: None)
    found = await rows(store)
    kept = {ref: (row.state, row.true_cost_picodollars or 0) for ref, row in found.items() if ref not in crowd.left}
    assert kept == crowd.expected
    assert {found[ref].state for ref in crowd.left & found.keys()} <= {State.FREE}
    reports = Reports(store, zone=ZoneInfo("UTC"))
    period = Period(datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
    total = (await reports.usage(period, GroupBy.KEY)).total
    assert (total.requests, total.open) == (len(found), 0)
    assert total.true_cost_picodollars == sum(cost for _, cost in crowd.expected.values())
    assert len({row.closed_seq for row in found.values()}) == len(found)
    verification = await reports.verify()
    assert (verification.ok, verification.rows) == (True, len(found))
