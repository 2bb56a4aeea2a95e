"""What keys and teams share on the command line: options for budgets and limits, and how these are written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from app.cli.frame import Code, Failure
from app.cli.nouns import text

Budgets = Annotated[
    list[str] | None,
    typer.Option("--budget", metavar="AMOUNT/PERIOD", help="A hard limit in USD: 45/month, 5/day; repeat it."),
]
Rpm = Annotated[int | None, typer.Option(help="Requests per minute at most.")]
Tpm = Annotated[int | None, typer.Option(help="Tokens per minute at most.")]
Concurrency = Annotated[int | None, typer.Option(help="Requests at once at most.")]
NoBudgets = Annotated[bool, typer.Option("--no-budgets", help="Take all its budgets away.")]
NoRpm = Annotated[bool, typer.Option("--no-rpm", help="Take this limit away.")]
NoTpm = Annotated[bool, typer.Option("--no-tpm", help="Take this limit away.")]
NoConcurrency = Annotated[bool, typer.Option("--no-concurrency", help="Take this limit away.")]

_UNITS = {"rpm": "requests/min", "tpm": "tokens/min", "concurrency": "at once"}

# The other half of a pair whose name is not --no- and the flag.
_OPPOSITES = {"--budget": "--no-budgets", "--model": "--any-model", "--expires": "--no-expiry", "--tag": "--no-tags"}


def changes(*fields: tuple[str, Any, bool, Any, str]) -> dict[str, Any]:
    """The body of a change: what is given, and what is taken away.

    Each field: its name, its value, whether it is to be taken away, what it is then, and its flag.
    """
    body: dict[str, Any] = {}
    for name, value, cleared, empty, flag in fields:
        given = value is not None and value != []
        if given and cleared:
            opposite = _OPPOSITES.get(flag, f"--no-{flag[2:]}")
            raise Failure(f"Give {flag} or {opposite}, not both.", Code.USAGE)
        if given or cleared:
            body[name] = value if given else empty
    return body


def cell(record: Mapping[str, Any], field: str) -> str:
    """A cell of a key's or team's table."""
    if field == "budgets":
        return ", ".join(budget(one) for one in record["budgets"]) or "-"
    if field == "limits":
        limits = record["limits"]
        return ", ".join(f"{limits[name]} {unit}" for name, unit in _UNITS.items() if limits[name] is not None) or "-"
    return text(record[field])


def budget(shape: Mapping[str, Any]) -> str:
    """Spent of amount, and what is set aside for running requests."""
    held = f", ${shape['held']} held" if shape["held"] != "0.00" else ""
    return f"${shape['spent']} of ${shape['amount']}/{shape['period']}{held}"
