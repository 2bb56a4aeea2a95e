"""Where owners of limits stand as the ledger's rows and roll-ups tell: for new windows, and for the proof of old ones.

What rows that were let go of would tell stands in `remains`.

Called while a window or a limit begins, inside the writer's transaction, and by the verification.
Money in 10⁻¹² USD, times in milliseconds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Connection, Table, and_, func, literal_column, or_, select

from app.core.budgets import Span
from app.core.clock import from_ms, to_ms
from app.core.holds import Billing
from app.core.ids import id_floor
from app.core.limits import GATEWAY
from app.core.money import PICODOLLARS_PER_USD, SUM_MAX
from app.core.rates import MINUTE_MS, Rate, rate_of
from app.core.windows import Period
from app.store.calendar import days_made
from app.store.schema import ONE_COST, adjustments, requests
from app.store.schema_seals import remains
from app.store.totals import rollups


@dataclass(slots=True)
class Sums:
    settled: int = 0
    kept: int = 0
    held: int = 0

    def bounded(self) -> tuple[int, int, int]:
        """As a window keeps them."""
        return min(SUM_MAX, self.settled), min(SUM_MAX, self.kept), self.held


def window_sums(
    connection: Connection, span: Span, billing: Billing, owner_id: str | None = None
) -> Mapping[str, Sums]:
    """What counts in a span, by owner: all of them, or one. An owner of whom there is nothing is absent."""
    found: dict[str, Sums] = defaultdict(Sums)
    for key_id, team_id, cost in _settled(connection, span, billing, owner_id):
        for owner in _owners(key_id, team_id, owner_id):
            found[owner].settled += cost
    for key_id, team_id, kept, held in _set_aside(connection, span, owner_id):
        for owner in _owners(key_id, team_id, owner_id):
            found[owner].kept += kept
            found[owner].held += held
    return found


def running(connection: Connection, owner_id: str) -> tuple[int, int]:
    """How many requests of an owner are open, and the tokens they are taken for."""
    query = select(func.count(), func.coalesce(func.sum(requests.c.tokens_held), 0)).where(
        # A bound, so that it is a search among the few that are open, and never a scan of another index.
        requests.c.state == literal_column("'open'"),
        requests.c.id >= "",
        *_of(requests, owner_id),
    )
    count, tokens = connection.execute(query).one()
    return count, tokens


def last_minute(connection: Connection, owner_id: str, now_ms: int) -> Rate:
    """The requests that an owner made within the last minute, and the tokens of those that were closed in it."""
    since_ms = max(0, now_ms - MINUTE_MS)
    made = select(requests.c.created_at).where(
        requests.c.id >= id_floor("req", from_ms(since_ms)), *_of(requests, owner_id)
    )
    events = [(min(created_at, now_ms), 1, 0) for created_at in connection.scalars(made)]
    events += [(min(closed_at, now_ms), 0, tokens) for closed_at, tokens in _closed(connection, owner_id, since_ms)]
    return rate_of(events)


def _closed(connection: Connection, owner_id: str, since_ms: int) -> Iterator[tuple[int, int]]:
    """When an owner's requests were closed, and their tokens. The newest of all are looked through, up to an older."""
    query = (
        select(requests.c.closed_at, requests.c.total_tokens, requests.c.key_id, requests.c.team_id)
        .where(requests.c.closed_seq > 0)
        .order_by(requests.c.closed_seq.desc())
    )
    with connection.execute(query) as newest:
        for closed_at, tokens, key_id, team_id in newest:
            if closed_at <= since_ms:
                return
            if tokens and _owners(key_id, team_id, owner_id):
                yield closed_at, tokens


def _of(table: Table, owner_id: str | None) -> Iterator[ColumnElement[bool]]:
    """Whose rows. A team's are those that were made while the key belonged to it."""
    if owner_id is None or owner_id == GATEWAY:
        return
    column = "key_id" if owner_id.startswith("key_") else "team_id"
    # `+`: the way in is the span and the state, whoever asks; an owner's own index holds all that it ever made.
    yield literal_column(f"+{table.name}.{column}") == owner_id


