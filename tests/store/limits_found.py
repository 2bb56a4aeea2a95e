"""All that a ledger keeps of limits, in one snapshot, and what a model says that it should be."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select

from app.core.budgets import ALWAYS_TO_MS, BudgetPeriod
from app.core.clock import from_ms, to_ms
from app.store.limits import budgets_of
from app.store.schema import requests
from app.store.schema_limits import alerts, limits, minutes, refusal_counts, refusals, windows
from tests.store.limits_books import Books
from tests.store.limits_model import Owner

Found = dict[str, Any]


def found(connection: Connection, owner_ids: Sequence[str], now: datetime) -> Found:
    """Everything by what it is about."""
    shown = budgets_of(connection, owner_ids, now)
    its = requests.c
    rows = select(its.id, its.team_id, its.state, its.hold, its.tokens_held, its.kept)
    refused_rows = connection.scalar(select(func.count()).select_from(refusals)) or 0
    return {
        "windows": {
            (row.owner_id, row.period, row.starts_at, row.ends_at, row.billing): (row.settled, row.kept, row.held)
            for row in connection.execute(select(windows))
        },
        "limits": {
            row.owner_id: (row.rpm, row.tpm, row.concurrency, row.running, row.running_tokens, _steps(row))
            for row in connection.execute(select(limits, minutes.c.steps).outerjoin(minutes))
        },
        "requests": {row.id: tuple(row[1:]) for row in connection.execute(rows)},
        "refused": {tuple(row[:3]): row.refused for row in connection.execute(select(refusal_counts))},
        "refusals": refused_rows,
        "told": sorted(connection.scalars(select(alerts.c.subject).where(alerts.c.kind == "budget"))),
        "shown": {
            owner_id: [
                (
                    one.amount_picodollars,
                    one.period,
                    one.spent_picodollars,
                    one.held_picodollars,
                    one.starts_at,
                    one.resets_at,
                )
                for one in records
            ]
            for owner_id, records in shown.items()
        },
    }


def _steps(row: Row[Any]) -> list[list[int]]:
    """Of the last minute: the newest stands beside the older ones."""
    newest = [row.step_at, row.step_requests, row.step_tokens]
    return [*json.loads(row.steps or "[]"), *([newest] if any(newest) else [])]


def expected(books: Books, now: datetime) -> Found:
    """The same, as a model has it."""
    owners = list(books.owners.values())
    windows = [(owner, period, one) for owner in owners for period, there in owner.windows.items() for one in there]
    return {
        "windows": {
            (owner.id, period, one.span.starts_at_ms, one.span.ends_at_ms, one.billing): books.sums(owner.id, one)
            for owner, period, one in windows
        },
        "limits": {
            owner.id: (
                *(owner.limits.rpm, owner.limits.tpm, owner.limits.concurrency),
                *books.running(owner.id),
                owner.minute.rows(),
            )
            for owner in owners
            if owner.limits
        },
        "requests": {
            one.id: (one.team_id, one.state, one.hold, one.tokens_held, one.kept) for one in books.entries.values()
        },
        "refused": dict(books.refused),
        "refusals": books.refused.total(),
        "told": sorted(books.told),
        "shown": {owner.id: _shown(books, owner, now) for owner in owners if owner.budgets},
    }


def _shown(books: Books, owner: Owner, now: datetime) -> list[tuple[object, ...]]:
    """Amount, period, what is spent and held, and the edges: of the present window, begun or not."""
    found: list[tuple[object, ...]] = []
    for period in BudgetPeriod:
        if (amount := owner.budgets.get(period)) is not None:
            window = owner.window(period, to_ms(now))
            span = window.span if window else books.free(owner, period, to_ms(now))
            settled, kept, held = books.sums(owner.id, window) if window else (0, 0, 0)
            ends = None if span.ends_at_ms == ALWAYS_TO_MS else from_ms(span.ends_at_ms)
            found.append((amount, period, settled + kept, held, from_ms(span.starts_at_ms), ends))
    return found
