"""What one transaction of the writer does: settle, change, admit. Decide over loaded facts, then write.

Called by the writer thread only, inside its transaction. Nothing here commits, waits, or
knows who asked.
"""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from app.core.admission import KeyFacts, decide
from app.core.clock import from_ms, to_ms
from app.core.records import Admitted, Intent, KeyState, Refused, Settlement
from app.core.windows import BUCKET_SECONDS
from app.store import statements
from app.store.schema import USAGE_SUMS

_BUCKET_MS = BUCKET_SECONDS * 1000

# A key's last use is written at most so often.
TOUCH_EVERY = timedelta(minutes=1)


class LedgerBatch:
    """Writes intents and settlements over one raw connection; keeps the order of closing."""

    def __init__(self, connection: sqlite3.Connection, instance_id: str, clock: Callable[[], datetime]) -> None:
        self._connection = connection
        self._instance_id = instance_id
        self._clock = clock
        self._closed_seq = self._one("SELECT coalesce(max(closed_seq), 0) FROM requests")
        self._closed_at_ms = self._one(
            "SELECT coalesce(max(closed_at), 0) FROM requests WHERE closed_seq = ?", self._closed_seq
        )
        self._touched: dict[str, datetime] = {}

    # --- settlements ----------------------------------------------------------------------

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """Closes rows, adds them to the roll-ups, notes who made which response; True where a row was closed now."""
        rows = [self._settlement_row(settlement) for settlement in settlements]
        closed = {row[0]: row for row in self._run(statements.SETTLE, rows)}
        by_id = {settlement.request_id: settlement for settlement in reversed(settlements)}
        self._add_usage((row, by_id[request_id]) for request_id, row in closed.items())
        owners = [
            [response_id, row[2]]
            for request_id, row in closed.items()
            if (response_id := by_id[request_id].reading.response_id) is not None
        ]
        if owners:
            self._run(statements.ADD_OWNERS, owners)
        first: set[str] = set()
        results = []
        for settlement in settlements:
            results.append(settlement.request_id in closed and settlement.request_id not in first)
            first.add(settlement.request_id)
        return results

    def _settlement_row(self, settlement: Settlement) -> list[object]:
        reading, tokens = settlement.reading, settlement.reading.usage
        true, charged = reading.true_cost, reading.charged
        self._closed_seq += 1
        self._closed_at_ms = max(self._closed_at_ms, to_ms(self._clock()))
        return [
            settlement.request_id,
            settlement.state,
            settlement.outcome,
            settlement.status,
            true.picodollars if true else None,
            true.raw if true else reading.true_cost_token,
            charged.picodollars if charged else None,
            charged.raw if charged and not reading.charged_derived else reading.charged_token,
            int(reading.charged_derived),
            int(reading.charge_mismatch),
            settlement.unknown_reason,
            tokens.input_tokens,
            tokens.cached_tokens,
            tokens.output_tokens,
            tokens.reasoning_tokens,
            tokens.total_tokens,
            reading.model_answered,
            reading.response_id,
            settlement.upstream_request_id,
            settlement.ttfb_ms,
            settlement.duration_ms,
            self._closed_at_ms,
            self._closed_seq,
        ]

    def _add_usage(self, closed: Iterable[tuple[Sequence[Any], Settlement]]) -> None:
        sums: dict[tuple[object, ...], list[int]] = defaultdict(lambda: [0] * len(USAGE_SUMS))
        for (_, created_at, key_id, team_id, tags, model, state), settlement in closed:
            where = (created_at // _BUCKET_MS * _BUCKET_MS, key_id, team_id or "", tags, model, state)
            total = sums[where]
            for index, value in enumerate(_usage_of(settlement)):
                total[index] += value
        if sums:
            self._run(statements.ADD_USAGE, [[*where, *total] for where, total in sums.items()])

    # --- intents --------------------------------------------------------------------------

    def admit(self, intents: Sequence[Intent]) -> list[Admitted | Refused]:
        """Decides over all intents with facts read in this transaction, and writes the admitted ones as open rows."""
        keys = self._key_facts(intents)
        owners = self._owners(intents)
        now = self._clock()
        verdicts: list[Admitted | Refused] = []
        rows = []
        for intent in intents:
            key = keys.get((intent.key_id, intent.secret_hash))
            verdict = decide(intent, key, owners, now)
            if isinstance(verdict, Admitted) and key is not None:
                rows.append(self._intent_row(intent, key, verdict))
            verdicts.append(verdict)
        if rows:
            self._run(statements.INSERT_INTENTS, rows)
            self._touch({str(row[2]) for row in rows}, now)
        return verdicts

    def _intent_row(self, intent: Intent, key: KeyFacts, admitted: Admitted) -> list[object]:
        return [
            intent.request_id,
            to_ms(intent.created_at),
            key.id,
            key.team_id,
            json_list(key.tags),
            intent.model,
            int(intent.stream),
            intent.sdk_retry,
            admitted.hold_picodollars,
            self._instance_id,
        ]

    def _key_facts(self, intents: Sequence[Intent]) -> dict[tuple[str, str], KeyFacts]:
        """The facts by (key id, hash of the secret shown); a secret of another key is not there."""
        ids = {intent.key_id for intent in intents}
        keys = {row[0]: row for row in self._run(statements.KEY_FACTS, list(ids))}
        facts = {}
        for secret_hash, key_id, secret_expires_at in self._run(
            statements.SECRET_FACTS, list({intent.secret_hash for intent in intents})
        ):
            if (row := keys.get(key_id)) is not None:
                facts[key_id, secret_hash] = KeyFacts(
                    id=row[0],
                    name=row[1],
                    team_id=row[2],
                    team=row[3],
                    tags=tuple(json.loads(row[4])),
                    models=tuple(json.loads(row[5])),
                    state=KeyState(row[6]),
                    expires_at=_time(row[7]),
                    secret_expires_at=_time(secret_expires_at),
                )
        return facts

    def _owners(self, intents: Sequence[Intent]) -> dict[str, str]:
        references = {reference for intent in intents for reference in intent.references}
        return dict(self._run(statements.OWNERS, list(references))) if references else {}

    def _touch(self, key_ids: set[str], now: datetime) -> None:
        never = now - 2 * TOUCH_EVERY
        due = [key_id for key_id in key_ids if now - self._touched.get(key_id, never) >= TOUCH_EVERY]
        if due:
            self._run(statements.TOUCH_KEYS, [[key_id, to_ms(now)] for key_id in due])
            self._touched.update(dict.fromkeys(due, now))

    # --- the driver -----------------------------------------------------------------------

    def _run(self, statement: str, rows: Sequence[object]) -> list[Any]:
        return self._connection.execute(statement, {"rows": msgspec.json.encode(rows).decode()}).fetchall()

    def _one(self, statement: str, *values: object) -> int:
        return int(self._connection.execute(statement, values).fetchone()[0])


def json_list(values: Iterable[str]) -> str:
    """How a list is kept: sorted, so that equal sets are equal text."""
    return json.dumps(sorted(set(values)), ensure_ascii=False, separators=(",", ":"))


def _usage_of(settlement: Settlement) -> tuple[int, ...]:
    """What one closed request adds to its roll-up, in the order of `USAGE_SUMS`."""
    reading, tokens = settlement.reading, settlement.reading.usage
    free = settlement.state == "free"
    return (
        1,
        reading.true_cost.picodollars if reading.true_cost else 0,
        reading.charged.picodollars if reading.charged else 0,
        int(reading.true_cost is None and not free),
        int(reading.charged is None and not free),
        tokens.input_tokens or 0,
        tokens.cached_tokens or 0,
        tokens.output_tokens or 0,
        tokens.reasoning_tokens or 0,
        tokens.total_tokens or 0,
    )


def _time(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else from_ms(milliseconds)
