"""`irg usage`, `requests`, `verify` and `export` without a gateway: the API's shapes, and tables people can read."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import sqlite3
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli.nouns import cost
from app.cli.requests import line_of, requests_of
from app.core.records import State
from tests.admin.books import Books
from tests.cli.conftest import Seed
from tests.cli.irg import irg

KNOWN, DEAR = "0.0000123", "12.34"


async def small(books: Books) -> None:
    await books.services.keyring.create_team("growth")
    await books.key("alice", team="growth", tags=("prod",))
    await books.key("bob")
    await books.book("alice", KNOWN)
    await books.book("alice", DEAR)
    for _ in range(3):
        await books.book("bob", None)
    await books.book("bob", None, state=State.FREE)
    await books.book("bob", None, model="=evil\x1b[2J")


def test_sums_with_unknowns_read_as_lower_bounds(seed: Seed) -> None:
    """≥ and how many are unknown; a known sum is exact and plain; a total of all."""
    seed(small)
    rows = {row[0]: row for row in irg("usage").cells}
    assert list(rows) == ["alice", "bob", "total"]
    assert rows["alice"][1:8] == ["2", "2", "0", "0", "0", "$12.3400123", "$12.3401"]
    assert rows["bob"][1:8] == ["5", "0", "1", "4", "0", "≥ $0.00 (4 unknown)", "≥ $0.00 (4 unknown)"]
    assert rows["total"][6:8] == ["≥ $12.3400123 (4 unknown)", "≥ $12.3401 (4 unknown)"]
    table = irg("usage", terminal=True)
    assert "≥ $12.3400123 (4 unknown)" in table.out


# Without an end that goes on with the clock: both sides are asked at different times.
PERIOD = {"from": "2026-01-01", "to": "2099-12-31"}
PERIOD_FLAGS = [word for name, day in PERIOD.items() for word in (f"--{name}", day)]


def test_usage_as_json_is_what_the_api_says(seed: Seed, subtests: pytest.Subtests) -> None:
    """The same shape, unchanged; and the table has the same groups and a total."""
    told: dict[str, object] = {}

    async def ask(books: Books) -> None:
        await small(books)
        for by in ("key", "team", "model", "day", "tag"):
            told[by] = await books.get("usage", by=by, **PERIOD)

    seed(ask)
    for by, expected in told.items():
        with subtests.test(by=by):
            ran = irg("usage", "--by", by, *PERIOD_FLAGS, "--json").json
            assert ran == expected
            cells = irg("usage", "--by", by, *PERIOD_FLAGS).cells
            assert [int(row[1]) for row in cells] == [*(group["requests"] for group in ran["groups"]), 7]
            named = [
                *((group[by] or "-").replace("\x1b", "\N{REPLACEMENT CHARACTER}") for group in ran["groups"]),
                "total",
            ]
            assert [row[0] for row in cells] == named


def test_requests_are_listed_shown_and_paged(seed: Seed) -> None:
    """Newest first; a cost nobody knows is never shown as nothing."""
    seed(small)
    rows = irg("requests").cells
    assert [row[2] for row in rows] == ["bob"] * 5 + ["alice"] * 2
    assert [row[7] for row in rows] == ["unknown", "free", "unknown", "unknown", "unknown", "$12.34", "$0.0000123"]
    assert rows[0][3] == "=evil\N{REPLACEMENT CHARACTER}[2J"
    listed = irg("requests", "list", "--limit", "3", "--json").json
    assert [request["id"] for request in listed["items"]] == [row[1] for row in rows[:3]]
    rest = irg("requests", "list", "--limit", "1000", "--after", listed["next"], "--json").json
    assert [request["id"] for request in rest["items"]] == [row[1] for row in rows[3:]]
    known = irg("requests", "list", "--key", "alice", "--state", "settled", "--team", "growth").cells
    assert [row[1] for row in known] == [row[1] for row in rows[5:]]
    for ref in (rows[6][1], f"resp_{rows[6][1]}"):
        assert irg("requests", "show", ref, "--json").json == rest["items"][-1]
    shown = dict(irg("requests", "show", rows[6][1]).cells)
    assert (shown["true_cost"], shown["charged"], shown["input_tokens"]) == ("$0.0000123", "$0.0001", "12")
    assert dict(irg("requests", "show", rows[2][1]).cells)["true_cost"] == "unknown"
    assert irg("requests", "show", "req_x").code == 3


def test_export_verify_and_usage_agree(seed: Seed, directory: Path) -> None:
    """Each sums to the same digits; a file is what stdout would be."""
    seed(small)
    total = irg("usage", "--json").json["total"]
    lines = irg("export", "--format", "jsonl", "-o", "-").out
    requests = [json.loads(line) for line in lines.splitlines()]
    adjusts = [request.pop("adjusts") for request in requests]
    assert adjusts == [None] * len(requests)
    assert requests == irg("requests", "--json").json["items"][::-1]
    for format in ("jsonl", "csv"):
        out = irg("export", "--format", format).out
        ran = irg("export", "--format", format, "-o", "books.out")
        assert (ran.code, ran.out, ran.err) == (0, "", "")
        assert (directory / "books.out").read_bytes() == out.encode()
    with (directory / "books.out").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for field in ("true_cost", "charged"):
        assert sum(Decimal(row[field] or 0) for row in rows) == Decimal(total[field])
        assert sum(Decimal(request[field] or 0) for request in requests) == Decimal(total[field])
    assert rows[-1]["model"].startswith("'=evil")
    assert irg("verify", "--json").json == {"ok": True, "rows": len(requests), "sealed": 0, "differences": []}
    assert irg("verify").code == 0
    assert irg("export", "--format", "jsonl", "--month", "2020-01").out == ""


def test_verify_finds_what_was_meddled_with(seed: Seed, directory: Path) -> None:
    """Exit code 1, and the place."""
    seed(small)
    with contextlib.closing(sqlite3.connect(directory / "gateway.db")) as database, database:
        database.execute("UPDATE requests SET true_cost = true_cost + 1 WHERE true_cost IS NOT NULL AND charged > 0")
    ran = irg("verify", "--json")
    assert ran.code == 1
    found = json.loads(ran.out)
    assert (found["ok"], found["rows"]) == (False, 7)
    assert found["differences"]
    told = irg("verify")
    assert (told.code, "does not hold" in told.err) == (1, True)
    assert told.out.count("\n") == len(found["differences"])


def test_an_export_replaces_files_only(seed: Seed, directory: Path) -> None:
    """A pipe (or a device: `-o /dev/null`, as root) is written to and stays what it is; a link stays a link."""
    seed(small)
    out = irg("export", "--format", "csv").out
    os.mkfifo(directory / "pipe")
    reader = os.open(directory / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    ran = irg("export", "--format", "csv", "-o", "pipe")
    assert (ran.code, json.loads(ran.err)["sha256"]) == (0, hashlib.sha256(out.encode()).hexdigest())
    assert os.read(reader, 65_536).decode() == out
    os.close(reader)
    assert (directory / "pipe").is_fifo()
    assert not (directory / "pipe.summary.json").exists()
    (directory / "latest.csv").symlink_to("books.csv")
    assert irg("export", "--format", "csv", "-o", "latest.csv").code == 0
    assert (directory / "latest.csv").is_symlink()
    assert (directory / "books.csv").read_bytes().decode() == out


def test_an_export_that_cannot_be_written_leaves_no_file(seed: Seed, directory: Path) -> None:
    """Neither the wanted one nor a part; a refused one neither."""
    seed(small)
    before = sorted(directory.iterdir())
    assert irg("export", "--format", "csv", "-o", "nowhere/books.csv").code == 1
    assert irg("export", "--format", "csv", "--month", "never", "-o", "books.csv").code == 2
    assert irg("export", "--format", "xlsx", "-o", "books.xlsx").code == 2
    assert irg("export", "--format", "csv", "--key", "nobody", "-o", "books.csv").code == 3
    assert irg("export").code == 2
    assert sorted(directory.iterdir()) == before


def test_tail_without_a_gateway_says_why_nothing_comes(seed: Seed) -> None:
    """Exit code 1 at once, instead of silence for ever."""
    seed(small)
    ran = irg("requests", "tail")
    assert (ran.code, ran.out) == (1, "")
    assert "irg serve" in ran.err


@pytest.mark.parametrize(
    ("state", "known", "shown"),
    [
        ("open", None, "open"),
        ("free", None, "free"),
        ("unknown", None, "unknown"),
        ("settled", None, "unknown"),
        ("settled", "0.00", "$0.00"),
        ("unknown", "0.01", "$0.01"),
    ],
)
def test_a_cost_is_shown_as_what_is_known_of_it(state: str, known: str | None, shown: str) -> None:
    """A true zero is a zero, and nothing else is."""
    assert cost({"state": state, "charged": known}, "charged") == shown


FEED = (
    b': ping\n\nid: 1\nevent: request\ndata: {"id": "req_1"}\n\nid: 2\nevent: request\ndata: {"id": "req_\xc3\xa9"}\n\n'
)


@given(st.lists(st.integers(0, len(FEED)), max_size=12))
def test_the_feed_is_read_the_same_however_it_is_cut(cuts: list[int]) -> None:
    """In any pieces, also inside a letter; comments are nobody's."""
    edges = [0, *sorted(cuts), len(FEED)]
    pieces = [FEED[start:end] for start, end in pairwise(edges)]
    assert [request["id"] for request in requests_of(pieces)] == ["req_1", "req_é"]


def test_a_line_of_the_feed_has_the_cells_of_the_list(seed: Seed) -> None:
    """In a pipe the very same; a control character never reaches the terminal."""
    seed(small)
    requests = irg("requests", "--json").json["items"]
    assert [line_of(request).split("\t") for request in requests] == irg("requests").cells
    assert "\x1b" not in line_of(requests[0])
