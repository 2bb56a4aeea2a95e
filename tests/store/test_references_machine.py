"""Two keys and two teams in any order of requests, moves, rotations, restarts and crashes: nobody gets at another's.

The model is of ids and sets, not of rows: who was told an id, by which team, and when its settlement was written.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from app.accounts.keyring import Keyring
from app.core.owners import KeyChange
from app.core.records import Admitted, Intent, ReferenceRules, RefusalReason, Refused
from app.store import made_lately
from app.store.engine import open_store
from app.store.port import Store
from tests.scratch import SCRATCH
from tests.store.entries import Holder, a_holder, crashed_copy, free, settled

T = TypeVar("T")

NAMES, TEAMS = ("ann", "ben"), (None, "red", "blue")
ALL_IDS = [f"msg_{number}" for number in range(4)]
ALL_RULES = [ReferenceRules(of_team, unknown) for of_team in (False, True) for unknown in (False, True)]
IDS = st.sampled_from(ALL_IDS)
RULES = st.sampled_from(ALL_RULES)


class ReferencesMachine(RuleBasedStateMachine):
    running = Bundle("running")

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(made_lately, "WAITING_MAX", 3)  # so that some have their place and some wait for it
        self.loop = asyncio.new_event_loop()
        self.directory = Path(tempfile.mkdtemp(prefix="irg-references-", dir=SCRATCH))
        self.path, self.crashes = self.directory / "0" / "gateway.db", 0
        self.store: Store = self.run(open_store(self.path))
        self.holders: dict[str, Holder] = {}
        self.teams: dict[str, str | None] = dict.fromkeys(NAMES)
        self.told: dict[str, set[tuple[str, str | None]]] = {}  # id → (who was told it, the team at that time)

    def run(self, what: Awaitable[T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(what, 30))

    def teardown(self) -> None:
        self.patch.undo()
        self.run(self.store.aclose())
        self.run(self.loop.shutdown_default_executor())
        self.loop.close()
        shutil.rmtree(self.directory)

    @initialize(ann=st.sampled_from(TEAMS), ben=st.sampled_from(TEAMS))
    def begin(self, ann: str | None, ben: str | None) -> None:
        for name in filter(None, TEAMS):
            self.run(Keyring(self.store).create_team(name))
        self.holders = {name: self.run(a_holder(self.store, name)) for name in NAMES}
        for name, team, one in (("ann", ann, "msg_0"), ("ben", ben, "msg_1")):
            self.move(name, team)
            self.make(name, [one])

    # --- requests ---------------------------------------------------------------------------

    @rule(target=running, name=st.sampled_from(NAMES), references=st.lists(IDS, max_size=2, unique=True), rules=RULES)
    def ask(self, name: str, references: list[str], rules: ReferenceRules) -> tuple[Intent, str, str | None] | None:
        """Admitted exactly when nothing that is referred to is another's; refusals of all kinds are alike."""
        intent = self.holders[name].intent(references=tuple(references), rules=rules)
        verdict = self.run(self.store.admit(intent))
        refused = [one for one in references if not self.may(name, one, rules)]
        if refused:
            assert verdict == Refused(RefusalReason.RESPONSE_NOT_FOUND, reference=refused[0])
            return None
        assert isinstance(verdict, Admitted)
        return intent, name, self.teams[name]

    def may(self, name: str, one: str, rules: ReferenceRules) -> bool:
        told = self.told.get(one, set())
        makers, teams = {maker for maker, _ in told}, {team for _, team in told}
        if len(makers) != 1:
            return not told and rules.unknown
        return name in makers or (rules.of_team and None not in teams and teams == {self.teams[name]})

    @rule(
        one=consumes(running), made=st.lists(IDS, max_size=2, unique=True), how=st.sampled_from(["ok", "400", "free"])
    )
    def answer(self, one: tuple[Intent, str, str | None] | None, made: list[str], how: str) -> None:
        """Its end: what it made is its key's, and its team's of then, unless it is an error."""
        if one is None:
            return
        intent, name, team = one
        reading = {"response_id": made[0] if made else None, "made": tuple(made[1:])}
        told = {"ok": settled(intent.request_id, reading=reading), "free": free(intent.request_id)}
        told["400"] = settled(intent.request_id, reading=reading, status=400)
        open_still = self.is_open(intent)
        self.run(self.store.settle(told[how], 5))
        if how == "ok" and open_still:
            for which in made:
                self.told.setdefault(which, set()).add((name, team))

    def is_open(self, intent: Intent) -> bool:
        from tests.store.entries import row

        return self.run(row(self.store, intent.request_id)).state == "open"

    @rule(name=st.sampled_from(NAMES), made=st.lists(IDS, min_size=1, max_size=2, unique=True))
    def make(self, name: str, made: list[str]) -> None:
        """A request from its beginning to its end."""
        self.answer(self.ask(name, [], ALL_RULES[0]), made, "ok")

    # --- the world --------------------------------------------------------------------------

    @rule(name=st.sampled_from(NAMES), team=st.sampled_from(TEAMS))
    def move(self, name: str, team: str | None) -> None:
        self.run(Keyring(self.store).change(name, KeyChange(team=team)))
        self.teams[name] = team

    @rule(name=st.sampled_from(NAMES))
    def rotate(self, name: str) -> None:
        _, secret = self.run(Keyring(self.store).rotate(name))
        identified = self.run(Keyring(self.store).identify(f"Bearer {secret}".encode()))
        assert identified is not None
        self.holders[name] = Holder(self.holders[name].key, identified.secret_hash, b"")

    @rule(crash=st.booleans())
    def restart(self, crash: bool) -> None:
        if crash:
            self.crashes += 1
            copy = crashed_copy(self.path, self.directory / str(self.crashes))
        self.run(self.store.aclose())
        self.path = copy if crash else self.path
        self.store = self.run(open_store(self.path))

    @invariant()
    def everything_is_as_the_model_says(self) -> None:
        """Each id, asked for by each key, by all rules: together in few transactions."""
        asked = [(name, one, rules) for name in self.holders for one in ALL_IDS for rules in ALL_RULES]
        intents = [self.holders[name].intent(references=(one,), rules=rules) for name, one, rules in asked]

        async def all_of_them() -> list[Admitted | Refused]:
            return await asyncio.gather(*map(self.store.admit, intents))

        for (name, one, rules), verdict in zip(asked, self.run(all_of_them()), strict=True):
            assert isinstance(verdict, Admitted) == self.may(name, one, rules), (name, one, rules)


TestReferencesMachine = ReferencesMachine.TestCase
TestReferencesMachine.settings = settings(max_examples=10, stateful_step_count=12, deadline=None)


class LongReferencesMachine(ReferencesMachine):
    """The same for minutes."""


TestManyReferences = LongReferencesMachine.TestCase
TestManyReferences.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestManyReferences.pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]  # type: ignore[attr-defined]
