"""What a seal hashes and sums up, and how: so that anybody can do it again, also years later, with a copy of the rows.

**Form 1.** SHA-256 in lower-case hex, over lines that end with LF. A line is a JSON array without blanks in which only
`"` and `\\` are escaped (no column holds control characters). Of a request: `ROW_COLUMNS` in their order, money in
10⁻¹² USD and times in milliseconds as the table has them, null for what is not known; the lines in the order of ids.
Of the roll-ups: place and sums, in the order of places. A new column makes a new form, beside this one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, and_, case, func, literal_column, select

from app.store.rollup_lines import Lines
from app.store.schema import ONE_COST, USAGE_SUMS, adjustments, bounded_sum, requests

FORM = 1

ROW_COLUMNS = (
    *("id", "created_at", "key_id", "team_id", "tags", "model", "stream", "sdk_retry", "hold", "instance_id"),
    *("state", "outcome", "status", "true_cost", "true_cost_raw", "charged", "charged_raw", "charged_derived"),
    *("charge_mismatch", "unknown_reason", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens"),
    *("total_tokens", "model_answered", "response_id", "upstream_request_id", "ttfb_ms", "duration_ms"),
    *("closed_at", "closed_seq", "kept", "tokens_held"),
)

# What totals are of, and their sums. As booked: with what persons said within the month.
TOTALS_OF = ("key_id", "team_id", "tags", "model", "state", "outcome")
REMAINS = ("true_cost_alone", "charged_alone", "kept")
TOTALS_SUMS = (*USAGE_SUMS, *REMAINS)

# Lines are joined before they are hashed: of so many at once the interpreter lets go.
_LINES_AT_ONCE = 1000

_SAID = select(adjustments.c.request_id).where(adjustments.c.request_id == requests.c.id).exists()
_UNKNOWN = requests.c.state == literal_column("'unknown'")

# What budgets count of a request that the roll-ups do not tell, in the order of `REMAINS`.
COUNTED_ALONE: dict[str, tuple[ColumnElement[bool], ColumnElement[int]]] = {
    "true_cost_alone": (and_(ONE_COST, requests.c.charged.is_(None)), requests.c.true_cost),
    "charged_alone": (and_(ONE_COST, requests.c.true_cost.is_(None)), requests.c.charged),
    "kept": (and_(_UNKNOWN, requests.c.kept > 0, ~_SAID), requests.c.kept),
}


def remains_sums() -> list[ColumnElement[Any]]:
    """Sums of `COUNTED_ALONE`, over whatever rows of `requests` are read."""
    return [bounded_sum(case((when, amount), else_=0)) for when, amount in COUNTED_ALONE.values()]


def row_lines(connection: Connection, *conditions: ColumnElement[bool]) -> Iterator[bytes]:
    """The lines of requests, many at once."""
    line = func.json_array(*(requests.c[name] for name in ROW_COLUMNS))
    found = connection.execute(select(line).where(*conditions).order_by(requests.c.id))
    for some in found.scalars().partitions(_LINES_AT_ONCE):
        yield "\n".join([*some, ""]).encode()


def rows_digest(connection: Connection, *conditions: ColumnElement[bool]) -> tuple[int, str]:
    """How many requests there are, and their SHA-256."""
    count, digest = 0, hashlib.sha256()
    for lines in row_lines(connection, *conditions):
        count += lines.count(b"\n")
        digest.update(lines)
    return count, digest.hexdigest()


def usage_lines(lines: Lines) -> bytes:
    """The lines of roll-ups."""
    return b"".join(msgspec.json.encode([*where, *lines[where]]) + b"\n" for where in sorted(lines))


def totals_text(totals: dict[tuple[Any, ...], list[int]]) -> str:
    groups = [[*where, *totals[where]] for where in sorted(totals)]
    return msgspec.json.encode({"of": TOTALS_OF, "sums": TOTALS_SUMS, "groups": groups}).decode()


def totals_of(text: str) -> Iterable[tuple[dict[str, Any], dict[str, int]]]:
    """What each group of a seal's totals is of, and its sums."""
    told = msgspec.json.decode(text)
    for group in told["groups"]:
        cut = len(told["of"])
        yield dict(zip(told["of"], group[:cut], strict=True)), dict(zip(told["sums"], group[cut:], strict=True))
