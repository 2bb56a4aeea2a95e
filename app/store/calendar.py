"""The roll-ups by calendar day: which day a bucket belongs to, and how they are made from the buckets.

They follow one time zone, noted in the database, and hold the days that are over: so the hot path
pays for them only when a request is closed on a later day than it was made. Buckets of 15 minutes
are what is kept for ever; days are made anew when the gateway's time zone is another than before.
Called while the store opens, by the writer, and by the verification.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Select, delete, func, insert, literal, select, update

from app.core.clock import from_ms, to_ms
from app.core.holds import Counting
from app.core.value import Value
from app.core.windows import Period, day_of, day_start, days
from app.store.schema import USAGE_KEY, USAGE_MONEY, USAGE_SUMS, bounded_sum, calendar, usage, usage_days


class Calendar(Value, frozen=True):
    """What time it is, whose days are meant, and which cost counts in their budgets: the same for a whole store."""

    clock: Callable[[], datetime]
    zone: ZoneInfo
    counting: Counting


@functools.lru_cache(maxsize=4096)
def day_start_ms(bucket_ms: int, zone: ZoneInfo) -> int:
    """The first instant of the day that a bucket belongs to: what its day's roll-up is kept under."""
    return to_ms(midnight(from_ms(bucket_ms), zone))


def days_made(connection: Connection) -> tuple[str, int] | None:
    """The time zone of the roll-ups by day, and up to which midnight (in milliseconds) there are any."""
    found = connection.execute(select(calendar.c.zone, calendar.c.days_until)).first()
    return None if found is None else (found.zone, found.days_until)


def follow_calendar(connection: Connection, zone: ZoneInfo, now: datetime) -> None:
    """Makes the roll-ups by day anew if they follow another time zone, or none yet. Call it in a transaction."""
    made = days_made(connection)
    if made is None or made[0] != zone.key:
        first = connection.scalar(select(func.min(usage.c.bucket_at)))
        since = now if first is None else min(now, from_ms(first))
        connection.execute(delete(usage_days))
        connection.execute(delete(calendar))
        connection.execute(insert(calendar).values(zone=zone.key, days_until=to_ms(midnight(since, zone))))
    roll_days(connection, zone, now)


def roll_days(connection: Connection, zone: ZoneInfo, now: datetime) -> None:
    """Sums up the days that are over since the last time. Call it in a transaction."""
    made, today = days_made(connection), midnight(now, zone)
    if made is None or made[1] >= to_ms(today):
        return
    for _, day in days(Period(from_ms(made[1]), today), zone):
        connection.execute(
            insert(usage_days).from_select([*USAGE_KEY, *USAGE_SUMS], day_from_buckets(day), include_defaults=False)
        )
    connection.execute(update(calendar).values(days_until=to_ms(today)))


def midnight(at: datetime, zone: ZoneInfo) -> datetime:
    """The first instant of the day that holds an instant."""
    return day_start(day_of(at, zone), zone)


def day_from_buckets(day: Period) -> Select[tuple[object, ...]]:
    """A day's roll-up as its buckets say it should be."""
    start_ms, end_ms = to_ms(day.from_at), to_ms(day.to_at)
    key = [usage.c[name] for name in USAGE_KEY[1:]]
    sums = (bounded_sum(usage.c[name]) if name in USAGE_MONEY else func.sum(usage.c[name]) for name in USAGE_SUMS)
    return (
        select(literal(start_ms), *key, *sums)
        .where(usage.c.bucket_at >= start_ms, usage.c.bucket_at < end_ms)
        .group_by(*key)
    )
