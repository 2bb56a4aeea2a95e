"""What one transaction of the writer does: settle and admit. Decide over loaded facts, then write.

Called inside a transaction by the writer thread (and while the store opens). Nothing here
commits, waits, or knows who asked.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection

from app.core.admission import KeyFacts, decide, identified
from app.core.clock import from_ms, to_ms
from app.core.holds import counted, keeps_hold
from app.core.limits import GATEWAY
from app.core.money import SUM_MAX
from app.core.records import Admitted, Intent, KeyState, RefusalReason, Refused, Settlement
from app.core.windows import BUCKET_SECONDS
from app.store import limit_statements, statements
from app.store.calendar import Calendar, day_start_ms
from app.store.desk import Desk
from app.store.occasions import Oddities
from app.store.rows import (
    count,
    intent_row,
    list_text,
    owner_row,
    refusal_row,
    settlement_row,
    storable,
    text_list,
    usage_sums,
)
from app.store.samples import Samples
from app.store.schema import USAGE_SUMS
from app.telemetry import get_logger

log = get_logger("ledger")

_BUCKET_MS = BUCKET_SECONDS * 1000

# A key's last use is written at most so often.
TOUCH_EVERY = timedelta(minutes=1)


class LedgerBatch:
    """Writes intents and settlements over one raw connection; counts the order of closing."""

    def __init__(self, connection: sqlite3.Connection, sql: Connection, instance_id: str, calendar: Calendar) -> None:
        self._connection = connection
        self._sql = sql
        self._instance_id = instance_id
        self._clock = calendar.clock
        self._zone = calendar.zone
        self._counting = calendar.counting
        self._samples = Samples(sql, calendar.counting.billing)
        self._oddities = Oddities(sql, calendar.counting.billing)
        newest = connection.execute("SELECT max(closed_seq) FROM requests WHERE closed_seq > 0").fetchone()
        self._closed_seq: int = newest[0] or 0

    # --- settlements ----------------------------------------------------------------------

    def settle(self, settlements: Iterable[Settlement]) -> None:
        """Closes the rows that are open, and only for those adds to the roll-ups and notes whose response it is."""
        first = {settlement.request_id: settlement for settlement in reversed(list(settlements))}
        closed_at = to_ms(self._clock())
        rows = []
        for seq, settlement in enumerate(reversed(first.values()), self._closed_seq + 1):
            keeps = int(keeps_hold(settlement, self._counting))
            rows.append([*settlement_row(settlement), closed_at, seq, keeps])
        self._closed_seq += len(rows)
        closed = self._run(statements.SETTLE, rows)
        if len(closed) < len(first):
            self._report_strangers(first)
        self._add_usage(closed, first)
        self._end_holds(closed, first)
        owners = [owner for row in closed if (owner := owner_row(first[row[0]], row[2])) is not None]
        if owners:
            self._run(statements.ADD_OWNERS, owners)

    def _add_usage(self, closed: Sequence[Sequence[Any]], settlements: dict[str, Settlement]) -> None:
        buckets: dict[tuple[object, ...], list[int]] = defaultdict(lambda: [0] * len(USAGE_SUMS))
        for request_id, created_at, key_id, team_id, tags, model, state, *_ in closed:
            total = buckets[created_at - created_at % _BUCKET_MS, key_id, team_id or "", tags, model, state]
            for index, value in enumerate(usage_sums(settlements[request_id])):
                total[index] += value
        for total in buckets.values():
            total[:] = [min(SUM_MAX, value) for value in total]
        if buckets:
            self._run(statements.ADD_USAGE, [[*where, *total] for where, total in buckets.items()])
            self._add_to_days(buckets)

    def _end_holds(self, closed: Sequence[Sequence[Any]], settlements: Mapping[str, Settlement]) -> None:
        """What was held is held no more; what is known counts, in the windows that hold a request's creation."""
        if not closed:
            return
        now = self._clock()
        desk = self._desk(
            {owner: "" for row in closed for owner in (row[2], row[3]) if owner}, min(r[1] for r in closed)
        )
        for request_id, created_at, key_id, team_id, _, model, _, hold, kept, tokens_held in closed:
            settlement = settlements[request_id]
            for standing in desk.of(key_id, team_id, GATEWAY):
                tokens, cost = count(settlement.reading.usage.total_tokens) or 0, partial(counted, settlement.reading)
                standing.end(created_at, to_ms(now), (hold, tokens_held), kept, tokens, cost)
            self._samples.add(key_id, model, settlement)
            self._oddities.look(key_id, model, hold, settlement, now)
        desk.save(now)

    def _desk(self, names: Mapping[str, str], since_ms: int) -> Desk:
        """Where these owners and the gateway stand, with the windows that hold `since_ms` or come later."""
        desk = Desk(self._sql, self._run, self._zone, self._counting.billing)
        desk.load({**names, GATEWAY: ""}, since_ms)
        return desk

    def _add_to_days(self, buckets: Mapping[tuple[Any, ...], Sequence[int]]) -> None:
        """What belongs to a day that is over already, and so is summed up, is added there as well."""
        until: int = self._connection.execute("SELECT days_until FROM calendar").fetchone()[0]
        rows = [
            [day_start_ms(bucket_at, self._zone), *where, *total]
            for (bucket_at, *where), total in buckets.items()
            if bucket_at < until
        ]
        if rows:
            self._run(statements.ADD_USAGE_DAYS, rows)

    def _report_strangers(self, settlements: dict[str, Settlement]) -> None:
        """A row that is closed already is no wonder; one that never was would be a lost cost."""
        there = {row[0] for row in self._run(statements.EXISTING, list(settlements))}
        for request_id in settlements.keys() - there:
            log.error("settlement_without_row", request_id=request_id)

    # --- intents --------------------------------------------------------------------------

    def admit(self, intents: Sequence[Intent]) -> list[Admitted | Refused]:
        """Decides over all intents with facts read in this transaction, and writes the admitted ones as open rows."""
        now = self._clock()
        keys, due = self._key_facts(intents, now)
        desk = self._desk_for(intents, keys)
        owners = self._owners(intents)
        verdicts: list[Admitted | Refused] = []
        rows, used, refused = [], set(), []
        for intent in intents:
            key = keys.get((intent.key_id, intent.secret_hash))
            verdict = self._decide(intent, key, owners, desk, now)
            if isinstance(verdict, Refused):
                if key is not None:
                    refused.append(refusal_row(intent, verdict, to_ms(now)))
            elif key is not None:
                row_key = (key.id, key.team_id, list_text(key.tags) if key.tags else "[]")
                rows.append(intent_row(intent, row_key, verdict, self._instance_id))
                used.add(key.id)
            verdicts.append(verdict)
        if rows:
            self._run(statements.INSERT_INTENTS, rows)
        desk.save(now)  # also what refusals made of it: a window that began, a clock that was set back
        if refused:
            self._note_refusals(refused)
        if used & due:
            self._run(statements.TOUCH_KEYS, [[key_id, to_ms(now)] for key_id in used & due])
        return verdicts

    def _decide(
        self, intent: Intent, key: KeyFacts | None, owners: Mapping[str, str], desk: Desk, now: datetime
    ) -> Admitted | Refused:
        if key is None:
            return Refused(RefusalReason.KEY_REFUSED)
        if (refusal := identified(intent, key, owners, now)) is not None:
            return refusal
        standings = desk.of(key.id, key.team_id, GATEWAY)
        if standings:
            desk.ready(standings, to_ms(intent.created_at))
        return decide(intent, key, standings, lambda: self._samples.of(key.id, storable(intent.model) or ""), now)

    def _desk_for(self, intents: Sequence[Intent], keys: Mapping[Any, KeyFacts]) -> Desk:
        names = {key.id: key.name for key in keys.values()}
        names |= {key.team_id: key.team or "" for key in keys.values() if key.team_id is not None}
        return self._desk(names, min(to_ms(intent.created_at) for intent in intents))

    def _note_refusals(self, rows: Sequence[Sequence[Any]]) -> None:
        self._run(limit_statements.ADD_REFUSALS, rows)
        counts: dict[tuple[int, str, str], int] = defaultdict(int)
        for _, at_ms, key_id, *_, reason, _ in rows:
            counts[at_ms - at_ms % _BUCKET_MS, key_id, reason] += 1
        self._run(limit_statements.COUNT_REFUSALS, [[*place, refused] for place, refused in counts.items()])

    def _key_facts(self, intents: Sequence[Intent], now: datetime) -> tuple[dict[tuple[str, str], KeyFacts], set[str]]:
        """The facts by (key id, hash of the secret shown), and the keys whose last use is to be written again."""
        facts, due = {}, set()
        latest = to_ms(now - TOUCH_EVERY)
        for secret_hash, secret_expires_at, *row in self._run(
            statements.KEY_FACTS, list({intent.secret_hash for intent in intents})
        ):
            key_id, name, team_id, team, tags, models, state, expires_at, last_used_at = row
            facts[key_id, secret_hash] = KeyFacts(
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
            if last_used_at is None or last_used_at <= latest:
                due.add(key_id)
        return facts, due

    def _owners(self, intents: Sequence[Intent]) -> dict[str, str]:
        # What could not be stored as it is was never stored: it has no owner.
        references = {one for intent in intents for one in intent.references if storable(one) == one}
        return dict(self._run(statements.OWNERS, list(references))) if references else {}

    # --- the driver -----------------------------------------------------------------------

    def _run(self, statement: str, rows: Sequence[object]) -> list[Any]:
        return self._connection.execute(statement, (msgspec.json.encode(rows).decode(),)).fetchall()


def _time(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else from_ms(milliseconds)
