"""Any history: every figure that usage, lists, exports in each format and their summaries show is the same.

The expected figures are computed here from the story alone, by the rules that the README tells.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import itertools
import json
import os
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.accounts.corrections import Corrections, resolution
from app.core.clock import parse_time
from app.core.money import charged_from, parse_cost
from app.core.records import State
from tests.admin.books import Books, opened_books
from tests.scratch import SCRATCH

# An extra; where everything is tested, it must be there.
FORMATS = ("jsonl", "csv", "parquet") if find_spec("pyarrow") or os.environ.get("CI") else ("jsonl", "csv")

ZONES = ["UTC", "Europe/Berlin", "America/Los_Angeles"]
KEYS = {"alice": ("growth", ("prod", "eu")), "bob": ("growth", ("prod",)), "carol": (None, ())}
MODELS = ["openai/a", "openai/b", "=1+1"]
DIMENSIONS = ["key", "team", "model", "day", "tag"]
PERIODS = [
    {"month": "2026-08"},
    {"month": "2026-09"},
    {"month": "2026-10"},
    {"from": "2026-08-30", "to": "2026-09-02"},
    {"from": "2026-08-31T12:00:00Z", "to": "2026-10-01T01:15:00Z"},
    {"from": "2026-07-01", "to": "2026-12-31"},
]
BEGIN, HOURS = datetime(2026, 8, 28, tzinfo=UTC), 24 * 40

COST = st.sampled_from(["0", "0.0000123", "0.5", "7.000000000001", "9999.999999999999"])
HOUR = st.one_of(st.integers(0, HOURS), st.integers(90, 102), st.integers(814, 822))  # about the ends of months
REQUEST = st.tuples(
    st.just("request"),
    HOUR,
    st.sampled_from(sorted(KEYS)),
    st.sampled_from(MODELS),
    st.sampled_from(["settled", "unknown", "unknown", "free", "open"]),
    COST,
)
RESOLVE = st.tuples(st.just("resolve"), st.integers(0, 30), st.integers(0, HOURS), COST)
STORY = st.lists(st.one_of(REQUEST, REQUEST, RESOLVE), min_size=3, max_size=16)


@dataclass
class Entry:
    """A request, or an adjustment that counts on its own: what the books hold."""

    at: datetime
    owner: tuple[str, str | None, tuple[str, ...], str]  # key, team, tags, model
    state: State | None  # None = an adjustment
    true_cost: Decimal | None
    charged: Decimal | None
    clears: Entry | None = None  # the request whose cost it told first
    ident: str = ""
    told_at: datetime | None = None  # when a person settled it


def labels(entry: Entry, by: str, zone: ZoneInfo) -> list[str | None]:
    key, team, tags, model = entry.owner
    if by == "tag":
        return list(tags) or [None]
    if by == "day":
        return [entry.at.astimezone(zone).date().isoformat()]
    return [{"key": key, "team": team, "model": model}[by]]


def summed(entries: list[Entry]) -> dict[str, Any]:
    """What a report says of some entries."""
    requests = [entry for entry in entries if entry.state is not None]
    told = [entry for entry in entries if entry.clears is not None and any(entry.clears is one for one in requests)]
    billed = [entry for entry in requests if entry.state in (State.SETTLED, State.UNKNOWN)]
    return {
        "requests": len(requests),
        **{state.value: sum(entry.state is state for entry in requests) for state in State},
        "adjustments": len(entries) - len(requests),
        "true_cost": sum((entry.true_cost or Decimal(0) for entry in entries), Decimal(0)),
        "charged": sum((entry.charged or Decimal(0) for entry in entries), Decimal(0)),
        "true_cost_unknown": sum(entry.true_cost is None for entry in billed) - len(told),
        "charged_unknown": sum(entry.charged is None for entry in billed) - len(told),
    }


def shown(totals: dict[str, Any]) -> dict[str, Any]:
    """The same fields of an answer."""
    found = {name: totals[name] for name in summed([])}
    return found | {"true_cost": Decimal(totals["true_cost"]), "charged": Decimal(totals["charged"])}


async def lived(books: Books, story: list[Any], zone: ZoneInfo) -> tuple[list[Entry], list[Entry]]:
    """Makes the history; what the books must hold, and what the list of requests must show."""
    entries: list[Entry] = []
    for name, (team, tags) in KEYS.items():
        await books.key(name, team=team, tags=tags)
    for _, hours, key, model, kind, cost in (step for step in story if step[0] == "request"):
        at = BEGIN + timedelta(hours=hours, milliseconds=len(entries))
        ident = await books.open(key, at=at, model=model)
        known = cost if kind == "settled" else None
        if kind != "open":
            await books.close(ident, known, **({"state": State.FREE} if kind == "free" else {}))
        true, charged = costs(cost) if known is not None else (None, None)
        entries.append(Entry(at, (key, *KEYS[key], model), State(kind), true, charged, ident=ident))
    now = [Entry(**vars(entry)) for entry in entries]
    unknown = [number for number, entry in enumerate(entries) if entry.state is State.UNKNOWN]
    for _, which, hours, cost in sorted((step for step in story if step[0] == "resolve"), key=lambda step: step[2]):
        if unknown:
            number = unknown[which % len(unknown)]
            at = max(BEGIN + timedelta(hours=hours), entries[number].at, *(one.told_at or BEGIN for one in now))
            await resolved(books, entries, number, now[number], at, cost, zone)
    return entries, now


async def resolved(
    books: Books, entries: list[Entry], number: int, now: Entry, at: datetime, cost: str, zone: ZoneInfo
) -> None:
    booked, first = entries[number], now.true_cost is None
    true, charged = costs(cost)
    corrections = Corrections(books.services.store, zone=zone, clock=lambda: at)
    said = resolution(cost, None, by="ann", reason="told", again=True)
    await corrections.resolve([booked.ident], said)
    by_true, by_charged = true - (now.true_cost or 0), charged - (now.charged or 0)
    late = (at.astimezone(zone).year, at.astimezone(zone).month) > (
        booked.at.astimezone(zone).year,
        booked.at.astimezone(zone).month,
    )
    if not late:
        booked.state, booked.true_cost, booked.charged = State.SETTLED, true, charged
    elif first or by_true or by_charged:
        entries.append(Entry(at, booked.owner, None, by_true, by_charged, clears=booked if first else None))
    now.state, now.true_cost, now.charged, now.told_at = State.SETTLED, true, charged, at


def costs(text: str) -> tuple[Decimal, Decimal]:
    true = parse_cost(text)
    return Decimal(true.picodollars).scaleb(-12), Decimal(charged_from(true).picodollars).scaleb(-12)


async def usage_agrees(books: Books, entries: list[Entry], period: dict[str, str], zone: ZoneInfo) -> list[Entry]:
    """By each thing and by any two; which entries the period holds."""
    groupings = [*((by,) for by in DIMENSIONS), *itertools.combinations(DIMENSIONS, 2), ("model", "key")]
    for by in groupings:
        report = await books.get("usage", by=",".join(by), **period)
        start, end = parse_time(report["from"]), parse_time(report["to"])
        held = [entry for entry in entries if start <= entry.at < end]
        assert shown(report["total"]) == summed(held)
        groups: dict[tuple[str | None, ...], list[Entry]] = {}
        for entry in held:
            for group in itertools.product(*(labels(entry, one, zone) for one in by)):
                groups.setdefault(group, []).append(entry)
        found = {tuple(group[one] for one in by): shown(group) for group in report["groups"]}
        assert found == {group: summed(members) for group, members in groups.items()}
    return held


async def exports_agree(books: Books, held: list[Entry], period: dict[str, str]) -> None:
    """Lines, cells and columns add up to the same, and so says each summary, of the very bytes that came."""
    expected = summed(held)
    for format in FORMATS:
        answer = await books.client.get("/admin/v1/export", params={"format": format, **period})
        assert answer.status_code == 200, answer.text
        summary = await books.get(f"exports/{answer.headers['x-irg-export-id']}")
        assert shown(summary) == expected
        assert summary["sha256"] == hashlib.sha256(answer.content).hexdigest()
        assert (summary["rows"], summary["bytes"]) == (len(held), len(answer.content))
        rows = read(format, answer.content)
        assert len(rows) == len(held)
        for field in ("true_cost", "charged"):
            assert sum((Decimal(row[field] or 0) for row in rows), Decimal(0)) == expected[field]
        for state in State:
            assert sum(row["state"] == state for row in rows) == expected[state.value]
        assert sum(row["state"] == "adjustment" for row in rows) == expected["adjustments"]


def read(format: str, content: bytes) -> list[dict[str, Any]]:
    if format == "jsonl":
        return [json.loads(line) for line in content.splitlines()]
    if format == "csv":
        return list(csv.DictReader(io.StringIO(content.decode(), newline="")))
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(content)).to_pylist()
    return rows


async def list_agrees(books: Books, now: list[Entry]) -> None:
    """The list shows each request as it is now; all of them add up to the usage of all time."""
    items = (await books.get("requests", limit=1000))["items"]
    assert [item["id"] for item in items] == sorted((entry.ident for entry in now), reverse=True)
    by_id = {entry.ident: entry for entry in now}
    for item in items:
        entry = by_id[item["id"]]
        assert item["state"] == entry.state
        for field in ("true_cost", "charged"):
            known = getattr(entry, field)
            assert (item[field] is None) if known is None else Decimal(item[field]) == known
        assert (item["resolved"] is None) == (entry.told_at is None)
        assert await books.get(f"requests/{item['id']}") == item
    total = (await books.get("usage", **PERIODS[-1]))["total"]
    for field in ("true_cost", "charged"):
        assert sum(Decimal(item[field] or 0) for item in items) == Decimal(total[field])
    for state in State:
        found = (await books.get("requests", state=state.value, limit=1000))["items"]
        assert {item["id"] for item in found} == {entry.ident for entry in now if entry.state is state}


async def told(story: list[Any], zone_key: str, directory: Path) -> None:
    zone = ZoneInfo(zone_key)
    async with opened_books(directory, timezone=zone_key) as books:
        await books.services.keyring.create_team("growth")
        entries, now = await lived(books, story, zone)
        for period in PERIODS:
            held = await usage_agrees(books, entries, period, zone)
            await exports_agree(books, held, period)
        await list_agrees(books, now)
        verified = (await books.client.post("/admin/v1/verify")).json()
        assert (verified["ok"], verified["rows"], verified["differences"]) == (True, len(now), [])


@pytest.mark.parametrize("zone_key", ZONES)
@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(story=STORY)
def test_every_figure_is_the_same_everywhere(zone_key: str, story: list[Any]) -> None:
    """Several keys, teams, tags, models, months and time zones; costs unknown, resolved, and resolved again."""
    with tempfile.TemporaryDirectory(prefix="irg-truth-", dir=SCRATCH) as directory:
        asyncio.run(told(story, zone_key, Path(directory)))
