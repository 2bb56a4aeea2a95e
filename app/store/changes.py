"""What the control plane writes: keys, their secrets, teams. Each function runs inside the writer's transaction.

They take the writer's connection and plain values, and raise the store's errors; sentences
for people are made by the accounts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, or_, select, update

from app.core.budgets import Budget, BudgetPeriod
from app.core.clock import to_ms
from app.core.holds import Billing
from app.core.ids import new_id
from app.core.keys import TeamSecret
from app.core.limits import GATEWAY, Limits
from app.core.owners import NO_LIMITS, UNSET, BudgetRecord, KeyChange, KeyRecord, LimitsChange, NewKey, TeamRecord
from app.core.records import KeyState
from app.store.limits import set_budgets, set_limits
from app.store.port import KeyIsRevoked, NameExists, SecretExists
from app.store.queries import find_key, find_team, gateway_budgets, team_id_of
from app.store.rows import list_text
from app.store.schema import key_secrets, keys, teams


def create_key(
    connection: Connection, spec: NewKey, secret: TeamSecret, now: datetime, billing: Billing = Billing.CHARGED
) -> KeyRecord:
    """Raises: `NameExists`, `RowMissing` (team), `SecretExists`."""
    _refuse_taken(connection, "key", spec.name)
    key_id = new_id("key", now)
    connection.execute(
        insert(keys).values(
            id=key_id,
            name=spec.name,
            team_id=_team_id(connection, spec.team),
            tags=list_text(spec.tags),
            models=list_text(spec.models),
            state=KeyState.ACTIVE,
            expires_at=to_ms(spec.expires_at) if spec.expires_at else None,
            created_at=to_ms(now),
        )
    )
    _add_secret(connection, key_id, secret, now)
    set_budgets(connection, key_id, spec.budgets, billing, now)
    set_limits(connection, key_id, spec.limits, now)
    return find_key(connection, key_id, now)


def change_key(
    connection: Connection, ref: str, change: KeyChange, now: datetime, billing: Billing = Billing.CHARGED
) -> KeyRecord:
    """Raises: `RowMissing` (key, team), `NameExists`."""
    key = find_key(connection, ref, now)
    values: dict[str, Any] = {}
    if change.name is not UNSET and change.name != key.name:
        _refuse_taken(connection, "key", change.name)
        values["name"] = change.name
    if change.team is not UNSET:
        values["team_id"] = _team_id(connection, change.team)
    if change.models is not UNSET:
        values["models"] = list_text(change.models)
    if change.tags is not UNSET:
        values["tags"] = list_text(change.tags)
    if change.expires_at is not UNSET:
        values["expires_at"] = to_ms(change.expires_at) if change.expires_at else None
    _change_limits(connection, key.id, key.limits, change.limits, billing, now)
    return _update_key(connection, key.id, values, now)


def set_key_state(connection: Connection, ref: str, state: KeyState, now: datetime) -> KeyRecord:
    """Raises: `RowMissing`, `KeyIsRevoked` (revoked is final)."""
    key = find_key(connection, ref, now)
    if key.state is KeyState.REVOKED and state is not KeyState.REVOKED:
        raise KeyIsRevoked(key.name)
    return _update_key(connection, key.id, {"state": state}, now)


def rotate_key(connection: Connection, ref: str, secret: TeamSecret, old_until: datetime, now: datetime) -> KeyRecord:
    """A new secret; the old ones end at `old_until`, if not before.

    Raises: `RowMissing`, `KeyIsRevoked`, `SecretExists`.
    """
    key = find_key(connection, ref, now)
    if key.state is KeyState.REVOKED:
        raise KeyIsRevoked(key.name)
    if old_until <= now:  # gone with the commit, whatever a clock says later
        connection.execute(delete(key_secrets).where(key_secrets.c.key_id == key.id))
    until = to_ms(old_until)
    lasting = or_(key_secrets.c.expires_at.is_(None), key_secrets.c.expires_at > until)
    connection.execute(update(key_secrets).where(key_secrets.c.key_id == key.id, lasting).values(expires_at=until))
    _add_secret(connection, key.id, secret, now)
    return find_key(connection, key.id, now)


def create_team(
    connection: Connection,
    name: str,
    now: datetime,
    change: LimitsChange = LimitsChange(),  # noqa: B008 - frozen
    billing: Billing = Billing.CHARGED,
) -> TeamRecord:
    """Raises: `NameExists`."""
    _refuse_taken(connection, "team", name)
    team_id = new_id("team", now)
    connection.execute(insert(teams).values(id=team_id, name=name, created_at=to_ms(now)))
    _change_limits(connection, team_id, NO_LIMITS, change, billing, now)
    return find_team(connection, team_id, now)


def change_team(
    connection: Connection, ref: str, name: str | None, change: LimitsChange, billing: Billing, now: datetime
) -> TeamRecord:
    """Raises: `RowMissing`, `NameExists`."""
    team = find_team(connection, ref, now)
    if name is not None and name != team.name:
        _refuse_taken(connection, "team", name)
        connection.execute(update(teams).where(teams.c.id == team.id).values(name=name))
    _change_limits(connection, team.id, team.limits, change, billing, now)
    return find_team(connection, team.id, now)


def change_gateway_budgets(
    connection: Connection, wanted: Sequence[Budget], billing: Billing, now: datetime
) -> tuple[BudgetRecord, ...]:
    """The budgets of everything together, from now on exactly these."""
    set_budgets(connection, GATEWAY, wanted, billing, now)
    return gateway_budgets(connection, now)


def merge_gateway_budgets(
    connection: Connection, wanted: Sequence[Budget], gone: Sequence[BudgetPeriod], billing: Billing, now: datetime
) -> tuple[BudgetRecord, ...]:
    """One budget each for the periods that are named, none for those that are gone; the others stay."""
    named = {*gone, *(budget.period for budget in wanted)}
    others = [
        Budget(one.amount_picodollars, one.period)
        for one in gateway_budgets(connection, now)
        if one.period not in named
    ]
    return change_gateway_budgets(connection, [*others, *wanted], billing, now)


def _change_limits(
    connection: Connection, owner_id: str, before: Limits, change: LimitsChange, billing: Billing, now: datetime
) -> None:
    if change.budgets is not UNSET:
        set_budgets(connection, owner_id, change.budgets, billing, now)
    if change.of(before) != before:
        set_limits(connection, owner_id, change.of(before), now)


def _update_key(connection: Connection, key_id: str, values: Mapping[str, Any], now: datetime) -> KeyRecord:
    if values:
        connection.execute(update(keys).where(keys.c.id == key_id).values(**values))
    return find_key(connection, key_id, now)


def _add_secret(connection: Connection, key_id: str, secret: TeamSecret, now: datetime) -> None:
    owner = select(keys.c.name).join(key_secrets, key_secrets.c.key_id == keys.c.id)
    name = connection.scalar(owner.where(key_secrets.c.hash == secret.hash))
    if name is not None:
        raise SecretExists(name)
    connection.execute(
        insert(key_secrets).values(hash=secret.hash, key_id=key_id, prefix=secret.prefix, created_at=to_ms(now))
    )


def _team_id(connection: Connection, ref: str | None) -> str | None:
    return None if ref is None else team_id_of(connection, ref)


def _refuse_taken(connection: Connection, kind: str, name: str) -> None:
    table = keys if kind == "key" else teams
    taken: Row[Any] | None = connection.execute(select(table.c.id).where(table.c.name == name)).first()
    if taken is not None:
        raise NameExists(kind, name)
