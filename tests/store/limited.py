"""A ledger with limits under a clock that tests move: keys and teams with budgets, requests that hold just so much."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select

from app.accounts.keyring import Keyring
from app.accounts.reports import Reports
from app.core.budgets import parse_budget
from app.core.holds import Billing, Counting
from app.core.limits import Limits
from app.core.money import format_usd, parse_usd
from app.core.owners import BudgetRecord, KeyChange, LimitsChange, NewKey
from app.core.records import Admitted, Asked, Prices, Refused
from app.store.engine import open_store
from app.store.port import Store
from app.store.schema_limits import alerts, windows
from tests.store.entries import Holder, settled


def utc(text: str) -> datetime:
    """`2026-11-01T12:00` in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


class FakeClock:
    """Stands until it is moved, in either direction."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def move(self, **span: float) -> None:
        self.at += timedelta(**span)


def holding(usd: str) -> Asked:
    """Asks for exactly this hold, whatever the key's last requests came to."""
    amount = parse_usd(usd)
    return Asked(max_output_tokens=1, prices=Prices(0, amount), ceiling_picodollars=amount)


class LimitedLedger:
    """One store at a time over the files at `path`."""

    store: Store

    def __init__(self, path: Path, at: str) -> None:
        self.path = path
        self.clock = FakeClock(utc(at))
        self.zone = ZoneInfo("UTC")
        self.counting = Counting()

    async def open(self, zone: str | None = None, counting: Counting | None = None, path: Path | None = None) -> None:
        """With other settings from now on, if any are given."""
        self.path = path or self.path
        self.zone = self.zone if zone is None else ZoneInfo(zone)
        self.counting = counting or self.counting
        self.store = await open_store(self.path, clock=self.clock, zone=self.zone, counting=self.counting)

    async def close(self) -> None:
        await self.store.aclose()

    @property
    def keyring(self) -> Keyring:
        return Keyring(self.store, billing=self.counting.billing, clock=self.clock)

    async def holder(self, name: str, *budgets: str, limits: Limits = Limits(), **spec: Any) -> Holder:  # noqa: B008 - frozen
        wanted = NewKey(name, budgets=tuple(parse_budget(text) for text in budgets), limits=limits, **spec)
        key, secret = await self.keyring.create(wanted)
        authorization = f"Bearer {secret}".encode()
        identified = await self.keyring.identify(authorization)
        assert identified is not None
        return Holder(key, identified.secret_hash, authorization)

    async def team(self, name: str, *budgets: str) -> str:
        """Its id."""
        change = LimitsChange(budgets=tuple(parse_budget(text) for text in budgets))
        return (await self.keyring.create_team(name, change)).id

    async def set_budgets(self, key: str, *budgets: str) -> None:
        change = LimitsChange(budgets=tuple(parse_budget(text) for text in budgets))
        await self.keyring.change(key, KeyChange(limits=change))

    # --- requests -------------------------------------------------------------------------

    async def ask(self, holder: Holder, hold: str = "0.01", **fields: Any) -> Admitted | Refused:
        wanted = {"asked": holding(hold), **fields}
        return await self.store.admit(holder.intent(wanted.pop("at", self.clock.at), **wanted))

    async def admit(self, holder: Holder, hold: str = "0.01", **fields: Any) -> str:
        """The id of a request that must be admitted, holding so much."""
        verdict = await self.ask(holder, hold, **fields)
        assert isinstance(verdict, Admitted), verdict
        return verdict.request_id

    async def refused(self, holder: Holder, hold: str = "0.01", **fields: Any) -> Refused:
        verdict = await self.ask(holder, hold, **fields)
        assert isinstance(verdict, Refused), verdict
        return verdict

    async def spend(self, holder: Holder, cost: str, **fields: Any) -> str:
        """A whole request that held and cost so much."""
        request_id = await self.admit(holder, cost, **fields)
        await self.store.settle(settled(request_id, cost), 5)
        return request_id

    # --- what stands there ----------------------------------------------------------------

    async def budgets(self, holder: Holder) -> dict[str, tuple[str, str]]:
        """What is spent and what is held of a key's budgets, by period."""
        return shown((await self.keyring.find(holder.key.id)).budgets)

    async def windows(self, owner_id: str) -> list[tuple[str, datetime, datetime, int, int, int]]:
        """Period, edges, and what is settled, kept and held, oldest first."""
        query = select(windows).where(windows.c.owner_id == owner_id).order_by(windows.c.starts_at, windows.c.period)
        found = await self.store.read(lambda connection: connection.execute(query).all())
        return [(row.period, _at(row.starts_at), _at(row.ends_at), row.settled, row.kept, row.held) for row in found]

    async def alert_facts(self, kind: str, fact: str) -> list[Any]:
        """One fact of each alert of a kind, in their order."""
        query = select(alerts.c.facts).where(alerts.c.kind == kind).order_by(alerts.c.id)
        found = await self.store.read(lambda connection: connection.scalars(query).all())
        return [json.loads(facts)[fact] for facts in found]

    async def verify(self) -> None:
        """Every sum is what the rows say."""
        verification = await Reports(self.store, zone=self.zone, clock=self.clock).verify()
        assert verification.ok, verification.differences


def shown(budgets: tuple[BudgetRecord, ...]) -> dict[str, tuple[str, str]]:
    return {one.period.value: (format_usd(one.spent_picodollars), format_usd(one.held_picodollars)) for one in budgets}


def _at(milliseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)


NOTHING_UNKNOWN_COUNTS = Counting(unknown_keeps_hold=False)
BY_TRUE_COST = Counting(billing=Billing.TRUE_COST)
