"""Budgets, windows, rates and counts of what runs against a plain model: verdicts exactly equal, at every step.

Any mix of limits on keys, teams and the gateway; any order of requests, ends, changes, moves of the clock over the
edges of days, weeks and months where daylight saving begins or ends, other settings, outages and crashes.

A failure prints how to get it again. `--hypothesis-profile=long --timeout=0` runs for an hour, and makes it small.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, precondition, rule

from app.accounts.corrections import Corrections, resolution
from app.core.budgets import Budget, BudgetPeriod, span_of
from app.core.clock import from_ms, to_ms
from app.core.holds import Billing, Counting
from app.core.limits import GATEWAY, Limits
from app.core.owners import KeyChange, LimitsChange
from app.core.records import Admitted, Scope, State
from tests.scratch import SCRATCH
from tests.store.entries import Elsewhere, Holder, crashed_copy
from tests.store.limited import LimitedLedger, utc
from tests.store.limits_books import Books
from tests.store.limits_endings import ENDINGS, lost
from tests.store.limits_found import expected, found
from tests.store.limits_model import Owner
from tests.store.limits_world import (
    ASKING,
    BUDGETS,
    CALENDARS,
    CENT,
    COSTS,
    ENDS,
    KEYS,
    LIMITS,
    MOVES,
    PASSING,
    STARTS,
    ZONE_NAMES,
    Asking,
    Budgets,
)

T = TypeVar("T")


class LimitsMachine(RuleBasedStateMachine):
    owners = Bundle("owners")  # keys, teams and the gateway
    requests = Bundle("requests")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.directory = Path(tempfile.mkdtemp(prefix="irg-limits-", dir=SCRATCH))
        self.crashes = self.outages = 0
        self.holders: dict[str, Holder] = {}
        self.ledger = LimitedLedger(self.directory / "0" / "gateway.db", STARTS[0])
        self.run(self.ledger.open(zone="Europe/Berlin"))
        self.books = Books(self.ledger.zone, self.ledger.counting)

    def run(self, what: Awaitable[T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(what, 30))

    def teardown(self) -> None:
        try:
            self.run(self.ledger.verify())
        finally:
            self.run(self.ledger.close())
            self.run(self.loop.shutdown_default_executor())
            self.loop.close()
            shutil.rmtree(self.directory)

    # --- owners and what is set for them ------------------------------------------------------

    @initialize(
        target=owners,
        start=st.sampled_from(STARTS),
        teams=st.tuples(BUDGETS, BUDGETS, BUDGETS),
        keys=st.lists(st.tuples(BUDGETS, LIMITS), min_size=3, max_size=3),
    )
    def begin(self, start: str, teams: Sequence[Budgets], keys: Sequence[tuple[Budgets, Limits]]) -> Any:
        """Two teams, two keys in the first of them, and one in none."""
        self.ledger.clock.at = utc(start)
        self.set_budgets(GATEWAY, teams[0])
        made = [self.team(budgets) for budgets in teams[1:]]
        for number, (budgets, limits) in enumerate(keys):
            self.key(f"key-{number}", made[0] if number < 2 else None, budgets, limits)
        return multiple(GATEWAY, *made, *self.holders)

    def team(self, budgets: Budgets) -> str:
        name = f"team-{len(self.books.owners)}"
        team_id = self.run(self.ledger.team(name))
        self.books.owners[team_id] = Owner(team_id, Scope.TEAM, name)
        self.set_budgets(team_id, budgets)
        return team_id

    def key(self, name: str, team: str | None, budgets: Budgets, limits: Limits) -> None:
        texts = [str(Budget(amount, period)) for period, amount in budgets.items()]
        holder = self.run(self.ledger.holder(name, *texts, limits=limits, team=team))
        self.holders[holder.key.id] = holder
        self.books.owners[holder.key.id] = Owner(holder.key.id, Scope.KEY, name, team)
        self.books.set_budgets(holder.key.id, budgets, self.ledger.clock.at)
        self.books.set_limits(holder.key.id, limits, self.ledger.clock.at)

    @rule(owner=owners, budgets=BUDGETS)
    def set_budgets(self, owner: str, budgets: Budgets) -> None:
        """Set, raised, lowered, taken away, set again."""
        wanted = tuple(Budget(amount, period) for period, amount in budgets.items())
        if owner == GATEWAY:
            self.run(self.ledger.keyring.set_gateway_budgets(wanted))
        else:
            self.change(owner, LimitsChange(budgets=wanted))
        self.books.set_budgets(owner, budgets, self.ledger.clock.at)

    @rule(owner=owners, limits=LIMITS)
    def set_limits(self, owner: str, limits: Limits) -> None:
        if owner == GATEWAY:  # it has budgets alone
            return
        self.change(owner, LimitsChange(rpm=limits.rpm, tpm=limits.tpm, concurrency=limits.concurrency))
        self.books.set_limits(owner, limits, self.ledger.clock.at)

    @rule(owner=owners)
    def set_anew(self, owner: str) -> None:
        """What is taken away and set again is not forgotten meanwhile."""
        limits, budgets = self.books.owners[owner].limits, self.books.owners[owner].budgets
        self.set_limits(owner, Limits())
        self.set_budgets(owner, {})
        self.set_limits(owner, limits or Limits(rpm=5, tpm=100))
        self.set_budgets(owner, budgets or {BudgetPeriod.WEEK: 100 * CENT})

    def change(self, owner: str, change: LimitsChange) -> None:
        if owner.startswith("key_"):
            self.run(self.ledger.keyring.change(owner, KeyChange(limits=change)))
        else:
            self.run(self.ledger.keyring.change_team(owner, limits=change))

    @rule(number=KEYS, to=owners)
    def move_key(self, number: int, to: str) -> None:
        """Into another team, or out of all."""
        key, team = list(self.holders)[number], to if to.startswith("team_") else None
        self.run(self.ledger.keyring.change(key, KeyChange(team=team)))
        self.books.owners[key].team_id = team

    @rule(number=KEYS, active=st.sampled_from([True, True, True, False]))
    def enable_or_disable(self, number: int, active: bool) -> None:
        key = list(self.holders)[number]
        self.run(self.ledger.keyring.enable(key) if active else self.ledger.keyring.disable(key))
        self.books.owners[key].active = active

    # --- requests ---------------------------------------------------------------------------

    @rule(target=requests, asking=st.lists(ASKING, min_size=1, max_size=5))
    def admit(self, asking: Sequence[Asking]) -> Any:
        """Some at once: they are decided in the order in which they came."""
        return multiple(*self.admitted(asking))

    @rule(target=requests, story=st.lists(st.tuples(ASKING, ENDS, PASSING), min_size=1, max_size=10))
    def serve(self, story: Sequence[tuple[Asking, str | None, int]]) -> Any:
        """One after the other, as time goes by; most have ended before the next one comes."""
        running = []
        for asking, ending, passing in story:
            for request_id in self.admitted([asking]):
                if ending is None:
                    running.append(request_id)
                else:
                    self.settle([request_id], ending)
            self.ledger.clock.move(milliseconds=passing)
            self.everything_stands_where_the_model_has_it()
        return multiple(*running)

    def admitted(self, asking: Sequence[Asking]) -> list[str]:
        now, holders = self.ledger.clock.at, list(self.holders.values())
        intents = [
            holders[number].intent(now - timedelta(milliseconds=age), asked=asked, model=model)
            for number, asked, age, model in asking
        ]

        async def all_of_them() -> list[Any]:
            return await asyncio.gather(*(self.ledger.store.admit(intent) for intent in intents))

        verdicts = self.run(all_of_them())
        for intent, verdict in zip(intents, verdicts, strict=True):
            assert verdict in self.books.judge(intent, now)
        return [verdict.request_id for verdict in verdicts if isinstance(verdict, Admitted)]

    @rule(some=st.lists(requests, min_size=1, max_size=5, unique=True), ending=st.sampled_from(list(ENDINGS)))
    def settle(self, some: list[str], ending: str) -> None:
        """Also twice at once, also what is closed already."""
        settlements = [ENDINGS[ending](request_id) for request_id in some for _ in range(2)]

        async def all_of_them() -> None:
            await asyncio.gather(*(self.ledger.store.settle(settlement, 5) for settlement in settlements))

        self.run(all_of_them())
        for settlement in settlements:
            self.books.close(settlement, self.ledger.clock.at)

    @precondition(lambda self: self.books.resolvable(self.ledger.clock.at))
    @rule(which=st.sets(st.integers(0, 9), min_size=1, max_size=4), cost=COSTS)
    def resolve(self, which: set[int], cost: str) -> None:
        """A person says what unknown costs were, or says it again; also of requests of windows that are over."""
        unknown = self.books.resolvable(self.ledger.clock.at)
        some = sorted({unknown[-1 - number % len(unknown)] for number in which})
        said = resolution(cost, None, by="ann", reason="as told", again=True)
        corrections = Corrections(self.ledger.store, zone=self.ledger.zone, clock=self.ledger.clock)
        self.run(corrections.resolve(some, said))
        self.books.resolve(some, said)

    # --- the world --------------------------------------------------------------------------

    @rule(by=MOVES, back=st.sampled_from([False, False, False, True]))
    def move_clock(self, by: int, back: bool) -> None:
        self.ledger.clock.move(milliseconds=-by if back else by)

    @rule(period=CALENDARS, beside=st.sampled_from([-1, 0, 0]), back=st.sampled_from([False, False, True]))
    def move_clock_to_an_edge(self, period: BudgetPeriod, beside: int, back: bool) -> None:
        """Its very millisecond, or the last one before."""
        span = span_of(period, to_ms(self.ledger.clock.at), self.ledger.zone)
        edge_ms = span.starts_at_ms if back else span.ends_at_ms
        self.ledger.clock.at = from_ms(edge_ms + beside)

    @rule(zone=ZONE_NAMES, billing=st.sampled_from(Billing), unknown_keeps=st.booleans(), crash=st.booleans())
    def open_again(self, zone: str, billing: Billing, unknown_keeps: bool, crash: bool) -> None:
        """With other settings; what was open then is lost."""
        path = self.crashed() if crash else self.ledger.path
        self.run(self.ledger.close())
        self.opened(path, zone, Counting(billing, unknown_keeps))

    @precondition(lambda self: self.outages < 1 and self.books.entries)
    @rule(some=requests, ending=st.sampled_from(list(ENDINGS)), crash=st.booleans())
    def outage(self, some: str, ending: str, crash: bool) -> None:
        """The database is locked: a settlement goes to the spool, and counts once when it is back, or after a crash."""
        self.outages += 1  # each costs a second of waiting
        settlement = ENDINGS[ending](some)
        elsewhere = Elsewhere(self.ledger.path)
        try:
            self.run(self.ledger.store.settle(settlement, 0))
            path = self.crashed() if crash else self.ledger.path
        finally:
            elsewhere.let_go()
        self.run(self.healthy_again())
        self.books.close(settlement, self.ledger.clock.at)
        if crash:
            self.run(self.ledger.close())
            self.opened(path, self.ledger.zone.key, self.ledger.counting)

    def crashed(self) -> Path:
        self.crashes += 1
        return crashed_copy(self.ledger.path, self.directory / str(self.crashes))

    def opened(self, path: Path, zone: str, counting: Counting) -> None:
        self.run(self.ledger.open(zone, counting, path))
        self.books.zone, self.books.counting = ZoneInfo(zone), counting
        for entry in list(self.books.entries.values()):
            if entry.state is State.OPEN:
                self.books.close(lost(entry.id), self.ledger.clock.at)

    async def healthy_again(self) -> None:
        while not self.ledger.store.healthy:
            await asyncio.sleep(0.01)

    # --- what always holds ------------------------------------------------------------------

    @invariant()
    def everything_stands_where_the_model_has_it(self) -> None:
        there = self.run(self.ledger.store.read(found, list(self.books.owners), self.ledger.clock.at))
        assert there == expected(self.books, self.ledger.clock.at)


TestLimitsMachine = LimitsMachine.TestCase
_LONG = settings.get_current_profile_name() == "long"
TestLimitsMachine.settings = settings(
    max_examples=settings().max_examples // (2 if _LONG else 5),
    stateful_step_count=100 if _LONG else 30,
    deadline=None,
    # To make a failure small takes longer than a test may.
    phases=tuple(Phase) if _LONG else (Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow],
)
