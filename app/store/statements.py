"""The hot statements of keys, requests and roll-ups. How they run is in `hot`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Table, insert, literal_column, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from app.store.hot import Hot, field
from app.store.schema import (
    USAGE_KEY,
    USAGE_MONEY,
    USAGE_SUMS,
    bounded,
    key_secrets,
    keys,
    requests,
    teams,
    usage,
    usage_days,
)

# What is remembered of a request while it is open.
OPEN_COLUMNS = ("id", "created_at", "key_id", "team_id", "tags", "model", "hold", "tokens_held")
INTENT_COLUMNS = (*OPEN_COLUMNS, "stream", "sdk_retry", "instance_id")
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
    "kept",  # what goes on counting of the hold
)

INSERT_INTENTS = Hot(
    insert(requests).from_select(
        [*INTENT_COLUMNS, "state"],
        select(*(field(index) for index in range(len(INTENT_COLUMNS))), literal_column("'open'")),
        include_defaults=False,
    ),
    len(INTENT_COLUMNS),
)

wanted = select(field(0))

# Rows that are closed already are not found, and not touched: a settlement counts once.
OPEN_ROWS = Hot(
    select(*(requests.c[name] for name in OPEN_COLUMNS)).where(
        requests.c.id.in_(wanted), requests.c.state == literal_column("'open'")
    ),
    1,
)
SETTLE = Hot(
    update(requests)
    .values({name: field(index + 1) for index, name in enumerate(SETTLEMENT_COLUMNS)})
    .where(requests.c.id == field(0), requests.c.state == literal_column("'open'")),
    len(SETTLEMENT_COLUMNS) + 1,
)


def _adding(table: Table) -> Hot:
    added = upsert(table).from_select(
        [*USAGE_KEY, *USAGE_SUMS],
        # SQLite's grammar needs a WHERE between this SELECT and ON CONFLICT.
        select(*(field(index) for index in range(len(USAGE_KEY) + len(USAGE_SUMS)))).where(literal_column("true")),
    )
    return Hot(
        added.on_conflict_do_update(
            index_elements=list(USAGE_KEY),
            set_={name: _sum(name, table.c[name] + added.excluded[name]) for name in USAGE_SUMS},
        ),
        len(USAGE_KEY) + len(USAGE_SUMS),
    )


def _sum(name: str, both: ColumnElement[Any]) -> ColumnElement[Any]:
    return bounded(both) if name in USAGE_MONEY else both


ADD_USAGE = _adding(usage)
ADD_USAGE_DAYS = _adding(usage_days)

# By the hash of the secret that was shown: a key may answer to two for a while.
KEY_FACTS = Hot(
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
    .where(key_secrets.c.hash.in_(wanted)),
    1,
)
EXISTING = Hot(select(requests.c.id).where(requests.c.id.in_(wanted)), 1)
TOUCH_KEYS = Hot(update(keys).values(last_used_at=field(1)).where(keys.c.id == field(0)), 2)
