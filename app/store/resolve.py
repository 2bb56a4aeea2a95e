"""Unknown costs settled by a person: what that would change, and the adjustments that do it.

A request's own row stays as it was closed. In the month of the request its adjustment counts
where the request does, and the roll-ups follow in the same transaction; in a later month it
counts when it was made, and the roll-ups of the closed month stay as they are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import Connection, Row, delete, func, insert, select

from app.core.clock import to_ms
from app.core.ids import new_id
from app.core.money import PICODOLLARS_PER_USD
from app.core.records import State, TokenUsage
from app.core.value import Value, replace
from app.core.views import GroupBy, RequestFilter, RequestRecord, Resolution, ResolutionReport, Resolved, Sums
from app.core.windows import Period, bucket_start, day_of, day_start, month_of
from app.store import statements
from app.store.adjustments import adjustments_of
from app.store.calendar import day_start_ms, days_made
from app.store.hot import raw_of
from app.store.limits import ResolvedCost, count_resolved
from app.store.port import NotResolvable, RowsChanged, TooManyRows, TooMuch
from app.store.queries import find_request
from app.store.rows import list_text
from app.store.schema import USAGE_SUMS, adjustments, usage, usage_days
from app.store.seals import Sealed
from app.store.search import list_requests
from app.store.totals import usage_report

# In one transaction, for which every other request waits.
ROWS_MAX = 5_000

# Roll-ups of a day are 64 bits: 9.2 million USD. A slip of the pen must not fill them, nor two days that become one
# when the calendar changes.
DAY_USD_MAX = 4_000_000

_ALWAYS = Period(datetime(1970, 1, 2, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC))

# The other dimensions of a roll-up, behind its bucket and before its state.
_Owner = tuple[str, str, str, str]


class _Change(Value, frozen=True):
    """What a resolution does to one request."""

    record: RequestRecord  # as it is before
    said: Sequence[Row[Any]]  # its adjustments so far
    true_cost: int  # differences
    charged: int
    late: bool

    @property
    def first(self) -> bool:
        return not self.said


def preview_resolution(
    connection: Connection,
    wanted: Sequence[str] | RequestFilter,
    resolution: Resolution,
    zone: ZoneInfo,
    now: datetime,
) -> ResolutionReport:
    """What `resolve` would do. Raises: `RowMissing`, `NotResolvable`, `TooManyRows`, `TooMuch`."""
    changes, unchanged = _changes(connection, wanted, resolution, zone, now)
    records = tuple(change.record for change in changes)
    return _report(connection, changes, unchanged, records, zone, preview=True)


def resolve(
    connection: Connection,
    wanted: Sequence[str] | RequestFilter,
    resolution: Resolution,
    zone: ZoneInfo,
    now: datetime,
    expected: int | None,
) -> ResolutionReport:
    """Writes one adjustment for each request that changes, all or none.

    Raises: `RowMissing`, `NotResolvable`, `TooManyRows`, `TooMuch`, `RowsChanged` (not as many as `expected`).
    """
    changes, unchanged = _changes(connection, wanted, resolution, zone, now)
    if expected is not None and expected != len(changes):
        raise RowsChanged(expected, len(changes))
    resolved = Resolved(now, resolution.by, resolution.reason)
    records = tuple(_after(change, resolution, resolved) for change in changes)
    report = _report(connection, changes, unchanged, records, zone, preview=False)
    if changes:
        connection.execute(insert(adjustments), [_row(change, resolution, now) for change in changes])
        _move_usage(connection, [change for change in changes if not change.late])
        count_resolved(connection, [_for_budgets(change) for change in changes], now)
    return report


# --- what changes --------------------------------------------------------------------------


def _changes(
    connection: Connection,
    wanted: Sequence[str] | RequestFilter,
    resolution: Resolution,
    zone: ZoneInfo,
    now: datetime,
) -> tuple[list[_Change], int]:
    """Each request that changes, and how many have these very costs already."""
    sealed = Sealed(connection)
    records = _selected(connection, wanted, sealed)
    for record in records:
        if record in sealed:
            raise NotResolvable(record, "sealed")
    if len(records) > ROWS_MAX:
        raise TooManyRows(ROWS_MAX)
    said = adjustments_of(connection, [record.id for record in records])
    found = [_change(record, said.get(record.id, ()), resolution, zone, now) for record in records]
    changes = [change for change in found if change is not None]
    _refuse_too_much(connection, [change for change in changes if not change.late], zone)
    return changes, len(found) - len(changes)


def _selected(connection: Connection, wanted: Sequence[str] | RequestFilter, sealed: Sealed) -> list[RequestRecord]:
    if not isinstance(wanted, RequestFilter):
        return list({record.id: record for record in (find_request(connection, ref) for ref in wanted)}.values())
    found: list[RequestRecord] = []
    after: str | None = None
    while len(found) <= ROWS_MAX:
        page = list_requests(connection, replace(wanted, state=State.UNKNOWN), after, 1000)
        # All of those that can be resolved: what is sealed is as good as gone.
        found += [record for record in page.items if record not in sealed]
        if (after := page.next) is None:
            break
    return found


def _change(
    record: RequestRecord, said: Sequence[Row[Any]], resolution: Resolution, zone: ZoneInfo, now: datetime
) -> _Change | None:
    """None: it has these costs already. Raises: `NotResolvable`."""
    true_cost, charged = resolution.true_cost_picodollars, resolution.charged_picodollars
    if record.resolved is not None:
        if (true_cost, charged) == (record.true_cost_picodollars, record.charged_picodollars):
            return None
        if not resolution.again:
            raise NotResolvable(record, "resolved")
        true_cost -= record.true_cost_picodollars or 0
        charged -= record.charged_picodollars or 0
    elif record.state is not State.UNKNOWN:
        raise NotResolvable(record, record.state.value)
    late = month_of(record.created_at, zone) < month_of(now, zone) or any(row.late for row in said)
    return _Change(record, said, true_cost, charged, late)


def _refuse_too_much(connection: Connection, changes: Sequence[_Change], zone: ZoneInfo) -> None:
    """Raises: `TooMuch`."""
    added: dict[date, list[int]] = defaultdict(lambda: [0, 0])
    for change in changes:
        sums = added[day_of(change.record.created_at, zone)]
        sums[0] += change.true_cost
        sums[1] += change.charged
    if not added:
        return
    span = Period(day_start(min(added), zone), day_start(max(added) + timedelta(days=1), zone))
    for group in usage_report(connection, span, (GroupBy.DAY,), zone).groups:
        day, totals = date.fromisoformat(group.labels[0] or ""), group.totals
        more = added.get(day, (0, 0))
        most = max(totals.true_cost_picodollars + more[0], totals.charged_picodollars + more[1])
        if max(more) > 0 and most > DAY_USD_MAX * PICODOLLARS_PER_USD:
            raise TooMuch(day, DAY_USD_MAX)


def _after(change: _Change, resolution: Resolution, resolved: Resolved) -> RequestRecord:
    return replace(
        change.record,
        state=State.SETTLED,
        true_cost_picodollars=resolution.true_cost_picodollars,
        charged_picodollars=resolution.charged_picodollars,
        charged_derived=resolution.charged_derived,
        resolved=resolved,
    )


def _report(
    connection: Connection,
    changes: Sequence[_Change],
    unchanged: int,
    records: tuple[RequestRecord, ...],
    zone: ZoneInfo,
    *,
    preview: bool,
) -> ResolutionReport:
    """Before anything is written."""
    total = usage_report(connection, _ALWAYS, (GroupBy.KEY,), zone).total
    known = sum(change.first for change in changes)
    before = Sums(
        total.true_cost_picodollars, total.charged_picodollars, total.true_cost_unknown, total.charged_unknown
    )
    after = Sums(
        total.true_cost_picodollars + sum(change.true_cost for change in changes),
        total.charged_picodollars + sum(change.charged for change in changes),
        total.true_cost_unknown - known,
        total.charged_unknown - known,
    )
    late = sum(change.late for change in changes)
    return ResolutionReport(preview, records, late, unchanged, before, after)


# --- what is written -----------------------------------------------------------------------


def _row(change: _Change, resolution: Resolution, now: datetime) -> dict[str, object]:
    record = change.record
    return {
        "id": new_id("adj", now),
        "request_id": record.id,
        "seq": len(change.said) + 1,
        "at": to_ms(now),
        "late": int(change.late),
        "true_cost": change.true_cost,
        "charged": change.charged,
        "charged_derived": int(resolution.charged_derived),
        "author": resolution.by,
        "reason": resolution.reason,
        "key_id": record.key_id,
        "team_id": record.team_id,
        "tags": list_text(record.tags),
        "model": record.model,
    }


def _for_budgets(change: _Change) -> ResolvedCost:
    record = change.record
    kept = record.kept_picodollars if change.first else 0
    return ResolvedCost(record.key_id, record.team_id, record.created_at, kept, change.true_cost, change.charged)


def _move_usage(connection: Connection, changes: Sequence[_Change]) -> None:
    """From the unknown to the settled ones, in both roll-ups; what is empty then is removed."""
    zone_key, days_until = days_made(connection) or ("UTC", 0)
    zone = ZoneInfo(zone_key)
    buckets: dict[int, dict[tuple[_Owner, State], list[int]]] = defaultdict(dict)
    for change in changes:
        record = change.record
        owner = (record.key_id, record.team_id or "", list_text(record.tags), record.model)
        into = buckets[to_ms(bucket_start(record.created_at))]
        if change.first:
            taken = (-1, 0, 0, -1, -1, *(-count for count in _tokens(record.usage)))
            _add(into, (owner, State.UNKNOWN), taken)
            _add(into, (owner, State.SETTLED), (1, change.true_cost, change.charged, 0, 0, *_tokens(record.usage)))
        else:
            _add(into, (owner, State.SETTLED), (0, change.true_cost, change.charged, *(0,) * (len(USAGE_SUMS) - 3)))
    for table, statement in ((usage, statements.ADD_USAGE), (usage_days, statements.ADD_USAGE_DAYS)):
        rows = [
            [bucket if table is usage else day_start_ms(bucket, zone), *owner, state.value, *sums]
            for bucket, moved in buckets.items()
            if table is usage or bucket < days_until
            for (owner, state), sums in moved.items()
        ]
        # SQLite adds rows of one day one after the other: `rows` may name a place more than once.
        statement.run(raw_of(connection), rows)
        emptied = func.json_each(msgspec.json.encode(sorted({row[0] for row in rows})).decode()).table_valued("value")
        unknown = table.c.state == State.UNKNOWN
        where = table.c.bucket_at.in_(select(emptied.c.value))
        connection.execute(delete(table).where(where, unknown, table.c.requests == 0))


def _add(into: dict[tuple[_Owner, State], list[int]], where: tuple[_Owner, State], sums: Sequence[int]) -> None:
    there = into.setdefault(where, [0] * len(USAGE_SUMS))
    for index, value in enumerate(sums):
        there[index] += value


def _tokens(counts: TokenUsage) -> tuple[int, ...]:
    """In the order of `USAGE_SUMS`."""
    told = (
        counts.input_tokens,
        counts.cached_tokens,
        counts.output_tokens,
        counts.reasoning_tokens,
        counts.total_tokens,
    )
    return tuple(count or 0 for count in told)
