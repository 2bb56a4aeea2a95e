"""The shapes that users and their scripts rely on: the same in the admin API, the CLI's `--json` and the export.

Lives here: records put into JSON. Money is a decimal string in plain notation, exact; times are
RFC 3339 UTC with milliseconds; absent is null. New fields may be added, none renamed. Sums are
in `figures.py`, what comes in is in `bodies.py`. Called by the routes and, through them, by the
command line.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.core.budgets import BudgetPeriod
from app.core.clock import format_time
from app.core.holds import Billing, counted_from
from app.core.limits import Limits
from app.core.money import format_usd
from app.core.owners import BudgetRecord, KeyRecord, TeamRecord
from app.core.records import KeyState, Outcome, State
from app.core.views import Page, RequestRecord, Resolved

Usd = Annotated[str, Field(description="USD, exact, plain decimal notation", examples=["0.0000123", "45.00"])]
Time = Annotated[str, Field(description="RFC 3339, UTC, milliseconds", examples=["2026-11-22T23:53:03.123Z"])]


class Shape(BaseModel):
    # A validator is made when it is first needed: a start needs none of them, a command one or two.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class ErrorBody(Shape):
    message: str
    type: str
    param: str | None
    code: str


class ErrorShape(Shape):
    """Every refusal, as OpenAI's SDKs read it."""

    error: ErrorBody


# --- keys and teams ------------------------------------------------------------------------


class BudgetShape(Shape):
    """Where a budget stands in its present window."""

    amount: Usd
    period: BudgetPeriod
    spent: Usd = Field(description="Known costs, and what unknown ones keep set aside")
    held: Usd = Field(description="What running requests may cost")
    remaining: Usd = Field(description="amount - spent - held; negative after an overrun")
    resets_at: Time | None = Field(description="null = never")
    starts_at: Time


class LimitsShape(Shape):
    """null = no limit."""

    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None


class KeyShape(Shape):
    id: str
    name: str
    prefix: str
    team: str | None
    tags: list[str]
    state: KeyState
    models: list[str] = Field(description="Allowed model names as globs; empty = all")
    budgets: list[BudgetShape]
    limits: LimitsShape
    expires_at: Time | None
    created_at: Time
    last_used_at: Time | None


class KeyWithSecretShape(KeyShape):
    """What creating and rotating answer, once."""

    secret: str = Field(description="Shown this once; only its hash is stored")


class KeyPage(Shape):
    items: list[KeyShape]
    next: str | None


class TeamShape(Shape):
    id: str
    name: str
    keys: int = Field(description="How many keys belong to it, whatever their state")
    budgets: list[BudgetShape]
    limits: LimitsShape
    created_at: Time


class GatewayBudgetShape(Shape):
    budgets: list[BudgetShape]


class TeamPage(Shape):
    items: list[TeamShape]
    next: str | None


def key_shape(record: KeyRecord) -> KeyShape:
    return KeyShape.model_validate(_key_fields(record))


def key_with_secret(record: KeyRecord, secret: str) -> KeyWithSecretShape:
    return KeyWithSecretShape.model_validate(_key_fields(record) | {"secret": secret})


def _key_fields(record: KeyRecord) -> dict[str, object]:
    return {
        "id": record.id,
        "name": record.name,
        "prefix": record.prefix,
        "team": record.team,
        "tags": list(record.tags),
        "state": record.state,
        "models": list(record.models),
        "budgets": budget_shapes(record.budgets),
        "limits": limits_shape(record.limits),
        "expires_at": _time(record.expires_at),
        "created_at": format_time(record.created_at),
        "last_used_at": _time(record.last_used_at),
    }


def team_shape(record: TeamRecord) -> TeamShape:
    return TeamShape(
        id=record.id,
        name=record.name,
        keys=record.keys,
        budgets=budget_shapes(record.budgets),
        limits=limits_shape(record.limits),
        created_at=format_time(record.created_at),
    )


def limits_shape(limits: Limits) -> LimitsShape:
    return LimitsShape(rpm=limits.rpm, tpm=limits.tpm, concurrency=limits.concurrency)


