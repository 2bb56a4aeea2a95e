"""The invented ledger is an honest one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, select

from app.accounts.reports import Reports
from app.core.clock import now
from app.core.ids import new_id
from app.core.records import Intent, Maker, State
from app.core.views import GroupBy, RequestFilter
from app.store.engine import open_store
from app.store.hot import raw_of
from app.store.made import Made
from app.store.schema import requests
from tests.bench.books import questions
from tests.bench.synthetic import RARE_MODEL, RARE_TAG, Shape, make

SHAPE = Shape(rows=3000, resolved=20)


def _each_response_has_its_maker(connection: Connection) -> None:
    """The key that made it, and the team to which it then belonged."""
    told = connection.execute(
        select(requests.c.response_id, requests.c.key_id, requests.c.team_id).where(requests.c.response_id.is_not(None))
    )
    made_by = {response_id: Maker(key_id, team_id) for response_id, key_id, team_id in told}
    asking = Intent(new_id("req"), "key_any", "", now(), "m", stream=False, references=tuple(made_by))
    assert Made(raw_of(connection)).makers_of([asking]) == made_by


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
        await store.change(_each_response_has_its_maker)
        await store.aclose()

    asyncio.run(look())
    assert len(list(questions(path))) > 80
