"""Unknown costs, settled by a person: looked at first, then written for good.

Knows neither SQL nor HTTP. What is written is an adjustment with its author and reason; the
request's own row stays as it was closed, and so do the sums of closed months.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NoReturn
from zoneinfo import ZoneInfo

from app.accounts.errors import BadValue, CannotResolve
from app.accounts.reading import explain
from app.core.audit import THE_GATEWAY, Actor
from app.core.clock import format_time, now
from app.core.money import COST_USD_MAX, PICODOLLARS_PER_USD, charged_from, format_usd, parse_usd
from app.core.records import Cost
from app.core.value import replace
from app.core.views import RequestFilter, Resolution, ResolutionReport
from app.store import resolve
from app.store.audit import resolve_audited
from app.store.port import NotResolvable, RowMissing, RowsChanged, Store, TooManyRows, TooMuch

REASON_CHARACTERS_MAX = 500
AUTHOR_CHARACTERS_MAX = 64

_WHY_NOT = {
    "settled": "its cost is known. Only costs that are unknown can be resolved",
    "free": "it was surely not billed. Only costs that are unknown can be resolved",
    "open": "it is still open: wait until it is closed",
    "sealed": "its month is sealed, and its row is about to be let go of (IRG_RETENTION_DAYS). Its cost stays unknown",
}


def resolution(cost: str, charged: str | None, *, by: str, reason: str, again: bool = False) -> Resolution:
    """What a person wrote: the true cost and, if it is not the true cost rounded up, the charge. Raises: `BadValue`."""
    true = _amount(cost, "cost")
    charge = charged_from(true) if charged is None else _amount(charged, "charged")
    return Resolution(
        true_cost_picodollars=true.picodollars,
        charged_picodollars=charge.picodollars,
        charged_derived=charged is None,
        by=_words(by, "by", AUTHOR_CHARACTERS_MAX, "who resolves it, such as alice"),
        reason=_words(reason, "reason", REASON_CHARACTERS_MAX, "why, such as 'as told by the provider'"),
        again=again,
    )


class Corrections:
    """`zone`: the calendar that tells when a month is closed."""

    def __init__(self, store: Store, *, zone: ZoneInfo, clock: Callable[[], datetime] = now) -> None:
        self._store = store
        self._zone = zone
        self._now = clock

    async def preview(self, wanted: Sequence[str] | RequestFilter, said: Resolution) -> ResolutionReport:
        """What `resolve` would do, without doing it. Raises: what that raises."""
        try:
            return await self._store.read(resolve.preview_resolution, wanted, said, self._zone, self._now())
        except (RowMissing, NotResolvable, TooManyRows, TooMuch) as error:
            await self._explain(error)

    async def resolve(
        self,
        wanted: Sequence[str] | RequestFilter,
        said: Resolution,
        *,
        expected: int | None = None,
        by: Actor = THE_GATEWAY,
    ) -> ResolutionReport:
        """Settles the requests named by their ids, or all unknown ones that meet a filter; all or none.

        `expected`: how many a preview showed. A request that has these very costs already is left alone.
        `by`: who asks for it, for the audit log; who answers for it is the resolution's author, who is named there.
        Raises: `CannotResolve`, `RequestNotFound`, `KeyNotFound`, `TeamNotFound`, `BadValue`.
        """
        try:
            author = replace(by, name=said.by)
            return await self._store.change(resolve_audited, author, wanted, said, self._zone, self._now(), expected)
        except (RowMissing, NotResolvable, TooManyRows, TooMuch, RowsChanged) as error:
            await self._explain(error)

    async def _explain(self, error: RowMissing | NotResolvable | TooManyRows | TooMuch | RowsChanged) -> NoReturn:
        if isinstance(error, RowMissing):
            await explain(self._store, error)
        if isinstance(error, NotResolvable):
            raise CannotResolve(_sentence(error), param="id") from None
        if isinstance(error, TooManyRows):
            raise BadValue(
                f"These are more than {error.rows_max} requests, too many for one step: narrow them down, "
                "by a shorter span of time for example.",
                param="all",
            ) from None
        if isinstance(error, TooMuch):
            raise BadValue(
                f"cost: {error.day} would cost more than {error.usd_max:,} USD, which its books cannot hold. "
                "Is it the cost of each request, in USD?",
                param="cost",
            ) from None
        raise CannotResolve(
            f"The preview had {error.expected} requests, now there are {error.found}: nothing was changed. Look again.",
            param="expected",
        ) from None


def _sentence(error: NotResolvable) -> str:
    record = error.record
    if record.resolved is None or error.why == "sealed":
        return f"{record.id} cannot be resolved: {_WHY_NOT[error.why]}."
    return (
        f"{record.id} was resolved at {format_time(record.resolved.at)} by {record.resolved.by} "
        f"(true cost {format_usd(record.true_cost_picodollars or 0)}, charged "
        f"{format_usd(record.charged_picodollars or 0)}). To correct that, resolve it again: --again."
    )


def _amount(text: str, param: str) -> Cost:
    try:
        picodollars = parse_usd(text)
    except ValueError as error:
        raise BadValue(f"{param}: {error}.", param=param) from None
    if picodollars > COST_USD_MAX * PICODOLLARS_PER_USD:
        raise BadValue(f"{param}: one request costs at most {COST_USD_MAX} USD.", param=param)
    return Cost(format_usd(picodollars), picodollars)


def _words(text: str, param: str, characters_max: int, hint: str) -> str:
    if not 1 <= len(text.strip()) <= characters_max or not text.isprintable():
        raise BadValue(f"{param}: write {hint} (one line, at most {characters_max} characters).", param=param)
    return text.strip()
