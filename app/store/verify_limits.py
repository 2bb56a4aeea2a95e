"""The rest of the proof: every window and every running count is what the ledger's rows say.

`verify` has shown that the roll-ups are the sums of their rows; windows are compared with both. Called by the
reports, each step over a snapshot of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, literal, select, tuple_

from app.core.budgets import Span
from app.core.clock import format_time, from_ms
from app.core.holds import Billing
from app.core.views import Difference
from app.store.past import Sums, running, window_sums
from app.store.schema_limits import limits, windows
from app.store.verify import DIFFERENCES_MAX

_SUMS = ("settled", "kept", "held")


Place = tuple[int, int, str]


def verify_windows(connection: Connection, after: Place | None) -> tuple[tuple[Difference, ...], Place | None]:
    """The windows of the next span behind `after` (its edges and its billing), and that span; None at the end."""
    place = (windows.c.starts_at, windows.c.ends_at, windows.c.billing)
    query = select(*place).distinct().order_by(*place).limit(1)
    if after is not None:
        query = query.where(tuple_(*place) > tuple_(*(literal(value) for value in after)))
    found = connection.execute(query).first()
    if found is None:
        return (), None
    starts_at, ends_at, billing = found
    sums = window_sums(connection, Span(starts_at, ends_at), Billing(billing))
    rows = connection.execute(
        select(windows).where(
            windows.c.starts_at == starts_at, windows.c.ends_at == ends_at, windows.c.billing == billing
        )
    )
    differences = []
    for row in rows:
        expected = sums.get(row.owner_id, Sums()).bounded()
        kept = (row.settled, row.kept, row.held)
        if kept != expected:
            where = {"owner": row.owner_id, "period": row.period, "starts_at": format_time(from_ms(starts_at))}
            sides = (dict(zip(_SUMS, side, strict=True)) for side in (expected, kept))
            differences.append(Difference("budget window", where, *sides))
    return tuple(differences[:DIFFERENCES_MAX]), (starts_at, ends_at, billing)


def verify_running(connection: Connection) -> tuple[Difference, ...]:
    """Owners whose count of running requests, or of the tokens these are taken for, is not that of the open rows."""
    return tuple(_running_differences(connection))[:DIFFERENCES_MAX]


def _running_differences(connection: Connection) -> Iterator[Difference]:
    for row in connection.execute(select(limits.c.owner_id, limits.c.running, limits.c.running_tokens)):
        expected = running(connection, row.owner_id)
        if expected != (row.running, row.running_tokens):
            names = ("running", "running_tokens")
            sides = (dict(zip(names, side, strict=True)) for side in (expected, (row.running, row.running_tokens)))
            yield Difference("running requests", {"owner": row.owner_id}, *sides)
