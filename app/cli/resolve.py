"""`irg requests resolve`: unknown costs, settled by a person. It shows what would change, and asks."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.cli.client import Gateway, Url, connect
from app.cli.frame import Code, Failure, Json, Yes, confirm_name, print_json, print_table, say
from app.cli.nouns import sum_of, text
from app.cli.person import user_name
from app.cli.usage import From, Last, Month, To

# The conditions that `irg requests list` shares.
Key = Annotated[str | None, typer.Option(help="Only of this key.")]
Team = Annotated[str | None, typer.Option(help="Only of this team.")]
Model = Annotated[str | None, typer.Option(help="Only of this model, or of all that a glob matches: 'openai/*'.")]
Tag = Annotated[str | None, typer.Option(help="Only of keys that had this tag.")]
AnOutcome = Annotated[str | None, typer.Option("--outcome", help="Only with this outcome, such as timed_out.")]
Reason = Annotated[
    str | None, typer.Option("--reason-unknown", help="Only unknown for this reason, such as instance_lost.")
]

COLUMNS = ("created_at", "id", "key", "model", "outcome", "status", "unknown_reason")


Ident = Annotated[str | None, typer.Argument(metavar="[ID]", help="Any of the request's ids; or --all.")]
Cost = Annotated[str, typer.Option(metavar="USD", help="The true cost of each: 0.0123.")]
Charged = Annotated[
    str | None, typer.Option(metavar="USD", help="What each was charged; else the cost rounded up to 1/10,000.")
]


def resolve(
    ident: Ident = None,
    *,
    cost: Cost,
    reason: Annotated[str, typer.Option(help="Why; it is kept for good.")],
    all_: Annotated[bool, typer.Option("--all", help="All unknown ones that meet the conditions.")] = False,
    charged: Charged = None,
    by: Annotated[str | None, typer.Option(help="Who settles it; else your user name here.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Correct what was resolved before.")] = False,
    key: Key = None,
    team: Team = None,
    model: Model = None,
    tag: Tag = None,
    outcome: AnOutcome = None,
    unknown_reason: Reason = None,
    last: Last = None,
    month: Month = None,
    from_: From = None,
    to: To = None,
    preview: Annotated[bool, typer.Option("--preview", help="Only show what would change.")] = False,
    yes: Yes = False,
    json: Json = False,
    url: Url = None,
) -> None:
    """Settle unknown costs for good: of one request, or of all that meet the conditions. Shows first, then asks."""
    if all_ == (ident is not None):
        raise Failure("Say which requests: an ID, or --all.", Code.USAGE)
    said = {"cost": cost, "charged": charged, "reason": reason, "by": by or user_name(), "again": again}
    which: dict[str, Any] = {"all": True} if all_ else {"ids": [ident]}
    which |= {"key": key, "team": team, "model": model, "tag": tag, "outcome": outcome}
    which |= {"unknown_reason": unknown_reason, "last": last, "month": month, "from": from_, "to": to}
    body = {name: value for name, value in (said | which).items() if value is not None}
    with connect(url) as gateway:
        found = gateway.post("requests/resolve", body | {"preview": True})
        _tell(found, json=json)
        if not preview and (found["requests"] or json):
            found = _resolved(gateway, body if ident else as_shown(said, body, found), found, yes=yes)
    if json:
        print_json(found)


def as_shown(said: dict[str, Any], body: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Those that were shown, by their ids; too many for that are asked for again, and only counted."""
    if not found["items"] or len(found["items"]) < found["requests"]:
        return body
    return {name: body[name] for name in said if name in body} | {"ids": [request["id"] for request in found["items"]]}


def _resolved(gateway: Gateway, body: dict[str, Any], shown: dict[str, Any], *, yes: bool) -> Any:
    """Writes what was shown, or nothing if it has changed meanwhile. Raises: `Failure`."""
    if shown["requests"]:
        confirm_name("resolve", "This is kept for good, with its author and reason.", yes=yes)
    done = gateway.post("requests/resolve", body | {"expected": shown["requests"]})
    say(f"Resolved: {_counted(done['requests'])}.")
    return done


def _tell(found: dict[str, Any], *, json: bool) -> None:
    """What would change; as talk, if data are to follow."""
    if not found["requests"]:
        same = found["unchanged"]
        say(f"Nothing to do: {_counted(same)} resolved with these costs already." if same else "No such requests.")
        return
    if not json:
        rows = [[text(request[column]) for column in COLUMNS] for request in found["items"]]
        print_table(COLUMNS, rows, empty="")
    if found["requests"] > len(found["items"]):
        say(f"… and {found['requests'] - len(found['items'])} more.")
    say(f"{_counted(found['requests'])}{_of_closed_months(found['late'])}.")
    for field in ("true_cost", "charged"):
        before, after = sum_of(found["before"], field), sum_of(found["after"], field)
        say(f"{field.replace('_', ' ')} of the whole ledger: {before} before, {after} after.")


def _of_closed_months(late: int) -> str:
    return f", {late} of closed months: these months stay, it counts today" if late else ""


def _counted(count: int) -> str:
    return "1 request" if count == 1 else f"{count} requests"
