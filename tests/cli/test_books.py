"""`irg usage` by two things and as a chart, `requests` with filters, `resolve`, and exports with their summaries."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from datetime import timedelta
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from app.admin import parquet
from app.cli.chart import DAYS_MAX, bar, lines
from app.cli.resolve import as_shown
from app.core.clock import now
from app.core.records import Outcome, State
from tests.admin.books import Books
from tests.cli.conftest import Seed
from tests.cli.irg import irg


async def several(books: Books) -> None:
    """Two keys, two models, two days; one request unknown today, one two months ago."""
    await books.services.keyring.create_team("growth")
    await books.key("alice", team="growth", tags=("prod",))
    await books.key("bob")
    await books.book("alice", "0.25", model="a", at=now() - timedelta(days=2))
    await books.book("alice", "0.5", model="b")
    await books.book("bob", "0.125", model="a", upstream_request_id="up/1")
    await books.book("bob", None, model="a", outcome=Outcome.TIMED_OUT, status=504)
    await books.book("bob", None, model="b", state=State.FREE)
    await books.book("alice", None, model="old", at=now() - timedelta(days=62))


def test_usage_by_two_things(seed: Seed) -> None:
    """Both ways to ask; each pair has its row; the names come first in JSON as well."""
    seed(several)
    for asked in (["--by", "key,model"], ["--by", "key", "--by", "model"]):
        cells = irg("usage", *asked).cells
        assert [row[:3] for row in cells] == [
            ["alice", "a", "1"],
            ["alice", "b", "1"],
            ["bob", "a", "2"],
            ["bob", "b", "1"],
            ["total", "", "5"],
        ]
    report = irg("usage", "--by", "model,team", "--json").json
    assert report["by"] == "model,team"
    assert list(report["groups"][0])[:3] == ["model", "team", "team_id"]


@pytest.mark.parametrize("by", ["key,key", "key,model,day", "colour", "", "key,"])
def test_usage_by_what_cannot_be_says_what_can(seed: Seed, by: str) -> None:
    """Exit code 2, and all that one can write."""
    seed(several)
    ran = irg("usage", "--by", by)
    assert (ran.code, "key, team, model, day, tag" in ran.err) == (2, True)


def test_a_chart_is_for_terminals_alone(seed: Seed) -> None:
    """A bar per day with every day of the period; not in a pipe, not with --json, not by other things."""
    seed(several)
    for asked in (["--by", "day"], []):
        drawn = irg("usage", "--last", "5d", *asked, terminal=True).out.split("charged per day")[1].strip().splitlines()
        assert len(drawn) == 5
        assert [line.endswith("  -") for line in drawn] == [True, True, False, True, False]
        assert "█? ≥ $0.625 (1 unknown)" in drawn[-1]
        assert re.search(r"█+[▏▎▍▌▋▊▉]? \$0\.25$", drawn[2])
    for asked in (["--by", "key"], ["--by", "day,key"], ["--by", "day", "--json"]):
        assert "charged per day" not in irg("usage", *asked, terminal=True).out
    assert "charged per day" not in irg("usage", "--by", "day").out
    # A long period begins with its first day that has something.
    long = irg("usage", "--from", "2020-01-01", "--by", "day", terminal=True).out.split("charged per day")[1]
    assert len(long.strip().splitlines()) == 63


def test_bars_are_exact_to_an_eighth() -> None:
    """The longest is full, the least thing above nothing is seen, nothing is nothing."""
    assert bar(Decimal(1), Decimal(1)) == "█" * 40
    assert bar(Decimal("0.5"), Decimal(1)) == "█" * 20
    assert bar(Decimal("1e-12"), Decimal(9999)) == "▏"
    assert bar(Decimal(3), Decimal(320)) == "▍"
    assert (bar(Decimal(0), Decimal(1)), bar(Decimal(0), Decimal(0)), bar(Decimal(-1), Decimal(1))) == ("", "", "")


def test_no_chart_of_years() -> None:
    """More days than a screen has lines are a table's."""
    group = {"charged": "1.00", "charged_unknown": 0}
    report = {
        "timezone": "UTC",
        "from": "2020-01-01T00:00:00.000Z",
        "to": "2026-01-01T00:00:00.000Z",
        "groups": [{"day": "2021-01-01", **group}, {"day": "2022-01-01", **group}],
    }
    assert list(lines(report)) == []
    assert DAYS_MAX < 365


