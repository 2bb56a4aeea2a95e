"""Loads where the owners of limits stand, and writes back what a batch made of it.

Used within one transaction of the writer: by a batch, and by what a person changes. What was loaded is
only true until the transaction ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import Connection, select

from app.core.budgets import Budget, BudgetPeriod, Span, clipped, span_of
from app.core.holds import Billing
from app.core.limits import GATEWAY, BudgetStanding, Limits, Standing, Window
from app.core.rates import Rate
from app.core.records import Scope
from app.store import limit_statements as statements
from app.store.occasions import budget_alerts
from app.store.past import window_sums
from app.store.schema_limits import windows

Run = Callable[[str, Sequence[object]], list[Any]]

_steps = msgspec.json.Decoder(list[list[int]])


@dataclass(slots=True)
class _Loaded:
    """A window and what stood in it before; `before` None = it is new."""

    owner_id: str
    standing: BudgetStanding
    window: Window
    before: tuple[int, int, int] | None


class Desk:
    """`sql` is the writing connection through SQLAlchemy, `run` runs a hot statement over it."""

    def __init__(self, sql: Connection, run: Run, zone: ZoneInfo, billing: Billing) -> None:
        self._sql = sql
        self._run = run
        self._zone = zone
        self._billing = billing
        self._standings: dict[str, Standing] = {}
        self._windows: list[_Loaded] = []
        self._limits: dict[str, list[object]] = {}  # as they are written

    def load(self, names: Mapping[str, str], since_ms: int) -> None:
        """Who of these has limits or budgets, with the windows that end after `since_ms`. `names`: by owner id."""
        ((limits, budgets),) = self._run(statements.ANY, ())
        if limits:
            self._load_limits(names)
        if budgets:
            self._load_budgets(names, since_ms)

    def _load_limits(self, names: Mapping[str, str]) -> None:
        for owner_id, rpm, tpm, concurrency, running, running_tokens, steps in self._run(
            statements.LIMITS, list(names)
        ):
            standing = self._standing(owner_id, names)
            standing.limits = Limits(rpm, tpm, concurrency)
            standing.running, standing.running_tokens = running, running_tokens
            standing.rate = Rate(_steps.decode(steps))
            self._limits[owner_id] = [owner_id, running, running_tokens, steps]

    def _load_budgets(self, names: Mapping[str, str], since_ms: int) -> None:
        found: dict[tuple[str, str], BudgetStanding] = {}
        for owner_id, period, amount, starts_at, ends_at, billing, *sums in self._run(
            statements.BUDGETS, [[owner_id, since_ms] for owner_id in names]
        ):
            budget = found.get((owner_id, period))
            if budget is None:
                budget = found[owner_id, period] = BudgetStanding(Budget(amount, BudgetPeriod(period)), [])
                self._standing(owner_id, names).budgets.append(budget)
            if starts_at is not None:
                window = Window(Span(starts_at, ends_at), Billing(billing), *sums)
                budget.windows.append(window)
                self._windows.append(_Loaded(owner_id, budget, window, tuple(sums)))

    def of(self, *owner_ids: str | None) -> list[Standing]:
        """Those that are loaded of a key, its team and the gateway."""
        if not self._standings:
            return []
        return [one for owner_id in owner_ids if owner_id and (one := self._standings.get(owner_id)) is not None]

    def ready(self, standings: Iterable[Standing], at_ms: int) -> None:
        """Makes sure that each budget has the window that holds an instant; a new one begins with its past."""
        for standing in standings:
            for budget in standing.budgets:
                if budget.window(at_ms) is None:
                    self._begin(standing.owner_id, budget, at_ms)

    def save(self, now: datetime) -> None:
        """Writes back what changed, and the alerts that follow from it."""
        changed = [one for one in self._windows if one.before != _sums(one.window)]
        if changed:
            self._run(statements.SAVE_WINDOWS, [_window_row(one) for one in changed])
            self._alert(changed, now)
        counted = [_limits_row(self._standings[owner_id]) for owner_id in self._limits]
        if moved := [row for row in counted if row != self._limits[str(row[0])]]:
            self._run(statements.SAVE_LIMITS, moved)

    def _standing(self, owner_id: str, names: Mapping[str, str]) -> Standing:
        standing = self._standings.get(owner_id)
        if standing is None:
            standing = self._standings[owner_id] = Standing(owner_id, scope_of(owner_id), names[owner_id])
        return standing

    def _begin(self, owner_id: str, budget: BudgetStanding, at_ms: int) -> None:
        period = budget.budget.period
        calendar = span_of(period, at_ms, self._zone)
        there = [window.span for window in budget.windows]  # some of them perhaps not written yet
        span = clipped(calendar, at_ms, there + standing_spans(self._sql, owner_id, period, calendar))
        sums = window_sums(self._sql, span, self._billing, owner_id).get(owner_id)
        window = Window(span, self._billing, *(sums.bounded() if sums else ()))
        budget.windows.append(window)
        self._windows.append(_Loaded(owner_id, budget, window, None))

    def _alert(self, changed: Sequence[_Loaded], now: datetime) -> None:
        for one in changed:
            before = 0 if one.before is None else one.before[0] + one.before[1]
            if one.window.spent > before:
                budget_alerts(self._sql, one.owner_id, one.standing.budget, one.window, before, now)


def standing_spans(connection: Connection, owner_id: str, period: BudgetPeriod, within: Span) -> list[Span]:
    """The windows of a budget that reach into a span, also those that are over: a change of the calendar left them."""
    its = windows.c.owner_id == owner_id, windows.c.period == period
    reach = windows.c.starts_at < within.ends_at_ms, windows.c.ends_at > within.starts_at_ms
    query = select(windows.c.starts_at, windows.c.ends_at).where(*its, *reach)
    return [Span(starts_at, ends_at) for starts_at, ends_at in connection.execute(query)]


def scope_of(owner_id: str) -> Scope:
    if owner_id == GATEWAY:
        return Scope.GATEWAY
    return Scope.KEY if owner_id.startswith("key_") else Scope.TEAM


def _sums(window: Window) -> tuple[int, int, int]:
    return window.settled, window.kept, window.held


def _window_row(one: _Loaded) -> list[object]:
    window, span = one.window, one.window.span
    edges = (span.starts_at_ms, span.ends_at_ms)
    return [one.owner_id, one.standing.budget.period, *edges, window.billing, *_sums(window)]


def _limits_row(standing: Standing) -> list[object]:
    steps = msgspec.json.encode(standing.rate.steps).decode()
    return [standing.owner_id, standing.running, standing.running_tokens, steps]


def desk_over(connection: Connection, zone: ZoneInfo, billing: Billing) -> Desk:
    """A desk for what a person changes, over SQLAlchemy's connection alone."""

    def run(statement: str, rows: Sequence[object]) -> list[Any]:
        result = connection.exec_driver_sql(statement, (msgspec.json.encode(rows).decode(),))
        return list(result.fetchall()) if result.returns_rows else []

    return Desk(connection, run, zone, billing)
