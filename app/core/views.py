"""What is read from the ledger and what is asked of it: keys, teams, requests, usage.

Plain frozen values that the store fills, the accounts hand on and the control plane puts
into shapes. Money is an integer of 10⁻¹² USD, None = unknown (never 0); times are aware UTC.
No behaviour, no shape of JSON: that is the control plane's.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar

from app.core.records import Outcome, State, TokenUsage
from app.core.value import Value

T = TypeVar("T")


# The most items of one page, wherever it is asked for.
PAGE_MAX = 1000


class Page(Value, Generic[T], frozen=True):
    """One page of a list; `next` is the cursor of the following one, None at the end.

    `let_go_before`: of what was asked for, requests made before it may be missing, since their rows were let go of.
    """

    items: tuple[T, ...]
    next: str | None = None
    let_go_before: datetime | None = None


# --- requests ------------------------------------------------------------------------------


class Resolved(Value, frozen=True):
    """An unknown cost was settled by a person: the newest word on it."""

    at: datetime
    by: str
    reason: str


class RequestRecord(Value, frozen=True):
    """One ledger entry. `key` and `team` are names as they are now; the team is the one at admission.

    With `resolved`, state and costs are what a person settled; `unknown_reason` tells why that was needed.
    """

    id: str
    created_at: datetime
    key: str
    key_id: str
    team: str | None
    tags: tuple[str, ...]
    model: str
    stream: bool
    state: State
    team_id: str | None = None
    sdk_retry: int = 0
    hold_picodollars: int = 0
    kept_picodollars: int = 0  # what its unknown cost counts against budgets, until a person settles it
    model_answered: str | None = None
    status: int | None = None
    outcome: Outcome | None = None
    true_cost_picodollars: int | None = None
    charged_picodollars: int | None = None
    true_cost_raw: str | None = None
    charged_raw: str | None = None
    charged_derived: bool = False
    charge_mismatch: bool = False
    unknown_reason: str | None = None
    usage: TokenUsage = TokenUsage()
    response_id: str | None = None
    upstream_request_id: str | None = None
    ttfb_ms: int | None = None
    duration_ms: int | None = None
    closed_at: datetime | None = None
    closed_seq: int | None = None  # order of closing; what the live feed goes by
    resolved: Resolved | None = None


class AdjustmentRecord(Value, frozen=True):
    """A cost settled in a later month than its request's: it counts at `at`. Costs are differences."""

    id: str
    at: datetime
    request_id: str
    first: bool  # it made an unknown cost known; False = it corrects an earlier word
    key: str
    key_id: str
    team: str | None
    tags: tuple[str, ...]
    model: str
    true_cost_picodollars: int
    charged_picodollars: int
    charged_derived: bool
    resolved: Resolved


class RequestFilter(Value, frozen=True):
    """All given conditions hold; `from_at` ≤ created_at < `to_at`. Costs are true costs, as they are now."""

    key: str | None = None  # name or id
    team: str | None = None  # name or id
    model: str | None = None  # a glob, as key allow-lists have them
    state: State | None = None
    from_at: datetime | None = None
    to_at: datetime | None = None
    outcome: Outcome | None = None
    status: tuple[int, int] | None = None  # first and last
    cost_min_picodollars: int | None = None
    cost_max_picodollars: int | None = None
    unknown_reason: str | None = None
    tag: str | None = None
    ident: str | None = None  # how its id, its response's or the upstream's request id begins


class Resolution(Value, frozen=True):
    """What a person says about unknown costs: the same for each request."""

    true_cost_picodollars: int
    charged_picodollars: int
    charged_derived: bool
    by: str
    reason: str
    again: bool = False  # what was resolved before may be resolved anew


class Sums(Value, frozen=True):
    """The books' sums of all time: lower bounds when costs are unknown."""

    true_cost_picodollars: int
    charged_picodollars: int
    true_cost_unknown: int
    charged_unknown: int


class ResolutionReport(Value, frozen=True):
    """What a resolution does, or, as a preview, would do."""

    preview: bool
    requests: tuple[RequestRecord, ...]  # as they are after it (a preview: before it); those that change
    late: int  # so many are of an earlier month: they count today
    unchanged: int  # so many are resolved with the very same costs already
    before: Sums
    after: Sums


# --- usage and verification ----------------------------------------------------------------


class GroupBy(StrEnum):
    KEY = "key"
    TEAM = "team"
    MODEL = "model"
    DAY = "day"
    TAG = "tag"


class UsageTotals(Value, frozen=True):
    """Sums over requests, and over adjustments of earlier months' requests.

    The two costs are sums of what is known: lower bounds when `true_cost_unknown` or
    `charged_unknown` is not 0, which count the costs that are missing in this very sum. So a
    closed month keeps its unknown ones; a period that holds the adjustment too does not.
    """

    requests: int = 0
    settled: int = 0
    free: int = 0
    unknown: int = 0
    open: int = 0
    true_cost_picodollars: int = 0
    charged_picodollars: int = 0
    true_cost_unknown: int = 0
    charged_unknown: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    total_tokens: int = 0
    adjustments: int = 0  # costs of earlier months' requests, settled in this period; they are in the sums


class UsageGroup(Value, frozen=True):
    """One entry each per dimension asked for."""

    labels: tuple[str | None, ...]  # key or team name, model, day (2026-11-22), tag; None = requests without one
    ids: tuple[str | None, ...]  # key id or team id where there is one
    totals: UsageTotals


class UsageReport(Value, frozen=True):
    """`groups` by label; by tag a request counts under each of its tags, in `total` once."""

    from_at: datetime
    to_at: datetime
    by: tuple[GroupBy, ...]
    groups: tuple[UsageGroup, ...]
    total: UsageTotals
    timezone: str = "UTC"  # whose days these are (IANA)


class Difference(Value, frozen=True):
    """One thing that does not add up."""

    what: str  # "rollup", "rollup by day", what a search should find, or the broken rule of a row, in words
    where: Mapping[str, str]  # the roll-up's key, the request's id, or the `closed_seq` of one that is not there
    expected: Mapping[str, int] = {}  # recomputed from the rows
    found: Mapping[str, int] = {}  # what the roll-up says


class Verification(Value, frozen=True):
    ok: bool
    rows: int  # that are there
    differences: tuple[Difference, ...] = ()
    sealed: int = 0  # so many rows are vouched for by seals, whether or not they are still there
