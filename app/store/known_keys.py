"""What an admission needs to know of keys: read once, remembered while nobody changes it.

Called by the batch, in the writer's transactions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from app.core.admission import KeyFacts
from app.core.clock import from_ms
from app.core.records import KeyState
from app.store.rows import list_text, text_list
from app.store.statements import KEY_FACTS, TOUCH_KEYS

# A key's last use is written at most so often.
TOUCH_EVERY_MS = 60_000


@dataclass(slots=True)
class KnownKey:
    """`tags`: as a row keeps them."""

    facts: KeyFacts
    tags: str


class KnownKeys:
    """Keys by the hash of the secret that was shown: a key may answer to two for a while."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._known: dict[str, KnownKey] = {}
        self._last_used_at: dict[str, int | None] = {}  # by key id; milliseconds since 1970

    def of(self, hashes: Iterable[str]) -> Mapping[str, KnownKey]:
        """Of these, and of others, those that there are."""
        unknown = {one for one in hashes if one not in self._known}
        if unknown:
            self._read(unknown)
        return self._known

    def touch(self, key_ids: Iterable[str], now_ms: int) -> None:
        """These are used now: that is written of those of which nothing so new is."""
        due = []
        for key_id in key_ids:
            last_ms = self._last_used_at[key_id]
            if last_ms is None or last_ms <= now_ms - TOUCH_EVERY_MS:
                self._last_used_at[key_id] = now_ms
                due.append((key_id, now_ms))
        TOUCH_KEYS.run(self._connection, due)

    def forget(self) -> None:
        self._known.clear()
        self._last_used_at.clear()

    def _read(self, hashes: Iterable[str]) -> None:
        for secret_hash, secret_expires_at, *row in KEY_FACTS.run(self._connection, [(one,) for one in hashes]):
            key_id, name, team_id, team, tags, models, state, expires_at, last_used_at = row
            facts = KeyFacts(
                id=key_id,
                name=name,
                team_id=team_id,
                team=team,
                tags=text_list(tags),
                models=text_list(models),
                state=KeyState(state),
                expires_at=_time(expires_at),
                secret_expires_at=_time(secret_expires_at),
            )
            self._known[secret_hash] = KnownKey(facts, list_text(facts.tags))
            self._last_used_at[key_id] = last_used_at


def _time(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else from_ms(milliseconds)
