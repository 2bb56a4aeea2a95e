"""The shapes of sums: usage by group, what a resolution changes, and what a verification found.

The same rules as in `schemas.py`. Called by the routes of usage and verify.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from app.admin.schemas import RequestShape, Shape, Time, Usd, request_shape
from app.core.clock import format_time
from app.core.holds import Billing
from app.core.money import format_usd
from app.core.views import GroupBy, ResolutionReport, Sums, UsageGroup, UsageReport, UsageTotals, Verification


class TotalsShape(Shape):
    """Sums. A cost is a lower bound when its count of unknown ones is not 0."""

    requests: int
    settled: int
    free: int
    unknown: int
    open: int
    true_cost: Usd
    charged: Usd
    true_cost_unknown: int = Field(description="True costs that are missing in this sum")
    charged_unknown: int = Field(description="Charges that are missing in this sum")
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    total_tokens: int
    adjustments: int = Field(
        description="Costs of earlier months' requests that a person settled in this period; they are in the sums"
    )


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


class PairTotals(TotalsShape):
    """By two things at once: the fields of both, before the sums."""

    model_config = ConfigDict(extra="allow")

    @model_serializer(mode="wrap")
    def _names_first(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {**(self.model_extra or {}), **serialize(self)}


GroupTotals = KeyTotals | TeamTotals | ModelTotals | DayTotals | TagTotals | PairTotals

_GROUP_SHAPES: Mapping[tuple[GroupBy, ...], type[GroupTotals]] = {
    (GroupBy.KEY,): KeyTotals,
    (GroupBy.TEAM,): TeamTotals,
    (GroupBy.MODEL,): ModelTotals,
    (GroupBy.DAY,): DayTotals,
    (GroupBy.TAG,): TagTotals,
}


class UsageShape(Shape):
    """`from` ≤ created_at < `to`. By tag a request counts under each of its tags, in `total` once."""

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    from_: Time = Field(alias="from")
    to: Time
    by: str = Field(description="What the groups are of; two things are separated by a comma", examples=["key,model"])
    groups: list[GroupTotals]
    total: TotalsShape
    timezone: str = Field(description="Whose days and months these are (IANA)")


def usage_shape(report: UsageReport) -> UsageShape:
    return UsageShape(
        from_=format_time(report.from_at),
        to=format_time(report.to_at),
        by=",".join(report.by),
        groups=[_group_shape(report.by, group) for group in report.groups],
        total=TotalsShape.model_validate(_totals_fields(report.total)),
        timezone=report.timezone,
    )


def _group_shape(by: tuple[GroupBy, ...], group: UsageGroup) -> GroupTotals:
    named: dict[str, object] = {}
    for dimension, label, ident in zip(by, group.labels, group.ids, strict=True):
        named[dimension.value] = label
        if dimension in (GroupBy.KEY, GroupBy.TEAM):
            named[f"{dimension.value}_id"] = ident
    return _GROUP_SHAPES.get(by, PairTotals).model_validate(named | _totals_fields(group.totals))


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
        "adjustments": totals.adjustments,
    }


class SumsShape(Shape):
    true_cost: Usd
    charged: Usd
    true_cost_unknown: int
    charged_unknown: int


class ResolutionShape(Shape):
    """What a resolution did, or, as a preview, would do."""

    preview: bool
    requests: int = Field(description="So many change")
    late: int = Field(description="So many of them are of an earlier month: they count today, their month stays")
    unchanged: int = Field(description="So many were resolved with these very costs already")
    before: SumsShape = Field(description="The books' sums of all time")
    after: SumsShape
    items: list[RequestShape] = Field(description="The first hundred that change; in a preview as they are now")


ITEMS_SHOWN = 100


def resolution_shape(report: ResolutionReport, billing: Billing = Billing.CHARGED) -> ResolutionShape:
    return ResolutionShape(
        preview=report.preview,
        requests=len(report.requests),
        late=report.late,
        unchanged=report.unchanged,
        before=_sums_shape(report.before),
        after=_sums_shape(report.after),
        items=[request_shape(record, billing) for record in report.requests[:ITEMS_SHOWN]],
    )


def _sums_shape(sums: Sums) -> SumsShape:
    return SumsShape(
        true_cost=format_usd(sums.true_cost_picodollars),
        charged=format_usd(sums.charged_picodollars),
        true_cost_unknown=sums.true_cost_unknown,
        charged_unknown=sums.charged_unknown,
    )


class DifferenceShape(Shape):
    what: str
    where: dict[str, str]
    expected: dict[str, int]
    found: dict[str, int]


class VerificationShape(Shape):
    """Every total recomputed. Amounts in differences are integers of 10⁻¹² USD."""

    ok: bool
    rows: int = Field(description="That are there, and were read")
    differences: list[DifferenceShape]
    sealed: int = Field(description="Rows that the seals of months vouch for, which are, or are being, let go of")


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
        sealed=verification.sealed,
    )
