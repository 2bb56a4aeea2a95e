"""`irg requests`: the ledger's entries, listed, shown, or as they close."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer

from app.cli.client import Gateway, Url, connect
from app.cli.frame import Failure, Json, print_fields, print_json, print_table, say
from app.cli.nouns import cost, noun, text
from app.cli.refusals import check_refused, print_refusal, print_refused, request_or_refusal
from app.cli.resolve import AnOutcome, Key, Model, Reason, Tag, Team, resolve
from app.cli.usage import From, Last, Month, To

app = noun("Requests: the ledger's entries.")
app.command("resolve")(resolve)

COLUMNS = ("created_at", "id", "key", "model", "state", "outcome", "status", "true cost", "charged", "tokens", "ms")

UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"

# On a terminal the live feed has no table to fit columns to; longer cells push the rest.
WIDTHS = (24, 30, 16, 28, 8, 20, 6, 14, 10, 8, 8)

ItsState = Annotated[str | None, typer.Option("--state", help="Only open, settled, free or unknown ones.")]
Status = Annotated[str | None, typer.Option(help="Only with this status: 200, or a class: 5xx.")]
MinCost = Annotated[str | None, typer.Option(metavar="USD", help="Only with at least this true cost.")]
MaxCost = Annotated[str | None, typer.Option(metavar="USD", help="Only with at most this true cost.")]
Ident = Annotated[
    str | None, typer.Option("--id", help="Only with an id that begins so: its own, its response's or the upstream's.")
]


Refused = Annotated[bool, typer.Option("--refused", help="Those that were refused instead: never forwarded.")]
WhyRefused = Annotated[
    str | None, typer.Option("--reason", help="With --refused: only for this reason, such as budget_spent.")
]


@app.command("list")
def list_requests(
    *,
    refused: Refused = False,
    reason: WhyRefused = None,
    key: Key = None,
    team: Team = None,
    model: Model = None,
    tag: Tag = None,
    state: ItsState = None,
    outcome: AnOutcome = None,
    status: Status = None,
    min_cost: MinCost = None,
    max_cost: MaxCost = None,
    unknown_reason: Reason = None,
    ident: Ident = None,
    last: Last = None,
    month: Month = None,
    from_: From = None,
    to: To = None,
    limit: Annotated[int, typer.Option(help="At most so many, 1 to 1000.")] = 50,
    after: Annotated[str | None, typer.Option(help="Go on behind this cursor.")] = None,
    json: Json = False,
    url: Url = None,
) -> None:
    """Requests, newest first; all given conditions hold."""
    ends = {"tag": tag, "state": state, "outcome": outcome, "status": status}
    ends |= {"min_cost": min_cost, "max_cost": max_cost, "unknown_reason": unknown_reason}
    check_refused(refused, reason, ends)
    query = {"key": key, "team": team, "model": model, "id": ident}
    query |= {"last": last, "month": month, "from": from_, "to": to}
    with connect(url) as gateway:
        if refused:
            page = gateway.get("refusals", query | {"reason": reason, "limit": limit, "after": after})
        else:
            page = _filled_page(gateway, query | ends, limit, after)
    show_page = print_json if json else print_refused if refused else _print_requests
    show_page(page)


def _print_requests(page: dict[str, Any]) -> None:
    print_table(COLUMNS, [_row(request) for request in page["items"]], empty="There are no such requests.")
    if page["next"] is not None:
        say(f"There are more: add --after {page['next']!r}.")
    elif page.get("let_go_before") is not None:  # an older gateway knows nothing of it
        say(
            f"Of requests made before {page['let_go_before']} the rows were let go of (IRG_RETENTION_DAYS); "
            "their sums stay: irg usage."
        )


def _filled_page(gateway: Gateway, query: dict[str, Any], limit: int, after: str | None) -> dict[str, Any]:
    """A rare thing in a long ledger is told bit by bit: asks on until the page is full."""
    items: list[Any] = []
    while True:
        page = gateway.get("requests", query | {"limit": limit - len(items), "after": after})
        items, after = items + page["items"], page["next"]
        if after is None or len(items) >= limit:
            return {**page, "items": items}


@app.command("show")
def show(
    ident: Annotated[
        str, typer.Argument(metavar="ID", help="Its id (req_…), the upstream's request id, or its response's id.")
    ],
    json: Json = False,
    url: Url = None,
) -> None:
    """One request, with everything that is known of it; or why it was refused."""
    with connect(url) as gateway:
        request, refused = request_or_refusal(gateway, ident)
    if refused:
        print_refusal(request, json)
        return
    if json:
        print_json(request)
        return
    fields = request | {"true_cost": cost(request, "true_cost"), "charged": cost(request, "charged")} | request["usage"]
    fields |= {f"resolved_{name}": value for name, value in (request["resolved"] or {}).items()}
    del fields["usage"], fields["resolved"]
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