def _owners(key_id: str, team_id: str | None, wanted: str | None) -> Sequence[str]:
    return [owner for owner in (key_id, team_id, GATEWAY) if owner and wanted in (None, owner)]


def _within(table: Table, span: Span) -> Iterator[ColumnElement[bool]]:
    """Rows of a span by their request's id, which carries when it was made."""
    column = table.c.id if table is requests else table.c.request_id
    yield column >= id_floor("req", from_ms(span.starts_at_ms))
    yield column < id_floor("req", from_ms(span.ends_at_ms))


def _settled(
    connection: Connection, span: Span, billing: Billing, owner_id: str | None
) -> Iterator[tuple[str, str | None, int]]:
    """Known costs by key and team: from the roll-ups, from rows with one cost alone, from what persons said later."""
    cost = billing.value
    zone = ZoneInfo((days_made(connection) or ("UTC", 0))[0])
    period = Period(from_ms(span.starts_at_ms), from_ms(span.ends_at_ms))
    for table, spans in rollups(connection, period, zone):
        within = [and_(table.c.bucket_at >= to_ms(one.from_at), table.c.bucket_at < to_ms(one.to_at)) for one in spans]
        if within:
            yield from _summed(connection, table, cost, or_(*within), *_of(table, owner_id))
    other = "charged" if cost == "true_cost" else "true_cost"
    missing = [ONE_COST, requests.c[cost].is_(None), *_within(requests, span), *_of(requests, owner_id)]
    yield from _summed(connection, requests, other, *missing)
    yield from _summed(connection, remains, f"{other}_alone", *_remaining(span, owner_id))
    late = [adjustments.c.late == literal_column("1"), *_within(adjustments, span), *_of(adjustments, owner_id)]
    yield from _summed(connection, adjustments, cost, *late)


def _remaining(span: Span, owner_id: str | None) -> Iterator[ColumnElement[bool]]:
    yield remains.c.bucket_at >= span.starts_at_ms
    yield remains.c.bucket_at < span.ends_at_ms
    yield from _of(remains, owner_id)


def _summed(
    connection: Connection, table: Table, column: str, *conditions: ColumnElement[bool]
) -> Iterator[tuple[str, str | None, int]]:
    """Whole dollars and rests apart: a sum may be larger than a database counts."""
    amount = table.c[column]
    usd, rest = func.sum(amount // PICODOLLARS_PER_USD), func.sum(amount % PICODOLLARS_PER_USD)
    query = select(table.c.key_id, table.c.team_id, usd, rest).where(*conditions)
    for key_id, team_id, whole, part in connection.execute(query.group_by(table.c.key_id, table.c.team_id)):
        if whole is not None:
            yield key_id, team_id, whole * PICODOLLARS_PER_USD + part


def _set_aside(connection: Connection, span: Span, owner_id: str | None) -> Iterator[tuple[str, str | None, int, int]]:
    """What unknown costs keep, and what open requests hold."""
    for key_id, team_id, kept in _summed(connection, remains, "kept", *_remaining(span, owner_id)):
        yield key_id, team_id, kept, 0
    said = select(adjustments.c.request_id).where(adjustments.c.request_id == requests.c.id).exists()
    unknown: list[Any] = [requests.c.state == literal_column("'unknown'"), requests.c.kept > 0, ~said]
    opened: list[Any] = [requests.c.state == literal_column("'open'"), requests.c.hold > 0]
    both = ((unknown, requests.c.kept, 0), (opened, requests.c.hold, 1))
    for conditions, amount, place in both:
        query = select(requests.c.key_id, requests.c.team_id, func.sum(amount)).where(
            *conditions, *_within(requests, span), *_of(requests, owner_id)
        )
        for key_id, team_id, total in connection.execute(query.group_by(requests.c.key_id, requests.c.team_id)):
            yield key_id, team_id, (total, 0)[place], (0, total)[place]
