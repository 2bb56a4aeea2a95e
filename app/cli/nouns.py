"""What the commands of one noun share: `irg keys` alone is `irg keys list`, and how cells are written.

Called by the noun's own file. No request is made here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer
from typer.core import TyperGroup


class ListByDefault(TyperGroup):
    """A noun without a verb lists: `irg keys --json` is `irg keys list --json`."""

    default = "list"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] != "--help"):
            args = [self.default, *args]
        return super().parse_args(ctx, args)


class ShowByDefault(ListByDefault):
    """For what there is one of."""

    default = "show"


def noun(sentence: str, group: type[TyperGroup] = ListByDefault) -> typer.Typer:
    return typer.Typer(help=sentence, cls=group)


def text(value: Any) -> str:
    """A cell: absent is a dash."""
    if value is None or value in ([], ""):
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def cost(request: Mapping[str, Any], field: str) -> str:
    """A request's cost; what nobody knows is never shown as nothing."""
    if request[field] is not None:
        return f"${request[field]}"
    return request["state"] if request["state"] in ("open", "free") else "unknown"


def sum_of(totals: Mapping[str, Any], field: str) -> str:
    """A sum of costs: a lower bound where some are unknown."""
    unknown = totals[f"{field}_unknown"]
    return f"≥ ${totals[field]} ({unknown} unknown)" if unknown else f"${totals[field]}"
