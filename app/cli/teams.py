"""`irg teams`: teams, which group keys and their usage."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.cli.client import Url, connect, ref
from app.cli.frame import Json, print_fields, print_json, print_table, say
from app.cli.nouns import noun, text

app = noun("Teams: group keys and their usage.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The team's name or id.")]

COLUMNS = ("name", "keys", "created_at")


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
    rows = [[text(team[column]) for column in COLUMNS] for team in page["items"]]
    print_table(COLUMNS, rows, empty="There are no teams. Make one: irg teams create NAME.")
    if page["next"] is not None:
        say(f"There are more: add --after {page['next']!r}.")


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it.")], json: Json = False, url: Url = None
) -> None:
    """Make a team."""
    with connect(url, makes=True) as gateway:
        _print_team(gateway.post("teams", {"name": name}), json)


@app.command("show")
def show(name: Name, json: Json = False, url: Url = None) -> None:
    """One team."""
    with connect(url) as gateway:
        _print_team(gateway.get(f"teams/{ref(name)}"), json)


@app.command("set")
def change(
    name: Name,
    new_name: Annotated[str, typer.Option("--name", help="Its new name.")],
    json: Json = False,
    url: Url = None,
) -> None:
    """Change a team; its keys and its history follow."""
    with connect(url) as gateway:
        _print_team(gateway.patch(f"teams/{ref(name)}", {"name": new_name}), json)


def _print_team(team: dict[str, Any], json: bool) -> None:
    if json:
        print_json(team)
    else:
        print_fields({field: text(team[field]) for field in ("id", *COLUMNS)})
