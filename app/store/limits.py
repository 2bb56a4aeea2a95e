"""What persons set: budgets, rates and limits of what runs at once; and where their owners stand.

Changing functions run inside the writer's transaction. A window or a limit that begins takes what is
already booked into account, so that nothing is forgotten by taking a limit away and setting it anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import Connection, Select, bindparam, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from app.core.budgets import ALWAYS_TO_MS, Budget, BudgetPeriod, Span, clipped, span_of
from app.core.clock import from_ms, to_ms
from app.core.holds import Billing
from app.core.limits import GATEWAY, Limits, Standing, Window
from app.core.owners import BudgetRecord
from app.core.value import Value
from app.store.calendar import days_made
from app.store.desk import Desk, limits_row, minutes_row, scope_of, standing_spans
from app.store.hot import raw_of
from app.store.limit_statements import SAVE_MINUTES, STANDING_COLUMNS
from app.store.occasions import budget_alerts
from app.store.past import last_minute, running
from app.store.schema_limits import budgets, limits, minutes, windows

_PERIODS = tuple(BudgetPeriod)


def set_budgets(
    connection: Connection, owner_id: str, wanted: Sequence[Budget], billing: Billing, now: datetime
) -> None:
    """Exactly these budgets from now on; what is spent in their present windows counts."""
    periods = [budget.period for budget in wanted]
    for table in (budgets, windows):
        gone = table.c.owner_id == owner_id, table.c.period.not_in(periods)
        connection.execute(delete(table).where(*gone))
    for budget in wanted:
        row = {"owner_id": owner_id, "period": budget.period, "amount": budget.amount_picodollars}
        changed = {"amount": budget.amount_picodollars}
        upsert = insert(budgets).values(row)
        connection.execute(upsert.on_conflict_do_update(index_elements=["owner_id", "period"], set_=changed))
    if wanted:
        _begin_windows(connection, owner_id, billing, now)


def _begin_windows(connection: Connection, owner_id: str, billing: Billing, now: datetime) -> None:
    desk = Desk(connection, gateway_zone(connection), billing)
    desk.load({owner_id: ""}, to_ms(now), now)
    binding = desk.of(owner_id)
    desk.ready(binding, to_ms(now))
    desk.save(now)
    for budget, window in binding.windows(to_ms(now)):  # a lower amount may have been reached already
        budget_alerts(connection, owner_id, budget, window, 0, now)


def set_limits(connection: Connection, owner_id: str, wanted: Limits, now: datetime) -> None:
    """Exactly these limits from now on; what ran within the last minute, and runs, counts."""
    values = {"rpm": wanted.rpm, "tpm": wanted.tpm, "concurrency": wanted.concurrency}
    if not wanted:
        for table in (minutes, limits):
            connection.execute(delete(table).where(table.c.owner_id == owner_id))
        return
    if connection.execute(update(limits).where(limits.c.owner_id == owner_id).values(values)).rowcount:
        return
    standing = Standing(owner_id, scope_of(owner_id), "")
    standing.running, standing.running_tokens = running(connection, owner_id)
    standing.rate = last_minute(connection, owner_id, to_ms(now))
    connection.execute(insert(limits).values(values | dict(zip(STANDING_COLUMNS, limits_row(standing), strict=True))))
    # One may be left behind where another tool took the limits away: it is replaced.
    SAVE_MINUTES.run(raw_of(connection), [minutes_row(standing)])


class ResolvedCost(Value, frozen=True):
    """What a person's word changes for the budgets of a request. Costs are differences."""

    key_id: str
    team_id: str | None
    created_at: datetime
    kept_picodollars: int  # what its unknown cost counted so far
    true_cost: int
    charged: int


def count_resolved(connection: Connection, resolved: Sequence[ResolvedCost], now: datetime) -> None:
    """Moves resolved costs in the windows that hold their requests, whether or not these are over."""
    if not resolved:
        return
    owners = {owner: "" for one in resolved for owner in (one.key_id, one.team_id, GATEWAY) if owner is not None}
    desk = Desk(connection, gateway_zone(connection), Billing.CHARGED)
    desk.load(owners, min(to_ms(one.created_at) for one in resolved), now)
    for one in resolved:
        for _, window in desk.of(one.key_id, one.team_id, GATEWAY).windows(to_ms(one.created_at)):
            window.resolve(one.kept_picodollars, one.true_cost, one.charged)
    desk.save(now)


# --- read ------------------------------------------------------------------------------------


def limits_of(connection: Connection, owner_ids: Sequence[str]) -> Mapping[str, Limits]:
    """The limits of those who have any."""
    query = select(limits).where(limits.c.owner_id.in_(_these()))
    rows = connection.execute(query, _ids(owner_ids))
    return {row.owner_id: Limits(row.rpm, row.tpm, row.concurrency) for row in rows}


def budgets_of(connection: Connection, owner_ids: Sequence[str], now: datetime) -> Mapping[str, Sequence[BudgetRecord]]:
    """The budgets of owners, and where they stand now; the shortest period first."""
    there: dict[tuple[str, str], list[Window]] = defaultdict(list)
    query = select(windows).where(windows.c.owner_id.in_(_these()), windows.c.ends_at > to_ms(now))
    for row in connection.execute(query, _ids(owner_ids)):
        window = Window(Span(row.starts_at, row.ends_at), Billing(row.billing), row.settled, row.kept, row.held)
        there[row.owner_id, row.period].append(window)
    found: dict[str, list[BudgetRecord]] = defaultdict(list)
    zone = gateway_zone(connection)
    for row in connection.execute(select(budgets).where(budgets.c.owner_id.in_(_these())), _ids(owner_ids)):
        budget = Budget(row.amount, BudgetPeriod(row.period))
        begun = next((one for one in there[row.owner_id, row.period] if one.span.holds(to_ms(now))), None)
        found[row.owner_id].append(
            _record(budget, begun or _not_begun(connection, row.owner_id, budget.period, to_ms(now), zone))
        )
    for records in found.values():
        records.sort(key=lambda record: _PERIODS.index(record.period))
    return found


def gateway_zone(connection: Connection) -> ZoneInfo:
    """The calendar that the ledger follows."""
    return ZoneInfo((days_made(connection) or ("UTC", 0))[0])


def _not_begun(connection: Connection, owner_id: str, period: BudgetPeriod, at_ms: int, zone: ZoneInfo) -> Window:
    """It has nothing in it: the first request of a period, or its budget, begins one."""
    calendar = span_of(period, at_ms, zone)
    return Window(clipped(calendar, at_ms, standing_spans(connection, owner_id, period, calendar)), Billing.CHARGED)


def _record(budget: Budget, window: Window) -> BudgetRecord:
    span = window.span
    return BudgetRecord(
        amount_picodollars=budget.amount_picodollars,
        period=budget.period,
        spent_picodollars=window.spent,
        held_picodollars=window.held,
        starts_at=from_ms(span.starts_at_ms),
        resets_at=from_ms(span.ends_at_ms) if span.ends_at_ms != ALWAYS_TO_MS else None,
    )


def _these() -> Select[tuple[str]]:
    return select(func.json_each(bindparam("ids")).table_valued("value").c.value)


def _ids(owner_ids: Sequence[str]) -> dict[str, str]:
    return {"ids": msgspec.json.encode(list(owner_ids)).decode()}
