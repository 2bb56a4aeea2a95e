"""`irg requests`: the ledger's entries, listed, shown, or as they close."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer

from app.cli.client import Url, connect, ref
from app.cli.frame import Failure, Json, print_fields, print_json, print_table, say
from app.cli.nouns import cost, noun, text
from app.cli.usage import From, To

app = noun("Requests: the ledger's entries.")

COLUMNS = ("created_at", "id", "key", "model", "state", "outcome", "status", "true cost", "charged", "tokens", "ms")

UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"

# On a terminal the live feed has no table to fit columns to; longer cells push the rest.
WIDTHS = (24, 30, 16, 28, 8, 20, 6, 14, 10, 8, 8)


@app.command("list")
def list_requests(
    key: Annotated[str | None, typer.Option(help="Only of this key.")] = None,
    team: Annotated[str | None, typer.Option(help="Only of this team.")] = None,
    model: Annotated[str | None, typer.Option(help="Only of this model.")] = None,
    state: Annotated[str | None, typer.Option(help="Only open, settled, free or unknown ones.")] = None,
    from_: From = None,
    to: To = None,
    limit: Annotated[int, typer.Option(help="At most so many, 1 to 1000.")] = 50,
    after: Annotated[str | None, typer.Option(help="Go on behind this cursor.")] = None,
    json: Json = False,
    url: Url = None,
) -> None:
    """Requests, newest first."""
    query = {"key": key, "team": team, "model": model, "state": state, "from": from_, "to": to}
    with connect(url) as gateway:
        page = gateway.get("requests", {**query, "limit": limit, "after": after})
    if json:
        print_json(page)
        return
    print_table(COLUMNS, [_row(request) for request in page["items"]], empty="There are no such requests.")
    if page["next"] is not None:
        say(f"There are more: add --after {page['next']!r}.")


@app.command("show")
def show(
    ident: Annotated[
        str, typer.Argument(metavar="ID", help="Its id (req_…), the upstream's request id, or its response's id.")
    ],
    json: Json = False,
    url: Url = None,
) -> None:
    """One request, with everything that is known of it."""
    with connect(url) as gateway:
        request = gateway.get(f"requests/{ref(ident)}")
    if json:
        print_json(request)
        return
    fields = request | {"true_cost": cost(request, "true_cost"), "charged": cost(request, "charged")} | request["usage"]
    del fields["usage"]
    print_fields({field: text(value) for field, value in fields.items()})


@app.command("tail")
def tail(json: Json = False, url: Url = None) -> None:
    """Requests as they close, until Ctrl-C; with --json one a line."""
    with connect(url) as gateway:
        if not gateway.running:
            raise Failure("No gateway is running here, so no request closes. Start one: irg serve.")
        for request in requests_of(gateway.stream("events")):
            typer.echo(json_module.dumps(request, ensure_ascii=False) if json else line_of(request))
    raise Failure("The gateway ended the feed: it is shutting down, or cannot read its ledger.")


def requests_of(pieces: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The requests in our own feed: one `data:` line each, ended by a blank line; comments keep it alive."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                yield json_module.loads(line.removeprefix(b"data:"))


def _row(request: dict[str, Any]) -> list[str]:
    return [
        *(text(request[field]) for field in COLUMNS[:7]),
        cost(request, "true_cost"),
        cost(request, "charged"),
        text(request["usage"]["total_tokens"]),
        text(request["duration_ms"]),
    ]


def line_of(request: dict[str, Any]) -> str:
    """A line of the live feed: in columns on a terminal, tab-separated in a pipe."""
    cells = ["".join(letter if letter.isprintable() else UNPRINTABLE for letter in cell) for cell in _row(request)]
    if not sys.stdout.isatty():
        return "\t".join(cells)
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=True)).rstrip()
