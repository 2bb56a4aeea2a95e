"""Requests that were not admitted: the newest ones as rows, and for ever how many, by key and reason.

The rows are bounded, so that a client in a loop cannot fill the disk: a page walks along their ids,
through all of them at most. They are pruned by the writer's heartbeat, never by an admission. The
counts are whole: what is pruned stays counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, Table, delete, func, literal_column, select

from app.core.clock import from_ms, to_ms
from app.core.patterns import model_allowed
from app.core.records import LimitHit, RefusalReason, Scope
from app.core.refused import RefusalCount, RefusalCounts, RefusalFilter, RefusalRecord, RefusalReport
from app.core.value import replace
from app.core.views import Page
from app.core.windows import BUCKET_SECONDS, bucket_start
from app.store.conditions import ID_LAST, among, key_id_of
from app.store.port import RowMissing
from app.store.queries import team_id_of
from app.store.schema import keys, teams
from app.store.schema_limits import refusal_counts, refusals

# So many refusals are held.
ROWS_MAX = 10_000

# So many go at once: a few milliseconds of the writer.
PRUNED_MAX = 1_000

_BUCKET, _INSTANT = timedelta(seconds=BUCKET_SECONDS), timedelta(microseconds=1)

_id = refusals.c.id

# `+`: the way in is the order of ids (or a key's own), whatever else is asked; see `conditions`.
_team_of_key: ColumnElement[str] = literal_column("+keys.team_id")


def refusal_report(connection: Connection, wanted: RefusalFilter, after: str | None, limit: int) -> RefusalReport:
    """A page, newest first, and the counts, from one snapshot. Raises: `RowMissing` (key, team)."""
    key = None if wanted.key is None else key_id_of(connection, wanted.key)
    team = None if wanted.team is None else team_id_of(connection, wanted.team)
    wanted = replace(wanted, key=key, team=team)
    page = _page(connection, wanted, after, limit)
    return RefusalReport(page, _counts(connection, wanted) if wanted.counted else None)


def find_refusal(connection: Connection, ident: str, key_id: str | None = None) -> RefusalRecord:
    """A refusal by its id; with `key_id` only if it is that key's. Raises: `RowMissing`."""
    query = _refusals().where(_id == ident)
    if key_id is not None:
        query = query.where(refusals.c.key_id == key_id)
    row = connection.execute(query).first()
    if row is None:
        raise RowMissing("refusal", ident)
    return _record(row)


def prune_refusals(connection: Connection) -> bool:
    """Lets go of the oldest rows beyond the bound, some at once; whether there are more. Call it in a transaction."""
    excess = (connection.scalar(select(func.count()).select_from(refusals)) or 0) - ROWS_MAX
    if excess > 0:
        oldest = select(_id).where(_id >= "").order_by(_id).limit(min(excess, PRUNED_MAX))
        connection.execute(delete(refusals).where(_id.in_(oldest.scalar_subquery())))
    return excess > PRUNED_MAX


# --- the rows ------------------------------------------------------------------------------


def _refusals() -> Select[Any]:
    return select(refusals, keys.c.name.label("key"), teams.c.name.label("team")).select_from(
        refusals.join(keys, keys.c.id == refusals.c.key_id).outerjoin(teams, teams.c.id == keys.c.team_id)
    )


def _page(connection: Connection, wanted: RefusalFilter, after: str | None, limit: int) -> Page[RefusalRecord]:
    bounds = list(_bounds(wanted, after))
    query = _refusals().where(*bounds, *_alike(refusals, wanted), *_within(wanted))
    if wanted.model is not None:
        there = connection.scalars(select(refusals.c.model).where(*bounds).distinct())
        query = query.where(among(refusals.c.model, [model for model in there if _is_model(model, wanted.model)]))
    found = [_record(row) for row in connection.execute(query.order_by(_id.desc()).limit(limit + 1))]
    return Page(tuple(found[:limit]), found[limit - 1].id if len(found) > limit else None)


def _alike(table: Table, wanted: RefusalFilter) -> Iterator[ColumnElement[bool]]:
    """What rows and counts have in common."""
    if wanted.key is not None:
        yield table.c.key_id == wanted.key
    if wanted.team is not None:
        yield _team_of_key == wanted.team
    if wanted.reason is not None:
        yield table.c.reason == wanted.reason


def _within(wanted: RefusalFilter) -> Iterator[ColumnElement[bool]]:
    if wanted.from_at is not None:
        yield refusals.c.at >= to_ms(wanted.from_at)
    if wanted.to_at is not None:
        yield refusals.c.at < to_ms(wanted.to_at)


def _bounds(wanted: RefusalFilter, after: str | None) -> Iterator[ColumnElement[bool]]:
    # Always a bound: a search along the ids, never a scan.
    yield _id >= (wanted.ident or "")
    if wanted.ident is not None:
        yield _id < wanted.ident + ID_LAST
    if after is not None:
        yield _id < after


def _is_model(model: str, glob: str) -> bool:
    return model == glob or model_allowed(model, [glob])


def _record(row: Row[Any]) -> RefusalRecord:
    facts = json.loads(row.facts)
    return RefusalRecord(
        id=row.id,
        at=from_ms(row.at),
        key=row.key,
        key_id=row.key_id,
        team=row.team,
        model=row.model,
        stream=bool(row.stream),
        sdk_retry=row.sdk_retry,
        reason=RefusalReason(row.reason),
        hit=_hit(facts) if "scope" in facts else None,
        reference=facts.get("reference"),
    )


def _hit(facts: dict[str, Any]) -> LimitHit:
    resets_at = facts.get("resets_at")
    return LimitHit(
        scope=Scope(facts["scope"]),
        owner=facts["owner"],
        limit=facts.get("limit"),
        period=facts.get("period"),
        limit_picodollars=facts.get("limit_picodollars"),
        spent_picodollars=facts.get("spent_picodollars"),
        held_picodollars=facts.get("held_picodollars"),
        hold_picodollars=facts.get("hold_picodollars"),
        resets_at=None if resets_at is None else from_ms(resets_at),
    )


# --- the counts ----------------------------------------------------------------------------


def _counts(connection: Connection, wanted: RefusalFilter) -> RefusalCounts:
    from_at = None if wanted.from_at is None else bucket_start(wanted.from_at)
    to_at = None if wanted.to_at is None else bucket_start(wanted.to_at + _BUCKET - _INSTANT)
    conditions = [refusal_counts.c.bucket_at >= (0 if from_at is None else to_ms(from_at))]
    if to_at is not None:
        conditions.append(refusal_counts.c.bucket_at < to_ms(to_at))
    query = (
        select(refusal_counts.c.key_id, keys.c.name, refusal_counts.c.reason, func.sum(refusal_counts.c.refused))
        .select_from(refusal_counts.join(keys, keys.c.id == refusal_counts.c.key_id))
        .where(*conditions, *_alike(refusal_counts, wanted))
        .group_by(refusal_counts.c.key_id, refusal_counts.c.reason)
    )
    found = (
        RefusalCount(name, key_id, RefusalReason(reason), refused)
        for key_id, name, reason, refused in connection.execute(query)
    )
    return RefusalCounts(from_at, to_at, tuple(sorted(found, key=lambda one: (one.key, one.reason))))
