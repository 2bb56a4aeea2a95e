"""What budgets, rates and counts must be: plain lists of what happened, summed up anew for every question.

Nothing is carried forward here but what must outlive its cause: the edges of windows, the groups of a minute, and
which occasions were told. Money in 10⁻¹² USD, times in milliseconds.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from app.core.budgets import ALWAYS_TO_MS, BudgetPeriod, Span, span_of
from app.core.clock import from_ms, to_ms
from app.core.holds import Billing, Counting, Sample, hold, tokens_held
from app.core.limits import Limits
from app.core.records import (
    Admitted,
    Allowance,
    Allowances,
    Intent,
    LimitHit,
    RefusalReason,
    Refused,
    Scope,
    Settlement,
    State,
)
from app.core.views import Resolution
from tests.store.limits_model import MINUTE_MS, Entry, Minute, Owner, Window
from tests.store.most import most_of

NEVER_MS = 10**15


@dataclass
class _Violation:
    reason: RefusalReason
    hit: LimitHit
    retry_ms: int | None

    @property
    def patience(self) -> tuple[int, int]:
        if self.reason is RefusalReason.BUDGET_SPENT:
            return (to_ms(self.hit.resets_at) if self.hit.resets_at else NEVER_MS), 0
        return 0, self.retry_ms or 0


class Books:
    def __init__(self, zone: ZoneInfo, counting: Counting) -> None:
        self.zone = zone
        self.counting = counting
        self.owners = {"gateway": Owner("gateway", Scope.GATEWAY, "")}
        self.entries: dict[str, Entry] = {}
        self.closed: list[Entry] = []
        self.refused: Counter[tuple[int, str, str]] = Counter()
        self.told: set[str] = set()

    # --- what is summed up --------------------------------------------------------------------

    def its(self, owner_id: str) -> Iterator[Entry]:
        for entry in self.entries.values():
            if owner_id in ("gateway", entry.key_id, entry.team_id):
                yield entry

    def sums(self, owner_id: str, window: Window) -> tuple[int, int, int]:
        """What is settled, kept and held."""
        there = [entry for entry in self.its(owner_id) if window.span.holds(entry.at_ms)]
        return (
            sum(entry.cost(window.billing) for entry in there),
            sum(entry.kept for entry in there if entry.said is None),
            sum(entry.hold for entry in there if entry.state is State.OPEN),
        )

    def running(self, owner_id: str) -> tuple[int, int]:
        there = [entry.tokens_held for entry in self.its(owner_id) if entry.state is State.OPEN]
        return len(there), sum(there)

    def concerned(self, key_id: str, team_id: str | None) -> list[Owner]:
        owners = [self.owners[one] for one in (key_id, team_id, "gateway") if one is not None]
        return [owner for owner in owners if owner.budgets or owner.limits]

    # --- what persons set ---------------------------------------------------------------------

    def set_budgets(self, owner_id: str, wanted: dict[BudgetPeriod, int], now: datetime) -> None:
        owner = self.owners[owner_id]
        owner.windows = {period: there for period, there in owner.windows.items() if period in wanted}
        owner.budgets = dict(wanted)
        for period, amount in wanted.items():
            settled, kept, _ = self.sums(owner_id, window := self._begun(owner, period, to_ms(now)))
            self._tell(owner, period, window, 0, settled + kept, amount)

    def set_limits(self, owner_id: str, wanted: Limits, now: datetime) -> None:
        owner = self.owners[owner_id]
        if not owner.limits:
            owner.minute = self._last_minute(owner_id, to_ms(now))
        owner.limits = wanted

    def _last_minute(self, owner_id: str, now_ms: int) -> Minute:
        since_ms = now_ms - MINUTE_MS
        events = [(min(one.at_ms, now_ms), 1, 0) for one in self.its(owner_id) if one.at_ms >= since_ms]
        for entry in reversed(self.closed):
            if entry.closed_ms <= since_ms:
                break
            if entry.tokens and owner_id in ("gateway", entry.key_id, entry.team_id):
                events.append((min(entry.closed_ms, now_ms), 0, entry.tokens))
        minute = Minute()
        for event in sorted(events):
            minute.add(*event)
        return minute

    def _begun(self, owner: Owner, period: BudgetPeriod, at_ms: int) -> Window:
        """The window that holds an instant; a new one lies between those that there are."""
        if (window := owner.window(period, at_ms)) is None:
            window = Window(self.free(owner, period, at_ms), self.counting.billing)
            owner.windows.setdefault(period, []).append(window)
            settled, kept, _ = self.sums(owner.id, window)
            self._tell(owner, period, window, 0, settled + kept, owner.budgets[period])
        return window

    def free(self, owner: Owner, period: BudgetPeriod, at_ms: int) -> Span:
        whole = span_of(period, at_ms, self.zone)
        others = [one.span for one in owner.windows.get(period, [])]
        return Span(
            max([whole.starts_at_ms, *(one.ends_at_ms for one in others if one.ends_at_ms <= at_ms)]),
            min([whole.ends_at_ms, *(one.starts_at_ms for one in others if one.starts_at_ms > at_ms)]),
        )

    def _tell(self, owner: Owner, period: BudgetPeriod, window: Window, before: int, after: int, amount: int) -> None:
        for percent in (50, 80, 100):
            if before * 100 < percent * amount <= after * 100:
                self.told.add(f"budget:{owner.id}:{period}:{window.span.starts_at_ms}:{percent}")

    # --- requests -------------------------------------------------------------------------------

    def judge(self, intent: Intent, now: datetime) -> list[Admitted | Refused]:
        """What may be answered: one verdict, or several that differ in which of equal limits they name."""
        key = self.owners[intent.key_id]
        if not key.active:
            verdicts: list[Admitted | Refused] = [Refused(RefusalReason.KEY_REFUSED)]
        else:
            verdicts = self._judge(intent, key, to_ms(intent.created_at), to_ms(now))
        if isinstance(verdicts[0], Refused):
            now_ms = to_ms(now)
            self.refused[now_ms - now_ms % 900_000, key.id, verdicts[0].reason.value] += 1
        return verdicts

    def _judge(self, intent: Intent, key: Owner, at_ms: int, now_ms: int) -> list[Admitted | Refused]:
        owners = self.concerned(key.id, key.team_id)
        held, tokens = self._set_aside(intent, owners)
        for owner in owners:
            for period in owner.budgets:
                self._begun(owner, period, at_ms)
            owner.minute.forget(now_ms)
        found = [one for owner in owners for one in self._in_the_way(owner, at_ms, now_ms, held, tokens)]
        if found:
            longest = max(one.patience for one in found)
            first = next(one for one in found if one.patience == longest)
            left = self._left(owners, at_ms, now_ms)
            return [
                Refused(one.reason, hit=one.hit, retry_after_ms=one.retry_ms, allowances=left)
                for one in found
                if (one.patience, one.reason, one.hit.scope) == (longest, first.reason, first.hit.scope)
            ]
        self.entries[intent.request_id] = Entry(
            intent.request_id, at_ms, key.id, key.team_id, intent.model, held, tokens
        )
        for owner in owners:
            if owner.limits:
                owner.minute.add(now_ms, 1, 0)
        self._check_admitted(owners, at_ms)
        team = self.owners[key.team_id].name if key.team_id else None
        left = self._left(owners, at_ms, now_ms)
        return [Admitted(intent.request_id, key.name, team, (), held, tokens, left)]

    def _check_admitted(self, owners: list[Owner], at_ms: int) -> None:
        """The promise itself, said once more."""
        for owner in owners:
            for period, amount in owner.budgets.items():
                window = owner.window(period, at_ms)
                assert window is not None
                assert sum(self.sums(owner.id, window)) <= amount
            running, tokens = self.running(owner.id)
            assert owner.limits.concurrency is None or running <= owner.limits.concurrency
            assert owner.limits.rpm is None or owner.minute.count(1) <= owner.limits.rpm
            assert owner.limits.tpm is None or owner.minute.count(2) + tokens <= owner.limits.tpm

    def _set_aside(self, intent: Intent, owners: list[Owner]) -> tuple[int, int]:
        billing = self.counting.billing
        most = most_of(
            [
                Sample(entry.cost(billing), entry.tokens)
                for entry in self.entries.values()
                if (entry.key_id, entry.model, entry.state) == (intent.key_id, intent.model, State.SETTLED)
            ]
        )
        tpm = [owner.limits.tpm for owner in owners if owner.limits.tpm is not None]
        return (
            hold(intent.asked, most) if any(owner.budgets for owner in owners) else 0,
            min(*tpm, tokens_held(intent.asked, most)) if tpm else 0,
        )

    def _in_the_way(self, owner: Owner, at_ms: int, now_ms: int, held: int, tokens: int) -> Iterator[_Violation]:
        for period, amount in owner.budgets.items():
            window = self._begun(owner, period, at_ms)
            settled, kept, running = self.sums(owner.id, window)
            if settled + kept + running + held > amount:
                spent = settled + kept + held > amount
                ends = window.span.ends_at_ms
                resets_at = None if ends == ALWAYS_TO_MS else from_ms(ends)
                money = (amount, settled + kept, running, held)
                hit = LimitHit(owner.scope, owner.name, None, period.value, *money, resets_at)
                reason = RefusalReason.BUDGET_SPENT if spent else RefusalReason.BUDGET_HELD
                yield _Violation(reason, hit, None if spent else 2000)
        yield from self._too_many(owner, now_ms, tokens)

    def _too_many(self, owner: Owner, now_ms: int, tokens: int) -> Iterator[_Violation]:
        limits, minute = owner.limits, owner.minute
        running, running_tokens = self.running(owner.id)
        if limits.rpm is not None and (excess := minute.count(1) + 1 - limits.rpm) > 0:
            hit = LimitHit(owner.scope, owner.name, limits.rpm)
            yield _Violation(RefusalReason.REQUESTS_PER_MINUTE, hit, minute.wait_ms(now_ms, 1, excess))
        if limits.tpm is not None and (excess := minute.count(2) + running_tokens + tokens - limits.tpm) > 0:
            hit = LimitHit(owner.scope, owner.name, limits.tpm)
            wait_ms = max(1000, minute.wait_ms(now_ms, 2, excess))
            yield _Violation(RefusalReason.TOKENS_PER_MINUTE, hit, wait_ms)
        if limits.concurrency is not None and running >= limits.concurrency:
            yield _Violation(RefusalReason.CONCURRENCY, LimitHit(owner.scope, owner.name, limits.concurrency), 1000)

    def _left(self, owners: list[Owner], at_ms: int, now_ms: int) -> Allowances:
        requests, tokens, money = [], [], []
        for owner in owners:
            if (rpm := owner.limits.rpm) is not None:
                left = max(0, rpm - owner.minute.count(1))
                requests.append(Allowance(rpm, left, owner.minute.reset_ms(now_ms, 1)))
            if (tpm := owner.limits.tpm) is not None:
                running = self.running(owner.id)[1]
                reset_ms = MINUTE_MS if running else owner.minute.reset_ms(now_ms, 2)
                tokens.append(Allowance(tpm, max(0, tpm - owner.minute.count(2) - running), reset_ms))
            for period, amount in owner.budgets.items():
                money.append(max(0, amount - sum(self.sums(owner.id, self._begun(owner, period, at_ms)))))
        return Allowances(_tightest(requests), _tightest(tokens), min(money, default=None))

    def close(self, settlement: Settlement, now: datetime) -> None:
        """The first word on a request counts, any later one does not."""
        entry = self.entries[settlement.request_id]
        if entry.state is not State.OPEN:
            return
        with self._telling(entry):
            self._write(entry, settlement, to_ms(now))
        for owner in self.concerned(entry.key_id, entry.team_id):
            if owner.limits:
                owner.minute.forget(to_ms(now))
                owner.minute.add(to_ms(now), 0, entry.tokens)

    def _write(self, entry: Entry, settlement: Settlement, now_ms: int) -> None:
        reading = settlement.reading
        costs = {Billing.CHARGED: reading.charged, Billing.TRUE_COST: reading.true_cost}
        entry.state, entry.closed_ms = settlement.state, now_ms
        entry.costs = {billing: None if cost is None else cost.picodollars for billing, cost in costs.items()}
        entry.tokens = reading.usage.total_tokens or 0
        server_fault = settlement.status is not None and settlement.status >= 500
        if entry.state is State.UNKNOWN and self.counting.unknown_keeps_hold and not server_fault:
            entry.kept = entry.hold
        self.closed.append(entry)

    def resolvable(self, now: datetime) -> list[str]:
        """What a person may settle: nothing that is yet to come, by a clock that was set back."""
        there = self.entries.values()
        return [entry.id for entry in there if entry.state is State.UNKNOWN and entry.at_ms <= to_ms(now)]

    def resolve(self, request_ids: list[str], said: Resolution) -> None:
        """In one step: only what becomes of all of them together is told."""
        entries = [self.entries[request_id] for request_id in request_ids]
        with contextlib.ExitStack() as stack:
            for entry in entries:
                stack.enter_context(self._telling(entry))
            for entry in entries:
                entry.said = said

    @contextlib.contextmanager
    def _telling(self, entry: Entry) -> Iterator[None]:
        """What becomes of the budgets of a request is told when it reaches a threshold."""
        owners = self.concerned(entry.key_id, entry.team_id)
        budgets = [
            (owner, period, window)
            for owner in owners
            for period in owner.budgets
            if (window := owner.window(period, entry.at_ms)) is not None
        ]
        before = [sum(self.sums(owner.id, window)[:2]) for owner, _, window in budgets]
        yield
        for (owner, period, window), earlier in zip(budgets, before, strict=True):
            self._tell(owner, period, window, earlier, sum(self.sums(owner.id, window)[:2]), owner.budgets[period])


def _tightest(left: list[Allowance]) -> Allowance | None:
    return min(left, key=lambda one: (one.remaining, one.limit), default=None)
