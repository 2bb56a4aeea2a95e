"""The shapes of refused requests: the newest ones, and how many there were. The rules are those of `schemas.py`."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from app.admin.schemas import Shape, Time, Usd
from app.core.clock import format_time
from app.core.money import format_usd
from app.core.records import LimitHit, RefusalReason, Scope
from app.core.refused import RefusalCounts, RefusalRecord, RefusalReport


class RefusalShape(Shape):
    """A request that was not admitted: nothing was forwarded. From `scope` on: the limit, null for other reasons."""

    id: str
    created_at: Time
    key: str
    key_id: str
    team: str | None = Field(description="The team that the key belongs to now")
    model: str
    stream: bool
    sdk_retry: int
    reason: RefusalReason
    scope: Scope | None = Field(description="Whose limit it was")
    owner: str | None = Field(description="The key's or team's name then; null for the gateway")
    period: str | None = Field(description="The budget's; null for other limits")
    limit: int | None = Field(description="Requests or tokens per minute, or requests at once; null for budgets")
    limit_usd: Usd | None
    spent_usd: Usd | None
    held_usd: Usd | None
    hold_usd: Usd | None = Field(description="What this request would have set aside")
    resets_at: Time | None
    reference: str | None = Field(description="The response that it referred to, and may not")


class RefusalCountShape(Shape):
    key: str
    key_id: str
    reason: RefusalReason
    refused: int


class RefusalCountsShape(Shape):
    """Of all there ever were in the period, in whole quarters of an hour; null edges = since ever, until now."""

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    from_: Time | None = Field(alias="from")
    to: Time | None
    groups: list[RefusalCountShape]
    total: int


class RefusalPage(Shape):
    """The newest refusals are held as items; `counts` know all of them."""

    items: list[RefusalShape]
    next: str | None
    counts: RefusalCountsShape | None = Field(description="null with model or id, which are not counted by")


def refusal_page(report: RefusalReport) -> RefusalPage:
    return RefusalPage(
        items=[refusal_shape(record) for record in report.page.items],
        next=report.page.next,
        counts=None if report.counts is None else _counts_shape(report.counts),
    )


def refusal_shape(record: RefusalRecord) -> RefusalShape:
    told = {
        "id": record.id,
        "created_at": format_time(record.at),
        "key": record.key,
        "key_id": record.key_id,
        "team": record.team,
        "model": record.model,
        "stream": record.stream,
        "sdk_retry": record.sdk_retry,
        "reason": record.reason,
        "reference": record.reference,
    }
    return RefusalShape.model_validate(told | _limit_fields(record.hit))


def _limit_fields(hit: LimitHit | None) -> dict[str, object]:
    if hit is None:
        names = ("scope", "owner", "period", "limit", "limit_usd", "spent_usd", "held_usd", "hold_usd", "resets_at")
        return dict.fromkeys(names)
    return {
        "scope": hit.scope,
        "owner": hit.owner or None,
        "period": hit.period,
        "limit": hit.limit,
        "limit_usd": _usd(hit.limit_picodollars),
        "spent_usd": _usd(hit.spent_picodollars),
        "held_usd": _usd(hit.held_picodollars),
        "hold_usd": _usd(hit.hold_picodollars),
        "resets_at": None if hit.resets_at is None else format_time(hit.resets_at),
    }


def _counts_shape(counts: RefusalCounts) -> RefusalCountsShape:
    return RefusalCountsShape(
        from_=None if counts.from_at is None else format_time(counts.from_at),
        to=None if counts.to_at is None else format_time(counts.to_at),
        groups=[
            RefusalCountShape(key=one.key, key_id=one.key_id, reason=one.reason, refused=one.refused)
            for one in counts.counts
        ],
        total=counts.total,
    )


def _usd(picodollars: int | None) -> str | None:
    return None if picodollars is None else format_usd(picodollars)
