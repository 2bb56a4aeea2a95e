"""Keys and teams: what is read of them, what is asked for, what is changed.

Plain frozen values, as in `views`. Money is an integer of 10⁻¹² USD; times are aware UTC.
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Final, Literal

from app.core.budgets import Budget, BudgetPeriod
from app.core.limits import Limits
from app.core.records import KeyState
from app.core.value import Value


class Unset(Enum):
    """The mark of a field that a change leaves as it is (None is a value there)."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET
UnsetType = Literal[Unset.UNSET]

NO_LIMITS: Final = Limits()


class BudgetRecord(Value, frozen=True):
    """A budget and where it stands in its present window."""

    amount_picodollars: int
    period: BudgetPeriod
    spent_picodollars: int  # known costs, and what unknown ones keep
    held_picodollars: int  # what running requests may cost
    starts_at: datetime
    resets_at: datetime | None  # None = never

    @property
    def remaining_picodollars(self) -> int:
        """What is left beside what is held; less than nothing after an overrun."""
        return self.amount_picodollars - self.spent_picodollars - self.held_picodollars


class KeyRecord(Value, frozen=True):
    """A team key as everybody may see it; the secret is in nobody's hands but its holder's."""

    id: str
    name: str
    prefix: str  # "irg_02ff…"
    team: str | None  # the team's name
    tags: tuple[str, ...]
    state: KeyState  # EXPIRED is told from expires_at at the time of reading
    models: tuple[str, ...]  # globs; empty = all
    expires_at: datetime | None
    created_at: datetime
    last_used_at: datetime | None  # to the minute
    budgets: tuple[BudgetRecord, ...] = ()
    limits: Limits = NO_LIMITS


class NewKey(Value, frozen=True):
    name: str
    team: str | None = None  # name or id
    models: tuple[str, ...] = ()
    expires_at: datetime | None = None
    tags: tuple[str, ...] = ()
    budgets: tuple[Budget, ...] = ()
    limits: Limits = NO_LIMITS


class LimitsChange(Value, frozen=True):
    """Fields left UNSET stay as they are; None takes a limit away. `budgets` replaces all there are."""

    budgets: tuple[Budget, ...] | UnsetType = UNSET
    rpm: int | UnsetType | None = UNSET
    tpm: int | UnsetType | None = UNSET
    concurrency: int | UnsetType | None = UNSET

    def of(self, before: Limits) -> Limits:
        return Limits(
            before.rpm if self.rpm is UNSET else self.rpm,
            before.tpm if self.tpm is UNSET else self.tpm,
            before.concurrency if self.concurrency is UNSET else self.concurrency,
        )


class KeyChange(Value, frozen=True):
    """Fields left UNSET stay as they are; None takes a team or an expiry away."""

    name: str | UnsetType = UNSET
    team: str | UnsetType | None = UNSET  # name or id
    models: tuple[str, ...] | UnsetType = UNSET
    expires_at: datetime | UnsetType | None = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    limits: LimitsChange = LimitsChange()


class KeyFilter(Value, frozen=True):
    team: str | None = None  # name or id
    state: KeyState | None = None


class TeamRecord(Value, frozen=True):
    id: str
    name: str
    created_at: datetime
    keys: int  # how many keys belong to it, whatever their state
    budgets: tuple[BudgetRecord, ...] = ()
    limits: Limits = NO_LIMITS
