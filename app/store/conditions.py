"""What a filter of requests means in SQL: each condition as a test of a row, and as a way in through an index.

A test never uses an index (its columns carry a `+`, SQLite's way to say so): which one is used is
`search`'s to decide, not the planner's, who knows nothing of how rare a value is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from sqlalchemy import (
    Column,
    ColumnElement,
    CompoundSelect,
    Connection,
    and_,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
)

from app.core.patterns import model_allowed
from app.core.records import Outcome, State
from app.core.value import Value, replace
from app.core.views import RequestFilter
from app.store.port import RowMissing
from app.store.queries import named, team_id_of
from app.store.rows import text_list
from app.store.schema import RARE_OUTCOME, RARE_STATES, RARE_STATUS, TAGGED, adjustments, keys, requests
from app.store.stretches import ids_where

# More index ranges than that are not merged.
STREAMS_MAX = 200

# The letter behind every other one.
ID_LAST = "\U0010ffff"

Test = ColumnElement[bool]


class Condition(Value, frozen=True):
    """`drives` (index ranges) and `scattered` together hold its rows, and perhaps others; neither = no index helps.

    `streams`: index ranges that hold just its rows, each in the order of ids; none = it has no such.
    `scattered`: selects of ids in no order; each is read as a whole, whatever ids are asked for.
    """

    test: Test
    drives: tuple[Test, ...] = ()
    streams: tuple[Test, ...] = ()
    scattered: tuple[CompoundSelect[Any], ...] = ()


def with_ids(connection: Connection, wanted: RequestFilter) -> RequestFilter:
    """The same key and team by their ids: they stay the same when names change. Raises: `RowMissing`."""
    key = wanted.key if wanted.key is None else key_id_of(connection, wanted.key)
    team = wanted.team if wanted.team is None else team_id_of(connection, wanted.team)
    return replace(wanted, key=key, team=team)


def conditions_of(connection: Connection, wanted: RequestFilter) -> list[Condition]:
    """All but the span of time. Raises: `RowMissing` (key, team)."""
    return [
        *_owners(connection, wanted),
        *_models_and_tags(connection, wanted),
        *_ends(wanted),
        *_costs(wanted),
        *_idents(wanted),
    ]


def grouped_conditions(connection: Connection, wanted: RequestFilter) -> list[Test]:
    """The same of adjustments, for what they have: key, team, model, tag. Raises: `RowMissing`."""
    found: list[Test] = []
    if wanted.key is not None:
        found.append(adjustments.c.key_id == key_id_of(connection, wanted.key))
    if wanted.team is not None:
        found.append(adjustments.c.team_id == team_id_of(connection, wanted.team))
    if wanted.model is not None:
        found.append(among(adjustments.c.model, _values(connection, requests.c.model, None, wanted.model)))
    if wanted.tag is not None:
        found.append(among(adjustments.c.tags, _values(connection, requests.c.tags, wanted.tag, None)))
    return found


def _owners(connection: Connection, wanted: RequestFilter) -> Iterator[Condition]:
    if wanted.key is not None:
        yield _equal(requests.c.key_id, [key_id_of(connection, wanted.key)])
    if wanted.team is not None:
        yield _equal(requests.c.team_id, [team_id_of(connection, wanted.team)])


def _models_and_tags(connection: Connection, wanted: RequestFilter) -> Iterator[Condition]:
    if wanted.model is not None:
        yield _equal(requests.c.model, _values(connection, requests.c.model, None, wanted.model))
    if wanted.tag is not None:
        yield _equal(requests.c.tags, _values(connection, requests.c.tags, wanted.tag, None), TAGGED)


def _ends(wanted: RequestFilter) -> Iterator[Condition]:
    if wanted.state is not None:
        yield _in_state(State(wanted.state))
    if wanted.outcome is Outcome.COMPLETED:
        yield Condition(_plain(requests.c.outcome) == wanted.outcome)
    elif wanted.outcome is not None:
        yield _equal(requests.c.outcome, [wanted.outcome], RARE_OUTCOME)
    if wanted.status is not None:
        yield _with_status(*wanted.status)
    if wanted.unknown_reason is not None:
        yield _equal(requests.c.unknown_reason, [wanted.unknown_reason])


def _costs(wanted: RequestFilter) -> Iterator[Condition]:
    least, most = wanted.cost_min_picodollars, wanted.cost_max_picodollars
    if least is None and most is None:
        return

    def within(cost: ColumnElement[Any]) -> Test:
        low = cost >= (0 if least is None else least)
        return low if most is None else and_(low, cost <= most)

    settled_by_hand = (
        select(adjustments.c.request_id)
        .group_by(adjustments.c.request_id)
        .having(within(func.sum(adjustments.c.true_cost)))
    )
    yield Condition(
        or_(within(_plain(requests.c.true_cost)), _plain(requests.c.id).in_(settled_by_hand)),
        (requests.c.id.in_(settled_by_hand),),
        scattered=(ids_where(requests.c.true_cost, within),),
    )


def _idents(wanted: RequestFilter) -> Iterator[Condition]:
    if wanted.ident is not None:
        columns = (requests.c.id, requests.c.response_id, requests.c.upstream_request_id)

        def begins(column: ColumnElement[Any]) -> Test:
            return and_(column >= wanted.ident, column < f"{wanted.ident}{ID_LAST}")

        others = tuple(ids_where(column, begins) for column in columns[1:])
        yield Condition(or_(*(begins(_plain(column)) for column in columns)), (begins(columns[0]),), scattered=others)


def _in_state(state: State) -> Condition:
    """The state as it is now: an unknown cost that a person settled is settled."""
    by_hand = exists().where(adjustments.c.request_id == requests.c.id)
    plain = _plain(requests.c.state)
    if state is State.SETTLED:
        return Condition(or_(plain == "settled", and_(plain == "unknown", by_hand)))
    if state is State.UNKNOWN:
        drive = requests.c.state == literal_column("'unknown'")
        return Condition(and_(plain == "unknown", ~by_hand), (drive,), (and_(drive, ~by_hand),))
    assert state.value in RARE_STATES  # noqa: S101 - the literal must be one of an index
    drive = requests.c.state == literal_column(f"'{state.value}'")
    return Condition(plain == state, (drive,), (drive,))


def _with_status(first: int, last: int) -> Condition:
    plain, column = _plain(requests.c.status), requests.c.status
    if first <= 200 <= last:
        return Condition(and_(plain >= first, plain <= last))
    if first == last:
        return _equal(column, [first], RARE_STATUS)
    drive = and_(column >= first, column <= last, RARE_STATUS)
    streams = tuple(and_(column == status, RARE_STATUS) for status in range(first, last + 1))
    return Condition(and_(plain >= first, plain <= last), (drive,), streams)


def _equal(column: Column[Any], values: list[Any], *also: Test) -> Condition:
    """One of some values, by an index over (column, id). `also`: what a partial index holds."""
    plain = _plain(column)
    if len(values) > STREAMS_MAX:
        return Condition(among(plain, values))
    streams = tuple(and_(column == value, *also) for value in values)
    test = plain == values[0] if len(values) == 1 else among(plain, values)
    # A condition that nothing meets has an index range as well: an empty one.
    nothing = (and_(column == "", column != "", *also),)
    return Condition(test, streams or nothing, streams or nothing)


def among(column: ColumnElement[Any], values: list[Any]) -> Test:
    """One of these values, as one parameter however many they are."""
    listed = func.json_each(msgspec.json.encode(values).decode()).table_valued("value")
    return column.in_(select(listed.c.value))


def _plain(column: Column[Any]) -> ColumnElement[Any]:
    return literal_column(f"+{column.table.name}.{column.name}", column.type)


def key_id_of(connection: Connection, ref: str) -> str:
    """Raises: `RowMissing`."""
    found = connection.scalar(select(keys.c.id).where(named(keys, ref)))
    if found is None:
        raise RowMissing("key", ref)
    return str(found)


def _values(connection: Connection, column: Column[Any], tag: str | None, glob: str | None) -> list[str]:
    """The values of a column that fit: sets of tags with this one in it, or models that a pattern matches."""
    if glob is not None and not any(letter in glob for letter in "*?["):
        return [glob]
    if glob is not None:
        return [model for model in _distinct(connection, column) if model == glob or model_allowed(model, [glob])]
    return [tags for tags in _distinct(connection, column, TAGGED) if tag in text_list(tags)]


def _distinct(connection: Connection, column: Column[Any], *also: Test) -> list[str]:
    """The values of an indexed column, found by leaping from one to the next."""
    first = select(column.label("value")).where(column >= literal(""), *also).order_by(column).limit(1)
    leap = select(first.subquery().c.value).cte("leap", recursive=True)
    following = select(column).where(column > leap.c.value, *also).order_by(column).limit(1).scalar_subquery()
    leap = leap.union_all(select(following).where(leap.c.value.is_not(None)))
    return list(connection.scalars(select(leap.c.value).where(leap.c.value.is_not(None))))
