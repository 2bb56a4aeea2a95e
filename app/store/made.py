"""Who made what: noted with the settlement, read with the admission, let go of when it is old.

What was made lately has its place in `made` by and by (`made_lately`), at once when it is asked for.

Called by the batch and the heartbeat, in the writer's transactions. An id that the upstream told to one key is
that key's; from the moment when another is told the same it is nobody's. What a key was told in two teams is its own
alone: the one team must not read what it adds in the other.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, delete, func, literal_column, select
from sqlalchemy.dialects.sqlite import insert as upsert

from app.core.records import Intent, Maker
from app.store.hot import Hot, field, rows
from app.store.made_lately import Entry, MadeLately
from app.store.rows import id_hash
from app.store.schema_made import made, makers
from app.store.statements import wanted

DAY_MS = 24 * 60 * 60 * 1000

# Of the oldest and the newest alike so many are looked at, and those let go of that are too old.
SWEPT_MAX = 2000

_LEAST_HASH = -(2**63)

_ADD_MAKERS = Hot(
    upsert(makers)
    .from_select(["key_id", "team_id"], select(field(0), field(1)).where(literal_column("true")))
    .on_conflict_do_nothing(),
    2,
)

_MAKER_IDS = Hot(
    select(makers.c.key_id, makers.c.team_id, makers.c.id).select_from(
        rows.join(makers, (makers.c.key_id == field(0)) & (makers.c.team_id == field(1)))
    ),
    2,
)

# [hash, maker, day]
_added = upsert(made).from_select(
    ["id_hash", "maker_id", "made_on"], select(*(field(index) for index in range(3))).where(literal_column("true"))
)
# The maker that is the key alone, where both are of the same key; else nothing.
_KEY_ALONE: ColumnElement[Any] = literal_column(
    "(SELECT alone.id FROM makers AS first, makers AS second, makers AS alone"
    " WHERE first.id = made.maker_id AND second.id = excluded.maker_id"
    " AND second.key_id = first.key_id AND alone.key_id = first.key_id AND alone.team_id = '')"
)
_ADD_MADE = Hot(
    _added.on_conflict_do_update(
        index_elements=["id_hash"],
        set_={
            "maker_id": case((made.c.maker_id == _added.excluded.maker_id, made.c.maker_id), else_=_KEY_ALONE),
            "made_on": func.max(made.c.made_on, _added.excluded.made_on),  # one may be written again behind a later one
        },
    ),
    3,
)

_MAKERS = Hot(
    select(made.c.id_hash, makers.c.key_id, makers.c.team_id)
    .select_from(made.outerjoin(makers, makers.c.id == made.c.maker_id))
    .where(made.c.id_hash.in_(wanted)),
    1,
)


class Made:
    """Remembers the numbers of makers, and what was made lately."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._maker_ids: dict[tuple[str, str], int] = {}
        self._lately = MadeLately(connection, self._place)

    def forget(self) -> None:
        """Not what was made lately: nobody else writes that, and it is long."""
        self._maker_ids.clear()

    def note(self, made_by: Iterable[tuple[tuple[str, ...], str, str | None, int]]) -> None:
        """Ids, with the key, its team and the time at which it made them."""
        found = [(ids, (key_id, team_id or ""), at_ms // DAY_MS) for ids, key_id, team_id, at_ms in made_by if ids]
        if not found:
            return
        if new := {maker for _, maker, _ in found} - self._maker_ids.keys():
            _ADD_MAKERS.run(self._connection, [*new, *{(key_id, "") for key_id, _ in new}])
            numbers = _MAKER_IDS.run(self._connection, list(new))
            self._maker_ids |= {(key_id, team_id): number for key_id, team_id, number in numbers}
        self._lately.add([(id_hash(one), self._maker_ids[maker], day) for ids, maker, day in found for one in ids])

    def tidy(self) -> None:
        """Puts some of what was made lately in its place."""
        self._lately.place_some()

    def _place(self, entries: Sequence[Entry]) -> None:
        _ADD_MADE.run(self._connection, entries)

    def makers_of(self, intents: Sequence[Intent]) -> dict[str, Maker | None]:
        """Who made what the intents refer to, as far as it is known; None = it is nobody's. What of it was made lately
        is put in its place before."""
        hashes = {one: id_hash(one) for intent in intents for one in intent.references}
        if not hashes:
            return {}
        self._lately.put_in_place(hashes.values())
        known = {
            found: None if key_id is None else Maker(key_id, team_id or None)
            for found, key_id, team_id in _MAKERS.run(self._connection, [(one,) for one in hashes.values()])
        }
        return {one: known[found] for one, found in hashes.items() if found in known}


class Sweep:
    """Goes round and round through all that was made, some rows at a time, in the order of their hashes.

    So no index by age has to be kept up to date, which would cost every settlement more than this ever does.
    """

    def __init__(self, keep_days: int | None) -> None:
        self._keep_days = keep_days
        self._from = _LEAST_HASH

    def step(self, connection: Connection, now_ms: int) -> bool:
        """Looks at the next rows; whether any of them was let go of. Call it in a transaction."""
        if self._keep_days is None:
            return False
        ahead = select(made.c.id_hash).where(made.c.id_hash >= self._from).order_by(made.c.id_hash).limit(SWEPT_MAX)
        last = connection.scalar(select(func.max(ahead.subquery().c.id_hash)))
        if last is None:
            self._from = _LEAST_HASH
            return False
        swept = made.c.id_hash.between(self._from, last)
        old = made.c.made_on < now_ms // DAY_MS - self._keep_days
        gone = connection.execute(delete(made).where(swept, old)).rowcount
        self._from = last + 1 if last < 2**63 - 1 else _LEAST_HASH
        return gone > 0
