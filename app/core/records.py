"""The records that cross floors: what a request is when it is admitted, and when it is closed.

Plain frozen values; no behaviour beyond what their fields say. Money is an integer of
10⁻¹² USD (see `app.core.money`) beside the token as received; times are aware UTC.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from app.core.value import Value


class State(StrEnum):
    """Where a ledger entry stands. `open` ends exactly once, in one of the other three."""

    OPEN = "open"
    SETTLED = "settled"  # at least one of the two costs is known
    FREE = "free"  # surely not billed
    UNKNOWN = "unknown"  # may have been billed; the reason says why nobody can tell


class Outcome(StrEnum):
    """How an exchange ended, seen from the gateway."""

    COMPLETED = "completed"
    CLIENT_DISCONNECTED = "client_disconnected"
    UPSTREAM_ERROR = "upstream_error"  # an error answer, or an error body under status 200
    UPSTREAM_DISCONNECTED = "upstream_disconnected"  # unreachable, reset, or cut
    TIMED_OUT = "timed_out"
    SHUT_DOWN = "shut_down"


class KeyState(StrEnum):
    ACTIVE = "active"
    DISABLED = "disabled"
    REVOKED = "revoked"
    EXPIRED = "expired"


class Cost(Value, frozen=True):
    """One cost: the JSON token as received and its value, rounded half-even to 12 places."""

    raw: str
    picodollars: int


class TokenUsage(Value, frozen=True):
    """Token counts as the upstream told them; None = not told."""

    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    total_tokens: int | None = None


class Reading(Value, frozen=True):
    """What the tap learnt from an answer's body.

    `true_cost` and `charged` are None when not known; then `true_cost_token` and
    `charged_token` keep an unusable token as text, and `unknown_reason` says why (the
    reason is also kept when only one of the two costs is unknown).
    """

    true_cost: Cost | None = None
    charged: Cost | None = None
    true_cost_token: str | None = None
    charged_token: str | None = None
    charged_derived: bool = False
    charge_mismatch: bool = False
    unknown_reason: str | None = None
    usage: TokenUsage = TokenUsage()
    response_id: str | None = None
    made: tuple[str, ...] = ()  # ids of what else it made that can be referred to: items of its output, containers
    model_answered: str | None = None
    complete: bool = False  # a terminal event or a whole JSON body was seen
    failed: bool = False  # the body tells of a failure (error body, response.failed)
    error_body: bool = False  # nothing but an error: a truthy `error` and no `output`, `choices`, `data`

    @property
    def cost_known(self) -> bool:
        return self.true_cost is not None or self.charged is not None


class Prices(Value, frozen=True):
    """What a model's tokens cost, in 10⁻¹² USD each."""

    prompt_picodollars: int
    completion_picodollars: int


class Asked(Value, frozen=True):
    """What bounds a request's cost before it runs: its length, the model's prices, the operator's ceiling."""

    prompt_tokens: int = 0  # a guess from above
    max_output_tokens: int | None = None  # as the client set it
    prices: Prices | None = None  # None = not known
    ceiling_picodollars: int | None = None
    default_picodollars: int = 0  # what is held when nothing else is known


class ReferenceRules(Value, frozen=True):
    """What a request may refer to beside what its own key made."""

    of_team: bool = False  # what any key made while it belonged to the team that this key belongs to
    unknown: bool = False  # what the gateway knows nothing of


OWN_ALONE = ReferenceRules()


class Maker(Value, frozen=True):
    """The key that made something, and the team to which it then belonged."""

    key_id: str
    team_id: str | None = None


class Intent(Value, frozen=True):
    """A request that wants to be forwarded: the write-ahead half of a ledger entry."""

    request_id: str  # req_<ulid>; its ULID carries created_at
    key_id: str
    secret_hash: str  # the secret that was presented; a rotated one may have expired
    created_at: datetime
    model: str
    stream: bool
    sdk_retry: int = 0
    references: tuple[str, ...] = ()  # ids of what is stored upstream and the body refers to
    rules: ReferenceRules = OWN_ALONE
    asked: Asked = Asked()


class RefusalReason(StrEnum):
    """Why the ledger did not admit a request."""

    KEY_REFUSED = "key_refused"  # absent, revoked, disabled or expired: told apart by nobody
    MODEL_NOT_ALLOWED = "model_not_allowed"
    RESPONSE_NOT_FOUND = "response_not_found"
    BUDGET_SPENT = "budget_spent"
    BUDGET_HELD = "budget_held"  # only what runs now is in the way
    REQUESTS_PER_MINUTE = "requests_per_minute"
    TOKENS_PER_MINUTE = "tokens_per_minute"
    CONCURRENCY = "concurrency"


class Scope(StrEnum):
    """Whose limit it is."""

    KEY = "key"
    TEAM = "team"
    GATEWAY = "gateway"


class Allowance(Value, frozen=True):
    """What one limit per minute leaves, this request counted."""

    limit: int
    remaining: int
    reset_ms: int  # until nothing counts against it any more


class Allowances(Value, frozen=True):
    """What the tightest limits leave; None = there is no such limit."""

    requests: Allowance | None = None
    tokens: Allowance | None = None
    budget_remaining_picodollars: int | None = None


NO_ALLOWANCES = Allowances()


class Admitted(Value, frozen=True):
    """The intent is committed; it may be forwarded."""

    request_id: str
    key_name: str
    team: str | None
    tags: tuple[str, ...] = ()
    hold_picodollars: int = 0
    tokens_held: int = 0
    allowances: Allowances = NO_ALLOWANCES


class LimitHit(Value, frozen=True):
    """The limit that refuses a request. Money in 10⁻¹² USD, for budgets alone; `limit` for all others."""

    scope: Scope
    owner: str  # the name of the key or team; "" for the gateway
    limit: int | None = None
    period: str | None = None
    limit_picodollars: int | None = None
    spent_picodollars: int | None = None
    held_picodollars: int | None = None
    hold_picodollars: int | None = None  # what this request would have added
    resets_at: datetime | None = None  # None = it never does


class Refused(Value, frozen=True):
    """The intent left no row and must not be forwarded."""

    reason: RefusalReason
    allowed_models: tuple[str, ...] = ()
    reference: str | None = None
    hit: LimitHit | None = None
    retry_after_ms: int | None = None  # None = trying again does not help
    allowances: Allowances = NO_ALLOWANCES


class Settlement(Value, frozen=True):
    """The closing half of a ledger entry; applied once, then immutable."""

    request_id: str
    state: State
    outcome: Outcome
    reading: Reading
    status: int | None  # the upstream's status; None = no answer came
    unknown_reason: str | None = None
    upstream_request_id: str | None = None
    ttfb_ms: int | None = None
    duration_ms: int = 0
