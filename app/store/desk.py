"""Where the owners of limits stand: loaded once, written back by each transaction that changes it.

Used within transactions of the writer: by its batches, and, for one transaction each, by what a person changes. What
was loaded stays true while nobody else writes; whoever may have must `forget` it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import Connection, select

from app.core.binding import NOTHING_BINDS, Binding
from app.core.budgets import Budget, BudgetPeriod, Span, clipped, span_of
from app.core.holds import Billing
from app.core.limits import GATEWAY, BudgetStanding, Limits, Standing, Window
from app.core.rates import rate_from
from app.core.records import Scope
from app.core.value import Value
from app.store import limit_statements as statements
from app.store.hot import raw_of
from app.store.occasions import budget_alerts, first_threshold
from app.store.past import window_sums
from app.store.schema_limits import windows

_steps = msgspec.json.Decoder(list[list[int]])


# So much earlier than asked for, windows are loaded: requests end in another order than they began in.
_SINCE_SLACK_MS = 3_600_000


@dataclass(slots=True)
class _Loaded:
    """A window. `row`: the columns of its row that never change. `written`: the sums in it; None: it has no row yet.
    `first_threshold`: the admin is told of nothing that is spent below it."""

    budget: Budget
    window: Window
    row: tuple[str, str, int, int, str]
    written: tuple[int, int, int] | None
    first_threshold: int


@dataclass(slots=True, eq=False)
class _Owner:
    """`row`: of `limits`, as it is written; None = it has none. `older_written`: the version of its rate's older steps
    that is written."""

    standing: Standing
    windows: list[_Loaded] = field(default_factory=list)
    row: tuple[str | int, ...] | None = None
    older_written: int = 0


class _Bound(Value, frozen=True):
    """Several owners together, as requests ask for them."""

    binding: Binding
    owners: tuple[_Owner, ...]


class Desk:
    def __init__(self, sql: Connection, zone: ZoneInfo, billing: Billing) -> None:
        self._sql = sql
        self._raw = raw_of(sql)
        self._zone = zone
        self._billing = billing
        self._owners: dict[str, _Owner | None] = {}  # None: it has neither limits nor budgets
        self._since_ms: int | None = None  # windows that end later are loaded
        self._anybody: tuple[bool, bool] | None = None  # has limits, has budgets
        self._nobody = False  # nobody has either, so nothing is looked up
        self._bound: dict[tuple[str | None, ...], _Bound] = {}
        self._unsaved: dict[tuple[str | None, ...], _Bound] = {}  # what requests asked for since the last `save`

    def load(self, names: Mapping[str, str], since_ms: int, now: datetime) -> None:
        """Who of these has limits or budgets, with the windows that end after `since_ms`. `names`: by owner id, "" if
        it does not matter. `now`: for what is to be saved before more is read."""
        if self._nobody:
            return
        if self._since_ms is None or since_ms < self._since_ms:
            self.save(now)
            self.forget()
            self._since_ms = since_ms - _SINCE_SLACK_MS
        unknown = [owner_id for owner_id in names if owner_id not in self._owners]
        if unknown:
            self._read(unknown, self._since_ms)
        for owner_id, name in names.items():
            if name and (owner := self._owners[owner_id]) is not None:
                owner.standing.name = name

    def forget(self) -> None:
        """All is read anew. Raises: `RuntimeError` while something is to be saved."""
        if self._unsaved:
            raise RuntimeError("what requests did to the limits is not saved")
        self._owners.clear()
        self._bound.clear()
        self._since_ms = self._anybody = None
        self._nobody = False

    def _read(self, owner_ids: Sequence[str], since_ms: int) -> None:
        self._owners |= dict.fromkeys(owner_ids)
        if self._anybody is None:
            ((limits, budgets),) = self._raw.execute(statements.ANY)
            self._anybody = bool(limits), bool(budgets)
            self._nobody = not (limits or budgets)
        limits, budgets = self._anybody
        if limits:
            self._read_limits(owner_ids)
        if budgets:
            self._read_budgets(owner_ids, since_ms)

    def _read_limits(self, owner_ids: Sequence[str]) -> None:
        for owner_id, rpm, tpm, concurrency, running, running_tokens, *newest, older in statements.LIMITS.run(
            self._raw, [(owner_id,) for owner_id in owner_ids]
        ):
            owner = self._owner(owner_id)
            standing = owner.standing
            standing.limits = Limits(rpm, tpm, concurrency)
            standing.running, standing.running_tokens = running, running_tokens
            standing.rate = rate_from([*_steps.decode(older), newest])
            owner.row, owner.older_written = limits_row(standing), standing.rate.older_version

    def _read_budgets(self, owner_ids: Sequence[str], since_ms: int) -> None:
        found: dict[tuple[str, str], BudgetStanding] = {}
        for owner_id, period, amount, starts_at, ends_at, billing, *sums in statements.BUDGETS.run(
            self._raw, [(owner_id, since_ms) for owner_id in owner_ids]
        ):
            owner, budget = self._owner(owner_id), found.get((owner_id, period))
            if budget is None:
                budget = found[owner_id, period] = BudgetStanding(Budget(amount, BudgetPeriod(period)), [])
                owner.standing.budgets.append(budget)
            if starts_at is not None:
                window = Window(Span(starts_at, ends_at), Billing(billing), *sums)
                budget.windows.append(window)
                owner.windows.append(_loaded(owner_id, budget.budget, window, tuple(sums)))

    def of(self, *owner_ids: str | None) -> Binding:
        """What binds a request of a key, its team and the gateway. All of them are loaded."""
        if self._nobody:
            return NOTHING_BINDS
        bound = self._bound.get(owner_ids)
        if bound is None:
            owners = tuple([owner for one in owner_ids if one and (owner := self._owners[one]) is not None])
            bound = self._bound[owner_ids] = _Bound(Binding([owner.standing for owner in owners]), owners)
        self._unsaved[owner_ids] = bound
        return bound.binding

    def ready(self, binding: Binding, at_ms: int) -> None:
        """Makes sure that each budget has the window that holds an instant; a new one begins with its past."""
        if len(binding.windows(at_ms)) == len(binding.budgets):
            return
        for standing in binding.standings:
            for budget in standing.budgets:
                if budget.window(at_ms) is None:
                    self._begin(standing.owner_id, budget, at_ms)

    def save(self, now: datetime) -> None:
        """Writes back what changed, and the alerts that follow from it."""
        if not self._unsaved:
            return
        owners = dict.fromkeys([owner for bound in self._unsaved.values() for owner in bound.owners])
        self._unsaved.clear()
        self._save_windows(owners, now)
        self._save_limits([owner for owner in owners if owner.row is not None])

    def _save_windows(self, owners: Iterable[_Owner], now: datetime) -> None:
        changed = []
        for owner in owners:
            for one in owner.windows:
                window = one.window
                if (sums := (window.settled, window.kept, window.held)) != one.written:
                    changed.append((one, sums))
        statements.SAVE_WINDOWS.run(self._raw, [(*one.row, *sums) for one, sums in changed])
        for one, sums in changed:
            if one.window.spent >= one.first_threshold:
                self._alert(one, now)
            one.written = sums

    def _save_limits(self, owners: Sequence[_Owner]) -> None:
        moved, stepped = [], []
        for owner in owners:
            standing = owner.standing
            if (row := limits_row(standing)) != owner.row:
                owner.row = row
                moved.append(row)
            if standing.rate.older_version != owner.older_written:
                owner.older_written = standing.rate.older_version
                stepped.append(minutes_row(standing))
        statements.SAVE_LIMITS.run(self._raw, moved)
        statements.SAVE_MINUTES.run(self._raw, stepped)

    def _owner(self, owner_id: str) -> _Owner:
        owner = self._owners[owner_id]
        if owner is None:
            owner = self._owners[owner_id] = _Owner(Standing(owner_id, scope_of(owner_id), ""))
        return owner

    def _begin(self, owner_id: str, budget: BudgetStanding, at_ms: int) -> None:
        period = budget.budget.period
        calendar = span_of(period, at_ms, self._zone)
        there = [window.span for window in budget.windows]  # some of them perhaps not written yet
        span = clipped(calendar, at_ms, there + standing_spans(self._sql, owner_id, period, calendar))
        sums = window_sums(self._sql, span, self._billing, owner_id).get(owner_id)
        window = Window(span, self._billing, *(sums.bounded() if sums else ()))
        budget.windows.append(window)
        self._owner(owner_id).windows.append(_loaded(owner_id, budget.budget, window, None))

    def _alert(self, one: _Loaded, now: datetime) -> None:
        settled, kept, _ = one.written or (0, 0, 0)
        owner_id, *_ = one.row
        budget_alerts(self._sql, owner_id, one.budget, one.window, settled + kept, now)


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


def limits_row(standing: Standing) -> tuple[str | int, ...]:
    """In the order of `SAVE_LIMITS`."""
    return standing.owner_id, standing.running, standing.running_tokens, *standing.rate.newest


def minutes_row(standing: Standing) -> tuple[str, str]:
    """In the order of `SAVE_MINUTES`."""
    return standing.owner_id, msgspec.json.encode(standing.rate.older).decode()


def _loaded(owner_id: str, budget: Budget, window: Window, written: tuple[int, int, int] | None) -> _Loaded:
    span = window.span
    row = (owner_id, str(budget.period), span.starts_at_ms, span.ends_at_ms, str(window.billing))
    return _Loaded(budget, window, row, written, first_threshold(budget))
