"""`irg requests list --refused`, and `irg requests show` of a request that was refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from app.cli.client import Gateway, ref
from app.cli.frame import Code, Failure, print_fields, print_json, print_table, say
from app.cli.nouns import text

COLUMNS = ("created_at", "id", "key", "model", "reason", "whose", "limit", "spent", "held", "hold", "resets_at")

# Of the counts so many are told; with --json all are.
COUNTS_TOLD = 10

GOES_WITH = "--key, --team, --model, --reason, --id, --last, --month, --from, --to, --limit and --after"


def check_refused(refused: bool, reason: str | None, others: Mapping[str, Any]) -> None:
    """Options that cannot be meant together. `others`: what only forwarded requests have. Raises: `Failure`."""
    if not refused and reason is not None:
        raise Failure("--reason goes with --refused: it is why a request was refused.", Code.USAGE)
    given = next((field for field, value in others.items() if value is not None), None)
    if refused and given is not None:
        option = "reason-unknown" if given == "unknown_reason" else given.replace("_", "-")
        raise Failure(
            f"--{option} does not go with --refused: a refused request was not forwarded, so it has no tags, no end "
            f"and no cost. What does: {GOES_WITH}.",
            Code.USAGE,
        )


def print_refused(page: Mapping[str, Any]) -> None:
    """A table of what is held; how many there were is talk."""
    empty = "No such refusal is held." if page["counts"] is None or page["counts"]["total"] else "Nothing was refused."
    print_table(COLUMNS, [row(refusal) for refusal in page["items"]], empty=empty)
    if page["next"] is not None:
        say(f"There are more: add --after {page['next']!r}.")
    for line in _counted(page["counts"]):
        say(line)


def row(refusal: Mapping[str, Any]) -> list[str]:
    """A refusal's cells, in the order of `COLUMNS`."""
    whose = " ".join(filter(None, (refusal["scope"], refusal["owner"])))
    money = (refusal[field] for field in ("spent_usd", "held_usd", "hold_usd"))
    return [
        *(text(refusal[field]) for field in COLUMNS[:5]),
        text(whose),
        limit_of(refusal),
        *("-" if amount is None else f"${amount}" for amount in money),
        text(refusal["resets_at"]),
    ]


def limit_of(refusal: Mapping[str, Any]) -> str:
    """The limit that was hit: an amount for a time, or a number."""
    if refusal["limit_usd"] is not None:
        return f"${refusal['limit_usd']}/{refusal['period']}"
    return text(refusal["limit"])


def _counted(counts: Mapping[str, Any] | None) -> Iterator[str]:
    if counts is None or not counts["total"]:
        return
    span = " ".join(f"{word} {counts[word]}" for word in ("from", "to") if counts[word] is not None)
    yield f"Refused in all{f', {span}' if span else ''}: {counts['total']}."
    groups = sorted(counts["groups"], key=lambda group: -group["refused"])
    for group in groups[:COUNTS_TOLD]:
        yield f"  {group['refused']}  {group['key']}  {group['reason']}"
    if len(groups) > COUNTS_TOLD:
        yield f"  … and {len(groups) - COUNTS_TOLD} more; --json has them."


# --- one of them ---------------------------------------------------------------------------


def request_or_refusal(gateway: Gateway, ident: str) -> tuple[dict[str, Any], bool]:
    """What an id names, and whether it was refused. Raises: `Failure`: what is said of a request that is not there."""
    try:
        return gateway.get(f"requests/{ref(ident)}"), False
    except Failure as missing:
        if missing.code is not Code.NOT_FOUND or not ident.startswith("req_"):
            raise
        try:
            return gateway.get(f"refusals/{ref(ident)}"), True
        except Failure as refusal:
            raise (missing if refusal.code is Code.NOT_FOUND else refusal) from None


def print_refusal(refusal: Mapping[str, Any], json: bool) -> None:
    if json:
        print_json(refusal)
        return
    say("This request was refused: nothing was forwarded, and it cost nothing.")
    print_fields({field: text(value) for field, value in refusal.items()})
