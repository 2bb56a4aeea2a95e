"""What the writer remembers from one transaction to the next changes nothing: a ledger that forgets everything before
each of them decides and writes the same, whatever persons, heartbeats, failures and other processes do in between.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from app.core import value
from app.core.budgets import Budget, BudgetPeriod
from app.core.holds import Billing, Counting
from app.core.ids import new_id
from app.core.keys import new_secret
from app.core.limits import Limits
from app.core.owners import KeyChange, LimitsChange, NewKey
from app.core.records import Admitted, Intent, KeyState, Refused
from app.store import changes
from app.store.batch import LedgerBatch
from app.store.calendar import Calendar
from app.store.connections import make_file
from app.store.database import Database
from tests.store.limited import FakeClock, holding, utc
from tests.store.limits_endings import ENDINGS
from tests.store.limits_world import ASKING, CENT, ENDS, PASSING, Asking

START = utc("2026-11-30T23:59:30")
UTC = ZoneInfo("UTC")
BUDGETS = (Budget(9 * CENT, BudgetPeriod.DAY), Budget(60 * CENT, BudgetPeriod.TOTAL))
NAMES = ("ann", "ben", "cleo")


class _Undone(Exception):
    """Raised to have a transaction rolled back."""


class Twin:
    """A ledger's database, driven as the writer drives it."""

    def __init__(self, path: Path, clock: FakeClock, *, forgets: bool) -> None:
        self._path, self._forgets = path, forgets
        self._database = Database(path, "process", Calendar(clock, UTC, Counting()))
        self._database.instance_id = "inst_twin"
        self._database.begin()

    def run(self, step: Step, intents: list[Intent], ids: list[str]) -> list[Admitted | Refused]:
        """The verdicts over the intents. `ids`: of requests that may be open."""
        verdicts: list[Admitted | Refused] = []
        with contextlib.suppress(_Undone), self._transaction() as batch:
            if step.ends and ids:
                batch.settle([ENDINGS[ending](ids[-1 - number % len(ids)]) for number, ending in step.ends])
            if step.change is not None:
                batch.save()
                step.change(self._database.connection.sql)
                batch.forget()
            if intents:
                verdicts = batch.admit(intents)
            if step.beat:
                batch.save()
                self._database.beat()
                batch.forget()
            if step.undone:
                raise _Undone
        return verdicts

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[LedgerBatch]:
        if self._forgets:
            self._database.connection.close()  # nothing that is remembered outlives its connection
        with self._database.transaction() as batch:
            yield batch

    def meddle(self, statement: str) -> None:
        """What another process does, against all rules."""
        with contextlib.closing(sqlite3.connect(self._path, isolation_level=None, timeout=5)) as meddler:
            meddler.execute(statement)

    def tables(self) -> dict[str, list[Any]]:
        """Everything but what differs by chance."""
        sql = self._database.connection.raw
        return {
            name: sorted(sql.execute(f"SELECT {columns} FROM {name}").fetchall(), key=repr)
            for name, columns in COMPARED.items()
        }

    def close(self) -> None:
        self._database.close()


COMPARED = dict.fromkeys(
    (
        *("teams", "keys", "key_secrets", "requests", "limits", "minutes", "budgets", "windows", "usage"),
        *("usage_days", "calendar", "refusals", "refusal_counts", "made", "makers"),
    ),
    "*",
) | {"alerts": "at, kind, subject, facts", "made_lately": "entries"}

# --- what may happen -----------------------------------------------------------------------

Change = Callable[[Connection], Any]


@dataclass(frozen=True)
class Step:
    """One transaction, in the order in which the writer goes about it."""

    ends: list[tuple[int, str]] = field(default_factory=list)
    change: Change | None = None
    asks: list[Asking] = field(default_factory=list)
    beat: bool = False
    undone: bool = False
    passing_ms: int = 0
    meddling: str | None = None  # before it


def _changed(name: str, **wanted: Any) -> Change:
    change = KeyChange(**wanted)
    return lambda sql: changes.change_key(sql, name, change, START)


def _in_state(name: str, state: KeyState) -> Change:
    return lambda sql: changes.set_key_state(sql, name, state, START)


def _gateway(*budgets: Budget) -> Change:
    return lambda sql: changes.change_gateway_budgets(sql, budgets, Billing.CHARGED, START)


CHANGES: list[Change] = [
    _changed("ann", limits=LimitsChange(rpm=None, tpm=None, concurrency=None)),
    _changed("ann", limits=LimitsChange(rpm=3, concurrency=9), models=("m",)),
    _changed("ann", team=None, tags=("x",), models=()),
    _changed("ben", team="blue", limits=LimitsChange(budgets=(Budget(5 * CENT, BudgetPeriod.WEEK),), tpm=500)),
    _changed("cleo", limits=LimitsChange(budgets=BUDGETS)),
    *(_in_state("ben", state) for state in (KeyState.DISABLED, KeyState.ACTIVE)),
    _gateway(),
    _gateway(Budget(30 * CENT, BudgetPeriod.MONTH)),
    lambda sql: None,
]
MEDDLING = [
    "UPDATE keys SET state = 'disabled' WHERE name = 'ann'",
    "UPDATE keys SET state = 'active', models = '[\"n\"]'",
    "UPDATE keys SET team_id = NULL, tags = '[\"y\"]', last_used_at = NULL",
    "DELETE FROM budgets WHERE period = 'day'",
    "UPDATE budgets SET amount = amount / 2",
    "DELETE FROM limits",
    "DELETE FROM minutes",
    "UPDATE limits SET rpm = 2, running = 0",
    "UPDATE windows SET settled = settled + 5000000000, held = 0",
    "UPDATE requests SET state = 'free', outcome = 'completed', closed_at = created_at,"
    " closed_seq = (SELECT coalesce(max(closed_seq), 0) + 1 FROM requests)"
    " WHERE id = (SELECT min(id) FROM requests WHERE state = 'open')",
    "UPDATE calendar SET days_until = days_until + 86400000",
    "DELETE FROM makers",
]
SELDOM = st.sampled_from([False, False, False, False, True])
STEPS = st.builds(
    Step,
    ends=st.lists(st.tuples(st.integers(0, 5), ENDS.filter(bool)), max_size=4),
    change=st.none() | st.none() | st.sampled_from(CHANGES),
    asks=st.lists(ASKING, max_size=5),
    beat=SELDOM,
    undone=SELDOM,
    passing_ms=PASSING,
    meddling=st.none() | st.none() | st.none() | st.sampled_from(MEDDLING),
)


