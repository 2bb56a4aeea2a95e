"""What a query string or a body asks for, as the accounts understand it: filters, groups of usage, changes of limits.

Every refusal names the field and says what to write. Called by the routes.
"""

from __future__ import annotations

import re
from datetime import datetime
from zoneinfo import ZoneInfo

from app.accounts.wishes import budgets_from
from app.admin.bodies import WRITE, AuditQuery, ExportQuery, LimitsBody, OwnRequestsQuery, PeriodQuery, ResolveBody
from app.admin.refusal_queries import WRITE_REASON, OwnRefusalsQuery
from app.admin.times import instant, period_asked
from app.core.clock import format_time
from app.core.errors import bad_request
from app.core.money import parse_usd
from app.core.owners import UNSET, LimitsChange
from app.core.records import RefusalReason
from app.core.refused import RefusalFilter
from app.core.views import GroupBy, RequestFilter

_STATUS = re.compile(r"([1-5])(?:xx|([0-9]{2}))", re.IGNORECASE)

# Before any request of any gateway, in every time zone.
FIRST_DAY = "1970-01-02"


def groups_asked(by: list[str], *, own: bool = False) -> tuple[GroupBy, ...]:
    """`by=key&by=model` or `by=key,model`; `own`: of one key, so by no team. Raises: `ApiError` 400."""
    names = [name for text in by for name in text.split(",")]
    known, hint = (set(GroupBy) - {GroupBy.TEAM}, WRITE["own_by"]) if own else (set(GroupBy), WRITE["by"])
    if len(names) not in (1, 2) or len(set(names)) < len(names) or not set(names) <= known:
        raise bad_request(f"by: {','.join(names)[:60]!r} is not what usage is grouped by. {hint}", "by")
    return tuple(GroupBy(name) for name in names)


def request_filter(
    query: OwnRequestsQuery, zone: ZoneInfo, *, key: str | None = None, team: str | None = None
) -> RequestFilter:
    """Raises: `ApiError` 400."""
    from_at, to_at = span_asked(query, zone)
    least, most = _cost(query.min_cost, "min_cost"), _cost(query.max_cost, "max_cost")
    if least is not None and most is not None and least > most:
        raise bad_request("min_cost is more than max_cost: no request can meet both.", "min_cost")
    return RequestFilter(
        key=key,
        team=team,
        model=query.model,
        state=query.state,
        from_at=from_at,
        to_at=to_at,
        outcome=query.outcome,
        status=_status(query.status),
        cost_min_picodollars=least,
        cost_max_picodollars=most,
        unknown_reason=query.unknown_reason,
        tag=query.tag,
        ident=query.id,
    )


def refusal_filter(
    query: OwnRefusalsQuery, zone: ZoneInfo, *, key: str | None = None, team: str | None = None
) -> RefusalFilter:
    """Raises: `ApiError` 400."""
    from_at, to_at = span_asked(query, zone)
    return RefusalFilter(
        key=key,
        team=team,
        model=query.model,
        reason=_refusal_reason(query.reason),
        from_at=from_at,
        to_at=to_at,
        ident=query.id,
    )


def export_filter(query: ExportQuery, zone: ZoneInfo, rows_since: datetime | None) -> RequestFilter:
    """A file that was asked for without a period must not be cut short without a word: its summary says from when.

    `rows_since`: where the rows begin, if earlier ones were let go of. Raises: `ApiError` 400.
    """
    if query.last is query.month is query.from_ is query.to is None:
        first = FIRST_DAY if rows_since is None else format_time(rows_since)
        query = query.model_copy(update={"from_": first})
    period = period_asked(query, zone)
    return RequestFilter(
        key=query.key,
        team=query.team,
        model=query.model,
        tag=query.tag,
        from_at=period.from_at,
        to_at=period.to_at,
    )


def resolution_filter(body: ResolveBody, zone: ZoneInfo) -> list[str] | RequestFilter:
    """Ids, or which of the unknown requests. Raises: `ApiError` 400."""
    conditions = ("key", "team", "model", "tag", "outcome", "unknown_reason", "last", "month", "from_", "to")
    given = next((name for name in conditions if getattr(body, name) is not None), None)
    if body.all == bool(body.ids):
        raise bad_request("Say which requests: either ids, or all: true.", "ids")
    if body.ids and given is not None:
        raise bad_request("Conditions go with all: true; requests named by their ids are those.", given.rstrip("_"))
    if body.ids:
        return body.ids
    if body.again:
        raise bad_request("again goes with ids: what was resolved before is corrected one by one.", "again")
    from_at, to_at = span_asked(body, zone)
    return RequestFilter(
        key=body.key,
        team=body.team,
        model=body.model,
        tag=body.tag,
        outcome=body.outcome,
        unknown_reason=body.unknown_reason,
        from_at=from_at,
        to_at=to_at,
    )


def limits_change(body: LimitsBody) -> LimitsChange:
    """The limits that a body names; the others stay as they are. Raises: `BadValue`."""
    given = body.model_fields_set
    return LimitsChange(
        budgets=budgets_from(body.budgets) if "budgets" in given else UNSET,
        rpm=body.rpm if "rpm" in given else UNSET,
        tpm=body.tpm if "tpm" in given else UNSET,
        concurrency=body.concurrency if "concurrency" in given else UNSET,
    )


def span_asked(
    query: OwnRequestsQuery | OwnRefusalsQuery | ResolveBody | AuditQuery, zone: ZoneInfo
) -> tuple[datetime | None, datetime | None]:
    """The periods of usage, or any two instants. Raises: `ApiError` 400."""
    if query.last is not None or query.month is not None:
        asked = {"last": query.last, "month": query.month, "from": query.from_, "to": query.to}
        period = period_asked(PeriodQuery.model_validate(asked), zone)
        return period.from_at, period.to_at
    from_at, to_at = instant(query.from_, zone, "from"), instant(query.to, zone, "to", whole_day=True)
    if from_at is not None and to_at is not None and from_at >= to_at:
        raise bad_request("The period is empty: from must be before to.", "from")
    return from_at, to_at


def _refusal_reason(text: str | None) -> RefusalReason | None:
    if text is None:
        return None
    try:
        return RefusalReason(text)
    except ValueError:
        raise bad_request(f"reason: {text[:60]!r} is no reason of a refusal. {WRITE_REASON}", "reason") from None


def _status(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = _STATUS.fullmatch(text)
    if found is None:
        raise bad_request(f"status: {text[:60]!r} is not a status. {WRITE['status']}", "status")
    if found[2] is not None:
        return int(text), int(text)
    return int(found[1]) * 100, int(found[1]) * 100 + 99


def _cost(text: str | None, param: str) -> int | None:
    if text is None:
        return None
    try:
        return parse_usd(text)
    except ValueError as error:
        raise bad_request(f"{param}: {error}.", param) from None
