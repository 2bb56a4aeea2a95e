"""The weeks before the demo began: invented requests, so that there is something to look at.

Everything is tagged `invented`, as is the live traffic. The same days come out whenever it is
asked for the same moment; prices are the simulator's.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from app.cli.frame import Failure
from app.core.budgets import parse_budget
from app.core.ids import new_id
from app.core.money import charged_from, parse_cost
from app.core.owners import NewKey
from app.core.records import Intent, Outcome, Reading, Settlement, TokenUsage
from app.core.value import Value
from app.core.verdict import Break, judge
from app.simulator.amounts import plain
from app.simulator.prices import price_of
from app.store.backfill import Backfill, backfilling

TAG = "invented"
DAYS = 24

_SEED = 20261123


class Habit(Value, frozen=True):
    """How a key is used: requests on a working day, at these hours (UTC), with these models."""

    name: str
    team: str
    a_day: int
    hours: tuple[int, int]
    on_weekends: float
    models: dict[str, int]  # and how often of a hundred
    tokens: tuple[int, int]  # typical input and output
    budget: str  # more than such a month costs: nobody is refused


HABITS = (
    Habit(
        "alice",
        "research",
        34,
        (8, 18),
        0.1,
        {"openai/gpt-5-mini": 45, "anthropic/claude-haiku-4.5": 35, "openai/gpt-4o-mini": 20},
        (1800, 450),
        "2/month",
    ),
    Habit(
        "bob",
        "research",
        22,
        (9, 20),
        0.3,
        {"google/gemini-2.5-flash": 50, "openai/gpt-4o-mini": 30, "mistralai/mistral-small": 20},
        (900, 300),
        "1/month",
    ),
    Habit(
        "ci-bot",
        "automation",
        40,
        (1, 4),
        1.0,
        {"openai/gpt-4o-mini": 70, "mistralai/mistral-small": 30},
        (600, 90),
        "0.5/month",
    ),
)

# How requests end, of a hundred.
_ENDS = {"completed": 92, "left": 4, "rate_limited": 2, "cut": 1, "untold": 1}


def invent_history(path: Path, now: datetime) -> None:
    """Fills a new ledger; one that was filled before stays as it is.

    Raises: `Failure` when the ledger holds keys that are nobody's invention; the store's errors.
    """
    with backfilling(path) as ledger:
        if ledger.empty:
            _fill(ledger, now)
        elif ledger.holds_other_than(TAG):
            raise Failure(
                f"{path} holds keys that no demo made: the demo leaves it alone. Choose another directory with --keep."
            )


def _fill(ledger: Backfill, now: datetime) -> None:
    chance = random.Random(_SEED)  # noqa: S311 - variety, no secret
    began = (now - timedelta(days=DAYS)).replace(hour=0, minute=0, second=0, microsecond=0)
    for team in dict.fromkeys(habit.team for habit in HABITS):
        ledger.team(team, began)
    keys = {habit.name: ledger.key(_key(habit), began) for habit in HABITS}
    moments = sorted((at, index) for index, habit in enumerate(HABITS) for at in _moments(habit, began, now, chance))
    for at, index in moments:
        _book(ledger, HABITS[index], keys[HABITS[index].name], at, chance)


def _key(habit: Habit) -> NewKey:
    return NewKey(habit.name, team=habit.team, tags=(TAG,), budgets=(parse_budget(habit.budget),))


def _moments(habit: Habit, began: datetime, now: datetime, chance: random.Random) -> Iterator[datetime]:
    for day in range(DAYS + 1):
        midnight = began + timedelta(days=day)
        usual = habit.a_day * (habit.on_weekends if midnight.weekday() >= 5 else 1)
        for _ in range(round(usual * chance.uniform(0.6, 1.4))):
            hour = chance.triangular(*habit.hours)
            at = midnight + timedelta(hours=hour, milliseconds=chance.randrange(1000))
            if at < now - timedelta(minutes=5):
                yield at


def _book(ledger: Backfill, habit: Habit, key: tuple[str, str], at: datetime, chance: random.Random) -> None:
    (model,) = chance.choices(list(habit.models), weights=list(habit.models.values()))
    (end,) = chance.choices(list(_ENDS), weights=list(_ENDS.values()))
    stream = chance.random() < 0.5 or end in ("left", "cut")
    request_id = new_id("req", at)
    ledger.book(
        Intent(request_id, *key, created_at=at, model=model, stream=stream),
        _settlement(request_id, model, end, habit, chance),
    )


def _settlement(request_id: str, model: str, end: str, habit: Habit, chance: random.Random) -> Settlement:
    first, total = chance.randrange(180, 900), chance.randrange(1000, 9000)
    status, reading, broke = 200, _reading(model, habit, chance, told=end != "untold"), None
    if end == "rate_limited":
        status, reading, total = 429, Reading(complete=True, error_body=True), first
    elif end == "cut":
        reading, broke = Reading(), Break("upstream_reset", Outcome.UPSTREAM_DISCONNECTED)
    verdict = judge(status, reading, broke=broke, client_left=end == "left")
    return Settlement(
        request_id,
        verdict.state,
        verdict.outcome,
        reading,
        status,
        unknown_reason=verdict.unknown_reason,
        upstream_request_id=f"{TAG}_{chance.randrange(16**12):012x}",
        ttfb_ms=first,
        duration_ms=total,
    )


def _reading(model: str, habit: Habit, chance: random.Random, *, told: bool) -> Reading:
    read, written = (max(8, round(chance.lognormvariate(0, 0.6) * tokens)) for tokens in habit.tokens)
    cached = chance.choice((0, 0, read // 2))
    cost = price_of(model).cost(input_tokens=read, cached_tokens=cached, output_tokens=written)
    true_cost = parse_cost(plain(cost)) if told else None
    return Reading(
        true_cost=true_cost,
        charged=charged_from(true_cost) if true_cost else None,
        charged_derived=told,
        unknown_reason=None if told else "cost_missing",
        usage=TokenUsage(read, cached, written, 0, read + written),
        response_id=f"resp_{TAG}_{chance.randrange(16**12):012x}",
        model_answered=model,
        complete=True,
    )
