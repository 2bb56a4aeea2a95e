"""Pieces of the plain model of limits: what was admitted, a minute of it, and who has limits."""

from __future__ import annotations

from dataclasses import dataclass, field

from app.core.budgets import BudgetPeriod, Span
from app.core.holds import Billing
from app.core.limits import Limits
from app.core.records import Scope, State
from app.core.views import Resolution

MINUTE_MS = 60_000


@dataclass
class Entry:
    """A request that was admitted."""

    id: str
    at_ms: int
    key_id: str
    team_id: str | None
    model: str
    hold: int
    tokens_held: int
    state: State = State.OPEN
    costs: dict[Billing, int | None] = field(default_factory=dict)
    kept: int = 0
    said: Resolution | None = None  # by a person, of an unknown cost
    tokens: int = 0
    closed_ms: int = 0

    def cost(self, billing: Billing) -> int:
        """By the cost that is asked for, else by the other; nothing while none is known."""
        if self.said is not None:
            charged = billing is Billing.CHARGED
            return self.said.charged_picodollars if charged else self.said.true_cost_picodollars
        known = [self.costs.get(billing), *self.costs.values()]
        return next((cost for cost in known if cost is not None), 0)


@dataclass(frozen=True)
class Window:
    span: Span
    billing: Billing


class Minute:
    """Groups of (when, requests, tokens) of one second, each of which leaves a minute after its newest."""

    def __init__(self) -> None:
        self.groups: list[list[tuple[int, int, int]]] = []

    def forget(self, now_ms: int) -> None:
        clamped = [[(min(at_ms, now_ms), *counts) for at_ms, *counts in group] for group in self.groups]
        self.groups = [group for group in clamped if self.leaves(group) > now_ms]  # type: ignore[misc, arg-type]

    def add(self, now_ms: int, requests: int, tokens: int) -> None:
        newest = self.groups[-1] if self.groups else []
        if newest and max(at_ms for at_ms, *_ in newest) // 1000 >= now_ms // 1000:
            newest.append((now_ms, requests, tokens))
        else:
            self.groups.append([(now_ms, requests, tokens)])

    def leaves(self, group: list[tuple[int, int, int]]) -> int:
        return max(at_ms for at_ms, *_ in group) + MINUTE_MS

    def rows(self) -> list[list[int]]:
        return [
            [self.leaves(group) - MINUTE_MS, sum(one[1] for one in group), sum(one[2] for one in group)]
            for group in self.groups
        ]

    def count(self, column: int) -> int:
        return sum(row[column] for row in self.rows())

    def wait_ms(self, now_ms: int, column: int, excess: int) -> int:
        """Until so many, or all there are, have left."""
        for last in (row for row in self.rows() if row[column]):
            excess -= last[column]
            if excess <= 0:
                return last[0] + MINUTE_MS - now_ms
        return self.reset_ms(now_ms, column)

    def reset_ms(self, now_ms: int, column: int) -> int:
        return max((row[0] + MINUTE_MS - now_ms for row in self.rows() if row[column]), default=0)


@dataclass
class Owner:
    id: str
    scope: Scope
    name: str
    team_id: str | None = None  # of a key
    active: bool = True
    limits: Limits = field(default_factory=Limits)
    minute: Minute = field(default_factory=Minute)
    budgets: dict[BudgetPeriod, int] = field(default_factory=dict)
    windows: dict[BudgetPeriod, list[Window]] = field(default_factory=dict)

    def window(self, period: BudgetPeriod, at_ms: int) -> Window | None:
        return next((one for one in self.windows.get(period, []) if one.span.holds(at_ms)), None)
