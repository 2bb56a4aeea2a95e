"""The proof of what is sealed: roll-ups are what was hashed, and add up to the seals; rows still there are its rows.

What the roll-ups of a sealed span hold beyond the rows closed later is the same for ever, however many of its rows are
gone. So it can be compared at any moment, also while they are being deleted. Called by the reports, each step
over a snapshot of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from app.core.audit import Action
from app.core.clock import format_time, from_ms
from app.core.views import Difference
from app.store.letting_go import is_as_sealed
from app.store.rollup_lines import Stretch, closed_seq, kept_lines, recomputed_lines, stretch_from, without
from app.store.schema import USAGE_KEY, USAGE_SUMS, requests
from app.store.schema_audit import audit
from app.store.schema_seals import remains, seals
from app.store.seal_form import COUNTED_ALONE, REMAINS, totals_of, usage_lines
from app.store.seals import Piece, Seal, pieces_of, seals_at
from app.store.verify import DIFFERENCES_MAX, breaches

Sums = dict[tuple[Any, ...], list[int]]


class SealProof:
    """One pass over a sealed span: `step` until it is False, then `end`. `rows`: so many were still there."""

    def __init__(self, seal: Seal) -> None:
        self.seal = seal  # the newest of its span
        self.rows = 0
        self.differences: list[Difference] = []
        self._at_ms = seal.from_ms
        self._usage = hashlib.sha256()
        self._sums: Sums = defaultdict(lambda: [0] * len(USAGE_SUMS))

    def step(self, connection: Connection) -> bool:
        """Reads on; whether there is more."""
        stretch = stretch_from(connection, self._at_ms, self.seal.to_ms)
        later = recomputed_lines(connection, stretch, self.seal.through_seq)
        sealed = without(kept_lines(connection, stretch), later)
        self._usage.update(usage_lines(sealed))
        for where, sums in sealed.items():
            _add(self._sums[where[1:]], sums)
        self.differences += breaches(connection, stretch)
        self.rows += connection.scalar(select(func.count()).select_from(requests).where(*stretch.ids())) or 0
        self._at_ms = stretch.end_ms or self.seal.to_ms
        return self._at_ms < self.seal.to_ms

    def seals(self, connection: Connection) -> Sequence[Seal]:
        """All of the span."""
        return seals_at(connection, self.seal.from_ms)

    def end(self, connection: Connection) -> Seal | None:
        """Compares; a newer seal, if the span was sealed again meanwhile: then begin anew."""
        if (newest := self.seals(connection)[-1]) != self.seal:
            return newest
        if self._usage.hexdigest() != self.seal.usage_sha256:
            self.differences.append(Difference("the roll-ups are as they were sealed", self._named()))
        self.differences += self._sum_differences(connection)
        self.differences += self._seal_differences(connection)
        del self.differences[DIFFERENCES_MAX:]
        return None

    def _named(self, **where: str) -> Mapping[str, str]:
        return {"month": self.seal.month, "number": str(self.seal.number), **where}

    def _sum_differences(self, connection: Connection) -> Iterator[Difference]:
        """What the seals of the span say in all, against the roll-ups, and against what budgets count."""
        usage: Sums = defaultdict(lambda: [0] * len(USAGE_SUMS))
        alone: Sums = defaultdict(lambda: [0] * len(REMAINS))
        for text in connection.scalars(select(seals.c.totals).where(seals.c.from_at == self.seal.from_ms)):
            for of, sums in totals_of(text):
                _add(usage[tuple(of[name] for name in USAGE_KEY[1:])], [sums[name] for name in USAGE_SUMS])
                _add(alone[of["key_id"], of["team_id"]], [sums[name] for name in REMAINS])
        yield from self._differences("sums of a sealed month", USAGE_KEY[1:], USAGE_SUMS, usage, self._sums)
        counted = _counted_alone(connection, self.seal)
        yield from self._differences("what budgets count of a sealed month", USAGE_KEY[1:3], REMAINS, alone, counted)

    def _differences(
        self, what: str, key: tuple[str, ...], names: tuple[str, ...], expected: Sums, found: Sums
    ) -> Iterator[Difference]:
        nothing = [0] * len(names)
        for where in sorted(expected.keys() | found.keys()):
            sides = expected.get(where, nothing), found.get(where, nothing)
            if sides[0] != sides[1]:
                named = self._named(**dict(zip(key, where, strict=True)))
                yield Difference(what, named, *(dict(zip(names, side, strict=True)) for side in sides))

    def _seal_differences(self, connection: Connection) -> Iterator[Difference]:
        """Each seal is the sum of its pieces, and has an entry in the audit log, which is as hard to change."""
        entries = select(audit.c.after).where(
            audit.c.target_id == self.seal.month, audit.c.action == Action.MONTH_SEALED
        )
        told = [json.loads(after) for after in connection.scalars(entries)]
        for seal in self.seals(connection):
            if sum(piece.rows for piece in pieces_of(connection, seal)) != seal.rows:
                yield Difference("a seal is the sum of its pieces", self._named(number=str(seal.number)))
            if not any((one["rows"], one["sha256"]) == (seal.rows, seal.sha256) for one in told):
                yield Difference("a seal says what the audit log does", self._named(number=str(seal.number)))


def verify_piece(connection: Connection, seal: Seal, piece: Piece) -> tuple[Difference, ...]:
    """Rows that are still there, though they belong to a seal."""
    if is_as_sealed(connection, seal, piece):
        return ()
    where = {"month": seal.month, "from": format_time(from_ms(piece.from_ms)), "to": format_time(from_ms(piece.to_ms))}
    return (Difference("rows are as they were sealed", where),)


def _counted_alone(connection: Connection, seal: Seal) -> Sums:
    """What budgets count of a span's sealed rows: of those that are gone, and of those that are still there."""
    found: Sums = defaultdict(lambda: [0] * len(REMAINS))
    stretch = Stretch(seal.from_ms, seal.to_ms)
    sums = (func.sum(remains.c[name]) for name in REMAINS)
    query = select(remains.c.key_id, remains.c.team_id, *sums).where(*stretch.buckets(remains.c.bucket_at))
    for key_id, team_id, *gone in connection.execute(query.group_by(remains.c.key_id, remains.c.team_id)):
        _add(found[key_id, team_id], gone)
    for place, (when, amount) in enumerate(COUNTED_ALONE.values()):
        there = select(requests.c.key_id, requests.c.team_id, func.sum(amount)).where(
            when, *stretch.ids(), closed_seq <= seal.through_seq
        )
        for key_id, team_id, total in connection.execute(there.group_by(requests.c.key_id, requests.c.team_id)):
            found[key_id, team_id or ""][place] += total
    return found


def _add(sums: list[int], others: Iterable[int]) -> None:
    sums[:] = map(sum, zip(sums, others, strict=True))
