"""The settings that the gateway ran with last: what differs at its next start is an entry of the audit log.

Of a secret only a short fingerprint is kept, under a salt of its own, and the log says no more than that it
is set. Called at the start, and when the upstream key is read anew.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select
from sqlalchemy.dialects.sqlite import insert

from app.core.audit import THE_GATEWAY, Action, Setting, Target
from app.store.audit import write_entry
from app.store.schema_audit import settings_seen

# Enough to tell that a secret is another one, too little to be worth anything else.
FINGERPRINT_CHARACTERS = 12

_added = insert(settings_seen)
# For many rows at once: one statement each took half of the time in which a gateway opens its services.
_KEEP = _added.on_conflict_do_update(
    index_elements=["name"], set_={"value": _added.excluded.value, "salt": _added.excluded.salt}
)


def note_settings(connection: Connection, settings: Mapping[str, Setting], now: datetime) -> None:
    """Compares settings (by their variables) with those seen last, or else their defaults: what differs is an entry."""
    seen = {row.name: row for row in connection.execute(select(settings_seen))}
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    for name, setting in settings.items():
        row = seen.get(name)
        if row is not None and _is_as_seen(row, setting):
            continue
        rows.append(_row_of(name, setting))
        was = setting.default if row is None else _shown(row)
        if setting.secret is not None:
            before[name], after[name] = was, "changed" if was == "set" else "set"
        elif was != setting.value:
            before[name], after[name] = was, setting.value
    if rows:
        connection.execute(_KEEP, rows)
    if after:
        target = Target("settings", "settings", "settings")
        write_entry(connection, THE_GATEWAY, Action.SETTINGS_CHANGED, target, (before, after), now)


def _is_as_seen(row: Row[Any], setting: Setting) -> bool:
    if setting.secret is None:
        return row.salt is None and bool(json.loads(row.value) == setting.value)
    return row.salt is not None and bool(json.loads(row.value) == _fingerprint(row.salt, setting.secret))


def _shown(row: Row[Any]) -> Any:
    return json.loads(row.value) if row.salt is None else "set"


def _row_of(name: str, setting: Setting) -> dict[str, Any]:
    salt = None if setting.secret is None else secrets.token_hex(16)
    value = setting.value if salt is None or setting.secret is None else _fingerprint(salt, setting.secret)
    return {"name": name, "value": json.dumps(value, ensure_ascii=False), "salt": salt}


def _fingerprint(salt: str, secret: str) -> str:
    return hashlib.sha256(f"{salt}{secret}".encode()).hexdigest()[:FINGERPRINT_CHARACTERS]
