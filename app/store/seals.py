"""Seals as they are read: which spans of time have one, which rows belong to it, and since when rows are still there.

Spans never overlap. Within one, a row belongs to the seal whose numbers in the order of closing hold its own;
one that was closed later than the last of them (a clock was set back) is like any other row.
Called by whatever reads rows that may be gone; made in `sealing` and `letting_go`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, Select, func, literal_column, select

from app.core.clock import from_ms, to_ms
from app.core.ids import id_floor, id_time
from app.core.value import Value
from app.core.views import RequestRecord
from app.store.schema import Whole, requests
from app.store.schema_seals import seals


class Seal(Value, frozen=True):
    """One seal, without its sums. Times in milliseconds; rows closed behind `after_seq` up to `through_seq`."""

    from_ms: int
    to_ms: int
    number: int
    after_seq: int
    through_seq: int
    month: str
    rows: int
    sha256: str
    usage_sha256: str

    def holds(self, closed_seq: int | None) -> bool:
        return closed_seq is not None and self.after_seq < closed_seq <= self.through_seq

    def within(self, before_ms: int | None = None) -> Iterator[ColumnElement[bool]]:
        """Its rows, as far as they are there; `before_ms`: only those made earlier."""
        to_ms = self.to_ms if before_ms is None else before_ms
        yield requests.c.id >= id_floor("req", from_ms(self.from_ms))
        yield requests.c.id < id_floor("req", from_ms(to_ms))
        # `+`: the way in is the span, not the order of closing.
        yield literal_column("+requests.closed_seq", Whole).between(self.after_seq + 1, self.through_seq)


class Piece(Value, frozen=True):
    """A shorter span of a seal, with its rows."""

    from_ms: int
    to_ms: int
    rows: int
    sha256: str

    def within(self, seal: Seal) -> Iterator[ColumnElement[bool]]:
        """Its rows, as far as they are there."""
        yield from seal.within(self.to_ms)
        yield requests.c.id >= id_floor("req", from_ms(self.from_ms))


_COLUMNS = (
    seals.c.from_at,
    seals.c.to_at,
    seals.c.number,
    seals.c.after_seq,
    seals.c.through_seq,
    seals.c.month,
    seals.c.rows,
    seals.c.sha256,
    seals.c.usage_sha256,
)


def _seals() -> Select[Any]:
    return select(*_COLUMNS)


def let_go_before(connection: Connection) -> datetime | None:
    """The end of the last span that is sealed: of requests made before, rows may be gone. None = of none."""
    last = connection.scalar(select(seals.c.to_at).order_by(seals.c.from_at.desc()).limit(1))
    return None if last is None else from_ms(last)


def missing_before(connection: Connection, from_at: datetime | None) -> datetime | None:
    """The same, if a span that begins at `from_at` (None = with the first request) reaches back so far."""
    edge = let_go_before(connection)
    return edge if edge is not None and (from_at is None or from_at < edge) else None


def rows_sealed(connection: Connection) -> int:
    """How many rows all seals vouch for."""
    return connection.scalar(select(func.sum(seals.c.rows))) or 0


def is_let_go(connection: Connection, ident: str) -> bool:
    """Whether an id is of a request that a seal may vouch for; call it when there is no row."""
    try:
        at_ms = to_ms(id_time(ident))
    except ValueError:
        return False
    return ident.startswith("req_") and bool(seals_at(connection, at_ms))


class Sealed:
    """Which requests belong to a seal: whether or not their rows are gone, nothing is said about them any more."""

    def __init__(self, connection: Connection) -> None:
        self._seals = _read(connection.execute(_seals()).all())
        self._before_ms = max((seal.to_ms for seal in self._seals), default=0)

    def __contains__(self, record: RequestRecord) -> bool:
        at_ms = to_ms(record.created_at)
        return at_ms < self._before_ms and any(
            seal.from_ms <= at_ms < seal.to_ms and seal.holds(record.closed_seq) for seal in self._seals
        )


def seals_at(connection: Connection, at_ms: int) -> Sequence[Seal]:
    """The seals of the span that holds an instant, in their order."""
    first = select(seals.c.from_at).where(seals.c.from_at <= at_ms).order_by(seals.c.from_at.desc()).limit(1)
    query = _seals().where(seals.c.from_at == first.scalar_subquery(), seals.c.to_at > at_ms)
    return _read(connection.execute(query.order_by(seals.c.number)).all())


def next_span(connection: Connection, at_ms: int) -> Seal | None:
    """The newest seal of the first span that ends behind an instant."""
    query = _seals().where(seals.c.to_at > at_ms).order_by(seals.c.from_at, seals.c.number.desc()).limit(1)
    found = _read(connection.execute(query).all())
    return found[0] if found else None


def oldest_row_ms(connection: Connection, seal: Seal) -> int | None:
    """When the oldest of its rows that are still there was made; None = all are gone."""
    return connection.scalar(select(requests.c.created_at).where(*seal.within()).order_by(requests.c.id).limit(1))


def pieces_of(connection: Connection, seal: Seal) -> Sequence[Piece]:
    its = seals.c.from_at == seal.from_ms, seals.c.number == seal.number
    found = connection.scalars(select(seals.c.pieces).where(*its)).one()
    return [Piece(*told) for told in msgspec.json.decode(found)]


def pieces_left(connection: Connection, seal: Seal) -> Sequence[Piece]:
    """The pieces of a seal from the one on that holds its oldest row; none if all its rows are gone."""
    oldest_ms = oldest_row_ms(connection, seal)
    return () if oldest_ms is None else [one for one in pieces_of(connection, seal) if one.to_ms > oldest_ms]


def _read(rows: Sequence[Row[Any]]) -> Sequence[Seal]:
    return [Seal(*(row[place] for place in range(len(_COLUMNS)))) for row in rows]
