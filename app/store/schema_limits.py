"""The tables of limits: what owners may spend and do, where they stand, who was refused, what the admin is told.

An owner is a key's id, a team's id, or "gateway". Conventions as in `schema`, which has the rest.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Text

from app.store.schema import Whole, strict_table

# What owners may do per minute and at once, and where they stand. Without a limit an owner has no row.
limits = strict_table(
    "limits",
    Column("owner_id", Text, primary_key=True),
    Column("rpm", Whole),
    Column("tpm", Whole),
    Column("concurrency", Whole),
    Column("running", Whole, nullable=False),  # open requests
    Column("running_tokens", Whole, nullable=False),  # what they are taken for
    # The newest step of the last minute, as core.rates has it: all zeros where there is none.
    Column("step_at", Whole, nullable=False),
    Column("step_requests", Whole, nullable=False),
    Column("step_tokens", Whole, nullable=False),
    CheckConstraint("rpm > 0 AND tpm > 0 AND concurrency > 0", name="limits_positive"),
    CheckConstraint("running >= 0 AND running_tokens >= 0", name="limits_running"),
    sqlite_with_rowid=False,
)

# The older steps of their last minutes, written once a second. In `limits`, which each transaction writes, they would
# leave few rows to a page.
minutes = strict_table(
    "minutes",
    Column("owner_id", Text, ForeignKey("limits.owner_id"), primary_key=True),
    Column("steps", Text, nullable=False),  # JSON: [[when, requests, tokens], …], oldest first
    sqlite_with_rowid=False,
)

budgets = strict_table(
    "budgets",
    Column("owner_id", Text, primary_key=True),
    Column("period", Text, primary_key=True),
    Column("amount", Whole, nullable=False),
    CheckConstraint("period IN ('day', 'week', 'month', 'total')", name="budgets_period"),
    CheckConstraint("amount >= 0", name="budgets_amount"),
    sqlite_with_rowid=False,
)

# What counts against a budget, from one edge to the next: of the requests made in between. A window begins with the
# first request in it (or with its budget), and keeps its edges and its way of counting whatever the settings become.
windows = strict_table(
    "windows",
    Column("owner_id", Text, primary_key=True),
    Column("period", Text, primary_key=True),
    Column("starts_at", Whole, primary_key=True),
    Column("ends_at", Whole, nullable=False),
    Column("billing", Text, nullable=False),
    Column("settled", Whole, nullable=False),  # known costs
    Column("kept", Whole, nullable=False),  # what unknown costs go on holding
    Column("held", Whole, nullable=False),  # what open requests hold
    CheckConstraint("starts_at < ends_at", name="windows_edges"),
    CheckConstraint("billing IN ('charged', 'true_cost')", name="windows_billing"),
    CheckConstraint("settled >= 0 AND kept >= 0 AND held >= 0", name="windows_sums"),
    sqlite_with_rowid=False,
)

# Requests of known keys that were not admitted: the newest ones, and, for ever, how many.
refusals = strict_table(
    "refusals",
    Column("id", Text, primary_key=True),  # the request's: req_<ulid>
    Column("at", Whole, nullable=False),
    Column("key_id", Text, ForeignKey("keys.id"), nullable=False),
    Column("model", Text, nullable=False),
    Column("stream", Whole, nullable=False),
    Column("sdk_retry", Whole, nullable=False),
    Column("reason", Text, nullable=False),
    Column("facts", Text, nullable=False),  # JSON: the limit that was hit
    sqlite_with_rowid=False,
)
Index("refusals_key", refusals.c.key_id, refusals.c.id)
refusal_counts = strict_table(
    "refusal_counts",
    Column("bucket_at", Whole, primary_key=True),
    Column("key_id", Text, primary_key=True),
    Column("reason", Text, primary_key=True),
    Column("refused", Whole, nullable=False),
    sqlite_with_rowid=False,
)

# What the admin is to be told. `subject` names the occasion, so that each is told once.
alerts = strict_table(
    "alerts",
    Column("id", Text, primary_key=True),  # alr_<ulid>
    Column("at", Whole, nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False, unique=True),
    Column("facts", Text, nullable=False),  # JSON
    Column("spread_at", Whole),  # when it was queued for every destination that there was
    sqlite_with_rowid=False,
)
Index("alerts_unspread", alerts.c.id, sqlite_where=alerts.c.spread_at.is_(None))

# Where they go. One that is removed keeps its name, for the history, and nothing else.
alert_destinations = strict_table(
    "alert_destinations",
    Column("id", Text, primary_key=True),  # dst_<ulid>
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("created_at", Whole, nullable=False),
    Column("removed_at", Whole),
    CheckConstraint("kind IN ('webhook', 'service')", name="alert_destinations_kind"),
    sqlite_with_rowid=False,
)
Index(
    "alert_destinations_name",
    alert_destinations.c.name,
    unique=True,
    sqlite_where=alert_destinations.c.removed_at.is_(None),
)

# One alert at one destination: waiting for its next attempt, arrived, or given up.
alert_deliveries = strict_table(
    "alert_deliveries",
    Column("alert_id", Text, ForeignKey("alerts.id"), primary_key=True),
    Column("destination_id", Text, ForeignKey("alert_destinations.id"), primary_key=True),
    Column("attempts", Whole, nullable=False),
    Column("next_at", Whole),
    Column("delivered_at", Whole),
    Column("given_up_at", Whole),
    Column("error", Text),  # of the last attempt; a fixed text, never what a receiver said
    CheckConstraint(
        "(next_at IS NULL) <> (COALESCE(delivered_at, given_up_at) IS NULL) "
        "AND (delivered_at IS NULL OR given_up_at IS NULL)",
        name="alert_deliveries_state",
    ),
    sqlite_with_rowid=False,
)
Index(
    "alert_deliveries_due",
    alert_deliveries.c.destination_id,
    alert_deliveries.c.next_at,
    sqlite_where=alert_deliveries.c.next_at.is_not(None),
)
