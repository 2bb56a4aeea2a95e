"""Writes the audit log: each entry in the transaction of the change that it is about, so neither is without the other.

`audited` wraps a changing function: it looks at the record before and after, and what differs is the
entry. All of it runs inside the writer's transaction; reading is in `audit_pages`. Called by the verbs.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, func, insert, select

from app.core.audit import Action, Actor, Target
from app.core.budgets import Budget
from app.core.clock import format_time, to_ms
from app.core.ids import id_time, new_id
from app.core.limits import GATEWAY, Limits
from app.core.money import format_usd
from app.core.owners import BudgetRecord, KeyRecord, TeamRecord
from app.core.records import State
from app.core.value import Value
from app.core.views import RequestFilter, Resolution, ResolutionReport
from app.store.alerts import find_destination
from app.store.queries import find_key, find_team, gateway_budgets
from app.store.resolve import resolve
from app.store.schema_audit import audit

R = TypeVar("R")

Facts = Mapping[str, Any]

# Of a resolution of many, so many requests are named; each of them names the resolution.
IDS_TOLD = 100


class Subject(Value, Generic[R], frozen=True):
    """A kind of thing that is changed: how one is found, which it is, and what is told of it."""

    find: Callable[[Connection, str, datetime], R]
    target: Callable[[R], Target]
    facts: Callable[[R], Facts]


class Deed(Value, Generic[R], frozen=True):
    """Who does what. `ref`: to which one (a name or an id), unless it is made by this.

    `told`: what the record does not show afterwards.
    """

    actor: Actor
    action: Action
    subject: Subject[R]
    at: datetime
    ref: str = ""
    told: Facts = {}  # noqa: RUF012 - msgspec makes each its own


def audited(change: Callable[..., R], deed: Deed[R]) -> Callable[..., R]:
    """The change together with its entry; one that makes no difference has none.

    It raises what the change raises, and `RowMissing`: then nothing is written.
    """

    def run(connection: Connection, *values: Any) -> R:
        subject = deed.subject
        before = None if deed.action.makes else subject.find(connection, deed.ref, deed.at)
        # Told now: afterwards it may have another name.
        target = None if before is None else subject.target(before)
        facts = None if before is None else subject.facts(before)
        result = change(connection, *values)
        was, becomes = _difference(facts, None if deed.action.ends else subject.facts(result))
        becomes = becomes if becomes is None else {**becomes, **deed.told}
        if was or becomes:
            write_entry(connection, deed.actor, deed.action, target or subject.target(result), (was, becomes), deed.at)
        return result

    return run


def _difference(before: Facts | None, after: Facts | None) -> tuple[Facts | None, Facts | None]:
    """The fields that differ. Of what comes or goes, all that say something."""
    if before is None or after is None:
        return _said(before), _said(after)
    names = [name for name in after if before[name] != after[name]]
    return {name: before[name] for name in names}, {name: after[name] for name in names}


def _said(facts: Facts | None) -> Facts | None:
    return None if facts is None else {name: value for name, value in facts.items() if value not in (None, [])}


def write_entry(
    connection: Connection,
    actor: Actor,
    action: Action,
    target: Target,
    change: tuple[Facts | None, Facts | None],
    now: datetime,
) -> None:
    """One entry. `change`: what was, and what is. Call it in the transaction of the change."""
    before, after = (None if facts is None else json.dumps(facts, ensure_ascii=False) for facts in change)
    connection.execute(
        insert(audit).values(
            id=_next_id(connection, now),
            at=to_ms(now),
            actor=actor.name,
            via=actor.via,
            action=action,
            target_kind=target.kind,
            target_id=target.id,
            target_name=target.name,
            before=before,
            after=after,
        )
    )


def _next_id(connection: Connection, now: datetime) -> str:
    """Behind the newest one, also when the clock was set back: entries are in the order of their commits."""
    newest = connection.scalar(select(func.max(audit.c.id)))
    with contextlib.suppress(ValueError, OverflowError):  # no id of ours
        return new_id("aud", now if newest is None else max(now, id_time(newest) + timedelta(milliseconds=1)))
    return new_id("aud", now)


# --- what is told of keys, teams, budgets and destinations of alerts -----------------------------


def _key(key: KeyRecord) -> Facts:
    return {
        "name": key.name,
        "prefix": key.prefix,
        "team": key.team,
        "tags": list(key.tags),
        "models": list(key.models),
        "state": key.state.value,
        "expires_at": None if key.expires_at is None else format_time(key.expires_at),
        **_limits(key.budgets, key.limits),
    }


def _team(team: TeamRecord) -> Facts:
    return {"name": team.name, **_limits(team.budgets, team.limits)}


def _limits(budgets: Sequence[BudgetRecord], limits: Limits) -> Facts:
    return {
        "budgets": _budgets(budgets),
        "rpm": limits.rpm,
        "tpm": limits.tpm,
        "concurrency": limits.concurrency,
    }


def _budgets(budgets: Sequence[BudgetRecord]) -> list[str]:
    """As people write them: `45.00/month`."""
    return [str(Budget(budget.amount_picodollars, budget.period)) for budget in budgets]


KEY = Subject(find_key, lambda key: Target("key", key.id, key.name), _key)
TEAM = Subject(find_team, lambda team: Target("team", team.id, team.name), _team)
DESTINATION = Subject(
    lambda connection, ref, now: find_destination(connection, ref),
    lambda one: Target("alert", one.id, one.name),
    lambda one: {"name": one.name, "kind": one.kind.value, "address": one.shown},
)
# Everything together; its `ref` means nothing.
WHOLE_GATEWAY = Subject(
    lambda connection, ref, now: gateway_budgets(connection, now),
    lambda budgets: Target("gateway", GATEWAY, GATEWAY),
    lambda budgets: {"budgets": _budgets(budgets)},
)


# --- resolutions ---------------------------------------------------------------------------------


def resolve_audited(
    connection: Connection,
    actor: Actor,
    wanted: Sequence[str] | RequestFilter,
    said: Resolution,
    zone: ZoneInfo,
    now: datetime,
    expected: int | None,
) -> ResolutionReport:
    """`resolve` with its entry: one for all that it settles. Raises: what that raises."""
    report = resolve(connection, wanted, said, zone, now, expected)
    ids = [request.id for request in report.requests]
    if ids:
        one = len(ids) == 1
        target = Target("request", ids[0], ids[0]) if one else Target("requests", "requests", f"{len(ids)} requests")
        costs = {
            "state": State.SETTLED.value,
            "true_cost": format_usd(said.true_cost_picodollars),
            "charged": format_usd(said.charged_picodollars),
        }
        standing = _costs_before(report, said)
        before, after = ({}, costs) if standing is None else _difference(standing, costs)
        told = {"reason": said.reason} | ({} if one else {"requests": len(ids), "ids": ids[:IDS_TOLD]})
        write_entry(connection, actor, Action.REQUESTS_RESOLVED, target, (before, {**(after or {}), **told}), now)
    return report


def _costs_before(report: ResolutionReport, said: Resolution) -> Facts | None:
    """What held before for all of them; None if that was not the same for each."""
    count = len(report.requests)
    first = report.before.true_cost_unknown - report.after.true_cost_unknown
    if first == count:
        return {"state": State.UNKNOWN.value, "true_cost": None, "charged": None}
    if count > 1:
        return None
    true_cost = said.true_cost_picodollars - report.after.true_cost_picodollars + report.before.true_cost_picodollars
    charged = said.charged_picodollars - report.after.charged_picodollars + report.before.charged_picodollars
    return {"state": State.SETTLED.value, "true_cost": format_usd(true_cost), "charged": format_usd(charged)}
