"""The invented ledger is an honest one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from zoneinfo import ZoneInfo

from app.accounts.reports import Reports
from app.core.records import State
from app.core.views import GroupBy, RequestFilter
from app.store.engine import open_store
from tests.bench.books import questions
from tests.bench.synthetic import RARE_MODEL, RARE_TAG, Shape, make

SHAPE = Shape(rows=3000, resolved=20)


def test_the_gateways_own_proof_finds_nothing_in_it(tmp_path: Path) -> None:
    """Rows, roll-ups by quarter of an hour and by day, adjustments: as if the gateway had written them."""
    path = tmp_path / "gateway.db"
    make(path, SHAPE)

    async def look() -> None:
        store = await open_store(path)
        reports = Reports(store, zone=ZoneInfo("UTC"))
        verified = await reports.verify()
        assert (verified.differences, verified.rows) == ((), SHAPE.rows)
        period = reports.period(from_="2026-01-01", to="2026-12-31")
        total = (await reports.usage(period, GroupBy.KEY, GroupBy.MODEL)).total
        assert total.requests == SHAPE.rows
        assert min(total.settled, total.free, total.unknown, total.adjustments) > 0
        for rare in (RequestFilter(model=RARE_MODEL), RequestFilter(tag=RARE_TAG), RequestFilter(state=State.FREE)):
            assert (await reports.requests(rare)).items
        await store.aclose()

    asyncio.run(look())
    assert len(list(questions(path))) > 80
