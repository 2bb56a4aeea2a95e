"""Letting go in tests: a ledger of old months; at once, a row at a time, or broken off after so many steps."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from pathlib import Path
from typing import Any

from app.accounts.reports import Reports
from app.accounts.retention import DEFAULT_PACE, Pace, Retention
from app.core.views import GroupBy, UsageReport
from tests.store.entries import Holder
from tests.store.limited import LimitedLedger, utc
from tests.store.limits_endings import ENDINGS

STEP_BY_STEP = Pace(piece_rows=2, deleted_rows=1, deleting_seconds=0)


class BrokenOff(Exception):
    """The process ended here."""


def retention(ledger: LimitedLedger, days: int = 1, steps: int | None = None) -> Retention:
    """Over the ledger's store, with its clock and calendar. `steps`: short ones, and it raises `BrokenOff` after so
    many."""
    left = steps

    async def wait(_seconds: float) -> None:
        nonlocal left
        if left is not None:
            left -= 1
            if left < 0:
                raise BrokenOff
        await asyncio.sleep(0)

    pace = DEFAULT_PACE if steps is None else STEP_BY_STEP
    return Retention(ledger.store, zone=ledger.zone, days=days, clock=ledger.clock, wait=wait, pace=pace)


class OldLedger(LimitedLedger):
    """Requests of two keys, one of them with budgets and a team, that ended in every way, in some months."""

    alice: Holder
    bob: Holder
    team_id: str
    rows_of_a_month = 2 * 2 * len(ENDINGS)

    async def begin(self, *budgets: str) -> None:
        self.team_id = await self.team("blue", "900/total")
        self.alice = await self.holder("alice", *budgets, team="blue", tags=("prod", "blue"))
        self.bob = await self.holder("bob")

    async def fill(self, *months: str) -> None:
        await self.begin("500/month", "100/total")
        for month in months:
            for day in (2, 29):
                self.clock.at = utc(f"{month}-{day:02}T12:00")
                for holder in (self.alice, self.bob):
                    for ending in ENDINGS.values():
                        request_id = await self.admit(holder, "0.03")
                        self.clock.move(seconds=7)
                        await self.store.settle(ending(request_id), 1)

    @property
    def reports(self) -> Reports:
        return Reports(self.store, zone=self.zone, clock=self.clock)

    async def usage(self, *by: GroupBy, **period: str) -> UsageReport:
        wanted: dict[str, str] = period or {"from_": "2026-01-01", "to": "2037-12-31"}
        return await self.reports.usage(self.reports.period(**wanted), *by)

    async def everything(self) -> list[Any]:
        """All that must stay as it is."""
        told: list[Any] = [await self.usage(by) for by in GroupBy]
        told += [await self.usage(GroupBy.KEY, month=month) for month in ("2026-10", "2026-11", "2026-12")]
        told += [await self.windows(owner) for owner in (self.alice.key.id, self.team_id)]
        return told

    async def sql(self, statements: str) -> list[Any]:
        """As somebody does who may write the file; what the last statement gives."""
        return await asyncio.to_thread(self._sql, statements.split("; "))

    def _sql(self, statements: list[str]) -> list[Any]:
        database = sqlite3.connect(self.path, isolation_level=None, timeout=5)
        try:
            return [database.execute(statement).fetchall() for statement in statements][-1]
        finally:
            database.close()


_made: dict[Path, OldLedger] = {}


async def old_ledger(path: Path, made_at: Path) -> OldLedger:
    """Open at `path` on the third of December, with October and November; filled once in a process, at `made_at`."""
    if made_at not in _made:
        first = OldLedger(made_at, "2026-10-01T00:00")
        await first.open()
        await first.fill("2026-10", "2026-11")
        await first.close()
        _made[made_at] = first
    shutil.copytree(made_at.parent, path.parent)
    ledger = OldLedger(path, "2026-12-03T12:00")
    ledger.alice, ledger.bob, ledger.team_id = _made[made_at].alice, _made[made_at].bob, _made[made_at].team_id
    await ledger.open()
    return ledger
