"""Ledger entries for tests: keys, intents and settlements with sensible values, and ways to look at what is on disk."""

from __future__ import annotations

import sqlite3
import subprocess
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from app.accounts.keyring import Keyring
from app.core.ids import id_time, new_id
from app.core.money import charged_from, parse_cost
from app.core.owners import KeyRecord, NewKey
from app.core.records import Intent, Outcome, Reading, Settlement, State, TokenUsage
from app.core.views import RequestFilter, RequestRecord
from app.store import queries, search
from app.store.port import Store

MODEL = "openai/gpt-4o-mini"


@dataclass(frozen=True)
class Holder:
    """Somebody with a key."""

    key: KeyRecord
    secret_hash: str
    authorization: bytes

    def intent(self, at: datetime | None = None, **fields: Any) -> Intent:
        request_id = fields.pop("request_id", None) or new_id("req", at)
        wanted: dict[str, Any] = {"model": MODEL, "stream": False, **fields}
        return Intent(request_id, self.key.id, self.secret_hash, id_time(request_id), **wanted)


async def a_holder(store: Store, name: str = "alice", **spec: Any) -> Holder:
    keyring = Keyring(store)
    key, secret = await keyring.create(NewKey(name, **spec))
    authorization = f"Bearer {secret}".encode()
    identified = await keyring.identify(authorization)
    assert identified is not None
    assert identified.key_id == key.id
    return Holder(key, identified.secret_hash, authorization)


def settled(request_id: str, cost: str = "0.0000123", **fields: Any) -> Settlement:
    """A settlement as the seed example has it: true 0.0000123, charged 0.0001."""
    true = parse_cost(cost)
    told: dict[str, Any] = {
        "usage": TokenUsage(input_tokens=12, cached_tokens=0, output_tokens=24, reasoning_tokens=0, total_tokens=36),
        "response_id": f"resp_{request_id}",
        "model_answered": MODEL,
        "complete": True,
        **fields.pop("reading", {}),
    }
    reading = Reading(true_cost=true, charged=charged_from(true), **told)
    values: dict[str, Any] = {"status": 200, "ttfb_ms": 5, "duration_ms": 9, **fields}
    return Settlement(request_id, State.SETTLED, Outcome.COMPLETED, reading, **values)


def free(request_id: str) -> Settlement:
    return Settlement(request_id, State.FREE, Outcome.UPSTREAM_ERROR, Reading(), 400)


def unknown(request_id: str, reason: str = "no_cost") -> Settlement:
    return Settlement(request_id, State.UNKNOWN, Outcome.COMPLETED, Reading(), 200, unknown_reason=reason)


async def rows(store: Store) -> dict[str, RequestRecord]:
    page = await store.read(search.list_requests, RequestFilter(), None, 100_000)
    return {row.id: row for row in page.items}


async def row(store: Store, request_id: str) -> RequestRecord:
    return await store.read(queries.find_request, request_id)


def crashed_copy(path: Path, to: Path) -> Path:
    """The files as they lie on the disk now: what a killed process leaves behind.

    Copied by another process: closing a file of the database in this one would drop SQLite's locks.
    """
    to.mkdir(parents=True)
    there = [str(file) for file in path.parent.glob(path.name + "*") if not file.name.endswith(("-shm", ".lock"))]
    subprocess.run(["cp", *there, str(to)], check=True, timeout=20)
    return to / path.name


class Elsewhere:
    """Another process's hold on the database: a write transaction that stays open."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=5)
        self._connection.execute("BEGIN IMMEDIATE")

    def let_go(self) -> None:
        self._connection.execute("ROLLBACK")
        self._connection.close()
