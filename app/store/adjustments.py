"""What is read of adjustments: what they make of a request, and those that count in a later month."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, bindparam, func, literal_column, select

from app.core.clock import from_ms
from app.core.ids import id_floor
from app.core.records import State
from app.core.value import replace
from app.core.views import AdjustmentRecord, RequestRecord, Resolved
from app.store.rows import text_list
from app.store.schema import adjustments, keys, teams

# The index of those that count in a later month than their request needs these very words.
LATE: ColumnElement[bool] = literal_column("adjustments.late = 1")


def adjustments_of(
    connection: Connection, request_ids: Sequence[str], *, as_booked: bool = False
) -> Mapping[str, Sequence[Row[Any]]]:
    """The adjustments of requests, oldest first. `as_booked`: only those that count where the request does."""
    wanted = func.json_each(bindparam("ids")).table_valued("value")
    query = (
        select(adjustments)
        .where(adjustments.c.request_id.in_(select(wanted.c.value)))
        .order_by(adjustments.c.request_id, adjustments.c.seq)
    )
    if as_booked:
        query = query.where(adjustments.c.late == 0)
    found: dict[str, list[Row[Any]]] = defaultdict(list)
    for row in connection.execute(query, {"ids": msgspec.json.encode(request_ids).decode()}):
        found[row.request_id].append(row)
    return found


def resolved_record(record: RequestRecord, said: Sequence[Row[Any]]) -> RequestRecord:
    """A request as persons have settled it."""
    if not said:
        return record
    newest = said[-1]
    return replace(
        record,
        state=State.SETTLED,
        true_cost_picodollars=sum(row.true_cost for row in said),
        charged_picodollars=sum(row.charged for row in said),
        charged_derived=bool(newest.charged_derived),
        resolved=Resolved(from_ms(newest.at), newest.author, newest.reason),
    )


def late_adjustments(
    connection: Connection,
    conditions: Sequence[ColumnElement[bool]],
    after: str | None,
    limit: int,
) -> list[AdjustmentRecord]:
    """Adjustments that count when they were made, oldest first, behind an id. `conditions`: over `adjustments`."""
    query = (
        select(adjustments, keys.c.name.label("key"), teams.c.name.label("team"))
        .select_from(
            adjustments.join(keys, keys.c.id == adjustments.c.key_id).outerjoin(
                teams, teams.c.id == adjustments.c.team_id
            )
        )
        .where(LATE, *conditions)
        .order_by(adjustments.c.id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(adjustments.c.id > after)
    return [_adjustment(row) for row in connection.execute(query)]


def dated(from_at: datetime | None, to_at: datetime | None) -> list[ColumnElement[bool]]:
    """The span in which adjustments were made, by their ids."""
    conditions: list[ColumnElement[bool]] = [adjustments.c.id >= id_floor("adj", from_at or from_ms(0))]
    if to_at is not None:
        conditions.append(adjustments.c.id < id_floor("adj", to_at))
    return conditions


def _adjustment(row: Row[Any]) -> AdjustmentRecord:
    at = from_ms(row.at)
    return AdjustmentRecord(
        id=row.id,
        at=at,
        request_id=row.request_id,
        first=row.seq == 1,
        key=row.key,
        key_id=row.key_id,
        team=row.team,
        tags=text_list(row.tags),
        model=row.model,
        true_cost_picodollars=row.true_cost,
        charged_picodollars=row.charged,
        charged_derived=bool(row.charged_derived),
        resolved=Resolved(at, row.author, row.reason),
    )
