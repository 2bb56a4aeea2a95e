"""One truth: usage, lists, both exports and verify agree in every digit, whatever was booked."""

from __future__ import annotations

import csv
import io
import json
import random
from collections import defaultdict
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from app.core.clock import now, parse_time
from app.core.records import State
from tests.admin.books import Books, opened_books

TOKENS = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "total_tokens")


async def mixed(books: Books, seed: int, count: int = 60) -> None:
    """Requests of several keys, teams, tags, models, states and days."""
    chance = random.Random(seed)
    await books.services.keyring.create_team("growth")
    await books.key("alice", team="growth", tags=("prod", "blue"))
    await books.key("bob", team="growth", tags=("prod",))
    await books.key("carol")
    for _ in range(count):
        at = now() - timedelta(hours=chance.randrange(24 * 20))
        model = chance.choice(["openai/a", "openai/b", "=1+1"])
        ident = await books.open(chance.choice(["alice", "bob", "carol"]), at=at, model=model)
        how = chance.random()
        if how < 0.6:
            await books.close(ident, f"0.{chance.randrange(10**12):012d}")
        elif how < 0.75:
            await books.close(ident, None)
        elif how < 0.9:
            await books.close(ident, None, state=State.FREE)


def summed(requests: list[dict[str, Any]]) -> dict[str, Any]:
    """The totals of requests, computed here from their shapes alone."""
    totals: dict[str, Any] = {"requests": len(requests)}
    for state in ("settled", "free", "unknown", "open"):
        totals[state] = sum(request["state"] == state for request in requests)
    for cost in ("true_cost", "charged"):
        totals[cost] = sum(Decimal(request[cost] or 0) for request in requests)
        billed = [request for request in requests if request["state"] in ("settled", "unknown")]
        totals[f"{cost}_unknown"] = sum(request[cost] is None for request in billed)
    for count in TOKENS:
        totals[count] = sum(request["usage"][count] or 0 for request in requests)
    return totals | {"adjustments": 0}


def exact(totals: dict[str, Any]) -> dict[str, Any]:
    return totals | {cost: Decimal(totals[cost]) for cost in ("true_cost", "charged")}


def labels(request: dict[str, Any], by: str, zone: ZoneInfo) -> list[str | None]:
    if by == "tag":
        return request["tags"] or [None]
    if by == "day":
        return [parse_time(request["created_at"]).astimezone(zone).date().isoformat()]
    return [request[by]]


async def exported(books: Books, **query: Any) -> list[dict[str, Any]]:
    answer = await books.client.get("/admin/v1/export", params={"format": "jsonl", **query})
    assert answer.status_code == 200
    return [json.loads(line) for line in answer.text.splitlines()]


def as_listed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Requests of an export without what only entries of an export have."""
    return [{name: value for name, value in row.items() if name != "adjusts"} for row in rows]


@pytest.mark.parametrize("seed", [1, 2])
async def test_every_figure_is_the_sum_of_the_rows(books: Books, seed: int) -> None:
    """Usage by anything, its total, the list, both exports and verify."""
    await mixed(books, seed)
    rows = await exported(books)
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    listed = (await books.get("requests", limit=1000))["items"]
    assert listed == as_listed(rows)[::-1]
    for by in ("key", "team", "model", "day", "tag"):
        usage = await books.get("usage", by=by, last="30d")
        assert exact(usage["total"]) == summed(rows)
        groups = defaultdict(list)
        for row in rows:
            for label in labels(row, by, ZoneInfo("UTC")):
                groups[label].append(row)
        found = {group[by]: exact({name: group[name] for name in usage["total"]}) for group in usage["groups"]}
        assert found == {label: summed(members) for label, members in groups.items()}
    text = (await books.client.get("/admin/v1/export", params={"format": "csv"})).text
    cells = list(csv.DictReader(io.StringIO(text)))
    for cost in ("true_cost", "charged"):
        assert sum(Decimal(row[cost] or 0) for row in cells) == summed(rows)[cost]
    verified = (await books.client.post("/admin/v1/verify")).json()
    assert verified == {"ok": True, "rows": len(rows), "differences": [], "sealed": 0}


async def test_periods_cut_usage_and_export_alike(books: Books) -> None:
    """The same requests, whichever page is asked, for a month, a span, and days."""
    await mixed(books, 3, 40)
    rows = await exported(books)
    today = now().date()
    day = (today - timedelta(days=5)).isoformat()
    for query in ({"last": "7d"}, {"last": "24h"}, {"month": today.isoformat()[:7]}, {"from": day, "to": day}):
        usage, export = await books.get("usage", **query), await exported(books, **query)
        if (await books.get("usage", **query))["from"] != usage["from"]:  # the quarter of an hour turned meanwhile
            usage, export = await books.get("usage", **query), await exported(books, **query)
        start, end = parse_time(usage["from"]), parse_time(usage["to"])
        expected = [row for row in rows if start <= datetime.fromisoformat(row["created_at"]) < end]
        assert exact(usage["total"]) == summed(expected)
        assert export == expected


async def test_days_are_those_of_the_gateways_calendar(tmp_path: Any) -> None:
    """A request just after midnight in Auckland counts there, not in Greenwich."""
    zone = ZoneInfo("Pacific/Auckland")
    async with opened_books(tmp_path, timezone="Pacific/Auckland") as books:
        await books.key()
        local = (now().astimezone(zone) - timedelta(days=2)).replace(hour=0, minute=1, second=0)
        await books.book(at=local)
        usage = await books.get("usage", by="day", last="7d")
        assert [group["day"] for group in usage["groups"]] == [local.date().isoformat()]
        day = local.date().isoformat()
        assert len(await exported(books, **{"from": day, "to": day})) == 1
        assert len((await books.get("requests", **{"from": day, "to": day}))["items"]) == 1


REFUSED = [
    ("usage?by=kay", "by"),
    ("export?format=csv&by=key", "by"),
    *(
        (path + query, param)
        for path in ("usage?", "export?format=csv&")
        for query, param in [
            ("last=7", "last"),
            ("month=2026-13", "month"),
            ("from=2026-10-02&to=2026-10-01", "from"),
            ("last=7d&month=2026-10", "last"),
            ("from=2026-10-01T00:01:00Z", "from"),
            ("monht=2026-10", "monht"),
        ]
    ),
]


async def test_a_period_that_cannot_be_right_is_refused(books: Books, subtests: pytest.Subtests) -> None:
    """400 that names the field; never a silent default."""
    for path, param in REFUSED:
        with subtests.test(path=path):
            status, error = await books.refused("GET", path)
            assert (status, error["param"]) == (400, param)
