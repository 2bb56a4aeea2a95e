"""Times, spans and periods as people write them in bodies and query strings.

Days are calendar days in the gateway's time zone. Every refusal names the field. Called by the routes.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from app.admin.bodies import PeriodQuery
from app.core.clock import now, parse_time
from app.core.errors import bad_request
from app.core.windows import Period, day_start, period_of

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SPAN = re.compile(r"([0-9]{1,5})([mhdw])")
_UNIT = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def period_asked(query: PeriodQuery, zone: ZoneInfo) -> Period:
    """Raises: `ApiError` 400."""
    try:
        return period_of(zone=zone, now=now(), last=query.last, month=query.month, from_=query.from_, to=query.to)
    except (ValueError, OverflowError) as error:
        given = {"last": query.last, "month": query.month, "from": query.from_, "to": query.to}
        param = next((name for name, text in given.items() if text is not None), None)
        raise bad_request(_sentence(error), param) from None


def instant(text: str | None, zone: ZoneInfo, param: str, *, whole_day: bool = False) -> datetime | None:
    """A time with its offset, or a day: its first instant, or with `whole_day` the first of the day after.

    Raises: `ApiError` 400.
    """
    if text is None:
        return None
    try:
        if _DAY.fullmatch(text):
            day = date.fromisoformat(text)
            return day_start(day + timedelta(days=1) if whole_day else day, zone)
        return parse_time(text)
    except OverflowError:
        raise bad_request(f"{param}: {text!r} is too far away. Write a day of the years 1970 to 9998.", param) from None
    except ValueError as error:
        raise bad_request(f"{param}: {_sentence(error)}", param) from None


def span(text: str, param: str) -> timedelta:
    """`30m`, `24h`, `7d`, `2w` or `0`. Raises: `ApiError` 400."""
    found = _SPAN.fullmatch(text)
    if found is not None:
        return int(found[1]) * _UNIT[found[2]]
    if text == "0":
        return timedelta()
    raise bad_request(f"{param}: {text!r} is not a span of time: write 30m, 24h, 7d or 0.", param)


def _sentence(error: Exception) -> str:
    text = str(error)
    return text if text.endswith(".") else text + "."
