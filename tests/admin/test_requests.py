"""Ledger entries over the admin API: pages that lose and repeat nothing, filters, one entry by any of its ids."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest

from app.core.clock import format_time, now
from app.core.records import State
from tests.admin.books import Books


async def pages(books: Books, limit: int, **query: Any) -> list[dict[str, Any]]:
    """All pages, one after the other; between two of them more requests come in."""
    found: list[dict[str, Any]] = []
    after = None
    while True:
        page = await books.get("requests", limit=limit, **({"after": after} if after else {}), **query)
        found += page["items"]
        assert len(page["items"]) == limit or page["next"] is None
        if page["next"] is None:
            return found
        after = page["next"]
        await books.book()


@pytest.mark.parametrize("limit", [1, 3, 7, 1000])
async def test_pages_hold_every_request_once_while_more_come_in(books: Books, limit: int) -> None:
    """All that was there at the beginning, each once, newest first, whatever is added meanwhile."""
    await books.key()
    before = [await books.book(true_cost="0.01" if number % 3 else None) for number in range(14)]
    listed = [request["id"] for request in await pages(books, limit)]
    assert listed == sorted(set(listed), reverse=True)
    assert set(before) <= set(listed)
    unknown = [request["id"] for request in await pages(books, limit, state="unknown")]
    assert unknown == [ident for number, ident in reversed(list(enumerate(before))) if number % 3 == 0]


async def test_a_page_that_ends_exactly_at_the_end_says_so(books: Books) -> None:
    """No cursor to an empty page."""
    await books.key()
    for _ in range(4):
        await books.book()
    assert (await books.get("requests", limit=4))["next"] is None
    assert (await books.get("requests", limit=3))["next"] is not None
    nothing = await books.get("requests", limit=3, state="open")
    assert nothing == {"items": [], "next": None, "let_go_before": None}


async def test_filters_all_hold_together(books: Books) -> None:
    """Key, team, model, state and time, alone and together."""
    await books.services.keyring.create_team("growth")
    await books.key("alice", team="growth")
    await books.key("bob")
    past = now() - timedelta(days=3)
    old = await books.book("alice", at=past, model="a")
    new = await books.book("alice", model="b")
    other = await books.book("bob", None, model="b")
    running = await books.open("bob", model="a")

    async def ids(**query: str) -> list[str]:
        return [request["id"] for request in (await books.get("requests", **query))["items"]]

    assert await ids() == [running, other, new, old]
    assert await ids(key="alice") == [new, old]
    assert await ids(team="growth", model="b") == [new]
    assert await ids(state="open") == [running]
    assert await ids(state=State.UNKNOWN) == [other]
    assert await ids(**{"from": format_time(past + timedelta(seconds=1))}) == [running, other, new]
    assert await ids(to=format_time(past + timedelta(seconds=1))) == [old]
    assert await ids(to=past.date().isoformat()) == [old]
    assert await ids(key="alice", model="b", state="unknown") == []


async def test_a_request_is_found_by_each_of_its_ids(books: Books) -> None:
    """Ours, the upstream's (whatever is in it), and the response's."""
    await books.key()
    ident = await books.book(upstream_request_id="up/1 ?#%2F")
    for ref in (ident, "up/1 ?#%2F", f"resp_{ident}"):
        assert (await books.get(f"requests/{quote(ref, safe='')}"))["id"] == ident
    status, error = await books.refused("GET", "requests/resp_nothing")
    assert (status, error["param"]) == (404, "request")


REFUSED = [
    ("limit=0", "limit"),
    ("limit=many", "limit"),
    ("from=yesterday", "from"),
    ("to=2026-02-30", "to"),
    ("to=2026-01-01T00:00:00", "to"),
    ("to=9999-12-31", "to"),
    ("from=2026-01-02&to=2026-01-01", "from"),
    ("from=2026-01-02T00:00:00Z&to=2026-01-02T00:00:00Z", "from"),
    ("modle=m", "modle"),
    ("state=done", "state"),
    ("from_=2026-01-01", "from_"),
]


async def test_a_filter_that_cannot_be_right_is_refused(books: Books, subtests: pytest.Subtests) -> None:
    """A misspelt filter never counts as none."""
    for query, param in REFUSED:
        with subtests.test(query=query):
            status, error = await books.refused("GET", f"requests?{query}")
            assert (status, error["param"]) == (400, param)


async def test_a_day_too_far_away_is_refused_in_our_words(books: Books) -> None:
    """It says what to write instead."""
    _, error = await books.refused("GET", "requests?to=9999-12-31")
    assert "1970 to 9998" in error["message"]


async def test_a_filter_for_a_key_that_is_not_there_says_so(books: Books) -> None:
    """404 with the nearest name, not an empty list."""
    await books.key("alice")
    assert (await books.refused("GET", "requests?key=alic"))[1]["message"].count("alice") == 1
    assert (await books.refused("GET", "requests?team=x"))[0] == 404


async def test_reports_are_refused_while_the_ledger_cannot_be_read(books: Books) -> None:
    """503 with retry-after, in the same shape."""
    await books.services.aclose()
    status, error = await books.refused("GET", "requests")
    assert (status, error["code"]) == (503, "ledger_unavailable")
    status, _ = await books.refused("GET", "export?format=csv")
    assert status == 503


async def test_reads_beside_writes(books: Books) -> None:
    """Lists are read while requests are booked; none is torn."""
    await books.key()

    async def book() -> None:
        for _ in range(20):
            await books.book()

    async def read() -> None:
        for _ in range(10):
            for request in (await books.get("requests"))["items"]:
                assert (request["state"] == "open") == (request["true_cost"] is None)

    await asyncio.gather(book(), read())


async def test_one_unknown_cost_is_settled_by_its_own_route(books: Books) -> None:
    """By any of its ids, a slash in it too; a preview changes nothing; the author is the admin if nobody is named."""
    await books.key()
    ident = await books.book(true_cost=None, upstream_request_id="up/1")
    path = f"requests/{quote('up/1', safe='')}/resolve"
    said = {"cost": "0.5", "reason": "as billed"}

    async def post(**more: Any) -> dict[str, Any]:
        answer = await books.client.post(f"/admin/v1/{path}", json=said | more)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    preview = await post(preview=True)
    assert (preview["preview"], preview["requests"], preview["items"][0]["state"]) == (True, 1, "unknown")
    assert (preview["before"]["true_cost_unknown"], preview["after"]["true_cost"]) == (1, "0.50")
    done = await post(charged="0.75")
    found = await books.get(f"requests/{ident}")
    assert done["items"] == [found]
    assert (found["true_cost"], found["charged"], found["charged_derived"]) == ("0.50", "0.75", False)
    assert (found["resolved"]["by"], found["unknown_reason"]) == ("admin", "no_cost")
    status, error = await books.refused("POST", path, json=said)
    assert (status, error["code"], error["param"]) == (409, "conflict", "id")


RESOLUTIONS_REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "cost"),
    ({"cost": "1", "reason": "x"}, "ids"),
    ({"cost": "1", "reason": "x", "all": True, "ids": ["req_1"]}, "ids"),
    ({"cost": "1", "reason": "x", "ids": ["req_1"], "key": "alice"}, "key"),
    ({"cost": "1", "reason": "x", "ids": ["req_1"], "from": "2026-01-01"}, "from"),
    ({"cost": 1, "reason": "x", "all": True}, "cost"),
    ({"cost": "1.5e3", "reason": "x", "all": True}, "cost"),
    ({"cost": "1", "reason": "x", "all": True, "again": True}, "again"),
    ({"cost": "1", "reason": "x", "all": True, "outcome": "odd"}, "outcome"),
    ({"cost": "1", "reason": "x", "all": True, "expect": 3}, "expect"),
    ({"cost": "1", "reason": "x", "all": True, "from": "2026-01-02", "to": "2026-01-01"}, "from"),
    ({"all": "yes", "cost": "1", "reason": "x"}, "all"),
    ({"all": True, "preview": "false", "cost": "1", "reason": "x"}, "preview"),
]


async def test_a_resolution_that_cannot_be_right_is_refused(books: Books, subtests: pytest.Subtests) -> None:
    """400 that names the field; money is text, never a float."""
    for body, param in RESOLUTIONS_REFUSED:
        with subtests.test(body=body):
            status, error = await books.refused("POST", "requests/resolve", json=body)
            assert (status, error["param"]) == (400, param)
