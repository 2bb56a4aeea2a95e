"""What binds a key, from one snapshot: read as an admission would read it, and never written."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import Connection, select

from app.core.bounds import BoundBudget, BoundLimit, KeyStanding
from app.core.clock import from_ms, to_ms
from app.core.holds import Billing
from app.core.limits import GATEWAY, Standing
from app.core.records import RefusalReason
from app.store.desk import Desk, scope_of
from app.store.limits import budgets_of, gateway_zone
from app.store.queries import find_key
from app.store.schema import keys


def key_standing(connection: Connection, key_id: str, now: datetime) -> KeyStanding:
    """Raises: `RowMissing`."""
    key = find_key(connection, key_id, now)
    team_id = connection.scalar(select(keys.c.team_id).where(keys.c.id == key.id))
    owners = [owner for owner in (key.id, team_id, GATEWAY) if owner is not None]
    budgets = budgets_of(connection, owners, now)
    desk = Desk(connection, gateway_zone(connection), Billing.CHARGED)
    desk.load(dict.fromkeys(owners, ""), to_ms(now), now)
    return KeyStanding(
        key=key,
        budgets=tuple(BoundBudget(scope_of(owner), one) for owner in owners for one in budgets.get(owner, ())),
        limits=tuple(one for standing in desk.of(*owners).standings for one in _limits(standing, to_ms(now))),
    )


def _limits(standing: Standing, now_ms: int) -> Iterator[BoundLimit]:
    """What a request that is made now would meet; in the order in which limits are written everywhere."""
    limits, rate = standing.limits, standing.rate
    rate.advance(now_ms)
    if limits.rpm is not None:
        empty_in_ms = rate.empty_in_ms(now_ms)
        yield _per_minute(standing, RefusalReason.REQUESTS_PER_MINUTE, limits.rpm, rate.requests, now_ms, empty_in_ms)
    if limits.tpm is not None:
        used, empty_in_ms = rate.tokens + standing.running_tokens, rate.empty_in_ms(now_ms, tokens=True)
        yield _per_minute(standing, RefusalReason.TOKENS_PER_MINUTE, limits.tpm, used, now_ms, empty_in_ms)
    if limits.concurrency is not None:
        yield BoundLimit(standing.scope, RefusalReason.CONCURRENCY, limits.concurrency, standing.running, None)


def _per_minute(
    standing: Standing, kind: RefusalReason, limit: int, used: int, now_ms: int, empty_in_ms: int
) -> BoundLimit:
    resets_at = from_ms(now_ms + empty_in_ms) if empty_in_ms else None
    return BoundLimit(standing.scope, kind, limit, used, resets_at)