FILTERS: list[tuple[list[str], int]] = [
    (["--model", "a"], 3),
    (["--model", "*"], 6),
    (["--outcome", "timed_out"], 1),
    (["--status", "504"], 1),
    (["--status", "5xx"], 1),
    (["--status", "4XX"], 1),
    (["--min-cost", "0.25"], 2),
    (["--min-cost", "0.125", "--max-cost", "0.25"], 2),
    (["--max-cost", "0"], 0),
    (["--reason-unknown", "no_cost"], 2),
    (["--tag", "prod"], 3),
    (["--id", "up/"], 1),
    (["--last", "24h"], 4),
    (["--last", "30d", "--key", "alice", "--model", "[ab]"], 2),
]


def test_requests_are_filtered(seed: Seed, subtests: pytest.Subtests) -> None:
    """Each condition finds what it says."""
    seed(several)
    for asked, count in FILTERS:
        with subtests.test(asked=asked):
            ran = irg("requests", "list", *asked, "--json").json
            assert len(ran["items"]) == count
            assert len(irg("requests", "list", *asked).cells) == count


REFUSED = [
    (["--status", "6xx"], "5xx"),
    (["--status", "abc"], "5xx"),
    (["--min-cost", "1e-3"], "0.05"),
    (["--min-cost", "2", "--max-cost", "1"], "max_cost"),
    (["--outcome", "lost"], "timed_out"),
    (["--last", "yesterday"], "7d"),
    (["--last", "7d", "--from", "2026-01-01"], "one of"),
]


def test_a_filter_that_cannot_be_right_says_what_to_write(seed: Seed, subtests: pytest.Subtests) -> None:
    """Exit code 2 and an example, never an empty list."""
    seed(several)
    for asked, hint in REFUSED:
        with subtests.test(asked=asked):
            ran = irg("requests", "list", *asked)
            assert (ran.code, ran.out) == (2, "")
            assert hint in ran.err


def unknown() -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = irg("requests", "--state", "unknown", "--json").json["items"]
    return items


SAID = ("--cost", "0.0123", "--reason", "as billed")


def test_resolve_shows_first_and_asks(seed: Seed) -> None:
    """Which request, the sums before and after; without the word nothing is written."""
    seed(several)
    ident = unknown()[0]["id"]
    refused = irg("requests", "resolve", ident, *SAID, typed="no\n")
    assert refused.code == 1
    assert "≥ $0.875 (2 unknown) before, ≥ $0.8873 (1 unknown) after" in refused.err
    assert ident in refused.out
    assert irg("requests", "resolve", ident, *SAID).code == 2  # a script without --yes
    assert irg("requests", "resolve", ident, *SAID, "--preview").code == 0
    assert len(unknown()) == 2
    done = irg("requests", "resolve", ident, *SAID, "--by", "ann", typed="resolve\n")
    assert (done.code, "Resolved: 1 request." in done.err) == (0, True)
    shown = dict(irg("requests", "show", ident).cells)
    assert (shown["state"], shown["true_cost"], shown["charged"]) == ("settled", "$0.0123", "$0.0123")
    assert (shown["resolved_by"], shown["resolved_reason"]) == ("ann", "as billed")
    same = irg("requests", "resolve", ident, *SAID, "--yes", "--json").json
    assert (same["requests"], same["unchanged"]) == (0, 1)
    other = irg("requests", "resolve", ident, "--cost", "1", "--reason", "x", "--yes")
    assert (other.code, "--again" in other.err) == (4, True)
    assert irg("requests", "resolve", ident, "--cost", "1", "--reason", "x", "--yes", "--again").code == 0
    assert irg("verify").code == 0


