"""The hot statements of limits. How they run is in `hot`."""

from __future__ import annotations

from sqlalchemy import and_, case, func, insert, literal_column, select
from sqlalchemy.dialects.sqlite import insert as upsert

from app.core.budgets import ALWAYS_FROM_MS, LONGEST_MS
from app.store.hot import Hot, field, rows
from app.store.schema_limits import budgets, limits, minutes, refusal_counts, refusals, windows
from app.store.statements import wanted

# Whether anybody has limits, or budgets: where nobody has, nothing else is asked.
ANY = str(select(select(limits.c.owner_id).exists(), select(budgets.c.owner_id).exists()))

LIMITS = Hot(
    select(
        limits.c.owner_id,
        limits.c.rpm,
        limits.c.tpm,
        limits.c.concurrency,
        limits.c.running,
        limits.c.running_tokens,
        limits.c.step_at,
        limits.c.step_requests,
        limits.c.step_tokens,
        func.coalesce(minutes.c.steps, literal_column("'[]'")),  # another tool may have taken it away
    )
    .select_from(limits.outerjoin(minutes, minutes.c.owner_id == limits.c.owner_id))
    .where(limits.c.owner_id.in_(wanted)),
    1,
)

# Of each [owner, since]: its budgets, each with its windows that end later, or with none. None of these began so
# early that it would be longer than any: without that bound, all the windows that ever were would be looked at.
_begins = case(
    *(
        (budgets.c.period == literal_column(f"'{period}'"), field(1) - literal_column(str(longest_ms)))
        for period, longest_ms in LONGEST_MS.items()
    ),
    else_=literal_column(str(ALWAYS_FROM_MS)),
)
_its_windows = and_(
    windows.c.owner_id == budgets.c.owner_id,
    windows.c.period == budgets.c.period,
    windows.c.starts_at >= _begins,
    windows.c.ends_at > field(1),
)
BUDGETS = Hot(
    select(
        budgets.c.owner_id,
        budgets.c.period,
        budgets.c.amount,
        windows.c.starts_at,
        windows.c.ends_at,
        windows.c.billing,
        windows.c.settled,
        windows.c.kept,
        windows.c.held,
    ).select_from(rows.join(budgets, budgets.c.owner_id == field(0)).outerjoin(windows, _its_windows)),
    2,
)

_WINDOW = ("owner_id", "period", "starts_at", "ends_at", "billing", "settled", "kept", "held")
_saved = upsert(windows).from_select(
    list(_WINDOW),
    # SQLite's grammar needs a WHERE between this SELECT and ON CONFLICT.
    select(*(field(index) for index in range(len(_WINDOW)))).where(literal_column("true")),
)
SAVE_WINDOWS = Hot(
    _saved.on_conflict_do_update(
        index_elements=["owner_id", "period", "starts_at"],
        set_={name: _saved.excluded[name] for name in ("settled", "kept", "held")},
    ),
    len(_WINDOW),
)
STANDING_COLUMNS = ("owner_id", "running", "running_tokens", "step_at", "step_requests", "step_tokens")
# Of rows that are there: where one is not, this would make one without limits, so the desk forgets before one can go.
# An UPDATE … FROM puts its rows into a table first.
_stands = upsert(limits).from_select(
    list(STANDING_COLUMNS),
    select(*(field(index) for index in range(len(STANDING_COLUMNS)))).where(literal_column("true")),
    include_defaults=False,
)
SAVE_LIMITS = Hot(
    _stands.on_conflict_do_update(
        index_elements=["owner_id"],
        set_={name: _stands.excluded[name] for name in STANDING_COLUMNS[1:]},
    ),
    len(STANDING_COLUMNS),
)
_stepped = upsert(minutes).from_select(
    ["owner_id", "steps"], select(field(0), field(1)).where(literal_column("true")), include_defaults=False
)
SAVE_MINUTES = Hot(
    _stepped.on_conflict_do_update(index_elements=["owner_id"], set_={"steps": _stepped.excluded.steps}), 2
)

_REFUSAL = ("id", "at", "key_id", "model", "stream", "sdk_retry", "reason", "facts")
ADD_REFUSALS = Hot(
    insert(refusals).from_select(
        list(_REFUSAL), select(*(field(index) for index in range(len(_REFUSAL)))), include_defaults=False
    ),
    len(_REFUSAL),
)
_counted = upsert(refusal_counts).from_select(
    ["bucket_at", "key_id", "reason", "refused"],
    select(*(field(index) for index in range(4))).where(literal_column("true")),
)
COUNT_REFUSALS = Hot(
    _counted.on_conflict_do_update(
        index_elements=["bucket_at", "key_id", "reason"],
        set_={"refused": refusal_counts.c.refused + _counted.excluded.refused},
    ),
    4,
)
