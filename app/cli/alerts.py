"""`irg alerts`: who is told when budgets run out or costs stay unknown, and what was told."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.cli.client import Url, connect, ref
from app.cli.frame import Failure, Json, Yes, confirm_name, print_fields, print_json, print_table, say
from app.cli.nouns import noun, text

app = noun("Alerts: who is told, and what was.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The destination's name.")]

COLUMNS = ("name", "kind", "address", "waiting", "created_at")


@app.command("list")
def list_destinations(json: Json = False, url: Url = None) -> None:
    """All destinations, by name; of their addresses only what is no secret."""
    with connect(url) as gateway:
        found = gateway.get("alerts", {"limit": 1})["destinations"]
    if json:
        print_json({"items": found, "next": None})
        return
    rows = [[text(destination[column]) for column in COLUMNS] for destination in found]
    print_table(COLUMNS, rows, empty="Alerts go nowhere yet. Add a destination: irg alerts add NAME ADDRESS.")


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it, such as on-call.")],
    address: Annotated[
        str,
        typer.Argument(
            metavar="ADDRESS",
            help="https://… of a webhook; or file:/PATH of a file that holds the address of a service (mailto://…).",
        ),
    ],
    json: Json = False,
    url: Url = None,
) -> None:
    """Send alerts there from now on. A webhook's signing secret goes to stdout, alone and only this once."""
    with connect(url, makes=True) as gateway:
        made = gateway.post("alerts", {"name": name, "address": address})
    if json:
        print_json(made)
        return
    say(f"{made['name']} ({made['address']}) gets alerts from now on. Try it: irg alerts test {made['name']}.")
    if made["secret"] is not None:
        say("Its receiver checks signatures (Standard Webhooks) with this secret; it is not shown again:")
        typer.echo(made["secret"])


@app.command("test")
def send_test(name: Name, json: Json = False, url: Url = None) -> None:
    """Send a test alert there now, and tell what came of it; exit code 1 if it did not arrive."""
    with connect(url) as gateway:
        tried = gateway.post(f"alerts/{ref(name)}/test")
    if json:
        print_json(tried)
    elif tried["delivered"]:
        print_fields({"delivered": "true", "status": text(tried["status"])})
    if not tried["delivered"]:
        raise Failure(f"It did not arrive: {tried['error']}.")


@app.command("remove")
def remove(name: Name, yes: Yes = False, json: Json = False, url: Url = None) -> None:
    """Send nothing there any more, also not what waits."""
    with connect(url) as gateway:
        confirm_name(name, f"Nothing goes to {name} any more, and its signing secret is gone.", yes=yes)
        gone = gateway.delete(f"alerts/{ref(name)}")
    if json:
        print_json(gone)
    else:
        say(f"{gone['name']} gets no more alerts.")


@app.command("history")
def history(
    limit: Annotated[int, typer.Option(help="At most so many, 1 to 1000.")] = 50,
    after: Annotated[str | None, typer.Option(help="Go on behind this cursor.")] = None,
    json: Json = False,
    url: Url = None,
) -> None:
    """The alerts that were raised, newest first, and how each fared."""
    with connect(url) as gateway:
        page = gateway.get("alerts", {"limit": limit, "after": after})
    if json:
        print_json({"items": page["items"], "next": page["next"]})
        return
    rows = [[alert["at"], alert["kind"], _fared(alert), alert["message"]] for alert in page["items"]]
    print_table(("at", "kind", "deliveries", "message"), rows, empty="There were no alerts.")
    if page["next"] is not None:
        say(f"There are more: add --after {page['next']!r}.")


def _fared(alert: dict[str, Any]) -> str:
    """`on-call: delivered; ops: answered 500, again at …`."""
    return "; ".join(f"{told['destination']}: {_state(told)}" for told in alert["deliveries"]) or "-"


def _state(told: dict[str, Any]) -> str:
    if told["delivered_at"] is not None:
        return "delivered"
    if told["given_up_at"] is not None:
        return f"given up ({told['error']})"
    return f"{told['error']}, again at {told['next_at']}" if told["attempts"] else "waiting"
