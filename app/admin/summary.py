"""What an export holds, summed up while it is written: entries, amounts, its hash.

The sums follow the rules of usage, so that an export of a period and its usage say the same.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

from pydantic import ConfigDict, Field

from app import __version__
from app.accounts.exports import Entry
from app.admin.bodies import ExportQuery, Format
from app.admin.schemas import Shape, Time, Usd
from app.core.clock import format_time
from app.core.ids import id_floor
from app.core.money import format_usd
from app.core.records import State
from app.core.views import AdjustmentRecord, RequestFilter, RequestRecord

# The columns that an export has; it grows when one is added.
SCHEMA_VERSION = 2


class SummaryShape(Shape):
    """`rows` = requests and adjustments. The sums and counts are those of usage for the same period."""

    model_config = ConfigDict(validate_by_name=True, serialize_by_alias=True)

    format: Format
    schema_version: int
    gateway: str
    from_: Time | None = Field(alias="from")
    to: Time | None
    filter: dict[str, str]
    rows: int
    requests: int
    settled: int
    free: int
    unknown: int
    open: int
    adjustments: int
    true_cost: Usd
    charged: Usd
    true_cost_unknown: int = Field(description="True costs that are missing in the sum")
    charged_unknown: int = Field(description="Charges that are missing in the sum")
    bytes: int
    sha256: str


class Tally:
    """Call `took` with every piece and the entries in it, in order."""

    def __init__(self, query: ExportQuery, wanted: RequestFilter) -> None:
        self._query = query
        self._wanted = wanted
        self._first_id = id_floor("req", wanted.from_at) if wanted.from_at is not None else ""
        self._counts: Counter[str] = Counter()
        self._hash = hashlib.sha256()

    def took(self, piece: bytes, entries: Sequence[Entry]) -> bytes:
        self._hash.update(piece)
        self._counts["bytes"] += len(piece)
        for entry in entries:
            self._counts["true_cost"] += entry.true_cost_picodollars or 0
            self._counts["charged"] += entry.charged_picodollars or 0
            if isinstance(entry, RequestRecord):
                self._add_request(entry)
            else:
                self._add_adjustment(entry)
        return piece

    def _add_request(self, entry: RequestRecord) -> None:
        self._counts["requests"] += 1
        self._counts[entry.state] += 1
        if entry.state in (State.SETTLED, State.UNKNOWN):
            self._counts["true_cost_unknown"] += entry.true_cost_picodollars is None
            self._counts["charged_unknown"] += entry.charged_picodollars is None

    def _add_adjustment(self, entry: AdjustmentRecord) -> None:
        self._counts["adjustments"] += 1
        if entry.first and entry.request_id >= self._first_id:  # the request is in here as well
            self._counts["true_cost_unknown"] -= 1
            self._counts["charged_unknown"] -= 1

    def summary(self) -> SummaryShape:
        counts, wanted = self._counts, self._wanted
        asked = {"key": wanted.key, "team": wanted.team, "model": wanted.model, "tag": wanted.tag}
        return SummaryShape(
            format=self._query.format,
            schema_version=SCHEMA_VERSION,
            gateway=__version__,
            from_=format_time(wanted.from_at) if wanted.from_at is not None else None,
            to=format_time(wanted.to_at) if wanted.to_at is not None else None,
            filter={name: value for name, value in asked.items() if value is not None},
            rows=counts["requests"] + counts["adjustments"],
            requests=counts["requests"],
            settled=counts[State.SETTLED],
            free=counts[State.FREE],
            unknown=counts[State.UNKNOWN],
            open=counts[State.OPEN],
            adjustments=counts["adjustments"],
            true_cost=format_usd(counts["true_cost"]),
            charged=format_usd(counts["charged"]),
            true_cost_unknown=counts["true_cost_unknown"],
            charged_unknown=counts["charged_unknown"],
            bytes=counts["bytes"],
            sha256=self._hash.hexdigest(),
        )
