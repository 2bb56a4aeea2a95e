"""What is let go of next, and the pass that makes a seal: it proves a span, sums it up and hashes it.

Only reads, in steps over snapshots of their own. That is enough: what is closed never changes, and which rows belong to
a seal is told by their place in the order of closing. What persons say meanwhile is noticed when the seal is written
(`letting_go`). A span with any difference is not sealed.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import Connection, func, literal, literal_column, select

from app.core.budgets import BudgetPeriod, Span, clipped, span_of
from app.core.clock import from_ms, to_ms
from app.core.value import Value
from app.core.views import Difference
from app.core.windows import month_of
from app.store.queries import last_closed_seq
from app.store.rollup_lines import (
    Lines,
    Stretch,
    closed_seq,
    kept_lines,
    recomputed,
    recomputed_lines,
    stretch_from,
    without,
)
from app.store.schema import USAGE_KEY, USAGE_SUMS, adjustments, requests
from app.store.schema_seals import seals
from app.store.seal_form import TOTALS_SUMS, remains_sums, row_lines, totals_text, usage_lines
from app.store.seals import Seal, seals_at
from app.store.verify import DIFFERENCES_MAX, breaches, line_differences

# A step is a piece, of which the seal keeps a hash: it is read once more before it is let go of.
PIECE_ROWS = 5_000


class Due(Value, frozen=True):
    """A span that is to be sealed: its closed rows behind `after_seq` up to `through_seq`."""

    from_ms: int
    to_ms: int
    month: str
    number: int
    after_seq: int
    through_seq: int
    said: int  # so many adjustments there are of its requests
    before: str | None  # what the seal before this one says of the roll-ups


class Made(Value, frozen=True):
    """A seal that is to be written."""

    due: Due
    rows: int
    sha256: str
    usage_sha256: str
    totals: str
    pieces: str
    true_cost: int
    charged: int
    true_cost_unknown: int
    charged_unknown: int


def next_due(connection: Connection, before: datetime, zone: ZoneInfo, since_ms: int = 0) -> Due | Seal | None:
    """The oldest span from `since_ms` on that ends before an instant: to be sealed, or sealed with rows still there."""
    oldest = connection.execute(
        select(requests.c.created_at, requests.c.closed_seq)
        .where(*Stretch(since_ms, None).ids(), literal_column("+requests.state") != "open")
        .order_by(requests.c.id)
        .limit(1)
    ).first()
    if oldest is None:
        return None
    there = seals_at(connection, oldest.created_at)
    for seal in there:
        if seal.holds(oldest.closed_seq):
            return seal
    due = _again(connection, there[-1]) if there else _first(connection, oldest.created_at, zone)
    return due if due.to_ms <= to_ms(before) else None


def _first(connection: Connection, at_ms: int, zone: ZoneInfo) -> Due:
    """The calendar's month around an instant, as far as nothing in it is sealed."""
    standing = [Span(row.from_at, row.to_at) for row in connection.execute(select(seals.c.from_at, seals.c.to_at))]
    span = clipped(span_of(BudgetPeriod.MONTH, at_ms, zone), at_ms, standing)
    edges = (span.starts_at_ms, span.ends_at_ms)
    month, through = month_of(from_ms(at_ms), zone), last_closed_seq(connection)
    return Due(*edges, month, 1, 0, through, said_about(connection, *edges), None)


def _again(connection: Connection, seal: Seal) -> Due:
    edges = (seal.from_ms, seal.to_ms)
    order = (seal.number + 1, seal.through_seq, last_closed_seq(connection))
    return Due(*edges, seal.month, *order, said_about(connection, *edges), seal.usage_sha256)


def said_about(connection: Connection, start_ms: int, end_ms: int) -> int:
    """How many adjustments there are of a span's requests. They are never removed."""
    its = Stretch(start_ms, end_ms).ids(adjustments.c.request_id)
    return connection.scalar(select(func.count()).select_from(adjustments).where(*its)) or 0


