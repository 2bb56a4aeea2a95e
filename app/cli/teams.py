"""`irg teams`: teams, which group keys and their usage."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.cli.client import Url, connect, ref
from app.cli.frame import Code, Failure, Json, print_fields, print_json, print_table, say
from app.cli.limits import (
    Budgets,
    Concurrency,
    NoBudgets,
    NoConcurrency,
    NoRpm,
    NoTpm,
    Rpm,
    Tpm,
    cell,
    changes,
)
from app.cli.nouns import noun

app = noun("Teams: group keys and their usage.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The team's name or id.")]

COLUMNS = ("name", "keys", "budgets", "limits", "created_at")


@app.command("list")
def list_teams(
    limit: Annotated[int, typer.Option(help="At most so many, 1 to 1000.")] = 100,
    after: Annotated[str | None, typer.Option(help="Go on behind this cursor.")] = None,
    json: Json = False,
    url: Url = None,
) -> None:
    """All teams, by name."""
    with connect(url) as gateway:
        page = gateway.get("teams", {"limit": limit, "after": after})
    if json:
        print_json(page)
        return
    rows = [[cell(team, column) for column in COLUMNS] for team in page["items"]]
    print_table(COLUMNS, rows, empty="There are no teams. Make one: irg teams create NAME.")
    if page["next"] is not None:
        say(f"There are more: add --after {page['next']!r}.")


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it.")],
    budget: Budgets = None,
    rpm: Rpm = None,
    tpm: Tpm = None,
    concurrency: Concurrency = None,
    json: Json = False,
    url: Url = None,
) -> None:
    """Make a team. Its limits hold for all its keys together."""
    body = {"name": name, "budgets": budget or [], "rpm": rpm, "tpm": tpm, "concurrency": concurrency}
    with connect(url, makes=True) as gateway:
        _print_team(gateway.post("teams", body), json)


@app.command("show")
def show(name: Name, json: Json = False, url: Url = None) -> None:
    """One team."""
    with connect(url) as gateway:
        _print_team(gateway.get(f"teams/{ref(name)}"), json)


@app.command("set")
def change(
    name: Name,
    *,
    new_name: Annotated[str | None, typer.Option("--name", help="Its new name; keys and history follow.")] = None,
    budget: Budgets = None,
    no_budgets: NoBudgets = False,
    rpm: Rpm = None,
    no_rpm: NoRpm = False,
    tpm: Tpm = None,
    no_tpm: NoTpm = False,
    concurrency: Concurrency = None,
    no_concurrency: NoConcurrency = False,
    json: Json = False,
    url: Url = None,
) -> None:
    """Change a team; what is not named stays as it is. --budget replaces the whole list."""
    body = changes(
        ("name", new_name, False, None, "--name"),
        ("budgets", budget, no_budgets, [], "--budget"),
        ("rpm", rpm, no_rpm, None, "--rpm"),
        ("tpm", tpm, no_tpm, None, "--tpm"),
        ("concurrency", concurrency, no_concurrency, None, "--concurrency"),
    )
    if not body:
        raise Failure("Nothing to change: see irg teams set --help.", Code.USAGE)
    with connect(url) as gateway:
        _print_team(gateway.patch(f"teams/{ref(name)}", body), json)


def _print_team(team: dict[str, Any], json: bool) -> None:
    if json:
        print_json(team)
    else:
        print_fields({field: cell(team, field) for field in ("id", *COLUMNS)})
