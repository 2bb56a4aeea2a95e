"""Where the owners of limits stand: what is spent, held and running, and what that leaves.

An owner is a key, a team, or the gateway itself. Everything here is loaded, changed and written
back by the store within one transaction, so a decision and its booking cannot disagree. Money is an
integer of 10⁻¹² USD, times are milliseconds since 1970. Called by `binding` and the store.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from app.core.budgets import ALWAYS_TO_MS, Budget, Span
from app.core.clock import from_ms
from app.core.holds import Billing, counted_both
from app.core.money import SUM_MAX
from app.core.rates import MINUTE_MS, Rate
from app.core.records import Allowance, LimitHit, Reading, RefusalReason, Scope
from app.core.value import Value

GATEWAY = "gateway"

_CHARGED = Billing.CHARGED  # a member of an enumeration is looked up by a function: every window asks for this one

# A budget that is only held by what runs is asked about again so soon; so is a limit of what runs at once.
HELD_RETRY_MS = 2000
CONCURRENCY_RETRY_MS = 1000


class Limits(Value, frozen=True):
    """None = no such limit."""

    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None

    def __bool__(self) -> bool:
        return self.rpm is not None or self.tpm is not None or self.concurrency is not None


@dataclass(slots=True)
class Ended:
    """The sums of requests that are closed, as the owners of limits count them."""

    hold: int = 0  # money and tokens, as they were taken
    tokens_held: int = 0
    kept: int = 0  # of the hold, where the cost is unknown
    tokens: int = 0
    charged: int = 0  # known costs: what counts where charges do, and where true costs do
    true_cost: int = 0
    requests: int = 0

    def add(self, hold: int, tokens_held: int, kept: int, tokens: int, reading: Reading) -> None:
        """One more. `reading`: for its cost."""
        self.requests += 1
        self.hold += hold
        self.tokens_held += tokens_held
        self.kept += kept
        self.tokens += tokens
        if (costs := counted_both(reading)) is not None:
            charged, true_cost = costs
            self.charged += charged
            self.true_cost += true_cost


@dataclass(slots=True)
class Window:
    """What counts against a budget from one edge to the next.

    `settled`: known costs. `kept`: what unknown costs keep set aside. `held`: what running
    requests may cost. `billing`: which cost counts, as it was when the window began.
    """

    span: Span
    billing: Billing
    settled: int = 0
    kept: int = 0
    held: int = 0

    @property
    def spent(self) -> int:
        return self.settled + self.kept

    def end(self, ended: Ended) -> None:
        """Requests that were held for are closed."""
        held = self.held - ended.hold
        self.held = held if held > 0 else 0  # as in `Standing.end`
        if ended.kept:
            self.kept = min(SUM_MAX, self.kept + ended.kept)
        cost = ended.charged if self.billing is _CHARGED else ended.true_cost
        if cost:
            self.settled = min(SUM_MAX, self.settled + cost)

    def resolve(self, kept: int, true_cost: int, charged: int) -> None:
        """A person has said what an unknown cost was: nothing is kept for it any more. Costs are differences."""
        self.kept = max(0, self.kept - kept)
        more = charged if self.billing is _CHARGED else true_cost
        self.settled = min(SUM_MAX, max(0, self.settled + more))


@dataclass(slots=True)
class BudgetStanding:
    """A budget and its windows, as far as they are concerned now."""

    budget: Budget
    windows: list[Window]

    def window(self, at_ms: int) -> Window | None:
        return next((one for one in self.windows if one.span.holds(at_ms)), None)


class Violation(Value, frozen=True):
    """A limit that does not allow a request. `retry_after_ms` None: waiting a little does not help."""

    reason: RefusalReason
    hit: LimitHit
    retry_after_ms: int | None


@dataclass(slots=True)
class Standing:
    """One owner. `take` and `end` count whether or not it has limits: `Binding` asks only those that have."""

    owner_id: str
    scope: Scope
    name: str
    limits: Limits = field(default_factory=Limits)
    running: int = 0
    running_tokens: int = 0
    rate: Rate = field(default_factory=Rate)
    budgets: list[BudgetStanding] = field(default_factory=list)

    def too_many(self, now_ms: int, tokens: int) -> list[Violation]:
        """The limits but budgets that are in the way: some, where `Binding.has_room` says no."""
        self.rate.advance(now_ms)
        rpm, tpm, concurrency = self.limits.rpm, self.limits.tpm, self.limits.concurrency
        found: list[Violation] = []
        if rpm is not None and (excess := self.rate.requests + 1 - rpm) > 0:
            wait = self.rate.wait_ms(now_ms, excess)
            found.append(Violation(RefusalReason.REQUESTS_PER_MINUTE, self._hit(rpm), wait))
        if tpm is not None and (excess := self.rate.tokens + self.running_tokens + min(tokens, tpm) - tpm) > 0:
            wait = max(self.rate.wait_ms(now_ms, excess, tokens=True), CONCURRENCY_RETRY_MS)
            found.append(Violation(RefusalReason.TOKENS_PER_MINUTE, self._hit(tpm), wait))
        if concurrency is not None and self.running >= concurrency:
            found.append(Violation(RefusalReason.CONCURRENCY, self._hit(concurrency), CONCURRENCY_RETRY_MS))
        return found

    def violations(self, at_ms: int, now_ms: int, hold: int, tokens: int) -> Iterator[Violation]:
        """What stands in the way of a request made at `at_ms` that may cost so much and have so many tokens."""
        for standing in self.budgets:
            if violation := self._overrun(standing, at_ms, hold):
                yield violation
        if self.limits:
            yield from self.too_many(now_ms, tokens)

    def take(self, now_ms: int, tokens: int) -> None:
        """Counts a request that is admitted, against the limits but budgets."""
        self.running += 1
        self.running_tokens += tokens
        self.rate.add(now_ms, 1, 0)

    def end(self, now_ms: int, ended: Ended) -> None:
        """Counts requests that are closed, against the limits but budgets."""
        # Not below nothing: should a count ever be off, that must not cost a settlement; `irg verify` tells.
        running, tokens = self.running - ended.requests, self.running_tokens - ended.tokens_held
        self.running = running if running > 0 else 0
        self.running_tokens = tokens if tokens > 0 else 0
        self.rate.advance(now_ms)
        self.rate.add(now_ms, 0, ended.tokens)

    def requests_left(self) -> int:
        """What the limit of requests per minute leaves."""
        left = (self.limits.rpm or 0) - self.rate.requests
        return left if left > 0 else 0

    def tokens_left(self) -> int:
        """The same of tokens."""
        left = (self.limits.tpm or 0) - self.rate.tokens - self.running_tokens
        return left if left > 0 else 0

    def requests_allowance(self, now_ms: int) -> Allowance:
        return Allowance(self.limits.rpm or 0, self.requests_left(), self.rate.empty_in_ms(now_ms))

    def tokens_allowance(self, now_ms: int) -> Allowance:
        # What runs counts for a minute from its end on, which is now at the earliest.
        reset_ms = MINUTE_MS if self.running_tokens else self.rate.empty_in_ms(now_ms, tokens=True)
        return Allowance(self.limits.tpm or 0, self.tokens_left(), reset_ms)

    # --- what is in the way ----------------------------------------------------------------

    def _overrun(self, standing: BudgetStanding, at_ms: int, hold: int) -> Violation | None:
        window, amount = standing.window(at_ms), standing.budget.amount_picodollars
        if window is None or window.spent + window.held + hold <= amount:
            return None
        spent = window.spent + hold > amount
        ends = window.span.ends_at_ms
        hit = LimitHit(
            self.scope,
            self.name,
            period=standing.budget.period.value,
            limit_picodollars=amount,
            spent_picodollars=window.spent,
            held_picodollars=window.held,
            hold_picodollars=hold,
            resets_at=from_ms(ends) if ends != ALWAYS_TO_MS else None,
        )
        if spent:
            return Violation(RefusalReason.BUDGET_SPENT, hit, None)
        return Violation(RefusalReason.BUDGET_HELD, hit, HELD_RETRY_MS)

    def _hit(self, limit: int) -> LimitHit:
        return LimitHit(self.scope, self.name, limit=limit)
