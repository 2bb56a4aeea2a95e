"""The roll-ups by calendar day: which day a bucket belongs to, and how they are made from the buckets.

They follow one time zone, noted in the database. Buckets of 15 minutes are what is kept for
ever; days are made from them whenever the gateway's time zone is another one than before.
Called while the store opens, by the writer, and by the verification.
"""

from __future__ import annotations

import functools
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Select, delete, func, insert, literal, select

from app.core.clock import from_ms, to_ms
from app.core.windows import BUCKET_SECONDS, Period, day_of, day_start, days
from app.store.schema import USAGE_KEY, USAGE_SUMS, calendar, usage, usage_days
from app.telemetry import get_logger

log = get_logger("ledger")

_BUCKET_MS = BUCKET_SECONDS * 1000


@functools.lru_cache(maxsize=4096)
def day_start_ms(bucket_ms: int, zone: ZoneInfo) -> int:
    """The first instant of the day that a bucket belongs to: what its day's roll-up is kept under."""
    return to_ms(day_start(day_of(from_ms(bucket_ms), zone), zone))


def zone_of_days(connection: Connection) -> str | None:
    """The time zone that the roll-ups by day follow."""
    found: str | None = connection.scalar(select(calendar.c.zone))
    return found


def follow_calendar(connection: Connection, zone: ZoneInfo) -> None:
    """Makes the roll-ups by day anew if they follow another time zone, or none yet. Call it in a transaction."""
    if zone_of_days(connection) == zone.key:
        return
    connection.execute(delete(usage_days))
    count = 0
    for period in _days_with_usage(connection, zone):
        added = connection.execute(
            insert(usage_days).from_select([*USAGE_KEY, *USAGE_SUMS], day_from_buckets(period), include_defaults=False)
        )
        count += added.rowcount
    connection.execute(delete(calendar))
    connection.execute(insert(calendar).values(zone=zone.key))
    if count:
        log.info("usage_by_day_made", zone=zone.key, rows=count)


def day_from_buckets(day: Period) -> Select[tuple[object, ...]]:
    """A day's roll-up as its buckets say it should be."""
    start_ms, end_ms = to_ms(day.from_at), to_ms(day.to_at)
    key = [usage.c[name] for name in USAGE_KEY[1:]]
    return (
        select(literal(start_ms), *key, *(func.sum(usage.c[name]) for name in USAGE_SUMS))
        .where(usage.c.bucket_at >= start_ms, usage.c.bucket_at < end_ms)
        .group_by(*key)
    )


def _days_with_usage(connection: Connection, zone: ZoneInfo) -> list[Period]:
    first, last = connection.execute(select(func.min(usage.c.bucket_at), func.max(usage.c.bucket_at))).one()
    if first is None:
        return []
    start = day_start(day_of(from_ms(first), zone), zone)
    return [day for _, day in days(Period(start, from_ms(last + _BUCKET_MS)), zone)]
