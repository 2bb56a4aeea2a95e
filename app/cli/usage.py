"""`irg usage`: who spent what; and the options of every command that takes a period."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from app.cli.chart import print_chart
from app.cli.client import Url, connect
from app.cli.frame import Json, print_json, print_table, say
from app.cli.nouns import sum_of, text

Last = Annotated[str | None, typer.Option(help="The last 24h, 7d or 4w.")]
Month = Annotated[str | None, typer.Option(help="A month: 2026-10.")]
From = Annotated[str | None, typer.Option("--from", help="From this day (2026-10-01) or time on.")]
To = Annotated[str | None, typer.Option("--to", help="To this day (included) or time (not included).")]

COUNTS = ("requests", "settled", "free", "unknown", "open")
TOKENS = ("input_tokens", "output_tokens", "total_tokens")


def usage(
    by: Annotated[
        list[str] | None,
        typer.Option(help="Group by key, team, model, day or tag; by two of them: --by key,model. Default: key."),
    ] = None,
    last: Last = None,
    month: Month = None,
    from_: From = None,
    to: To = None,
    json: Json = False,
    url: Url = None,
) -> None:
    """Requests, costs and tokens of a period (without one: the last 30 days); on a terminal with a bar per day."""
    groups = ",".join(by or ["key"])
    query = {"by": groups, "last": last, "month": month, "from": from_, "to": to}
    draws = sys.stdout.isatty() and not json and (by is None or groups == "day")
    with connect(url) as gateway:
        report = gateway.get("usage", query)
        by_day = gateway.get("usage", query | {"by": "day"}) if draws else None
    if json:
        print_json(report)
        return
    say(f"{report['from']} to {report['to']}")
    names = groups.split(",")
    rows = [_row([text(group[name]) for name in names], group) for group in report["groups"]]
    columns = [*names, *COUNTS, "true cost", "charged", *(name.replace("_", " ") for name in TOKENS), "adjustments"]
    total = _row(["total", *("" for _ in names[1:])], report["total"])
    print_table(columns, [*rows, total], empty="")
    if by_day is not None:
        print_chart(by_day)
    for sentence in _notes(names, report["total"]):
        say(sentence)


def _row(labels: list[str], totals: dict[str, Any]) -> list[str]:
    costs = [sum_of(totals, "true_cost"), sum_of(totals, "charged")]
    counts = (str(totals[field]) for field in COUNTS)
    return [*labels, *counts, *costs, *(str(totals[field]) for field in TOKENS), str(totals["adjustments"])]


def _notes(names: list[str], total: dict[str, Any]) -> Iterator[str]:
    """What a reader of these sums must know."""
    if "tag" in names:
        yield "A request counts under each of its tags, and in the total once."
    if total["adjustments"]:
        yield "Adjustments are costs of earlier months' requests, settled in this period; the sums hold them."
