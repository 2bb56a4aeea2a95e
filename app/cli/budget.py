"""`irg budget`: the budgets of the whole gateway; those of keys and teams are set with `irg keys` and `irg teams`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.cli.client import Gateway, Url, connect
from app.cli.frame import Code, Failure, Json, Yes, confirm_name, print_json, print_table
from app.cli.nouns import ShowByDefault, noun, text
from app.core.budgets import BudgetPeriod

app = noun("Budgets of the whole gateway.", ShowByDefault)

COLUMNS = ("period", "amount", "spent", "held", "remaining", "resets_at")


@app.command("show")
def show(json: Json = False, url: Url = None) -> None:
    """What is spent, held and left."""
    with connect(url) as gateway:
        _print(gateway.get("budget"), json)


@app.command("set")
def change(
    budget: Annotated[
        list[str], typer.Argument(metavar="AMOUNT/PERIOD...", help="In USD per day, week, month or total: 500/month.")
    ],
    json: Json = False,
    url: Url = None,
) -> None:
    """Set a budget for each period named; those of other periods stay."""
    with connect(url, makes=True) as gateway:
        _print(gateway.patch("budget", {"budgets": budget}), json)


@app.command("unset")
def unset(
    period: Annotated[
        str | None, typer.Argument(metavar="[PERIOD]", help="day, week, month or total. None: all of them.")
    ] = None,
    yes: Yes = False,
    json: Json = False,
    url: Url = None,
) -> None:
    """Take a budget away: nothing limits what all keys together spend in that period."""
    with connect(url) as gateway:
        there = _standing(gateway)
        if period is not None and period not in there:
            raise Failure(f"There is no budget per {period}. See: irg budget show.", Code.NOT_FOUND)
        gone = ", ".join(there.values() if period is None else [there[period]])
        if gone:
            confirm_name("gateway", f"This takes the gateway's budget away: {gone}.", yes=yes)
        periods = list(BudgetPeriod) if period is None else [period]
        _print(gateway.patch("budget", {"unset": periods}), json)


def _standing(gateway: Gateway) -> dict[str, str]:
    """The budgets there are, by period, as they are written."""
    shape: dict[str, Any] = gateway.get("budget")
    return {one["period"]: f"{one['amount']}/{one['period']}" for one in shape["budgets"]}


def _print(shape: dict[str, Any], json: bool) -> None:
    if json:
        print_json(shape)
        return
    rows = [[text(budget[column]) for column in COLUMNS] for budget in shape["budgets"]]
    print_table(COLUMNS, rows, empty="The gateway has no budget. Set one: irg budget set 500/month.")
