"""`irg me`: what a team key may do, has spent and has left; for its holder, with nothing but the key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from app.cli.frame import Code, Failure, Json, print_fields, print_json, print_table, say
from app.cli.holder import connect_as_holder
from app.cli.nouns import cost, sum_of, text

Url = Annotated[str | None, typer.Option("--url", help="The gateway (or IRG_URL); else the one on this machine.")]
Key = Annotated[
    str | None, typer.Option("--key", help="The team key (better in IRG_KEY: it stays out of the shell's history).")
]

BUDGETS = ("whose", "period", "amount", "spent", "held", "left", "resets_at")
LIMITS = ("whose", "limit", "used", "left", "resets_at")
REQUESTS = ("created_at", "id", "model", "state", "true cost", "charged", "tokens")

KINDS = {
    "requests_per_minute": "requests/min",
    "tokens_per_minute": "tokens/min",
    "concurrency": "requests at once",
}

REQUESTS_SHOWN = 10


def me(json: Json = False, url: Url = None, key: Key = None) -> None:
    """What your team key may do, has spent and has left. Works while a budget is spent, and counts as no request."""
    with connect_as_holder(url, key) as gateway:
        shape = _me(gateway.get)
        if json:
            print_json(shape)
            return
        usage = gateway.get("/usage", {"last": "30d"})["total"]
        refused = gateway.get("/refusals", {"last": "30d", "limit": 1})["counts"]
        newest = gateway.get("/requests", {"limit": REQUESTS_SHOWN})["items"]
    _print_key(shape)
    _print_budgets(shape["budgets"])
    _print_limits(shape["allowances"])
    _print_usage(usage, refused)
    say("\nNewest requests")
    print_table(REQUESTS, [_request(request) for request in newest], empty="There are none yet.")


def _me(get: Any) -> dict[str, Any]:
    try:
        shape: dict[str, Any] = get("")
    except Failure as failure:
        if failure.code is not Code.NOT_FOUND:
            raise
        raise Failure(
            "What answered has no /v1/me: it is no gateway, or one of an older version. Check IRG_URL (or --url)."
        ) from None
    return shape


def _print_key(key: Mapping[str, Any]) -> None:
    names = ("name", "team", "state", "prefix", "models", "tags", "expires_at", "last_used_at")
    told = {name: text(key[name]) for name in names}
    print_fields(told | {"models": text(key["models"] or "all")})


def _print_budgets(budgets: list[dict[str, Any]]) -> None:
    say("\nBudgets")
    rows = [
        [
            one["scope"],
            one["period"],
            *(f"${one[field]}" for field in ("amount", "spent", "held", "remaining")),
            text(one["resets_at"] or "never"),
        ]
        for one in budgets
    ]
    print_table(BUDGETS, rows, empty="None: nothing limits what this key may spend.")


def _print_limits(allowances: list[dict[str, Any]]) -> None:
    say("\nLimits, right now")
    rows = [
        [
            one["scope"],
            f"{one['limit']} {KINDS.get(one['kind'], one['kind'])}",
            str(one["used"]),
            str(one["remaining"]),
            text(one["resets_at"]),
        ]
        for one in allowances
    ]
    print_table(LIMITS, rows, empty="None.")


def _print_usage(total: Mapping[str, Any], refused: Mapping[str, Any]) -> None:
    say("\nLast 30 days")
    told = {name: str(total[name]) for name in ("requests", "settled", "free", "unknown", "open")}
    told |= {name.replace("_", " "): sum_of(total, name) for name in ("true_cost", "charged")}
    told |= {"tokens": str(total["total_tokens"]), "refused": _refused(refused)}
    print_fields(told)


def _refused(counts: Mapping[str, Any]) -> str:
    reasons = ", ".join(f"{group['refused']} {group['reason']}" for group in counts["groups"])
    return f"{counts['total']} ({reasons})" if reasons else "0"


def _request(request: Mapping[str, Any]) -> list[str]:
    told = (text(request[field]) for field in REQUESTS[:4])
    costs = (cost(request, "true_cost"), cost(request, "charged"))
    return [*told, *costs, text(request["usage"]["total_tokens"])]