def budget_shapes(budgets: Iterable[BudgetRecord]) -> list[BudgetShape]:
    return [
        BudgetShape(
            amount=format_usd(budget.amount_picodollars),
            period=budget.period,
            spent=format_usd(budget.spent_picodollars),
            held=format_usd(budget.held_picodollars),
            remaining=format_usd(budget.remaining_picodollars),
            starts_at=format_time(budget.starts_at),
            resets_at=_time(budget.resets_at),
        )
        for budget in budgets
    ]


# --- requests ------------------------------------------------------------------------------


class TokensShape(Shape):
    """null = not told by the upstream."""

    input_tokens: int | None
    cached_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    total_tokens: int | None


class ResolvedShape(Shape):
    """A person settled an unknown cost."""

    at: Time
    by: str
    reason: str


class RequestShape(Shape):
    """One ledger entry. With `resolved`, state and costs are what a person settled."""

    id: str
    created_at: Time
    key: str
    key_id: str
    team: str | None = Field(description="The key's team at admission")
    tags: list[str] = Field(description="The key's tags at admission")
    model: str
    model_answered: str | None
    stream: bool
    status: int | None = Field(description="The upstream's; null = no answer came")
    state: State
    outcome: Outcome | None
    true_cost: Usd | None = Field(description="What the upstream paid; null = unknown, never 0")
    charged: Usd | None = Field(description="What the account was charged; null = unknown, never 0")
    charged_derived: bool
    charge_mismatch: bool
    hold: Usd
    unknown_reason: str | None
    usage: TokensShape
    response_id: str | None
    upstream_request_id: str | None
    sdk_retry: int
    ttfb_ms: int | None
    duration_ms: int | None
    resolved: ResolvedShape | None = Field(description="null = the costs are as the upstream told them")
    counted_from: Billing | None = Field(description="Which cost counts against budgets; null = both are unknown")


class RequestPage(Shape):
    """`next` goes on where the search ended; a rare thing in a long ledger may take more than one page to find."""

    items: list[RequestShape]
    next: str | None
    let_go_before: Time | None = Field(
        description="Of what was asked for, requests made before may be missing: their rows were let go of. null = none"
    )


def request_page(page: Page[RequestRecord], billing: Billing) -> RequestPage:
    return RequestPage(
        items=[request_shape(record, billing) for record in page.items],
        next=page.next,
        let_go_before=_time(page.let_go_before),
    )


def request_shape(record: RequestRecord, billing: Billing = Billing.CHARGED) -> RequestShape:
    """`billing`: which cost counts against budgets, where both are known."""
    usage = record.usage
    return RequestShape(
        id=record.id,
        created_at=format_time(record.created_at),
        key=record.key,
        key_id=record.key_id,
        team=record.team,
        tags=list(record.tags),
        model=record.model,
        model_answered=record.model_answered,
        stream=record.stream,
        status=record.status,
        state=record.state,
        outcome=record.outcome,
        true_cost=_usd(record.true_cost_picodollars),
        charged=_usd(record.charged_picodollars),
        charged_derived=record.charged_derived,
        charge_mismatch=record.charge_mismatch,
        hold=format_usd(record.hold_picodollars),
        unknown_reason=record.unknown_reason,
        usage=TokensShape(
            input_tokens=usage.input_tokens,
            cached_tokens=usage.cached_tokens,
            output_tokens=usage.output_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            total_tokens=usage.total_tokens,
        ),
        response_id=record.response_id,
        upstream_request_id=record.upstream_request_id,
        sdk_retry=record.sdk_retry,
        ttfb_ms=record.ttfb_ms,
        duration_ms=record.duration_ms,
        resolved=resolved_shape(record.resolved),
        counted_from=counted_from(record.true_cost_picodollars, record.charged_picodollars, billing),
    )


def resolved_shape(resolved: Resolved | None) -> ResolvedShape | None:
    if resolved is None:
        return None
    return ResolvedShape(at=format_time(resolved.at), by=resolved.by, reason=resolved.reason)


def _usd(picodollars: int | None) -> str | None:
    return None if picodollars is None else format_usd(picodollars)


def _time(at: datetime | None) -> str | None:
    return None if at is None else format_time(at)
