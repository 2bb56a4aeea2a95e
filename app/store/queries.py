"""What is read of keys, teams and requests. Each function takes a connection with an open snapshot."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Row, Select, Table, func, literal_column, or_, select

from app.core.clock import from_ms, to_ms
from app.core.limits import GATEWAY
from app.core.owners import NO_LIMITS, BudgetRecord, KeyFilter, KeyRecord, TeamRecord
from app.core.records import KeyState, Outcome, State, TokenUsage
from app.core.value import replace
from app.core.views import Page, RequestRecord
from app.store.adjustments import adjustments_of, resolved_record
from app.store.limits import budgets_of, limits_of
from app.store.port import RowMissing
from app.store.schema import key_secrets, keys, requests, teams
from app.store.schema_seals import seals
from app.store.stretches import ids_where

R = TypeVar("R", KeyRecord, TeamRecord)

# --- keys and teams ----------------------------------------------------------------------


def named(table: Table, ref: str) -> ColumnElement[bool]:
    """The one with this id or name; names are kept composed (NFC), however they are typed."""
    return or_(table.c.id == ref, table.c.name == unicodedata.normalize("NFC", ref))


def key_of_secret(connection: Connection, secret_hash: str) -> str | None:
    """The id of the key that a secret belongs to, whatever their state."""
    found: str | None = connection.scalar(select(key_secrets.c.key_id).where(key_secrets.c.hash == secret_hash))
    return found


def key_behind(connection: Connection, secret_hash: str, now: datetime) -> KeyRecord | None:
    """The key that a secret opens now, whatever the key's state; None once the secret's own grace is over."""
    at = to_ms(now)
    opens = (key_secrets.c.hash == secret_hash) & or_(key_secrets.c.expires_at.is_(None), key_secrets.c.expires_at > at)
    row = connection.execute(_keys().where(keys.c.id == select(key_secrets.c.key_id).where(opens).scalar_subquery()))
    found = row.first()
    return None if found is None else _with_limits(connection, [_key(found, now)], now)[0]


def find_key(connection: Connection, ref: str, now: datetime) -> KeyRecord:
    """A key by its id or name. Raises: `RowMissing`."""
    row = connection.execute(_keys().where(named(keys, ref))).first()
    if row is None:
        raise RowMissing("key", ref)
    return _with_limits(connection, [_key(row, now)], now)[0]


def list_keys(
    connection: Connection, wanted: KeyFilter, after: str | None, limit: int, now: datetime
) -> Page[KeyRecord]:
    """Keys by name. `after`: the name that the page before ended with."""
    query = _keys().order_by(keys.c.name).limit(limit + 1)
    if after is not None:
        query = query.where(keys.c.name > after)
    if wanted.team is not None:
        query = query.where(keys.c.team_id == team_id_of(connection, wanted.team))
    if wanted.state is not None:
        query = query.where(_state_is(wanted.state, to_ms(now)))
    found = [_key(row, now) for row in connection.execute(query)]
    return Page(
        tuple(_with_limits(connection, found[:limit], now)), found[limit - 1].name if len(found) > limit else None
    )


def key_names(connection: Connection) -> list[str]:
    return list(connection.scalars(select(keys.c.name)))


def find_team(connection: Connection, ref: str, now: datetime) -> TeamRecord:
    """A team by its id or name. Raises: `RowMissing`."""
    row = connection.execute(_teams().where(named(teams, ref))).first()
    if row is None:
        raise RowMissing("team", ref)
    return _with_limits(connection, [_team(row)], now)[0]


def team_id_of(connection: Connection, ref: str) -> str:
    """Raises: `RowMissing`."""
    found: str | None = connection.scalar(select(teams.c.id).where(named(teams, ref)))
    if found is None:
        raise RowMissing("team", ref)
    return found


def list_teams(connection: Connection, after: str | None, limit: int, now: datetime) -> Page[TeamRecord]:
    query = _teams().order_by(teams.c.name).limit(limit + 1)
    if after is not None:
        query = query.where(teams.c.name > after)
    found = [_team(row) for row in connection.execute(query)]
    return Page(
        tuple(_with_limits(connection, found[:limit], now)), found[limit - 1].name if len(found) > limit else None
    )


def gateway_budgets(connection: Connection, now: datetime) -> tuple[BudgetRecord, ...]:
    """The budgets of everything together."""
    return tuple(budgets_of(connection, [GATEWAY], now).get(GATEWAY, ()))


def team_names(connection: Connection) -> list[str]:
    return list(connection.scalars(select(teams.c.name)))


def _keys() -> Select[Any]:
    newest = (
        select(key_secrets.c.prefix)
        .where(key_secrets.c.key_id == keys.c.id)
        .order_by(key_secrets.c.created_at.desc(), key_secrets.c.expires_at.is_not(None))
        .limit(1)
        .scalar_subquery()
    )
    return select(keys, teams.c.name.label("team"), newest.label("prefix")).select_from(
        keys.outerjoin(teams, teams.c.id == keys.c.team_id)
    )


def _teams() -> Select[Any]:
    count = select(func.count()).where(keys.c.team_id == teams.c.id).scalar_subquery()
    return select(teams, count.label("keys"))


def _with_limits(connection: Connection, records: Sequence[R], now: datetime) -> list[R]:
    ids = [record.id for record in records]
    limits, budgets = limits_of(connection, ids), budgets_of(connection, ids, now)
    return [
        replace(record, limits=limits.get(record.id, NO_LIMITS), budgets=tuple(budgets.get(record.id, ())))
        for record in records
    ]


def _state_is(state: KeyState, now_ms: int) -> ColumnElement[bool]:
    expired = (keys.c.expires_at.is_not(None)) & (keys.c.expires_at <= now_ms)
    if state is KeyState.EXPIRED:
        return (keys.c.state == KeyState.ACTIVE) & expired
    if state is KeyState.ACTIVE:
        return (keys.c.state == KeyState.ACTIVE) & ~expired
    return keys.c.state == state


def _key(row: Row[Any], now: datetime) -> KeyRecord:
    state = KeyState(row.state)
    expires_at = _time(row.expires_at)
    if state is KeyState.ACTIVE and expires_at is not None and expires_at <= now:
        state = KeyState.EXPIRED
    return KeyRecord(
        id=row.id,
        name=row.name,
        prefix=f"{row.prefix}…",
        team=row.team,
        tags=tuple(json.loads(row.tags)),
        state=state,
        models=tuple(json.loads(row.models)),
        expires_at=expires_at,
        created_at=from_ms(row.created_at),
        last_used_at=_time(row.last_used_at),
    )


def _team(row: Row[Any]) -> TeamRecord:
    return TeamRecord(row.id, row.name, from_ms(row.created_at), row.keys)


# --- requests ------------------------------------------------------------------------------


def find_request(connection: Connection, ref: str, key_id: str | None = None) -> RequestRecord:
    """A request by its id, the upstream's request id, or the id of its response: the newest, of one key or of all.

    Raises: `RowMissing`.
    """

    def is_it(ident: ColumnElement[Any]) -> ColumnElement[bool]:
        return ident == ref

    # `+`: the id is the way in, whoever asks.
    whose = [] if key_id is None else [literal_column("+requests.key_id") == key_id]
    for column in (requests.c.id, requests.c.response_id, requests.c.upstream_request_id):
        found = is_it(column) if column is requests.c.id else requests.c.id.in_(ids_where(column, is_it))
        newest = select(func.max(requests.c.id)).where(found, *whose).scalar_subquery()
        query = requests_with_names().where(requests.c.id == newest)
        if (row := connection.execute(query).first()) is not None:
            return request_records(connection, [row])[0]
    raise RowMissing("request", ref)


def closed_since(connection: Connection, seq: int, limit: int) -> list[RequestRecord]:
    """Closed requests in the order of their closing, behind a sequence number."""
    query = requests_with_names().where(requests.c.closed_seq > seq).order_by(requests.c.closed_seq).limit(limit)
    return request_records(connection, connection.execute(query).all())


def last_closed_seq(connection: Connection) -> int:
    """Also of requests whose rows are gone: their numbers are never given again."""
    there = select(func.max(requests.c.closed_seq)).where(requests.c.closed_seq > 0)
    sealed = select(func.max(seals.c.through_seq))
    return max(connection.scalar(one) or 0 for one in (there, sealed))


def requests_with_names() -> Select[Any]:
    """Every column of requests, and the names that key and team have now."""
    return select(requests, keys.c.name.label("key"), teams.c.name.label("team")).select_from(
        requests.join(keys, keys.c.id == requests.c.key_id).outerjoin(teams, teams.c.id == requests.c.team_id)
    )


def request_records(
    connection: Connection, rows: Sequence[Row[Any]], *, as_booked: bool = False
) -> list[RequestRecord]:
    """Rows with what persons have said about them since. `as_booked`: only what counts where the request counts."""
    unknown = [row.id for row in rows if row.state == State.UNKNOWN]
    said = adjustments_of(connection, unknown, as_booked=as_booked) if unknown else {}
    return [resolved_record(_request(row), said.get(row.id, ())) for row in rows]


def _request(row: Row[Any]) -> RequestRecord:
    return RequestRecord(
        id=row.id,
        created_at=from_ms(row.created_at),
        key=row.key,
        key_id=row.key_id,
        team=row.team,
        tags=tuple(json.loads(row.tags)),
        model=row.model,
        stream=bool(row.stream),
        state=State(row.state),
        team_id=row.team_id,
        sdk_retry=row.sdk_retry,
        hold_picodollars=row.hold,
        kept_picodollars=row.kept,
        model_answered=row.model_answered,
        status=row.status,
        outcome=Outcome(row.outcome) if row.outcome is not None else None,
        true_cost_picodollars=row.true_cost,
        charged_picodollars=row.charged,
        true_cost_raw=row.true_cost_raw,
        charged_raw=row.charged_raw,
        charged_derived=bool(row.charged_derived),
        charge_mismatch=bool(row.charge_mismatch),
        unknown_reason=row.unknown_reason,
        usage=TokenUsage(
            row.input_tokens, row.cached_tokens, row.output_tokens, row.reasoning_tokens, row.total_tokens
        ),
        response_id=row.response_id,
        upstream_request_id=row.upstream_request_id,
        ttfb_ms=row.ttfb_ms,
        duration_ms=row.duration_ms,
        closed_at=_time(row.closed_at),
        closed_seq=row.closed_seq,
    )


def _time(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else from_ms(milliseconds)