class Sealing:
    """One pass over a span: call `step` until it is False, then there are `differences`, or a seal is `made`."""

    def __init__(self, due: Due, piece_rows: int = PIECE_ROWS) -> None:
        self.due = due
        self.differences: list[Difference] = []
        self._piece_rows = piece_rows
        self._at_ms = due.from_ms
        self._rows = 0
        self._hash, self._usage, self._before = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
        self._totals: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * len(TOTALS_SUMS))
        self._pieces: list[tuple[int, int, int, str]] = []

    def step(self, connection: Connection) -> bool:
        """Reads the next piece; whether there is another."""
        stretch = stretch_from(connection, self._at_ms, self.due.to_ms, self._piece_rows)
        own = self._own(connection, stretch)
        sealed = without(kept_lines(connection, stretch), self._later(connection, stretch))
        if self.due.before is None:
            self.differences += line_differences(own, sealed)
        self._before.update(usage_lines(without(sealed, own)))
        self._usage.update(usage_lines(sealed))
        self.differences += breaches(connection, stretch)
        del self.differences[DIFFERENCES_MAX:]
        self._hash_rows(connection, stretch)
        self._at_ms = stretch.end_ms or self.due.to_ms
        more = self._at_ms < self.due.to_ms
        if not more and self.due.before not in (None, self._before.hexdigest()):
            where = {"month": self.due.month, "number": str(self.due.number - 1)}
            self.differences.append(Difference("the roll-ups are as they were sealed", where))
        return more

    def made(self) -> Made:
        """The seal, once there is no further step and no difference."""
        sums = dict(zip(TOTALS_SUMS, map(sum, zip(*self._totals.values(), strict=True)), strict=True))
        return Made(
            due=self.due,
            rows=self._rows,
            sha256=self._hash.hexdigest(),
            usage_sha256=self._usage.hexdigest(),
            totals=totals_text(self._totals),
            pieces=msgspec.json.encode(self._pieces).decode(),
            true_cost=sums["true_cost"],
            charged=sums["charged"],
            true_cost_unknown=sums["true_cost_unknown"],
            charged_unknown=sums["charged_unknown"],
        )

    def _own(self, connection: Connection, stretch: Stretch) -> Lines:
        """The lines of the rows that are to be sealed; adds them to the totals."""
        query = recomputed(
            stretch,
            closed_seq.between(self.due.after_seq + 1, self.due.through_seq),
            also=[requests.c.outcome],
            and_sums=remains_sums(),
        )
        place, lines = len(USAGE_KEY), dict[tuple[Any, ...], tuple[int, ...]]()
        for row in connection.execute(query):
            where, sums = tuple(row[:place]), tuple(row[place + 1 :])
            line, total = sums[: len(USAGE_SUMS)], self._totals[(*where[1:], row[place])]
            there = lines.get(where)
            lines[where] = line if there is None else tuple(map(sum, zip(there, line, strict=True)))
            for index, value in enumerate(sums):
                total[index] += value
        return lines

    def _later(self, connection: Connection, stretch: Stretch) -> Lines:
        """The lines of what was closed when the pass had begun: there is none, unless a clock was set back."""
        later = closed_seq > literal(self.due.through_seq)
        any_there = connection.scalar(select(literal_column("1")).where(*stretch.ids(), later).limit(1))
        return recomputed_lines(connection, stretch, self.due.through_seq) if any_there else {}

    def _hash_rows(self, connection: Connection, stretch: Stretch) -> None:
        its = closed_seq.between(self.due.after_seq + 1, self.due.through_seq)
        digest, count = hashlib.sha256(), 0
        for lines in row_lines(connection, *stretch.ids(), its):
            count += lines.count(b"\n")
            digest.update(lines)
            self._hash.update(lines)
        self._rows += count
        if count:
            self._pieces.append((stretch.start_ms, stretch.end_ms or self.due.to_ms, count, digest.hexdigest()))
