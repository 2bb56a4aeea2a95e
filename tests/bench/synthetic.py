"""A ledger of any size, invented: rows, roll-ups and adjustments as the gateway itself would have written them.

Written in bulk, in seconds per million. Who uses it says so: `python -m tests.bench.synthetic FILE --rows N`.
The same seed makes the same ledger. `irg verify` finds nothing in it.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import random
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy import create_engine

from app.core.clock import to_ms
from app.core.ids import new_id
from app.core.money import charged_from, parse_cost
from app.core.windows import month_of
from app.store.calendar import follow_calendar
from app.store.engine import open_store
from app.store.rows import list_text
from app.store.schema import USAGE_KEY, USAGE_SUMS, requests

KEYS, TEAMS = 20, 5
MODELS = tuple(f"{maker}/model-{number}" for maker in ("openai", "anthropic", "google") for number in range(4))
RARE_MODEL, RARE_TAG, RARE_REASON = "odd/one-off", "rare", "encoding"
TAGS = (("prod",), ("prod", "blue"), ("dev",), ())

# So many of a thousand: free, unknown, and settled ones that did not end as they should.
FREE, UNKNOWN, CLIENT_GONE, DEAR = 20, 10, 15, 5

_REQUEST_COLUMNS = [column.name for column in requests.c]


@dataclass(frozen=True)
class Shape:
    rows: int = 1_000_000
    days: int = 90
    end: datetime = datetime(2026, 11, 20, tzinfo=UTC)
    resolved: int = 500  # so many of the unknown ones were settled by a person, most of them in a later month
    seed: int = 1


def make(path: Path, shape: Shape) -> None:
    """A new ledger at a path."""
    asyncio.run(_begin(path))
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA synchronous = OFF")
    database.execute("BEGIN")
    keys = _write_keys(database)
    marks = ", ".join("?" * len(_REQUEST_COLUMNS))
    database.executemany(
        f"INSERT INTO requests ({', '.join(_REQUEST_COLUMNS)}) VALUES ({marks})", _requests(shape, keys)
    )
    _write_adjustments(database, shape)
    _write_usage(database)
    database.execute("COMMIT")
    database.close()
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        follow_calendar(connection, ZoneInfo("UTC"), shape.end)
    engine.dispose()


async def _begin(path: Path) -> None:
    await (await open_store(path)).aclose()


def _write_keys(database: sqlite3.Connection) -> list[tuple[str, str | None, str]]:
    """Id, team and tags of each; the roll-ups by day are marked as not made yet."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    teams = [new_id("team", at) for _ in range(TEAMS)]
    for number, team_id in enumerate(teams):
        database.execute("INSERT INTO teams VALUES (?, ?, ?)", (team_id, f"team-{number}", to_ms(at)))
    keys: list[tuple[str, str | None, str]] = []
    for number in range(KEYS):
        team = teams[number % TEAMS] if number % 4 else None
        tags = list_text((RARE_TAG,) if number == KEYS - 1 else TAGS[number % len(TAGS)])
        keys.append((new_id("key", at), team, tags))
        database.execute(
            "INSERT INTO keys (id, name, team_id, tags, models, state, created_at) VALUES (?, ?, ?, ?, '[]', ?, ?)",
            (keys[-1][0], f"key-{number}", team, tags, "active", to_ms(at)),
        )
        secret = hashlib.sha256(keys[-1][0].encode()).hexdigest()
        database.execute(
            "INSERT INTO key_secrets (hash, key_id, prefix, created_at) VALUES (?, ?, 'irg_0000', ?)",
            (secret, keys[-1][0], to_ms(at)),
        )
    database.execute("DELETE FROM calendar")
    return keys


def _requests(shape: Shape, keys: list[tuple[str, str | None, str]]) -> Iterator[tuple[object, ...]]:
    """In the order of their creation; more by day than by night."""
    chance = random.Random(shape.seed)
    begin = shape.end - timedelta(days=shape.days)
    step = timedelta(days=shape.days) / shape.rows
    for number in range(shape.rows):
        at = begin + step * number
        # The last key, whose tag is rare, is seldom used, and only long ago.
        rare = number < shape.rows // 2 and number % 20_000 == 7
        key = keys[-1] if rare else keys[min(int(chance.expovariate(0.25)), KEYS - 2)]
        model = RARE_MODEL if rare else chance.choice(MODELS)
        yield _request(chance, number, at, key, model)


