"""Ledger, bill and clients compared, request by request: what must hold whatever was killed, and when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

from app.accounts.reports import Reports
from app.core.records import State
from app.core.views import RequestFilter, RequestRecord
from app.simulator.bill import Bill, BillLine
from app.store.engine import open_store
from tests.judge import judge
from tests.scenarios.mixed_load import Asked

T = TypeVar("T")


@dataclass(frozen=True)
class Figures:
    """What was compared."""

    asked: int
    billed: int
    rows: int
    ends_seen: int
    lost: int  # unknown, since the gateway was killed under them
    refused: int

    def __str__(self) -> str:
        return (
            f"{self.asked} requests, {self.billed} on the bill, {self.rows} rows, {self.ends_seen} ends seen, "
            f"{self.lost} rows lost with their process, {self.refused} refused"
        )


async def ledger_rows(database: Path) -> list[RequestRecord]:
    """Every row of a ledger that nobody serves; its totals are proven on the way."""
    store = await open_store(database)
    try:
        reports = Reports(store, zone=ZoneInfo("UTC"))
        assert (await reports.verify()).differences == ()
        return [row async for some in reports.export(RequestFilter()) for row in some if isinstance(row, RequestRecord)]
    finally:
        await store.aclose()


def compare(asked: Sequence[Asked], rows: Sequence[RequestRecord], bill: Bill) -> Figures:
    """Fails at the first request that is lost, doubled, zeroed or left open."""
    row_of = _once({f"{row.key}:{row.sdk_retry}": row for row in rows}, len(rows), "row")
    line_of = _once({line.marker or "": line for line in bill.answers}, len(bill.answers), "bill line")
    missing = line_of.keys() - row_of.keys()
    assert not missing, f"billed, but not in the ledger: {missing}"
    assert [row for row in rows if row.state is State.OPEN] == []
    for marker, row in row_of.items():
        _judge_row(row, line_of.get(marker))
    ends = [one for one in asked if one.saw_end]
    for one in ends:
        assert row_of[one.marker].state is State.SETTLED, (one, row_of[one.marker])
    refused = [one for one in asked if one.status >= 400]
    assert not {one.marker for one in refused} & row_of.keys()
    lost = sum(row.unknown_reason == "instance_lost" for row in rows)
    return Figures(len(asked), len(line_of), len(rows), len(ends), lost, len(refused))


def _once(by_marker: dict[str, T], count: int, what: str) -> dict[str, T]:
    assert len(by_marker) == count, f"{count - len(by_marker)} requests have more than one {what}"
    return by_marker


def _judge_row(row: RequestRecord, line: BillLine | None) -> None:
    if row.state is State.SETTLED:
        assert line is not None, row
        judge(row, line)
    elif row.state is State.UNKNOWN:
        assert row.unknown_reason in ("instance_lost", "shut_down"), row
        assert (row.true_cost_picodollars, row.charged_picodollars) == (None, None)
        assert row.kept_picodollars == row.hold_picodollars
    else:
        assert line is None, row


def statuses(asked: Iterable[Asked]) -> Counter[int]:
    return Counter(one.status for one in asked)
