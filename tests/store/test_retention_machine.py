"""Letting go of old rows, at any time in any history, broken off anywhere: no sum ever changes, and it always adds up.

A failure prints how to get it again. `--hypothesis-profile=long --timeout=0` runs for an hour, and makes it small.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule
from sqlalchemy import Connection

from app.accounts.corrections import Corrections, resolution
from app.accounts.errors import CannotResolve, RequestNotFound
from app.core.budgets import BudgetPeriod, Span, span_of
from app.core.clock import to_ms
from app.core.holds import Billing
from app.core.ids import id_time
from app.core.money import charged_from, parse_cost
from app.core.records import State
from app.core.views import GroupBy
from app.store.past import window_sums
from tests.store.entries import crashed_copy, rows
from tests.store.letting import BrokenOff, OldLedger, retention
from tests.store.limits_endings import ENDINGS, lost

T = TypeVar("T")

ZONES = ["UTC", "America/New_York", "Australia/Lord_Howe"]
MOVES = st.sampled_from([1, 3_600, 86_400, 8 * 86_400, 33 * 86_400, 33 * 86_400, -86_400, -40 * 86_400])
BUDGETS = st.sampled_from([(), ("9/total",), ("9/total", "5/month"), ("3/day", "4/week")])
ENDS = st.sampled_from([*ENDINGS])
SAID = st.sampled_from(["0", "0.0123"])


@dataclass
class Booked:
    """What the model knows of a request; costs as they are by the last word on it."""

    state: State = State.OPEN
    true_cost: int | None = None
    charged: int | None = None


class RetentionMachine(RuleBasedStateMachine):
    requests = Bundle("requests")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.directory = Path(tempfile.mkdtemp(prefix="irg-retention-"))
        self.crashes = 0
        self.booked: dict[str, Booked] = {}
        self.ledger = OldLedger(self.directory / "0" / "gateway.db", "2026-10-31T22:00")

    def run(self, what: Awaitable[T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(what, 30))

    def teardown(self) -> None:
        self.run(self.ledger.close())
        self.run(self.loop.shutdown_default_executor())
        self.loop.close()
        shutil.rmtree(self.directory)

    @initialize(target=requests, zone=st.sampled_from(ZONES), budgets=BUDGETS, endings=st.lists(ENDS))
    def begin(self, zone: str, budgets: tuple[str, ...], endings: list[str]) -> Any:
        self.run(self.ledger.open(zone=zone))
        self.run(self.ledger.begin(*budgets))
        return multiple(*(self.book(0, ending) for ending in endings))

    # --- a history ----------------------------------------------------------------------------

    @rule(target=requests, who=st.integers(0, 1), ending=ENDS | st.none())
    def book(self, who: int, ending: str | None) -> str:
        """A request, perhaps left open."""
        holder = (self.ledger.alice, self.ledger.bob)[who]
        request_id = self.run(self.ledger.admit(holder, "0.02"))
        self.ledger.clock.move(seconds=1)
        self.booked[request_id] = Booked()
        if ending is not None:
            self.close(request_id, ending)
        return request_id

    @rule(request=requests, ending=ENDS)
    def close(self, request: str, ending: str) -> None:
        """Also when it was closed, or let go of, before: that changes nothing."""
        settlement = ENDINGS[ending](request)
        self.run(self.ledger.store.settle(settlement, 5))
        booked = self.booked[request]
        if booked.state is State.OPEN:
            reading = settlement.reading
            booked.state = settlement.state
            booked.true_cost = reading.true_cost.picodollars if reading.true_cost else None
            booked.charged = reading.charged.picodollars if reading.charged else None

    @rule(request=requests, cost=SAID)
    def resolve(self, request: str, cost: str) -> None:
        """What is unknown, or was told by a person before; but not once it is sealed."""
        said = resolution(cost, None, by="ann", reason="told", again=True)
        corrections = Corrections(self.ledger.store, zone=self.ledger.zone, clock=self.ledger.clock)
        try:
            self.run(corrections.resolve([request], said))
        except RequestNotFound:
            assert request not in self.run(rows(self.ledger.store))
        except CannotResolve as error:
            refused = error.message
            assert self.booked[request].state is not State.UNKNOWN or "sealed" in refused
        else:
            booked = self.booked[request]
            assert booked.state is State.UNKNOWN
            booked.true_cost, booked.charged = parse_cost(cost).picodollars, charged_from(parse_cost(cost)).picodollars

    @rule(seconds=MOVES)
    def time_passes(self, seconds: int) -> None:
        """Or a clock is set back."""
        self.ledger.clock.move(seconds=seconds)

    @rule(who=st.sampled_from(["alice", "bob"]), budgets=BUDGETS)
    def set_budgets(self, who: str, budgets: tuple[str, ...]) -> None:
        """What begins now takes into account what was."""
        self.run(self.ledger.set_budgets(who, *budgets))

    @rule(zone=st.sampled_from(ZONES))
    def another_calendar(self, zone: str) -> None:
        self.run(self.ledger.close())
        self.reopen(zone=zone)

    def reopen(self, **settings: Any) -> None:
        self.run(self.ledger.open(**settings))
        for request, booked in self.booked.items():
            if booked.state is State.OPEN:
                booked.state = lost(request).state

    # --- letting go ---------------------------------------------------------------------------

    @rule(days=st.integers(1, 40), steps=st.none() | st.integers(0, 30), crash=st.booleans())
    def let_go(self, days: int, steps: int | None, crash: bool) -> None:
        """All that is due, or until it is broken off; then perhaps the process is killed."""
        before, there = self.everything(), self.run(rows(self.ledger.store))
        try:
            self.run(retention(self.ledger, days, steps).run_once())
        except BrokenOff:
            assert steps is not None
        left = self.run(rows(self.ledger.store))
        for request in there.keys() - left.keys():
            assert self.booked[request].state is not State.OPEN
            assert (self.ledger.clock.at - id_time(request)).days >= days
        assert all(left[request] == there[request] for request in left)
        assert self.everything() == before
        if crash:
            self.crashes += 1
            copy = crashed_copy(self.ledger.path, self.directory / str(self.crashes))
            self.run(self.ledger.close())
            self.reopen(path=copy)

    def everything(self) -> list[Any]:
        """Every sum by everything, and what counts in windows of all kinds, also in those that never were."""
        told: list[Any] = [self.run(self.ledger.usage(by)) for by in GroupBy]
        moments = {to_ms(id_time(request)) for request in [*self.booked][:3]} | {to_ms(self.ledger.clock.at)}
        spans = {span_of(period, at, ZoneInfo(zone)) for period in BudgetPeriod for at in moments for zone in ZONES}
        for billing in Billing:
            told += self.run(self.ledger.store.read(_counted, spans, billing))
        return told

    # --- what always holds --------------------------------------------------------------------

    @invariant()
    def it_adds_up(self) -> None:
        """The gateway's own proof, and the model's sums."""
        if not self.booked:
            return
        self.run(self.ledger.verify())
        total, booked = self.run(self.ledger.usage()).total, self.booked.values()
        assert (total.requests, total.open, total.free) == (
            len(booked),
            *(sum(one.state is state for one in booked) for state in (State.OPEN, State.FREE)),
        )
        assert total.true_cost_picodollars == sum(one.true_cost or 0 for one in booked)
        assert total.charged_picodollars == sum(one.charged or 0 for one in booked)
        missing = [one for one in booked if one.state in (State.SETTLED, State.UNKNOWN)]
        assert total.true_cost_unknown == sum(one.true_cost is None for one in missing)
        assert total.charged_unknown == sum(one.charged is None for one in missing)


def _counted(connection: Connection, spans: set[Span], billing: Billing) -> list[dict[str, tuple[int, int, int]]]:
    """What counts in each span, by owner, as far as it is anything."""
    found = [window_sums(connection, span, billing) for span in sorted(spans, key=repr)]
    return [{owner: sums.bounded() for owner, sums in one.items() if any(sums.bounded())} for one in found]


TestRetentionMachine = RetentionMachine.TestCase
TestRetentionMachine.settings = settings(
    max_examples=settings().max_examples // 10, stateful_step_count=20, deadline=None
)
