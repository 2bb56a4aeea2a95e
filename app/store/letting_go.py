"""Months are let go of: first the seal is written, with its entry in the audit log, then its rows are deleted.

The writing functions run inside the writer's transaction. A few rows go at once, and with them, in the same
transaction, what budgets count of them moves into `remains`: so at any moment the books say the same as before.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, delete, exists, func, insert, or_, select
from sqlalchemy.dialects.sqlite import insert as upsert

from app.core.audit import THE_GATEWAY, Action, Target
from app.core.clock import format_time, from_ms, to_ms
from app.core.money import format_usd
from app.store.audit import write_entry
from app.store.port import SpanChanged
from app.store.rollup_lines import BUCKET_MS
from app.store.schema import bounded, requests
from app.store.schema_seals import remains, seals
from app.store.seal_form import COUNTED_ALONE, FORM, REMAINS, remains_sums, rows_digest
from app.store.sealing import Made, said_about
from app.store.seals import Piece, Seal
from app.store.stretches import let_go_of

# So many are deleted by one statement; then it looks at the time.
ROWS_AT_ONCE = 25

_id = requests.c.id


def write_seal(connection: Connection, made: Made, now: datetime) -> None:
    """Raises: `SpanChanged` (somebody resolved one of its requests meanwhile)."""
    due = made.due
    if said_about(connection, due.from_ms, due.to_ms) != due.said:
        raise SpanChanged(f"requests of {due.month} were resolved while it was sealed")
    connection.execute(
        insert(seals).values(
            from_at=due.from_ms,
            number=due.number,
            to_at=due.to_ms,
            after_seq=due.after_seq,
            through_seq=due.through_seq,
            month=due.month,
            sealed_at=to_ms(now),
            form=FORM,
            rows=made.rows,
            sha256=made.sha256,
            usage_sha256=made.usage_sha256,
            totals=made.totals,
            pieces=made.pieces,
        )
    )
    told = {
        "from": format_time(from_ms(due.from_ms)),
        "to": format_time(from_ms(due.to_ms)),
        "rows": made.rows,
        "true_cost": format_usd(made.true_cost),
        "charged": format_usd(made.charged),
        "true_cost_unknown": made.true_cost_unknown,
        "charged_unknown": made.charged_unknown,
        "sha256": made.sha256,
    }
    write_entry(connection, THE_GATEWAY, Action.MONTH_SEALED, Target("month", due.month, due.month), (None, told), now)


def is_as_sealed(connection: Connection, seal: Seal, piece: Piece) -> bool:
    """Whether the rows of a piece are what they were; of the one that is being let go of, the rest cannot be told."""
    count, sha256 = rows_digest(connection, *piece.within(seal))
    if count == piece.rows:
        return sha256 == piece.sha256
    earlier = exists().where(*seal.within(piece.from_ms))
    return count < piece.rows and not connection.scalar(select(earlier))


def let_go(connection: Connection, seal: Seal, before_ms: int, seconds: float, rows_at_once: int = ROWS_AT_ONCE) -> int:
    """Deletes rows of a seal that were made before an instant, oldest first, for about so long; how many it were."""
    ends = time.monotonic() + seconds
    query = select(_id, _counts_alone().label("counts")).where(*seal.within(before_ms)).order_by(_id)
    gone = 0
    while True:
        rows = connection.execute(query.limit(rows_at_once)).all()
        if counted := [row.id for row in rows if row.counts]:
            _keep_what_counts(connection, counted)
        if rows:
            its = _listed([row.id for row in rows])
            let_go_of(connection, its)
            connection.execute(delete(requests).where(_id.in_(its)))
        gone += len(rows)
        if len(rows) < rows_at_once or time.monotonic() >= ends:
            return gone


def _counts_alone() -> ColumnElement[bool]:
    return or_(*(when for when, _ in COUNTED_ALONE.values()))


def _keep_what_counts(connection: Connection, request_ids: list[str]) -> None:
    bucket = requests.c.created_at - requests.c.created_at % BUCKET_MS
    where = (bucket, requests.c.key_id, func.coalesce(requests.c.team_id, ""))
    found = select(*where, *remains_sums()).where(_id.in_(_listed(request_ids))).group_by(*where)
    added = upsert(remains).from_select(["bucket_at", "key_id", "team_id", *REMAINS], found)
    connection.execute(
        added.on_conflict_do_update(
            index_elements=["bucket_at", "key_id", "team_id"],
            set_={name: bounded(remains.c[name] + added.excluded[name]) for name in REMAINS},
        )
    )


def _listed(request_ids: list[str]) -> Select[Any]:
    listed = func.json_each(msgspec.json.encode(request_ids).decode()).table_valued("value")
    return select(listed.c.value)
