"""A ledger of any size, invented: rows, roll-ups, adjustments, who made what, all as the gateway would have written it.

Written in bulk, in a minute per two million. Who uses it says so: `python -m tests.bench.synthetic FILE --rows N`.
Costs, kinds and owners follow from the seed, ids are random as real ones are. `irg verify` finds nothing in it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import random
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy import create_engine

from app.core.clock import from_ms, to_ms
from app.core.ids import id_floor, new_id
from app.core.money import CHARGE_STEP_PICODOLLARS, PICODOLLARS_PER_USD, format_usd
from app.core.windows import month_of
from app.store.calendar import follow_calendar
from app.store.engine import open_store
from app.store.made import DAY_MS
from app.store.rows import id_hash, list_text
from app.store.schema import USAGE_KEY, USAGE_SUMS, requests
from app.store.stretches import Stretches

KEYS, TEAMS = 20, 5
MODELS = tuple(f"{maker}/model-{number}" for maker in ("openai", "anthropic", "google") for number in range(4))
RARE_MODEL, RARE_TAG, RARE_REASON = "odd/one-off", "rare", "encoding"
TAGS = (("prod",), ("prod", "blue"), ("dev",), ())

# So many of a thousand: free, unknown, and settled ones that did not end as they should.
FREE, UNKNOWN, CLIENT_GONE, DEAR = 20, 10, 15, 5

# Sorting whole indices is what takes the most memory.
CACHE_KIBIBYTES = 512 * 1024

_REQUEST_COLUMNS = [column.name for column in requests.c]
_NO_TOKENS = (None,) * 5


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
    for pragma in ("synchronous = OFF", "journal_mode = OFF", f"cache_size = -{CACHE_KIBIBYTES}"):
        database.execute(f"PRAGMA {pragma}")
    database.execute("BEGIN")
    keys = _write_keys(database)
    marks = ", ".join("?" * len(_REQUEST_COLUMNS))
    with _indices_afterwards(database):
        database.executemany(
            f"INSERT INTO requests ({', '.join(_REQUEST_COLUMNS)}) VALUES ({marks})", _requests(shape, keys)
        )
    _write_adjustments(database, shape)
    _write_usage(database)
    _write_made(database)
    database.execute("COMMIT")
    database.execute("PRAGMA journal_mode = WAL")
    database.close()
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        follow_calendar(connection, ZoneInfo("UTC"), shape.end)
        Stretches(connection).add_complete(shape.rows)  # of the last two, the writer adds the rest
    engine.dispose()


async def _begin(path: Path) -> None:
    await (await open_store(path)).aclose()


@contextlib.contextmanager
def _indices_afterwards(database: sqlite3.Connection) -> Iterator[None]:
    """Each is sorted as a whole, instead of every row into its place."""
    found = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = 'requests' AND sql IS NOT NULL"
    indices = database.execute(found).fetchall()
    for name, _ in indices:
        database.execute(f"DROP INDEX {name}")
    yield
    for _, statement in indices:
        database.execute(statement)


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
    """In the order of their creation."""
    chance = random.Random(shape.seed)
    begin_ms, span_ms = to_ms(shape.end - timedelta(days=shape.days)), shape.days * 86_400_000
    for number in range(shape.rows):
        # The last key, whose tag is rare, is seldom used, and only long ago.
        rare = number < shape.rows // 2 and number % 20_000 == 7
        key = keys[-1] if rare else keys[min(int(chance.expovariate(0.25)), KEYS - 2)]
        model = RARE_MODEL if rare else MODELS[int(chance.random() * len(MODELS))]
        yield _request(chance, number, begin_ms + number * span_ms // shape.rows, key, model)


def _request(
    chance: random.Random, number: int, created_ms: int, key: tuple[str, str | None, str], model: str
) -> tuple[object, ...]:
    some = chance.random
    took = 200 + int(some() * 30_000)
    begun = (_id(created_ms, number), created_ms, *key, model, number % 2, 0, 0, "inst_synthetic")
    upstream = f"req_{chance.getrandbits(128):032x}" if number % 3 else None
    ended = (upstream, took // 3, took, created_ms + took, number + 1, 0, 0)  # nothing was held
    kind = int(some() * 1000)
    if kind < FREE + UNKNOWN:
        return (*begun, *_without_cost(chance, kind), *_NO_TOKENS, None, None, *ended)
    dear = kind > 1000 - DEAR and some() < 0.001
    cost = int(some() * 10**9) + (PICODOLLARS_PER_USD * int(1 + some() * 8) if dear else 0)
    charged = -(-cost // CHARGE_STEP_PICODOLLARS) * CHARGE_STEP_PICODOLLARS
    outcome = "client_disconnected" if kind < FREE + UNKNOWN + CLIENT_GONE else "completed"
    asked, answered = 10 + int(some() * 9000), 1 + int(some() * 3000)
    return (
        *begun,
        *("settled", outcome, 200, cost, format_usd(cost), charged, format_usd(charged), 0, 0, None),
        *(asked, 0, answered, 0, asked + answered),
        *(model, f"resp_{chance.getrandbits(192):048x}"),
        *ended,
    )


def _id(at_ms: int, number: int) -> str:
    """A request's id. Digits are letters of its alphabet too."""
    return f"{id_floor('req', from_ms(at_ms))[:-16]}{number:016d}"


def _without_cost(chance: random.Random, kind: int) -> tuple[object, ...]:
    """State, outcome, status, the costs and why they are unknown."""
    nothing = (None, None, None, None, 0, 0)
    if kind < FREE:
        return ("free", "upstream_error", chance.choice((429, 429, 400, 401, 404)), *nothing, None)
    if chance.randrange(500) == 0:
        return ("unknown", "timed_out", 504, *nothing, RARE_REASON)
    reason = chance.choice(("no_cost", "instance_lost", "no_terminal_event"))
    return ("unknown", "upstream_disconnected", 200, *nothing, reason)


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


def _write_made(database: sqlite3.Connection) -> None:
    """Each response is its key's and its team's."""
    database.execute(
        "INSERT INTO makers (key_id, team_id) SELECT id, '' FROM keys UNION SELECT id, coalesce(team_id, '') FROM keys"
    )
    database.create_function("id_hash", 1, id_hash, deterministic=True)
    database.execute(f"""
        INSERT INTO made (id_hash, maker_id, made_on) SELECT id_hash(r.response_id), m.id, r.created_at / {DAY_MS}
        FROM requests r JOIN makers m ON m.key_id = r.key_id AND m.team_id = coalesce(r.team_id, '')
        WHERE r.response_id IS NOT NULL ORDER BY 1
    """)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--rows", type=int, default=Shape.rows)
    parser.add_argument("--days", type=int, default=Shape.days)
    arguments = parser.parse_args()
    make(arguments.path, Shape(rows=arguments.rows, days=arguments.days))
