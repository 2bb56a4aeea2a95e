"""Times as the product writes them: aware UTC in Python, milliseconds in the database, RFC 3339 in shapes.

A naive time is a fault of the caller and is refused everywhere. Calendars (days, months,
zones) are in `core.windows`. Called by every floor.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

# RFC 3339 §5.6; `fromisoformat` alone takes more (week dates, any separator), and differs between versions.
_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.([0-9]{1,9}))?([Zz]|[+-][0-9]{2}:[0-9]{2})?"
)


def now() -> datetime:
    """The machine's clock, aware UTC."""
    return datetime.now(UTC)


def to_ms(at: datetime) -> int:
    """Whole milliseconds since 1970, rounded down. `at` must be aware."""
    return (at - _EPOCH) // _MILLISECOND


def from_ms(milliseconds: int) -> datetime:
    """The instant, aware UTC."""
    return _EPOCH + milliseconds * _MILLISECOND


def format_time(at: datetime) -> str:
    """`2026-11-22T23:53:03.123Z`, rounded down to the millisecond. Raises: `ValueError` for a naive time."""
    if at.tzinfo is None:
        raise ValueError("a time without its zone cannot be shown")
    return at.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def parse_time(text: str) -> datetime:
    """A time with its offset (`…Z` or `…+01:00`), rounded down to the microsecond.

    Raises: `ValueError` with a sentence.
    """
    shape = _RFC_3339.fullmatch(text)
    if shape is None:
        raise ValueError(f"{text[:60]!r} is not a time: write it as 2026-11-22T23:53:03Z")
    fraction, offset = shape.groups()
    if offset is None:
        raise ValueError(f"{text!r} has no time zone: end it with Z or an offset such as +01:00")
    zone = "+00:00" if offset in "Zz" else offset
    try:
        return datetime.fromisoformat(f"{text[:19]}.{(fraction or '')[:6]:0<6}{zone}").astimezone(UTC)
    except (ValueError, OverflowError):  # the 30th of February; 25 o'clock; beyond the years 1 to 9999
        raise ValueError(f"{text!r} is not a time: there is no such date, hour or offset") from None
