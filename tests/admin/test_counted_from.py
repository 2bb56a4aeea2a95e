"""`counted_from`: which cost counts against budgets, the same on every way out."""

from __future__ import annotations

import csv
import io
import json
import os
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import pytest

from app.admin.lines import fields_of
from app.core.holds import Billing
from app.core.records import Cost, Outcome, Reading, State
from app.core.value import replace
from app.core.views import AdjustmentRecord, Resolved
from tests.admin.books import Books, opened_books

AT = datetime(2026, 11, 22, 23, 53, 3, tzinfo=UTC)

# What is told of a request's costs, and what then counts under each way of billing.
CASES: list[tuple[tuple[Cost | None, Cost | None], dict[str, str | None]]] = [
    ((Cost("0.5", 5 * 10**11), Cost("0.6", 6 * 10**11)), {"charged": "charged", "true_cost": "true_cost"}),
    ((Cost("0.5", 5 * 10**11), None), {"charged": "true_cost", "true_cost": "true_cost"}),
    ((None, Cost("0.6", 6 * 10**11)), {"charged": "charged", "true_cost": "charged"}),
    ((None, None), {"charged": None, "true_cost": None}),
]


async def booked(books: Books) -> dict[str, dict[str, str | None]]:
    """A request for each case; what is expected of it by its id."""
    await books.key()
    expected: dict[str, dict[str, str | None]] = {}
    for (true_cost, charged), counts in CASES:
        known = true_cost is not None or charged is not None
        ident = await books.open()
        await books.close(
            ident,
            None,
            state=State.SETTLED if known else State.UNKNOWN,
            reading=Reading(true_cost, charged, complete=True),
            unknown_reason=None if known else "no_cost",
            outcome=Outcome.COMPLETED,
        )
        expected[ident] = counts
    return expected


@pytest.mark.parametrize("billing", Billing)
async def test_every_way_out_says_the_same(tmp_path: Path, billing: Billing) -> None:
    """The list, the one request, each export, and the key's own view: as `IRG_BILLING` says."""
    async with opened_books(tmp_path, billing=billing.value) as books:
        await _agree(books, billing)


async def _agree(books: Books, billing: Billing) -> None:
    expected = {ident: counts[billing] for ident, counts in (await booked(books)).items()}
    listed = (await books.get("requests"))["items"]
    assert {item["id"]: item["counted_from"] for item in listed} == expected
    for ident, counts in expected.items():
        assert (await books.get(f"requests/{ident}"))["counted_from"] == counts
    own = (await books.me("alice", "/requests"))["items"]
    assert {item["id"]: item["counted_from"] for item in own} == expected
    lines = await books.client.get("/admin/v1/export", params={"format": "jsonl"})
    told = [json.loads(line) for line in lines.text.splitlines()]
    assert {line["id"]: line["counted_from"] for line in told} == expected
    cells = csv.DictReader(io.StringIO((await books.client.get("/admin/v1/export", params={"format": "csv"})).text))
    assert {row["id"]: row["counted_from"] or None for row in cells} == expected
    if find_spec("pyarrow") or os.environ.get("CI"):
        import pyarrow.parquet as pq

        columns = await books.client.get("/admin/v1/export", params={"format": "parquet"})
        rows = pq.read_table(io.BytesIO(columns.content)).to_pylist()
        assert {row["id"]: row["counted_from"] for row in rows} == expected


@pytest.mark.parametrize("billing", Billing)
async def test_a_resolution_tells_what_counts_now(tmp_path: Path, billing: Billing) -> None:
    """A cost that a person told counts as any other."""
    async with opened_books(tmp_path, billing=billing.value) as books:
        await books.key()
        ident = await books.book(true_cost=None)
        said = {"cost": "0.5", "charged": "0.6", "reason": "as billed"}
        done = (await books.client.post(f"/admin/v1/requests/{ident}/resolve", json=said)).json()
        assert [item["counted_from"] for item in done["items"]] == [billing]


@pytest.mark.parametrize("billing", Billing)
def test_an_adjustment_of_a_closed_month_tells_it_too(billing: Billing) -> None:
    """Both of its costs are known."""
    resolved = Resolved(AT, "ann", "as billed")
    entry = AdjustmentRecord(
        "adj_1", AT, "req_1", True, "alice", "key_1", None, (), "m", 5, 6, charged_derived=False, resolved=resolved
    )
    assert fields_of(entry, billing)["counted_from"] == billing
    assert fields_of(replace(entry, charged_picodollars=0), billing)["counted_from"] == billing
