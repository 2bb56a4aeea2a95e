"""The shapes of sums: usage by group, and what a verification found.

The same rules as in `schemas.py`. Called by the routes of usage and verify.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ConfigDict, Field

from app.admin.schemas import Shape, Time, Usd
from app.core.clock import format_time
from app.core.money import format_usd
from app.core.views import GroupBy, UsageGroup, UsageReport, UsageTotals, Verification


class TotalsShape(Shape):
    """Sums. A cost is a lower bound when its count of unknown ones is not 0."""

    requests: int
    settled: int
    free: int
    unknown: int
    open: int
    true_cost: Usd
    charged: Usd
    true_cost_unknown: int = Field(description="Closed requests that may have been billed but told no true cost")
    charged_unknown: int = Field(description="Closed requests that may have been billed but told no charge")
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    total_tokens: int


class _OfKey(Shape):
    key: str | None
    key_id: str | None


class _OfTeam(Shape):
    team: str | None = Field(description="null = keys without a team")
    team_id: str | None


class _OfModel(Shape):
    model: str | None


class _OfDay(Shape):
    day: str | None = Field(description="Calendar day in the gateway's time zone")


class _OfTag(Shape):
    tag: str | None = Field(description="null = requests without a tag")


# The group's own name stands first in JSON: pydantic collects fields from the last base on.
class KeyTotals(TotalsShape, _OfKey):
    pass


class TeamTotals(TotalsShape, _OfTeam):
    pass


class ModelTotals(TotalsShape, _OfModel):
    pass


class DayTotals(TotalsShape, _OfDay):
    pass


class TagTotals(TotalsShape, _OfTag):
    pass


GroupTotals = KeyTotals | TeamTotals | ModelTotals | DayTotals | TagTotals

_GROUP_SHAPES: Mapping[GroupBy, type[GroupTotals]] = {
    GroupBy.KEY: KeyTotals,
    GroupBy.TEAM: TeamTotals,
    GroupBy.MODEL: ModelTotals,
    GroupBy.DAY: DayTotals,
    GroupBy.TAG: TagTotals,
}


class UsageShape(Shape):
    """`from` ≤ created_at < `to`. By tag a request counts under each of its tags, in `total` once."""

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    from_: Time = Field(alias="from")
    to: Time
    by: GroupBy
    groups: list[GroupTotals]
    total: TotalsShape


def usage_shape(report: UsageReport) -> UsageShape:
    return UsageShape(
        from_=format_time(report.from_at),
        to=format_time(report.to_at),
        by=report.by,
        groups=[_group_shape(report.by, group) for group in report.groups],
        total=TotalsShape.model_validate(_totals_fields(report.total)),
    )


def _group_shape(by: GroupBy, group: UsageGroup) -> GroupTotals:
    named: dict[str, object] = {by.value: group.label}
    if by in (GroupBy.KEY, GroupBy.TEAM):
        named[f"{by.value}_id"] = group.id
    return _GROUP_SHAPES[by].model_validate(named | _totals_fields(group.totals))


def _totals_fields(totals: UsageTotals) -> dict[str, object]:
    return {
        "requests": totals.requests,
        "settled": totals.settled,
        "free": totals.free,
        "unknown": totals.unknown,
        "open": totals.open,
        "true_cost": format_usd(totals.true_cost_picodollars),
        "charged": format_usd(totals.charged_picodollars),
        "true_cost_unknown": totals.true_cost_unknown,
        "charged_unknown": totals.charged_unknown,
        "input_tokens": totals.input_tokens,
        "cached_tokens": totals.cached_tokens,
        "output_tokens": totals.output_tokens,
        "reasoning_tokens": totals.reasoning_tokens,
        "total_tokens": totals.total_tokens,
    }


class DifferenceShape(Shape):
    what: str
    where: dict[str, str]
    expected: dict[str, int]
    found: dict[str, int]


class VerificationShape(Shape):
    """Every total recomputed from the rows; `rows` were read. Amounts in differences are integers of 10⁻¹² USD."""

    ok: bool
    rows: int
    differences: list[DifferenceShape]


def verification_shape(verification: Verification) -> VerificationShape:
    return VerificationShape(
        ok=verification.ok,
        rows=verification.rows,
        differences=[
            DifferenceShape(
                what=difference.what,
                where=dict(difference.where),
                expected=dict(difference.expected),
                found=dict(difference.found),
            )
            for difference in verification.differences
        ],
    )