@cache
def _made() -> tuple[Path, list[Intent]]:
    """A ledger with limits of every kind, and an intent of each of its keys."""
    path = Path(tempfile.mkdtemp(prefix="irg-twins-")) / "gateway.db"
    make_file(path)
    database = Database(path, "process", Calendar(lambda: START, UTC, Counting()))
    database.begin()
    intents = []
    with database.transaction():
        sql = database.connection.sql
        changes.change_gateway_budgets(sql, [Budget(90 * CENT, BudgetPeriod.WEEK)], Billing.CHARGED, START)
        for name in ("red", "blue"):
            changes.create_team(sql, name, START, LimitsChange(budgets=BUDGETS, rpm=20, concurrency=6))
        for name, team in zip(NAMES, ("red", "red", None), strict=True):
            secret = new_secret()
            limits = Limits(rpm=9, tpm=9000, concurrency=4) if name == "ann" else Limits()
            spec = NewKey(name, team=team, budgets=BUDGETS if name != "cleo" else (), limits=limits)
            key = changes.create_key(sql, spec, secret, START)
            intents.append(Intent("", key.id, secret.hash, START, "", False))
    database.close()
    return path, intents


ASK: Asking = (0, holding("0.01"), 0, "m")
BEGUN = Step(asks=[ASK, ASK])  # now the key, its limits and the requests are known
ENDED = Step(ends=[(0, "within"), (1, "no cost told")], asks=[ASK])


@pytest.mark.parametrize("meddling", MEDDLING, ids=lambda text: "-".join(text.split()[:3]))
def test_what_another_process_writes_is_seen_at_once(meddling: str) -> None:
    """Also what it has no right to do: the next request is decided by what stands there, and what ends is booked so."""
    _alike([BEGUN, replace(ENDED, meddling=meddling), ENDED])


def test_a_minute_that_was_left_behind_is_replaced() -> None:
    """Another tool took the limits away without it, and a person sets them anew."""
    _alike([BEGUN, replace(ENDED, meddling="DELETE FROM limits", change=CHANGES[1]), ENDED])


@pytest.mark.parametrize("change", range(len(CHANGES)))
def test_what_a_person_changes_is_seen_at_once(change: int) -> None:
    """By the requests of its own transaction, and by the next."""
    _alike([BEGUN, replace(ENDED, change=CHANGES[change]), ENDED])


def test_what_is_rolled_back_is_not_remembered() -> None:
    """Neither what ended in it, nor what began, nor a window that it began."""
    tomorrow = replace(ENDED, passing_ms=60_000, undone=True)
    _alike([BEGUN, replace(ENDED, undone=True), ENDED, tomorrow, ENDED, replace(BEGUN, undone=True), BEGUN])


_LONG = settings.get_current_profile_name() == "long"


@given(st.lists(STEPS, min_size=3, max_size=25))
@settings(
    deadline=None,
    # To make a failure small takes longer than a test may.
    phases=tuple(Phase) if _LONG else (Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_a_ledger_that_remembers_is_one_that_forgets(steps: list[Step]) -> None:
    """In any story."""
    _alike(steps)


def _alike(steps: list[Step]) -> None:
    """Verdicts and tables are equal after every transaction."""
    template, keys = _made()
    clock, ids = FakeClock(START), list[str]()
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        twins = []
        for name, forgets in (("remembers", False), ("forgets", True)):
            path = Path(directory) / name / "gateway.db"
            shutil.copytree(template.parent, path.parent)
            twins.append(Twin(path, clock, forgets=forgets))
            stack.callback(twins[-1].close)
        one, other = twins
        for step in steps:
            clock.move(milliseconds=step.passing_ms)
            intents = [_intent(keys, asking, clock) for asking in step.asks]
            if step.meddling is not None:
                for twin in twins:
                    twin.meddle(step.meddling)
            verdicts, others = (twin.run(step, intents, ids) for twin in twins)
            assert verdicts == others
            assert one.tables() == other.tables()
            if not step.undone:
                ids += [verdict.request_id for verdict in verdicts if isinstance(verdict, Admitted)]


def _intent(keys: list[Intent], asking: Asking, clock: FakeClock) -> Intent:
    number, asked, age_ms, model = asking
    at = clock.at.fromtimestamp(clock.at.timestamp() - age_ms / 1000, clock.at.tzinfo)
    return value.replace(keys[number], request_id=new_id("req", at), created_at=at, asked=asked, model=model)
