"""The ledger against a model: any order of keys, requests, settlements, outages and crashes.

What must hold at every step: one row per admitted intent, closed once and never changed
again, totals equal to the rows, verification clean.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from app.accounts.errors import Conflict, KeyRevoked
from app.accounts.keyring import Identified, Keyring
from app.accounts.reports import Reports
from app.core.ids import id_time, new_id
from app.core.money import parse_cost
from app.core.owners import NewKey
from app.core.records import Admitted, Intent, RefusalReason, Refused, State
from app.core.windows import Period
from app.store.engine import open_store
from app.store.port import LedgerUnavailable, Store
from tests.scratch import SCRATCH
from tests.store.entries import Elsewhere, crashed_copy, free, rows, settled, unknown

T = TypeVar("T")

ALWAYS = Period(datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
COSTS = ["0", "0.0000123", "0.0001", "0.00010001", "1e-12", "4.9e-13", "9999.999999999999"]


@dataclass
class ModelKey:
    id: str
    secrets: list[str]
    live: int = 1  # so many of the newest secrets work
    state: str = "active"
    responses: set[str] = field(default_factory=set)


class LedgerMachine(RuleBasedStateMachine):
    keys = Bundle("keys")
    requests = Bundle("requests")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.directory = Path(tempfile.mkdtemp(prefix="irg-machine-", dir=SCRATCH))
        self.path = self.directory / "0" / "gateway.db"
        self.crashes = self.outages = 0
        self.store: Store = self.run(open_store(self.path))
        self.known: dict[str, ModelKey] = {}
        self.expected: dict[str, tuple[State, int | None]] = {}

    def run(self, what: Awaitable[T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(what, 30))

    def teardown(self) -> None:
        self.run(self.store.aclose())
        self.run(self.loop.shutdown_default_executor())
        self.loop.close()
        shutil.rmtree(self.directory)

    # --- keys -------------------------------------------------------------------------------

    @initialize(target=keys)
    def first_key(self) -> str:
        return self.create("key-0")

    @rule(target=keys)
    def another_key(self) -> str:
        return self.create(f"key-{len(self.known)}")

    def create(self, name: str) -> str:
        record, secret = self.run(Keyring(self.store).create(NewKey(name)))
        self.known[name] = ModelKey(record.id, [secret])
        return name

    @rule(name=keys)
    def same_name_again(self, name: str) -> None:
        try:
            self.run(Keyring(self.store).create(NewKey(name)))
        except Conflict:
            return
        raise AssertionError("a name was given twice")

    @rule(name=keys, grace=st.booleans())
    def rotate(self, name: str, grace: bool) -> None:
        key = self.known[name]
        try:
            _, secret = self.run(Keyring(self.store).rotate(name, timedelta(hours=1 if grace else 0)))
        except KeyRevoked:
            assert key.state == "revoked"
            return
        assert key.state != "revoked"
        key.secrets.append(secret)
        key.live = key.live + 1 if grace else 1

    @rule(name=keys, to=st.sampled_from(["active", "disabled", "revoked"]))
    def set_state(self, name: str, to: str) -> None:
        keyring = Keyring(self.store)
        verb = {"active": keyring.enable, "disabled": keyring.disable, "revoked": keyring.revoke}[to]
        try:
            self.run(verb(name))
        except KeyRevoked:
            assert self.known[name].state == "revoked"
            return
        assert self.known[name].state != "revoked" or to == "revoked"
        self.known[name].state = to

    # --- requests ---------------------------------------------------------------------------

    @rule(target=requests, name=keys, secret=st.integers(0, 5), of=keys, refer=st.booleans())
    def admit(self, name: str, secret: int, of: str, refer: bool) -> Any:
        key = self.known[name]
        number = secret % len(key.secrets)
        who = self.run(Keyring(self.store).identify(f"Bearer {key.secrets[number]}".encode()))
        if who is None:  # rotated away without grace
            assert number < len(key.secrets) - key.live
            return multiple()
        assert who.key_id == key.id
        references = tuple(sorted(self.known[of].responses)[:1]) if refer else ()
        intent = self.intent(who, references)
        verdict = self.run(self.store.admit(intent))
        if key.state != "active" or number < len(key.secrets) - key.live:
            assert verdict == Refused(RefusalReason.KEY_REFUSED)
        elif references and references[0] not in key.responses:
            assert verdict == Refused(RefusalReason.RESPONSE_NOT_FOUND, reference=references[0])
        else:
            assert isinstance(verdict, Admitted)
            self.expected[intent.request_id] = (State.OPEN, None)
            return intent.request_id
        return multiple()

    def intent(self, who: Identified, references: tuple[str, ...] = ()) -> Intent:
        request_id = new_id("req")
        return Intent(request_id, who.key_id, who.secret_hash, id_time(request_id), "m", False, references=references)

    @rule(
        requests=st.lists(requests, max_size=4), cost=st.sampled_from(COSTS), how=st.sampled_from(["paid", "free", "?"])
    )
    def settle(self, requests: list[str], cost: str, how: str) -> None:
        """Also twice, also in one batch, also what is closed already."""
        made = {"paid": lambda ref: settled(ref, cost), "free": free, "?": unknown}[how]

        async def all_of_them() -> None:
            await asyncio.gather(*(self.store.settle(made(ref), 5) for ref in requests for _ in range(2)))

        self.run(all_of_them())
        for ref in requests:
            self.close(ref, cost, how)

    def close(self, ref: str, cost: str, how: str) -> None:
        if self.expected[ref][0] is not State.OPEN:
            return
        if how == "paid":
            self.expected[ref] = (State.SETTLED, parse_cost(cost).picodollars)
            owner = next(key for key in self.known.values() if key.id == self.owner_of(ref))
            owner.responses.add(f"resp_{ref}")
        else:
            self.expected[ref] = (State.FREE if how == "free" else State.UNKNOWN, None)

    def owner_of(self, ref: str) -> str:
        return self.run(rows(self.store))[ref].key_id

    # --- the world --------------------------------------------------------------------------

    @rule()
    def restart(self) -> None:
        """An orderly end: what is open then is given up at the next start."""
        self.run(self.store.aclose())
        self.reopen(self.path)

    @rule()
    def crash(self) -> None:
        """The process is gone between two moments; its files are as they were."""
        self.crashes += 1
        copy = crashed_copy(self.path, self.directory / str(self.crashes))
        self.run(self.store.aclose())
        self.reopen(copy)

    @precondition(lambda self: self.outages < 1 and any(state is State.OPEN for state, _ in self.expected.values()))
    @rule(target=requests, some=consumes(requests), cost=st.sampled_from(COSTS), crash=st.booleans(), name=keys)
    def outage(self, some: str, cost: str, crash: bool, name: str) -> Any:
        """The database is locked: nothing is admitted, a settlement goes to the spool; then it is back, or a crash."""
        self.outages += 1  # each costs a second of waiting
        elsewhere = Elsewhere(self.path)
        try:
            who = self.run(Keyring(self.store).identify(f"Bearer {self.known[name].secrets[-1]}".encode()))
            assert who is not None
            try:
                self.run(self.store.admit(self.intent(who)))
            except LedgerUnavailable:
                assert not self.store.healthy
            else:
                raise AssertionError("admitted into a locked database")
            self.run(self.store.settle(settled(some, cost), 0))
            if crash:
                self.crashes += 1
                copy = crashed_copy(self.path, self.directory / str(self.crashes))
        finally:
            elsewhere.let_go()
        self.run(self.healthy_again())
        self.close(some, cost, "paid")
        if crash:
            self.run(self.store.aclose())
            self.reopen(copy)
        return some

    async def healthy_again(self) -> None:
        while not self.store.healthy:
            await asyncio.sleep(0.01)

    def reopen(self, path: Path) -> None:
        self.path = path
        self.store = self.run(open_store(path))
        for ref, (state, _) in self.expected.items():
            if state is State.OPEN:
                self.expected[ref] = (State.UNKNOWN, None)

    # --- what always holds ------------------------------------------------------------------

    @invariant()
    def rows_are_what_the_model_says(self) -> None:
        found = self.run(rows(self.store))
        assert {ref: (row.state, row.true_cost_picodollars) for ref, row in found.items()} == self.expected
        numbers = [row.closed_seq for row in found.values() if row.state is not State.OPEN]
        assert len(set(numbers)) == len(numbers)

    @invariant()
    def totals_are_what_the_rows_say(self) -> None:
        reports = Reports(self.store, zone=ZoneInfo("UTC"))
        total = self.run(reports.usage(ALWAYS)).total
        assert total.requests == len(self.expected)
        for state in State:
            count = sum(1 for found, _ in self.expected.values() if found is state)
            assert getattr(total, state.value) == count
        assert total.true_cost_picodollars == sum(cost or 0 for _, cost in self.expected.values())
        assert total.true_cost_unknown == total.unknown
        verification = self.run(reports.verify())
        assert verification.ok, verification.differences
        assert verification.rows == len(self.expected)


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=settings().max_examples // 10, stateful_step_count=20, deadline=None)
