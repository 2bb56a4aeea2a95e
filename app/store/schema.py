"""The tables, as SQLAlchemy Core knows them. Migrations create them; a test holds the two together.

Times are integers: milliseconds since 1970, UTC (`…_at`). Money is an integer of 10⁻¹² USD
beside the token as received. Lists (tags, model patterns) are sorted JSON arrays as text.
Every table is STRICT: SQLite would otherwise turn an integer that is too large into a float.
The tables of limits are in `schema_limits`, the audit log is in `schema_audit`, who made what in `schema_made`,
the tables by which requests are found by cost or by others' ids are in `schema_stretches`, what was let go of is in
`schema_seals`.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    func,
    literal_column,
    text,
)

from app.core.money import PICODOLLARS_PER_USD, SUM_MAX

metadata = MetaData()

# 64 bits everywhere; SQLite calls that INTEGER.
Whole = BigInteger().with_variant(Integer(), "sqlite")


def strict_table(name: str, *parts: Any, **options: Any) -> Table:
    return Table(name, metadata, *parts, sqlite_strict=True, **options)


teams = strict_table(
    "teams",
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("created_at", Whole, nullable=False),
)

keys = strict_table(
    "keys",
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("team_id", Text, ForeignKey("teams.id"), index=True),
    Column("tags", Text, nullable=False),
    Column("models", Text, nullable=False),
    Column("state", Text, nullable=False),  # active, disabled or revoked; expired is told by expires_at
    Column("expires_at", Whole),
    Column("created_at", Whole, nullable=False),
    Column("last_used_at", Whole),
    CheckConstraint("state IN ('active', 'disabled', 'revoked')", name="keys_state"),
)

# One key may answer to two secrets for a while: the new one, and the old one within its grace.
key_secrets = strict_table(
    "key_secrets",
    Column("hash", Text, primary_key=True),  # SHA-256 of the secret; the secret itself is nowhere
    Column("key_id", Text, ForeignKey("keys.id"), nullable=False, index=True),
    Column("prefix", Text, nullable=False),
    Column("created_at", Whole, nullable=False),
    Column("expires_at", Whole),
)

# The ledger. A row is written open, before anything is forwarded, and closed once.
requests = strict_table(
    "requests",
    Column("id", Text, primary_key=True),  # req_<ulid>: sorts by created_at
    Column("created_at", Whole, nullable=False),
    Column("key_id", Text, ForeignKey("keys.id"), nullable=False),
    Column("team_id", Text),  # the key's team at admission
    Column("tags", Text, nullable=False),  # the key's tags at admission
    Column("model", Text, nullable=False),
    Column("stream", Whole, nullable=False),
    Column("sdk_retry", Whole, nullable=False),
    Column("hold", Whole, nullable=False),
    Column("instance_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("outcome", Text),
    Column("status", Whole),
    Column("true_cost", Whole),
    Column("true_cost_raw", Text),
    Column("charged", Whole),
    Column("charged_raw", Text),
    Column("charged_derived", Whole, nullable=False, server_default=text("0")),
    Column("charge_mismatch", Whole, nullable=False, server_default=text("0")),
    Column("unknown_reason", Text),
    Column("input_tokens", Whole),
    Column("cached_tokens", Whole),
    Column("output_tokens", Whole),
    Column("reasoning_tokens", Whole),
    Column("total_tokens", Whole),
    Column("model_answered", Text),
    Column("response_id", Text),
    Column("upstream_request_id", Text),
    Column("ttfb_ms", Whole),
    Column("duration_ms", Whole),
    Column("closed_at", Whole),
    Column("closed_seq", Whole),
    Column("kept", Whole, nullable=False, server_default=text("0")),  # what an unknown cost counts against budgets
    Column("tokens_held", Whole, nullable=False, server_default=text("0")),
    CheckConstraint(  # no list: SQLite would make a table of it for each row that is written
        "state = 'open' OR state = 'settled' OR state = 'free' OR state = 'unknown'", name="requests_state"
    ),
    CheckConstraint("(state = 'open') = (closed_seq IS NULL)", name="requests_closed"),
    CheckConstraint(
        "state <> 'settled' OR true_cost IS NOT NULL OR charged IS NOT NULL", name="requests_settled_has_cost"
    ),
    CheckConstraint("(state = 'unknown') = (unknown_reason IS NOT NULL)", name="requests_unknown_has_reason"),
    sqlite_with_rowid=False,
)
Index("requests_key", requests.c.key_id, requests.c.id)
Index("requests_team", requests.c.team_id, requests.c.id, sqlite_where=requests.c.team_id.is_not(None))
Index("requests_model", requests.c.model, requests.c.id)
Index("requests_closed_seq", requests.c.closed_seq, unique=True, sqlite_where=requests.c.closed_seq.is_not(None))
# The rare states have indices of their own; a query must name the state as a literal to use them.
RARE_STATES = ("open", "free", "unknown")
for _state in RARE_STATES:
    Index(f"requests_{_state}", requests.c.id, sqlite_where=requests.c.state == literal_column(f"'{_state}'"))
# So have the rare ends; a query must hold the same condition as these.
RARE_STATUS: ColumnElement[bool] = literal_column("requests.status <> 200")
RARE_OUTCOME: ColumnElement[bool] = literal_column("requests.outcome <> 'completed'")
TAGGED: ColumnElement[bool] = literal_column("requests.tags <> '[]'")
Index("requests_status", requests.c.status, requests.c.id, sqlite_where=text("status <> 200"))
Index("requests_outcome", requests.c.outcome, requests.c.id, sqlite_where=text("outcome <> 'completed'"))
Index(
    "requests_unknown_reason",
    requests.c.unknown_reason,
    requests.c.id,
    sqlite_where=requests.c.unknown_reason.is_not(None),
)
Index("requests_tags", requests.c.tags, requests.c.id, sqlite_where=text("tags <> '[]'"))
# Of settled requests, those of which only one of the two costs is known.
ONE_COST: ColumnElement[bool] = literal_column(
    "requests.state = 'settled' AND (requests.true_cost IS NULL OR requests.charged IS NULL)"
)
Index(
    "requests_one_cost",
    requests.c.id,
    sqlite_where=text("state = 'settled' AND (true_cost IS NULL OR charged IS NULL)"),
)
# What persons wrote about the costs of `unknown` requests. Rows are only ever added: the request's own row stays as it
# was closed, and when it is let go of these stay. A row made in a later month than the request is `late`: it counts
# when it was made, so that closed months never change; any other counts where the request does. Costs are differences
# to what held before.
adjustments = strict_table(
    "adjustments",
    Column("id", Text, primary_key=True),  # adj_<ulid>: sorts by `at`
    Column("request_id", Text, nullable=False),
    Column("seq", Whole, nullable=False),  # 1 = the one that made the cost known
    Column("at", Whole, nullable=False),
    Column("late", Whole, nullable=False),
    Column("true_cost", Whole, nullable=False),
    Column("charged", Whole, nullable=False),
    Column("charged_derived", Whole, nullable=False),
    Column("author", Text, nullable=False),
    Column("reason", Text, nullable=False),
    # The request's own, which never change: what sums are grouped by.
    Column("key_id", Text, nullable=False),
    Column("team_id", Text),
    Column("tags", Text, nullable=False),
    Column("model", Text, nullable=False),
    CheckConstraint("seq >= 1", name="adjustments_seq"),
    CheckConstraint("late IN (0, 1)", name="adjustments_late"),
    sqlite_with_rowid=False,
)
Index("adjustments_request", adjustments.c.request_id, adjustments.c.seq, unique=True)
Index("adjustments_dated", adjustments.c.id, sqlite_where=adjustments.c.late == literal_column("1"))

# Sums of money stay at `SUM_MAX`: eight million USD for one model of one key.
USAGE_KEY = ("bucket_at", "key_id", "team_id", "tags", "model", "state")
USAGE_SUMS = (
    "requests",
    "true_cost",
    "charged",
    "true_cost_unknown",
    "charged_unknown",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
    "total_tokens",
)
USAGE_MONEY = ("true_cost", "charged")


def bounded_sum(amount: ColumnElement[Any]) -> ColumnElement[Any]:
    """Of money: whole dollars and rests apart, since SQLite's own sum fails beyond 64 bits."""
    usd, rest = func.sum(amount // PICODOLLARS_PER_USD), func.sum(amount % PICODOLLARS_PER_USD)
    return bounded(usd * PICODOLLARS_PER_USD + rest)


def bounded(amount: ColumnElement[Any]) -> ColumnElement[Any]:
    """At most `SUM_MAX`: SQLite turns what is beyond 64 bits into a float, which is larger."""
    return func.min(amount, literal_column(str(SUM_MAX)))


def _rollup(name: str) -> Table:
    return strict_table(
        name,
        Column("bucket_at", Whole, primary_key=True),
        Column("key_id", Text, primary_key=True),
        Column("team_id", Text, primary_key=True),  # "" = no team
        Column("tags", Text, primary_key=True),
        Column("model", Text, primary_key=True),
        Column("state", Text, primary_key=True),
        *(Column(column, Whole, nullable=False) for column in USAGE_SUMS),
        sqlite_with_rowid=False,
    )


# Roll-ups of closed requests by the time they were created: in buckets of 15 minutes, and in
# days of the calendar below (`bucket_at` is a day's first instant), so that years are read quickly. A day
# is summed up when it is over; what is booked to it later is added to both.
usage = _rollup("usage")
usage_days = _rollup("usage_days")

# One row: the time zone that `usage_days` follows, and the midnight up to which its days are summed up.
calendar = strict_table(
    "calendar",
    Column("zone", Text, primary_key=True),
    Column("days_until", Whole, nullable=False),
)

# Processes that wrote the ledger: what an ended one left open was lost with it.
instances = strict_table(
    "instances",
    Column("id", Text, primary_key=True),
    Column("pid", Whole, nullable=False),
    Column("started_at", Whole, nullable=False),
    Column("heartbeat_at", Whole, nullable=False),
    Column("ended_at", Whole),
)

# The upstream's list of models as it was told last: one row.
catalog = strict_table(
    "catalog",
    Column("id", Whole, primary_key=True, autoincrement=False),
    Column("fetched_at", Whole, nullable=False),
    Column("models", Text, nullable=False),  # as core.catalog writes it
    CheckConstraint("id = 1", name="catalog_one_row"),
)
