"""Everything that binds a key: the budgets and limits of its own, of its team and of the whole gateway.

Plain frozen values, as in `owners`, of which these are the key holder's side.
"""

from __future__ import annotations

from datetime import datetime

from app.core.owners import BudgetRecord, KeyRecord
from app.core.records import RefusalReason, Scope
from app.core.value import Value


class BoundBudget(Value, frozen=True):
    scope: Scope
    budget: BudgetRecord


class BoundLimit(Value, frozen=True):
    """A limit per minute, or of what runs at once. `kind`: the reason that it refuses with."""

    scope: Scope
    kind: RefusalReason
    limit: int
    used: int  # of the last 60 seconds, or running now
    resets_at: datetime | None  # when nothing counts any more; None = nothing does, or it ends when requests do

    @property
    def remaining(self) -> int:
        return max(0, self.limit - self.used)


class KeyStanding(Value, frozen=True):
    """A key, and where all that binds it stands: its own first, then its team's, then the gateway's."""

    key: KeyRecord
    budgets: tuple[BoundBudget, ...]
    limits: tuple[BoundLimit, ...]
