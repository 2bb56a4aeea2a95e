"""The tables, as SQLAlchemy Core knows them. Migrations create them; a test holds the two together.

Times are integers: milliseconds since 1970, UTC (`…_at`). Money is an integer of 10⁻¹² USD
beside the token as received. Lists (tags, model patterns) are sorted JSON arrays as text.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, MetaData, Table, Text, text

metadata = MetaData()

teams = Table(
    "teams",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
)

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("team_id", Text, ForeignKey("teams.id"), index=True),
    Column("tags", Text, nullable=False),
    Column("models", Text, nullable=False),
    Column("state", Text, nullable=False),  # active, disabled or revoked; expired is told by expires_at
    Column("expires_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("last_used_at", BigInteger),
    CheckConstraint("state IN ('active', 'disabled', 'revoked')", name="keys_state"),
)

# One key may answer to two secrets for a while: the new one, and the old one within its grace.
key_secrets = Table(
    "key_secrets",
    metadata,
    Column("hash", Text, primary_key=True),  # SHA-256 of the secret; the secret itself is nowhere
    Column("key_id", Text, ForeignKey("keys.id"), nullable=False, index=True),
    Column("prefix", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
)

# The ledger. A row is written open, before anything is forwarded, and closed once.
requests = Table(
    "requests",
    metadata,
    Column("id", Text, primary_key=True),  # req_<ulid>: sorts by created_at
    Column("created_at", BigInteger, nullable=False),
    Column("key_id", Text, ForeignKey("keys.id"), nullable=False),
    Column("team_id", Text),  # the key's team at admission
    Column("tags", Text, nullable=False),  # the key's tags at admission
    Column("model", Text, nullable=False),
    Column("stream", BigInteger, nullable=False),
    Column("sdk_retry", BigInteger, nullable=False),
    Column("hold", BigInteger, nullable=False),
    Column("instance_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("outcome", Text),
    Column("status", BigInteger),
    Column("true_cost", BigInteger),
    Column("true_cost_raw", Text),
    Column("charged", BigInteger),
    Column("charged_raw", Text),
    Column("charged_derived", BigInteger, nullable=False, server_default=text("0")),
    Column("charge_mismatch", BigInteger, nullable=False, server_default=text("0")),
    Column("unknown_reason", Text),
    Column("input_tokens", BigInteger),
    Column("cached_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("reasoning_tokens", BigInteger),
    Column("total_tokens", BigInteger),
    Column("model_answered", Text),
    Column("response_id", Text),
    Column("upstream_request_id", Text),
    Column("ttfb_ms", BigInteger),
    Column("duration_ms", BigInteger),
    Column("closed_at", BigInteger),
    Column("closed_seq", BigInteger),
    CheckConstraint("state IN ('open', 'settled', 'free', 'unknown')", name="requests_state"),
    CheckConstraint("(state = 'open') = (closed_seq IS NULL)", name="requests_closed"),
    CheckConstraint(
        "state <> 'settled' OR true_cost IS NOT NULL OR charged IS NOT NULL", name="requests_settled_has_cost"
    ),
    CheckConstraint("(state = 'unknown') = (unknown_reason IS NOT NULL)", name="requests_unknown_has_reason"),
)
Index("requests_key", requests.c.key_id, requests.c.id)
Index("requests_team", requests.c.team_id, requests.c.id)
Index("requests_model", requests.c.model, requests.c.id)
Index("requests_closed_seq", requests.c.closed_seq, unique=True)
Index("requests_open", requests.c.id, sqlite_where=requests.c.state == "open")
Index("requests_unknown", requests.c.id, sqlite_where=requests.c.state == "unknown")
Index("requests_response", requests.c.response_id, sqlite_where=requests.c.response_id.is_not(None))
Index("requests_upstream", requests.c.upstream_request_id, sqlite_where=requests.c.upstream_request_id.is_not(None))

# Whose response it is: what a later request may refer to.
responses = Table(
    "responses",
    metadata,
    Column("response_id", Text, primary_key=True),
    Column("key_id", Text, ForeignKey("keys.id"), nullable=False),
    sqlite_with_rowid=False,
)

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

# Roll-ups of closed requests in buckets of 15 minutes, by the time they were created.
usage = Table(
    "usage",
    metadata,
    Column("bucket_at", BigInteger, primary_key=True),
    Column("key_id", Text, primary_key=True),
    Column("team_id", Text, primary_key=True),  # "" = no team
    Column("tags", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("state", Text, primary_key=True),
    *(Column(name, BigInteger, nullable=False) for name in USAGE_SUMS),
    # Beyond 2⁶³ SQLite would go on in floating point without a word.
    CheckConstraint("typeof(true_cost) = 'integer' AND typeof(charged) = 'integer'", name="usage_integers"),
    sqlite_with_rowid=False,
)

# Processes that wrote the ledger: what an ended one left open was lost with it.
instances = Table(
    "instances",
    metadata,
    Column("id", Text, primary_key=True),
    Column("pid", BigInteger, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
)
