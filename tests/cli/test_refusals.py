"""`irg requests list --refused`, and `irg requests show` of a request that was refused."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app.core.budgets import Budget, BudgetPeriod
from app.core.clock import format_time, now
from app.core.limits import Limits
from tests.admin.books import Books
from tests.cli.conftest import Seed
from tests.cli.irg import irg

CENT = 10**10


async def several(books: Books) -> None:
    """Four refusals: two for a budget, one at once too many, one for its model; and one request that was not."""
    await books.services.keyring.create_team(
        "growth",
    )
    await books.key("alice", team="growth", budgets=(Budget(CENT, BudgetPeriod.MONTH),))
    await books.key("bob", limits=Limits(concurrency=1), models=("openai/*",))
    for _ in range(2):
        await books.refuse("alice", model="openai/a", costs_up_to=2 * CENT)
    running = await books.open("bob")
    await books.refuse("bob", model="openai/b")
    await books.close(running)
    await books.refuse("bob", model="other")


def listed(*asked: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = irg("requests", "list", "--refused", *asked, "--json").json["items"]
    return items


def test_refused_requests_are_listed(seed: Seed) -> None:
    """Why, whose limit, how much of it; how many in all is talk beside the table."""
    seed(several)
    ran = irg("requests", "list", "--refused")
    other, running, *budgets = ran.cells
    assert [row[2:6] for row in (other, running)] == [
        ["bob", "other", "model_not_allowed", "-"],
        ["bob", "openai/b", "concurrency", "key bob"],
    ]
    assert running[6:] == ["1", "-", "-", "-", "-"]
    for row in budgets:
        assert row[2:10] == [
            "alice", "openai/a", "budget_spent", "key alice", "$0.01/month", "$0.00", "$0.00", "$0.02"
        ]  # fmt: skip
        assert row[10].endswith("-01T00:00:00.000Z")
    assert ran.err.splitlines() == [
        "Refused in all: 4.",
        "  2  alice  budget_spent",
        "  1  bob  concurrency",
        "  1  bob  model_not_allowed",
    ]
    assert irg("requests", "list", "--json").json["items"][0]["model"] == "openai/gpt-4o-mini"


FILTERS: list[tuple[list[str], int]] = [
    ([], 4),
    (["--key", "alice"], 2),
    (["--team", "growth"], 2),
    (["--model", "openai/*"], 3),
    (["--model", "other"], 1),
    (["--reason", "budget_spent"], 2),
    (["--key", "bob", "--reason", "concurrency"], 1),
    (["--id", "req_"], 4),
    (["--id", "req_ZZZ"], 0),
    (["--last", "24h"], 4),
    (["--to", format_time(now() - timedelta(days=3))], 0),
    (["--limit", "3"], 3),
]


def test_refusals_are_filtered(seed: Seed, subtests: pytest.Subtests) -> None:
    """Each condition finds what it says, in a table and as JSON."""
    seed(several)
    for asked, count in FILTERS:
        with subtests.test(asked=asked):
            assert len(listed(*asked)) == count
            assert len(irg("requests", "list", "--refused", *asked).cells) == count


def test_pages_go_on_where_they_ended(seed: Seed) -> None:
    """The cursor that is told is taken."""
    seed(several)
    everything = [refusal["id"] for refusal in listed()]
    first = irg("requests", "list", "--refused", "--limit", "3", "--json").json
    assert [refusal["id"] for refusal in first["items"]] == everything[:3]
    assert [refusal["id"] for refusal in listed("--after", first["next"])] == everything[3:]
    assert f"--after {first['next']!r}" in irg("requests", "list", "--refused", "--limit", "3").err


def test_a_period_says_what_it_counted(seed: Seed) -> None:
    """So many in it, and from when to when."""
    seed(several)
    ran = irg("requests", "list", "--refused", "--last", "24h", "--json").json["counts"]
    assert (ran["total"], len(ran["groups"])) == (4, 3)
    assert f"Refused in all, from {ran['from']} to {ran['to']}: 4." in irg(
        "requests", "list", "--refused", "--last", "24h"
    ).err  # fmt: skip
    assert irg("requests", "list", "--refused", "--to", "2020-01-01").err == "Nothing was refused.\n"
    nothing = irg("requests", "list", "--refused", "--model", "none")
    assert (nothing.out, nothing.err) == ("", "No such refusal is held.\n")


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (["--refused", "--status", "429"], "--status does not go with --refused"),
        (["--refused", "--state", "open"], "--state does not go"),
        (["--refused", "--tag", "prod"], "--tag does not go"),
        (["--refused", "--outcome", "completed"], "--outcome does not go"),
        (["--refused", "--min-cost", "0"], "--min-cost does not go"),
        (["--refused", "--max-cost", "1"], "--max-cost does not go"),
        (["--refused", "--reason-unknown", "no_cost"], "--reason-unknown does not go"),
        (["--reason", "budget_spent"], "--reason goes with --refused"),
        (["--refused", "--reason", "budget"], "budget_spent, budget_held"),
        (["--refused", "--last", "yesterday"], "7d"),
        (["--refused", "--after", "key_1"], "cursor"),
        (["--refused", "--limit", "0"], "1 to 1000"),
    ],
)
def test_what_makes_no_sense_is_refused(seed: Seed, asked: list[str], says: str) -> None:
    """Exit code 2 and a sentence, never an empty list."""
    seed(several)
    ran = irg("requests", "list", *asked)
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err


@pytest.mark.parametrize("asked", [["--key", "alic"], ["--team", "growt"]])
def test_who_is_not_there_is_named(seed: Seed, asked: list[str]) -> None:
    """Exit code 3, with the nearest name."""
    seed(several)
    ran = irg("requests", "list", "--refused", *asked)
    assert (ran.code, f"{asked[1]}" in ran.err) == (3, True)


def test_show_opens_a_refusal_by_its_id(seed: Seed) -> None:
    """The same verb as for every request; an id of neither is as absent as before."""
    seed(several)
    refusal = listed("--reason", "budget_spent")[0]
    assert irg("requests", "show", refusal["id"], "--json").json == refusal
    ran = irg("requests", "show", refusal["id"])
    shown = dict(ran.cells)
    assert (shown["reason"], shown["limit_usd"], shown["scope"], shown["stream"]) == (
        "budget_spent",
        "0.01",
        "key",
        "false",
    )
    assert "cost nothing" in ran.err
    for ident in ("req_01JD00000000000000000000AB", "resp_nothing"):
        missing = irg("requests", "show", ident)
        assert (missing.code, missing.out) == (3, "")
        assert f"There is no request '{ident}'" in missing.err


def test_without_any_refusal_it_says_so(directory: Path) -> None:
    """A new ledger."""
    assert irg("keys", "create", "alice").code == 0
    ran = irg("requests", "list", "--refused")
    assert (ran.code, ran.out, ran.err) == (0, "", "Nothing was refused.\n")
    told = irg("requests", "list", "--refused", "--json").json
    assert told == {"items": [], "next": None, "counts": {"from": None, "to": None, "groups": [], "total": 0}}
