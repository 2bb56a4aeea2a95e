"""What one transaction of the writer does: settle and admit. Decide over known facts, then write.

Called inside a transaction by the writer (and while the store opens). Nothing here
commits, waits, or knows who asked. What was read of keys, limits and open requests is remembered from one
transaction to the next: exactly one connection writes, so it stays true. Whoever else may have written (a person's
change, a heartbeat, another process) makes it `forget`; and no batch outlives a transaction that failed.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from operator import add
from typing import Any

from sqlalchemy import Connection

from app.core.admission import KeyFacts, decide, identified
from app.core.binding import Endings
from app.core.clock import to_ms
from app.core.holds import Sample, keeps_hold
from app.core.ids import id_ms
from app.core.limits import GATEWAY
from app.core.records import Admitted, Intent, RefusalReason, Refused, Settlement
from app.core.windows import BUCKET_SECONDS
from app.store import limit_statements, statements
from app.store.calendar import Calendar, day_start_ms
from app.store.desk import Desk
from app.store.known_keys import KnownKey, KnownKeys
from app.store.made import Made
from app.store.occasions import Oddities
from app.store.open_rows import OpenRow, OpenRows
from app.store.queries import last_closed_seq
from app.store.rows import bounded_sums, count, made_ids, refusal_row, settlement_row, storable, usage_sums
from app.store.samples import Samples
from app.store.stretches import Stretches
from app.telemetry import get_logger

log = get_logger("ledger")

_BUCKET_MS = BUCKET_SECONDS * 1000

# A request that is being closed, what closes it, and what goes on counting of its hold.
_Closing = Sequence[tuple[OpenRow, Settlement, int]]


class LedgerBatch:
    """Writes intents and settlements over one raw connection; counts the order of closing."""

    def __init__(self, connection: sqlite3.Connection, sql: Connection, instance_id: str, calendar: Calendar) -> None:
        self._connection = connection
        self._sql = sql
        self._instance_id = instance_id
        self._clock = calendar.clock
        self._zone = calendar.zone
        self._counting = calendar.counting
        self._keys = KnownKeys(connection)
        self._open = OpenRows(connection)
        self._desk = Desk(sql, calendar.zone, calendar.counting.billing)
        self._days_until: int | None = None
        self._made = Made(connection)
        self._stretches = Stretches(sql)
        self._samples = Samples(sql, calendar.counting.billing)
        self._oddities = Oddities(sql, calendar.counting.billing)
        self._closed_seq: int | None = None

    def save(self) -> None:
        """Writes where the owners of limits stand now: once in a transaction, however much it settles and admits.
        `Database.transaction` does it at its end, `others_write` before that."""
        self._desk.save(self._clock())

    @contextlib.contextmanager
    def others_write(self) -> Iterator[None]:
        """Around whatever else reads or writes in this transaction: all is written before, and read anew behind."""
        self.save()
        yield
        self.forget()

    def tidy(self) -> None:
        """A little of what need not be done at once."""
        self._made.tidy()

    def forget(self) -> None:
        """Somebody else may have written: all is read anew. (Not what guesses are made of, and what was told or made.)

        Raises: `RuntimeError` while something is to be saved.
        """
        self._keys.forget()
        self._open.forget()
        self._desk.forget()
        self._made.forget()
        self._days_until = self._closed_seq = None

    # --- settlements ----------------------------------------------------------------------

    def settle(self, settlements: Iterable[Settlement]) -> None:
        """Closes the rows that are open, and only for those adds to the roll-ups and notes whose response it is."""
        first: dict[str, Settlement] = {}
        for settlement in settlements:
            first.setdefault(settlement.request_id, settlement)
        there = self._open.take(first)
        if len(there) < len(first):
            self._report_strangers(first.keys() - there.keys())
        closing = [(row, one, self._kept(row, one)) for one in first.values() if (row := there.get(one.request_id))]
        if closing:
            now = self._clock()
            rows = self._close(closing, to_ms(now))
            self._add_usage(closing, rows)
            self._end_holds(closing, now)
            self._made.note((made_ids(one), row.key_id, row.team_id, row.created_at) for row, one, _ in closing)

    def _close(self, closing: _Closing, now_ms: int) -> list[list[Any]]:
        """Returns the `settlement_row` of each, in their order."""
        if self._closed_seq is None:
            self._closed_seq = last_closed_seq(self._sql)
        numbered = enumerate(closing, self._closed_seq + 1)
        rows = [settlement_row(settlement, now_ms, seq, kept) for seq, (_, settlement, kept) in numbered]
        self._closed_seq += len(rows)
        before = self._connection.total_changes
        statements.SETTLE.run(self._connection, rows)
        if self._connection.total_changes - before != len(rows):
            raise RuntimeError("a row that is known to be open is not")  # nothing of this transaction is kept
        self._stretches.add_complete(self._closed_seq)
        return rows

    def _kept(self, row: OpenRow, settlement: Settlement) -> int:
        return row.hold if keeps_hold(settlement, self._counting) else 0

    def _add_usage(self, closing: _Closing, written: Sequence[Sequence[Any]]) -> None:
        buckets: dict[tuple[object, ...], tuple[int, ...]] = {}
        for (row, settlement, _), closed in zip(closing, written, strict=True):
            bucket_at = row.created_at - row.created_at % _BUCKET_MS
            where = (bucket_at, row.key_id, row.team_id or "", row.tags, row.model, str(settlement.state))
            sums, total = usage_sums(closed), buckets.get(where)
            buckets[where] = sums if total is None else tuple(map(add, total, sums))
        rows = [(*where, *bounded_sums(total)) for where, total in buckets.items()]
        statements.ADD_USAGE.run(self._connection, rows)
        self._add_to_days(rows)

    def _add_to_days(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """What belongs to a day that is over already, and so is summed up, is added there as well."""
        if self._days_until is None:
            (self._days_until,) = self._connection.execute("SELECT days_until FROM calendar").fetchone()
        over = [
            (day_start_ms(bucket_at, self._zone), *rest) for bucket_at, *rest in rows if bucket_at < self._days_until
        ]
        statements.ADD_USAGE_DAYS.run(self._connection, over)

    def _end_holds(self, closing: _Closing, now: datetime) -> None:
        """What was held is held no more; what is known counts, in the windows that hold a request's creation."""
        now_ms, desk = to_ms(now), self._desk
        owners = {owner: "" for row, *_ in closing for owner in (row.key_id, row.team_id, GATEWAY) if owner}
        desk.load(owners, min([row.created_at for row, *_ in closing]), now)
        endings = Endings()
        for row, settlement, kept in closing:
            binding = desk.of(row.key_id, row.team_id, GATEWAY)
            if binding.standings:
                reading = settlement.reading
                tokens = count(reading.usage.total_tokens) or 0
                endings.of(binding, row.created_at).add(row.hold, row.tokens_held, kept, tokens, reading)
            self._samples.add(row.key_id, row.model, settlement)
            self._oddities.look(row.key_id, row.model, row.hold, settlement, now_ms)
        endings.count(now_ms)

    def _report_strangers(self, ids: Iterable[str]) -> None:
        """A row that is closed already is no wonder; one that never was would be a lost cost."""
        there = {row[0] for row in statements.EXISTING.run(self._connection, [(one,) for one in ids])}
        for request_id in set(ids) - there:
            log.error("settlement_without_row", request_id=request_id)

    # --- intents --------------------------------------------------------------------------

    def admit(self, intents: Sequence[Intent]) -> list[Admitted | Refused]:
        """Decides over all intents with facts that are true in this transaction; those admitted become open rows."""
        now = self._clock()
        now_ms = to_ms(now)
        keys = self._keys_of(intents)
        times = [id_ms(intent.request_id) for intent in intents]  # a row has the time of its id
        self._load_desk(keys, min(times), now)
        # What a stranger refers to is not looked up.
        makers = self._made.makers_of([one for one, key in zip(intents, keys, strict=True) if key is not None])
        verdicts: list[Admitted | Refused] = []
        rows, used, refused = [], set(), []
        for intent, key, at_ms in zip(intents, keys, times, strict=True):
            if key is None:
                verdicts.append(Refused(RefusalReason.KEY_REFUSED))
                continue
            verdict = identified(intent, key.facts, makers, now) or self._decide(intent, key.facts, at_ms, now_ms)
            verdicts.append(verdict)
            if isinstance(verdict, Refused):
                refused.append(refusal_row(intent, verdict, now_ms))
            else:
                rows.append(self._open_row(intent, key, verdict, at_ms))
                used.add(key.facts.id)
        statements.INSERT_INTENTS.run(self._connection, rows)
        if refused:
            self._note_refusals(refused)
        self._keys.touch(used, now_ms)
        return verdicts

    def _decide(self, intent: Intent, key: KeyFacts, at_ms: int, now_ms: int) -> Admitted | Refused:
        binding = self._desk.of(key.id, key.team_id, GATEWAY)
        self._desk.ready(binding, at_ms)
        return decide(intent, key, binding, partial(self._most, key.id, intent.model), at_ms, now_ms)

    def _most(self, key_id: str, model: str) -> Sample | None:
        return self._samples.of(key_id, storable(model) or "").most

    def _open_row(self, intent: Intent, key: KnownKey, admitted: Admitted, at_ms: int) -> tuple[object, ...]:
        """In the order of `statements.INTENT_COLUMNS`."""
        row = OpenRow(
            intent.request_id,
            at_ms,
            key.facts.id,
            key.facts.team_id,
            key.tags,
            storable(intent.model) or "",
            admitted.hold_picodollars,
            admitted.tokens_held,
        )
        self._open.add(row)
        return (*row, int(intent.stream), intent.sdk_retry, self._instance_id)

    def _keys_of(self, intents: Sequence[Intent]) -> list[KnownKey | None]:
        """The key that each of them named, if the secret that was shown is one of that key's."""
        known = self._keys.of(intent.secret_hash for intent in intents)
        keys = [known.get(intent.secret_hash) for intent in intents]
        return [
            None if key is None or key.facts.id != intent.key_id else key
            for intent, key in zip(intents, keys, strict=True)
        ]

    def _load_desk(self, keys: Sequence[KnownKey | None], since_ms: int, now: datetime) -> None:
        names = {GATEWAY: ""}
        for key in keys:
            if key is not None:
                names[key.facts.id] = key.facts.name
                if key.facts.team_id is not None:
                    names[key.facts.team_id] = key.facts.team or ""
        self._desk.load(names, since_ms, now)

    def _note_refusals(self, rows: Sequence[Sequence[Any]]) -> None:
        limit_statements.ADD_REFUSALS.run(self._connection, rows)
        counts: dict[tuple[int, str, str], int] = defaultdict(int)
        for _, at_ms, key_id, *_, reason, _ in rows:
            counts[at_ms - at_ms % _BUCKET_MS, key_id, reason] += 1
        limit_statements.COUNT_REFUSALS.run(self._connection, [(*place, count) for place, count in counts.items()])
