"""`irg audit`: who changed what and when."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.cli.client import Url, connect
from app.cli.frame import Json, print_json, print_table, say
from app.cli.nouns import text
from app.cli.usage import From, Last, Month, To

COLUMNS = ("at", "actor", "via", "action", "target", "changed")

Target = Annotated[
    str | None, typer.Option(help="Only what was done to this key, team or request: an id, or a name it has or had.")
]
Action = Annotated[str | None, typer.Option(help="Only this: key.revoked; or all of its kind: key.")]
Who = Annotated[str | None, typer.Option("--actor", help="Only what this person did.")]


def audit(
    *,
    target: Target = None,
    action: Action = None,
    actor: Who = None,
    last: Last = None,
    month: Month = None,
    from_: From = None,
    to: To = None,
    limit: Annotated[int, typer.Option(help="At most so many, 1 to 1000.")] = 50,
    after: Annotated[str | None, typer.Option(help="Go on behind this cursor.")] = None,
    json: Json = False,
    url: Url = None,
) -> None:
    """Who changed what, newest first; all given conditions hold."""
    query = {"target": target, "action": action, "actor": actor, "limit": limit, "after": after}
    query |= {"last": last, "month": month, "from": from_, "to": to}
    with connect(url) as gateway:
        page = gateway.get("audit", query)
    if json:
        print_json(page)
        return
    rows = [[*(text(entry[column]) for column in COLUMNS[:-1]), changed(entry)] for entry in page["items"]]
    print_table(COLUMNS, rows, empty="Nothing was changed.")
    if page["next"] is not None:
        say(f"There are more: add --after {page['next']!r}.")


def changed(entry: dict[str, Any]) -> str:
    """`rpm: 60 → 30`; of what came or went, how it was."""
    before, after = entry["before"], entry["after"]
    if before is None or after is None:
        return "; ".join(f"{name}: {text(value)}" for name, value in (before or after or {}).items())
    names = dict.fromkeys((*before, *after))
    return "; ".join(f"{name}: {_step(before, after, name)}" for name in names)


def _step(before: dict[str, Any], after: dict[str, Any], name: str) -> str:
    if name not in before:
        return text(after[name])
    return f"{text(before[name])} → {text(after.get(name))}"
