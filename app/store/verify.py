"""The proof that the roll-ups are the sums of their rows, and that every row keeps the rules.

It goes in steps of whole buckets, each over a snapshot of its own: a settlement changes row
and roll-up in one transaction, so a step is consistent, and no long snapshot keeps the
write-ahead log from being reused. Spans that are sealed are `verify_seals`'.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import ColumnElement, Connection, and_, case, func, literal_column, select

from app.core.clock import format_time, from_ms
from app.core.value import Value
from app.core.views import Difference
from app.store.rollup_lines import STEP_ROWS, Lines, Stretch, kept_lines, recomputed_lines, stretch_from
from app.store.schema import USAGE_KEY, USAGE_SUMS, requests
from app.store.seals import Seal, next_span

# A list of differences is for a person; beyond this the count says enough.
DIFFERENCES_MAX = 100

_table = requests.c

# The database's own constraints hold most of these, so a breach means meddling.
_RULES: dict[str, ColumnElement[bool]] = {
    "a closed request has its place in the order of closing": and_(
        _table.state != "open", _table.closed_seq.is_(None) | _table.closed_at.is_(None) | _table.outcome.is_(None)
    ),
    "an open request tells no cost and no end": and_(
        _table.state == "open",
        _table.true_cost.is_not(None) | _table.charged.is_not(None) | _table.closed_seq.is_not(None),
    ),
    "a settled request has a cost": and_(
        _table.state == "settled", _table.true_cost.is_(None) & _table.charged.is_(None)
    ),
    "a request without known cost has none": and_(
        _table.state.in_(["free", "unknown"]), _table.true_cost.is_not(None) | _table.charged.is_not(None)
    ),
    "an unknown cost has its reason": and_(_table.state == "unknown", _table.unknown_reason.is_(None)),
    "a cost is not negative": (_table.true_cost < 0) | (_table.charged < 0),
}


class Step(Value, frozen=True):
    """What one step found; `next_ms` is where the following one begins, None at the end.

    `seal`: nothing was read, since the span up to `next_ms` is sealed.
    """

    rows: int
    differences: tuple[Difference, ...]
    next_ms: int | None
    seal: Seal | None = None


def verify_step(connection: Connection, start_ms: int = 0, step_rows: int = STEP_ROWS) -> Step:
    """Compares rows and roll-ups of the buckets from `start_ms` on, so many that about `step_rows` rows are read."""
    seal = next_span(connection, start_ms)
    if seal is not None and seal.from_ms <= start_ms:
        return Step(0, (), seal.to_ms, seal)
    stretch = stretch_from(connection, start_ms, None if seal is None else seal.from_ms, step_rows)
    expected, found = recomputed_lines(connection, stretch), kept_lines(connection, stretch)
    differences = [*line_differences(expected, found), *breaches(connection, stretch)]
    rows = count_of(expected) + _open(connection, stretch)
    return Step(rows, tuple(differences[:DIFFERENCES_MAX]), stretch.end_ms)


def count_of(lines: Lines) -> int:
    """How many requests are in them."""
    place = USAGE_SUMS.index("requests")
    return sum(sums[place] for sums in lines.values())


def _open(connection: Connection, stretch: Stretch) -> int:
    query = select(func.count()).where(_table.state == literal_column("'open'"), *stretch.ids())
    return connection.scalar(query) or 0


def line_differences(expected: Lines, found: Lines) -> Iterator[Difference]:
    """The places at which they are not the same."""
    for where in sorted(expected.keys() | found.keys()):
        if expected.get(where) != found.get(where):
            named = dict(zip(USAGE_KEY, (format_time(from_ms(where[0])), *where[1:]), strict=True))
            yield Difference("rollup", named, _named(expected.get(where)), _named(found.get(where)))


def _named(values: tuple[int, ...] | None) -> dict[str, int]:
    return {} if values is None else dict(zip(USAGE_SUMS, values, strict=True))


def breaches(connection: Connection, stretch: Stretch) -> Iterator[Difference]:
    """Rows that break a rule, each with the first one it breaks."""
    rule = case(*((breach, literal_column(f"{number}")) for number, breach in enumerate(_RULES.values())))
    names = list(_RULES)
    broken = select(_table.id, rule.label("rule")).where(*stretch.ids()).subquery()
    query = select(broken).where(broken.c.rule.is_not(None)).limit(DIFFERENCES_MAX)
    for row in connection.execute(query):
        yield Difference(names[row.rule], {"request": row.id})
