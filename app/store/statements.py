"""The hot statements: compiled once from SQLAlchemy Core, run on the driver's cursor, one for a whole batch.

Each takes one positional parameter: a JSON array (of arrays). So a batch costs a few statements,
however many requests it holds, and the interpreter lock is let go once per statement.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ClauseElement, ColumnElement, Table, bindparam, func, insert, literal_column, select, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert as upsert

from app.store.schema import (
    USAGE_KEY,
    USAGE_MONEY,
    USAGE_SUMS,
    bounded,
    key_secrets,
    keys,
    requests,
    responses,
    teams,
    usage,
    usage_days,
)

rows = func.json_each(bindparam("rows")).table_valued("value", name="rows_")

INTENT_COLUMNS = (
    "id",
    "created_at",
    "key_id",
    "team_id",
    "tags",
    "model",
    "stream",
    "sdk_retry",
    "hold",
    "instance_id",
    "tokens_held",
)
SETTLEMENT_COLUMNS = (
    "state",
    "outcome",
    "status",
    "true_cost",
    "true_cost_raw",
    "charged",
    "charged_raw",
    "charged_derived",
    "charge_mismatch",
    "unknown_reason",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
    "total_tokens",
    "model_answered",
    "response_id",
    "upstream_request_id",
    "ttfb_ms",
    "duration_ms",
    "closed_at",
    "closed_seq",
)
RETURNED_COLUMNS = ("id", "created_at", "key_id", "team_id", "tags", "model", "state", "hold", "kept", "tokens_held")


def field(index: int) -> ColumnElement[object]:
    return func.json_extract(rows.c.value, literal_column(f"'$[{index}]'"))


def compiled(statement: ClauseElement) -> str:
    made = statement.compile(dialect=sqlite.dialect(paramstyle="qmark"))
    parameters = getattr(made, "positiontup", None)
    if parameters != ["rows"]:
        raise TypeError(f"a hot statement takes `rows` alone and once, not {parameters}")
    return str(made)


INSERT_INTENTS = compiled(
    insert(requests).from_select(
        [*INTENT_COLUMNS, "state"],
        select(*(field(index) for index in range(len(INTENT_COLUMNS))), literal_column("'open'")),
        include_defaults=False,
    )
)

# Rows that are closed already are not touched and not returned: a settlement counts once.
SETTLE = compiled(
    update(requests)
    .values(
        {name: field(index + 1) for index, name in enumerate(SETTLEMENT_COLUMNS)}
        # The last field says whether the hold goes on counting.
        | {"kept": requests.c.hold * field(len(SETTLEMENT_COLUMNS) + 1)}
    )
    .where(requests.c.id == field(0), requests.c.state == literal_column("'open'"))
    .returning(*(requests.c[name] for name in RETURNED_COLUMNS))
)


def _adding(table: Table) -> str:
    added = upsert(table).from_select(
        [*USAGE_KEY, *USAGE_SUMS],
        # SQLite's grammar needs a WHERE between this SELECT and ON CONFLICT.
        select(*(field(index) for index in range(len(USAGE_KEY) + len(USAGE_SUMS)))).where(literal_column("true")),
    )
    return compiled(
        added.on_conflict_do_update(
            index_elements=list(USAGE_KEY),
            set_={name: _sum(name, table.c[name] + added.excluded[name]) for name in USAGE_SUMS},
        )
    )


def _sum(name: str, both: ColumnElement[Any]) -> ColumnElement[Any]:
    return bounded(both) if name in USAGE_MONEY else both


ADD_USAGE = _adding(usage)
ADD_USAGE_DAYS = _adding(usage_days)

# The first key to be told a response's id keeps it.
ADD_OWNERS = compiled(
    upsert(responses)
    .from_select(["response_id", "key_id"], select(field(0), field(1)).where(literal_column("true")))
    .on_conflict_do_nothing()
)

wanted = select(rows.c.value)

# By the hash of the secret that was shown: a key may answer to two for a while.
KEY_FACTS = compiled(
    select(
        key_secrets.c.hash,
        key_secrets.c.expires_at,
        keys.c.id,
        keys.c.name,
        keys.c.team_id,
        teams.c.name,
        keys.c.tags,
        keys.c.models,
        keys.c.state,
        keys.c.expires_at,
        keys.c.last_used_at,
    )
    .select_from(
        key_secrets.join(keys, keys.c.id == key_secrets.c.key_id).outerjoin(teams, teams.c.id == keys.c.team_id)
    )
    .where(key_secrets.c.hash.in_(wanted))
)
OWNERS = compiled(select(responses.c.response_id, responses.c.key_id).where(responses.c.response_id.in_(wanted)))
EXISTING = compiled(select(requests.c.id).where(requests.c.id.in_(wanted)))
TOUCH_KEYS = compiled(update(keys).values(last_used_at=field(1)).where(keys.c.id == field(0)))
