"""An export's entries as text: CSV and JSON lines.

Every entry has the fields of a request and `adjusts`: null for a request, and for an adjustment
(state `adjustment`) the id of the request whose cost it settles; its costs are differences. A CSV's
text cells are made safe for spreadsheets: a cell that would be read as a formula gets a `'` before
it (OWASP, CSV injection). Numbers and money are ours and stay as they are.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from typing import Any

from app.accounts.exports import Entry
from app.admin.schemas import RequestShape, ResolvedShape, TokensShape, request_shape, resolved_shape
from app.core.clock import format_time
from app.core.holds import Billing, counted_from
from app.core.money import format_usd
from app.core.views import RequestRecord

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")

TAG_SEPARATOR = ","  # no tag has one

FIELDS = (*RequestShape.model_fields, "adjusts")


def _columns(field: str) -> list[str]:
    """What stands in other shapes stands in columns of its own: `usage`, and `resolved` with its name before."""
    if field == "usage":
        return list(TokensShape.model_fields)
    return [f"resolved_{name}" for name in ResolvedShape.model_fields] if field == "resolved" else [field]


MONEY = ("true_cost", "charged", "hold")  # ours; a difference may be below nothing

COLUMNS = [column for field in FIELDS for column in _columns(field)]


def fields_of(entry: Entry, billing: Billing = Billing.CHARGED) -> dict[str, Any]:
    """In the order of `FIELDS`, as JSON has them."""
    if isinstance(entry, RequestRecord):
        return request_shape(entry, billing).model_dump(mode="json") | {"adjusts": None}
    resolved = resolved_shape(entry.resolved)
    told = {
        "id": entry.id,
        "created_at": format_time(entry.at),
        "key": entry.key,
        "key_id": entry.key_id,
        "team": entry.team,
        "tags": list(entry.tags),
        "model": entry.model,
        "state": "adjustment",
        "true_cost": format_usd(entry.true_cost_picodollars),
        "charged": format_usd(entry.charged_picodollars),
        "charged_derived": entry.charged_derived,
        "usage": dict.fromkeys(TokensShape.model_fields),
        "resolved": resolved.model_dump() if resolved else None,
        "counted_from": counted_from(entry.true_cost_picodollars, entry.charged_picodollars, billing),
        "adjusts": entry.request_id,
    }
    return dict.fromkeys(FIELDS) | told


def flat(entry: Entry, billing: Billing = Billing.CHARGED) -> dict[str, Any]:
    """In the order of `COLUMNS`."""
    fields = fields_of(entry, billing)
    usage, resolved = fields.pop("usage"), fields.pop("resolved") or {}
    values: Mapping[str, Any] = {
        **fields,
        **usage,
        **{f"resolved_{name}": resolved.get(name) for name in ResolvedShape.model_fields},
    }
    return {column: values[column] for column in COLUMNS}


def json_lines(entries: Iterable[Entry], billing: Billing = Billing.CHARGED) -> str:
    told = (fields_of(entry, billing) for entry in entries)
    return "".join(json.dumps(fields, ensure_ascii=False, separators=(",", ":")) + "\n" for fields in told)


def csv_head() -> str:
    return _csv([COLUMNS])


def csv_lines(entries: Iterable[Entry], billing: Billing = Billing.CHARGED) -> str:
    return _csv((_cell(column, value) for column, value in flat(entry, billing).items()) for entry in entries)


def _cell(column: str, value: str | int | bool | list[str] | None) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    text = TAG_SEPARATOR.join(value) if isinstance(value, list) else value
    return "'" + text if text.startswith(FORMULA_STARTS) and column not in MONEY else text


def _csv(rows: Iterable[Iterable[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
