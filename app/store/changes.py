"""What the control plane writes: keys, their secrets, teams. Each function runs inside the writer's transaction.

They take the writer's connection and plain values, and raise the store's errors; sentences
for people are made by the accounts.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, or_, select, update

from app.core.clock import to_ms
from app.core.ids import new_id
from app.core.keys import TeamSecret
from app.core.records import KeyState
from app.core.views import UNSET, KeyChange, KeyRecord, NewKey, TeamRecord
from app.store.port import KeyIsRevoked, NameExists
from app.store.queries import find_key, find_team
from app.store.rows import list_text
from app.store.schema import key_secrets, keys, teams


def create_key(connection: Connection, spec: NewKey, secret: TeamSecret, now: datetime) -> KeyRecord:
    """Raises: `NameExists`, `RowMissing` (team)."""
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
    return find_key(connection, key_id, now)


def change_key(connection: Connection, ref: str, change: KeyChange, now: datetime) -> KeyRecord:
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
    return _update_key(connection, key.id, values, now)


def set_key_state(connection: Connection, ref: str, state: KeyState, now: datetime) -> KeyRecord:
    """Raises: `RowMissing`, `KeyIsRevoked` (revoked is final)."""
    key = find_key(connection, ref, now)
    if key.state is KeyState.REVOKED and state is not KeyState.REVOKED:
        raise KeyIsRevoked(key.name)
    return _update_key(connection, key.id, {"state": state}, now)


def rotate_key(connection: Connection, ref: str, secret: TeamSecret, old_until: datetime, now: datetime) -> KeyRecord:
    """A new secret; the old ones end at `old_until`, if not before. Raises: `RowMissing`, `KeyIsRevoked`."""
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


def create_team(connection: Connection, name: str, now: datetime) -> TeamRecord:
    """Raises: `NameExists`."""
    _refuse_taken(connection, "team", name)
    team_id = new_id("team", now)
    connection.execute(insert(teams).values(id=team_id, name=name, created_at=to_ms(now)))
    return find_team(connection, team_id)


def rename_team(connection: Connection, ref: str, name: str) -> TeamRecord:
    """Raises: `RowMissing`, `NameExists`."""
    team = find_team(connection, ref)
    if name != team.name:
        _refuse_taken(connection, "team", name)
        connection.execute(update(teams).where(teams.c.id == team.id).values(name=name))
    return find_team(connection, team.id)


def _update_key(connection: Connection, key_id: str, values: Mapping[str, Any], now: datetime) -> KeyRecord:
    if values:
        connection.execute(update(keys).where(keys.c.id == key_id).values(**values))
    return find_key(connection, key_id, now)


def _add_secret(connection: Connection, key_id: str, secret: TeamSecret, now: datetime) -> None:
    connection.execute(
        insert(key_secrets).values(hash=secret.hash, key_id=key_id, prefix=secret.prefix, created_at=to_ms(now))
    )


def _team_id(connection: Connection, ref: str | None) -> str | None:
    return None if ref is None else find_team(connection, ref).id


def _refuse_taken(connection: Connection, kind: str, name: str) -> None:
    table = keys if kind == "key" else teams
    taken: Row[Any] | None = connection.execute(select(table.c.id).where(table.c.name == name)).first()
    if taken is not None:
        raise NameExists(kind, name)
