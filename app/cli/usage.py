"""`irg usage`: who spent what; and the options of every command that takes a period."""

from __future__ import annotations

from typing import Annotated, Any

import typer

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
    by: Annotated[str, typer.Option(help="Group by key, team, model, day or tag.")] = "key",
    last: Last = None,
    month: Month = None,
    from_: From = None,
    to: To = None,
    json: Json = False,
    url: Url = None,
) -> None:
    """Requests, costs and tokens of a period (without one: the last 30 days)."""
    query = {"by": by, "last": last, "month": month, "from": from_, "to": to}
    with connect(url) as gateway:
        report = gateway.get("usage", query)
    if json:
        print_json(report)
        return
    say(f"{report['from']} to {report['to']}")
    rows = [_row(text(group[by]), group) for group in report["groups"]]
    columns = [by, *COUNTS, "true cost", "charged", *(name.replace("_", " ") for name in TOKENS)]
    print_table(columns, [*rows, _row("total", report["total"])], empty="")
    if by == "tag":
        say("A request counts under each of its tags, and in the total once.")


def _row(name: str, totals: dict[str, Any]) -> list[str]:
    costs = [sum_of(totals, "true_cost"), sum_of(totals, "charged")]
    return [name, *(str(totals[field]) for field in COUNTS), *costs, *(str(totals[field]) for field in TOKENS)]