def test_resolve_all_leaves_closed_months_alone(seed: Seed) -> None:
    """It says so, and counts the old one today; afterwards the sums of everything are exact."""
    seed(several)
    old = (now() - timedelta(days=62)).strftime("%Y-%m")
    before = irg("usage", "--month", old, "--json").json
    ran = irg("requests", "resolve", "--all", "--reason-unknown", "no_cost", *SAID, "--yes", "--json")
    assert (ran.json["requests"], ran.json["late"]) == (2, 1)
    assert "1 of closed months" in ran.err
    assert irg("usage", "--month", old, "--json").json == before
    total = irg("usage", "--from", "2020-01-01", "--json").json["total"]
    assert (total["true_cost"], total["true_cost_unknown"], total["adjustments"]) == ("0.8996", 0, 1)
    assert unknown() == []
    nothing = irg("requests", "resolve", "--all", *SAID, "--yes")
    assert (nothing.code, "No such requests" in nothing.err) == (0, True)
    assert irg("verify").code == 0


def test_resolve_all_settles_those_that_were_shown() -> None:
    """By their ids, so that one that became unknown meanwhile is none of them; only too many to show are counted."""
    said = {"cost": "1", "reason": "x", "by": "ann", "again": False}
    body = said | {"all": True, "key": "alice"}
    told = {"requests": 2, "items": [{"id": "req_1"}, {"id": "req_2"}]}
    assert as_shown(said, body, told) == said | {"ids": ["req_1", "req_2"]}
    assert as_shown(said, body, told | {"requests": 3}) == body
    assert as_shown(said, body, {"requests": 0, "items": []}) == body


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ([*SAID], 2),
        (["req_x", "--all", *SAID], 2),
        (["req_x", *SAID], 3),
        (["--all", "--cost", "-1", "--reason", "x"], 2),
        (["--all", "--cost", "1", "--reason", ""], 2),
        (["--all", "--cost", "1"], 2),
        (["--all", "--again", *SAID], 2),
        (["req_x", "--last", "24h", *SAID], 2),
        (["--all", "--key", "nobody", *SAID], 3),
    ],
)
def test_resolve_refuses_what_is_not_clear(seed: Seed, asked: list[str], code: int) -> None:
    """Which requests, what cost, and why, must all be said."""
    seed(several)
    ran = irg("requests", "resolve", *asked, "--yes")
    assert (ran.code, ran.out) == (code, "")
    assert len(unknown()) == 2


FORMATS = ["csv", "jsonl", *(["parquet"] if find_spec("pyarrow") or os.environ.get("CI") else [])]


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_has_a_summary_beside_it(seed: Seed, directory: Path, format: str) -> None:
    """Rows, sums, period, filter, and the hash of the file; the sums are those of usage."""
    seed(several)
    ran = irg("export", "--format", format, "--key", "bob", "--last", "30d", "-o", "bob.out")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    summary = json.loads((directory / "bob.out.summary.json").read_text("utf-8"))
    assert summary["sha256"] == hashlib.sha256((directory / "bob.out").read_bytes()).hexdigest()
    (bob,) = [group for group in irg("usage", "--json").json["groups"] if group["key"] == "bob"]
    assert {name: summary[name] for name in summary.keys() & bob.keys()} == {
        name: bob[name] for name in summary.keys() & bob.keys()
    }
    assert (summary["rows"], summary["filter"], summary["true_cost"]) == (3, {"key": "bob"}, "0.125")
    assert sorted(path.name for path in directory.glob("bob*")) == ["bob.out", "bob.out.summary.json"]


def test_an_export_to_stdout_tells_its_summary_as_talk(seed: Seed) -> None:
    """stdout holds the data alone."""
    seed(several)
    ran = irg("export", "--format", "jsonl")
    assert len(ran.out.splitlines()) == 6
    summary = json.loads(ran.err)
    assert summary["sha256"] == hashlib.sha256(ran.out.encode()).hexdigest()


def test_parquet_without_its_extra_says_how_to_install_it(
    seed: Seed, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2, no file."""
    seed(several)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    if parquet.is_installed():
        pytest.fail("a module that is None cannot be imported")
    ran = irg("export", "--format", "parquet", "-o", "books.parquet")
    assert (ran.code, "uv sync --extra parquet" in ran.err) == (2, True)
    assert list(directory.glob("*books*")) == []