def _request(
    chance: random.Random, number: int, at: datetime, key: tuple[str, str | None, str], model: str
) -> tuple[object, ...]:
    request_id, created_ms, took = new_id("req", at), to_ms(at), chance.randrange(200, 30_000)
    begun = (request_id, created_ms, *key, model, number % 2, 0, 0, "inst_synthetic")
    upstream = f"up-{number:09d}" if number % 3 else None
    ended = (upstream, took // 3, took, created_ms + took, number + 1, 0, 0)  # nothing was held
    nothing = (None,) * 5
    kind = chance.randrange(1000)
    if kind < FREE:
        status = chance.choice((429, 429, 400, 401, 404))
        return (
            *begun,
            "free",
            "upstream_error",
            status,
            None,
            None,
            None,
            None,
            0,
            0,
            None,
            *nothing,
            None,
            None,
            *ended,
        )
    if kind < FREE + UNKNOWN:
        rare = chance.randrange(500) == 0
        reason = RARE_REASON if rare else chance.choice(("no_cost", "instance_lost", "no_terminal_event"))
        outcome, status = ("timed_out", 504) if rare else ("upstream_disconnected", 200)
        return (*begun, "unknown", outcome, status, None, None, None, None, 0, 0, reason, *nothing, None, None, *ended)
    whole = chance.randrange(1, 9) if kind > 1000 - DEAR and chance.randrange(1000) == 0 else 0
    cost = parse_cost(f"{whole}.{chance.randrange(10**9):012d}")
    charge = charged_from(cost)
    tokens = (chance.randrange(10, 9000), 0, chance.randrange(1, 3000), 0)
    outcome = "client_disconnected" if kind < FREE + UNKNOWN + CLIENT_GONE else "completed"
    costs = (cost.picodollars, cost.raw, charge.picodollars, charge.raw, 0, 0, None)
    counts = (*tokens, tokens[0] + tokens[2])
    return (*begun, "settled", outcome, 200, *costs, *counts, model, f"resp_{request_id[4:]}", *ended)


def _write_adjustments(database: sqlite3.Connection, shape: Shape) -> None:
    """Spread over the unknown ones; each made a month after its request, or, every tenth, on the same day."""
    unknown = database.execute(
        "SELECT id, created_at, key_id, team_id, tags, model FROM requests WHERE state = 'unknown' ORDER BY id"
    ).fetchall()
    for number, (request_id, created_ms, *owner) in enumerate(
        unknown[:: max(1, len(unknown) // max(1, shape.resolved))]
    ):
        created_at = datetime.fromtimestamp(created_ms / 1000, UTC)
        at = created_at + (timedelta(0) if number % 10 == 0 else timedelta(days=31))
        zone = ZoneInfo("UTC")
        late = month_of(created_at, zone) < month_of(at, zone)
        database.execute(
            "INSERT INTO adjustments VALUES (?, ?, 1, ?, ?, 12300000, 100000000, 1, 'bench', 'as billed', ?, ?, ?, ?)",
            (new_id("adj", at), request_id, to_ms(at), int(late), *owner),
        )


def _write_usage(database: sqlite3.Connection) -> None:
    """The roll-ups, from the rows and the adjustments that count with them."""
    database.execute("""
        CREATE TEMP VIEW effective AS SELECT r.*, a.id IS NOT NULL AS by_hand,
        coalesce(a.true_cost, r.true_cost) AS true_now, coalesce(a.charged, r.charged) AS charged_now
        FROM requests r LEFT JOIN adjustments a ON a.request_id = r.id AND a.late = 0
    """)
    tokens = ", ".join(f"coalesce(sum({name}), 0)" for name in USAGE_SUMS if name.endswith("_tokens"))
    database.execute(f"""
        INSERT INTO usage ({", ".join((*USAGE_KEY, *USAGE_SUMS))})
        SELECT created_at - created_at % 900000, key_id, coalesce(team_id, ''), tags, model,
        CASE WHEN by_hand THEN 'settled' ELSE state END AS now, count(*), coalesce(sum(true_now), 0),
        coalesce(sum(charged_now), 0), sum(true_now IS NULL AND state <> 'free'),
        sum(charged_now IS NULL AND state <> 'free'), {tokens}
        FROM effective GROUP BY 1, 2, 3, 4, 5, 6
    """)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--rows", type=int, default=Shape.rows)
    parser.add_argument("--days", type=int, default=Shape.days)
    arguments = parser.parse_args()
    make(arguments.path, Shape(rows=arguments.rows, days=arguments.days))
