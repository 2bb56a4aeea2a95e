"""Refused requests over the admin API: their shape, who is asked for, and how many there were."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from app.admin.refusal_shapes import refusal_shape
from app.core.budgets import Budget, BudgetPeriod
from app.core.clock import format_time, now
from app.core.records import LimitHit, RefusalReason, Scope
from app.core.refused import RefusalRecord
from tests.admin.books import Books

AT = datetime(2026, 11, 22, 23, 53, 3, 123_456, tzinfo=UTC)

SPENT = LimitHit(
    Scope.TEAM,
    "growth",
    period="day",
    limit_picodollars=5 * 10**12,
    spent_picodollars=4_999_999_999_999,
    held_picodollars=0,
    hold_picodollars=10**10,
    resets_at=AT,
)
FIRST = """{"id":"req_1","created_at":"2026-11-22T23:53:03.123Z","key":"bot","key_id":"key_1","team":"growth",
"model":"m","stream":true,"sdk_retry":2,"""
SPENT_JSON = """"reason":"budget_spent","scope":"team","owner":"growth","period":"day","limit":null,"limit_usd":"5.00",
"spent_usd":"4.999999999999","held_usd":"0.00","hold_usd":"0.01","resets_at":"2026-11-22T23:53:03.123Z","reference":null}"""
RATE_JSON = """"reason":"requests_per_minute","scope":"gateway","owner":null,"period":null,"limit":60,"limit_usd":null,
"spent_usd":null,"held_usd":null,"hold_usd":null,"resets_at":null,"reference":null}"""
OTHER_JSON = """"reason":"response_not_found","scope":null,"owner":null,"period":null,"limit":null,"limit_usd":null,
"spent_usd":null,"held_usd":null,"hold_usd":null,"resets_at":null,"reference":"resp_1"}"""


@pytest.mark.parametrize(
    ("reason", "hit", "reference", "expected"),
    [
        (RefusalReason.BUDGET_SPENT, SPENT, None, SPENT_JSON),
        (RefusalReason.REQUESTS_PER_MINUTE, LimitHit(Scope.GATEWAY, "", limit=60), None, RATE_JSON),
        (RefusalReason.RESPONSE_NOT_FOUND, None, "resp_1", OTHER_JSON),
    ],
)
def test_a_refusal_is_this_json(
    reason: RefusalReason, hit: LimitHit | None, reference: str | None, expected: str
) -> None:
    """Same names, same order, exact decimals, null for absent."""
    record = RefusalRecord("req_1", AT, "bot", "key_1", "growth", "m", True, 2, reason, hit, reference)
    assert refusal_shape(record).model_dump_json() == (FIRST + expected).replace("\n", "")


async def test_a_refusal_is_listed_counted_and_opened(books: Books) -> None:
    """The newest first; under the id that its client was told; the same shape in both places."""
    await books.services.keyring.create_team("growth")
    await books.key("alice", team="growth", budgets=(Budget(10**10, BudgetPeriod.TOTAL),))
    await books.key("bob", models=("openai/*",))
    before = now()
    first = await books.refuse("alice", costs_up_to=2 * 10**10)
    second = await books.refuse("bob", model="x")
    page = await books.get("refusals")
    assert [item["id"] for item in page["items"]] == [second, first]
    spent = page["items"][1]
    assert (spent["key"], spent["team"], spent["reason"]) == ("alice", "growth", "budget_spent")
    assert (spent["limit_usd"], spent["hold_usd"], spent["resets_at"]) == ("0.01", "0.02", None)
    assert spent["created_at"] >= format_time(before)
    counts = page["counts"]
    assert (counts["from"], counts["to"], counts["total"]) == (None, None, 2)
    assert [(one["key"], one["reason"], one["refused"]) for one in counts["groups"]] == [
        ("alice", "budget_spent", 1),
        ("bob", "model_not_allowed", 1),
    ]
    assert await books.get(f"refusals/{first}") == spent
    assert (await books.get("requests"))["items"] == []


async def test_a_refusal_is_no_request_and_the_other_way_round(books: Books) -> None:
    """Each id opens under its own path alone."""
    await books.key("alice", models=("openai/*",))
    refused, booked = await books.refuse(model="x"), await books.book()
    status, error = await books.refused("GET", f"refusals/{booked}")
    assert (status, error["param"]) == (404, "id")
    assert (await books.refused("GET", f"requests/{refused}"))[0] == 404


REFUSED = [
    ("limit=0", "limit"),
    ("after=key_1", "after"),
    ("reason=spent", "reason"),
    ("reason=", "reason"),
    ("from=yesterday", "from"),
    ("from=2026-01-02&to=2026-01-01", "from"),
    ("last=7d&month=2026-01", "last"),
    ("state=open", "state"),
    ("min_cost=1", "min_cost"),
]


async def test_a_filter_that_cannot_be_right_is_refused(books: Books, subtests: pytest.Subtests) -> None:
    """A misspelt filter, or one of forwarded requests, never counts as none."""
    for query, param in REFUSED:
        with subtests.test(query=query):
            status, error = await books.refused("GET", f"refusals?{query}")
            assert (status, error["param"]) == (400, param)


async def test_a_reason_that_is_none_is_told_all_there_are(books: Books) -> None:
    """With what to write."""
    _, error = await books.refused("GET", "refusals?reason=spent")
    assert all(reason in error["message"] for reason in RefusalReason)


async def test_names_are_followed_and_misses_are_named(books: Books) -> None:
    """A renamed key keeps its refusals; one that never was is a 404."""
    await books.key("alice", models=("openai/*",))
    await books.refuse(model="x")
    assert (await books.client.patch("/admin/v1/keys/alice", json={"name": "anna"})).status_code == 200
    assert [item["key"] for item in (await books.get("refusals", key="anna"))["items"]] == ["anna"]
    assert (await books.refused("GET", "refusals?key=alice"))[0] == 404
    assert (await books.refused("GET", "refusals?team=x"))[0] == 404
