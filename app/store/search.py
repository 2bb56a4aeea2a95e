"""Requests by what is asked of them, in pages, without ever reading the whole ledger.

A page is found in one of three ways: along one index that already has the right order; from a
condition that few rows meet, all of them looked at; or by walking through the ledger in its
order, so many rows at most. The last may end with a page that is not full and yet has a `next`:
whoever asks goes on from there. So an answer takes the same time however long the ledger is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, and_, func, select, union_all

from app.core.clock import from_ms
from app.core.ids import id_floor
from app.core.value import Value, replace
from app.core.views import Page, RequestFilter, RequestRecord
from app.store.conditions import Condition, conditions_of
from app.store.queries import request_records, requests_with_names
from app.store.schema import requests
from app.store.seals import missing_before


class Effort(Value, frozen=True):
    """How many rows are looked at for one page."""

    few_rows: int = 4_000  # a condition that so many rows meet at most is looked at row by row
    steps: int = 4  # a walk goes so far before it says how far it came
    step_rows: int = 5_000


DEFAULT_EFFORT = Effort()

# Rows looked up at once by their ids.
_LOOKUP_ROWS = 500

_id = requests.c.id


class _Search(Value, frozen=True):
    """One page wanted. `lower` ≤ id < `upper`."""

    connection: Connection
    conditions: Sequence[Condition]
    lower: str
    upper: str | None
    limit: int
    oldest_first: bool
    as_booked: bool
    effort: Effort

    def bounds(self) -> list[ColumnElement[bool]]:
        # Always a bound: a search from one end of an index, never a scan.
        found: list[ColumnElement[bool]] = [_id >= self.lower]
        if self.upper is not None:
            found.append(_id < self.upper)
        return found

    def includes(self, request_id: str) -> bool:
        """The same, for ids that come in no order: told to SQLite, it would walk along the ids instead."""
        return self.lower <= request_id and (self.upper is None or request_id < self.upper)

    @property
    def order(self) -> ColumnElement[Any]:
        return _id.asc() if self.oldest_first else _id.desc()

    def sorted(self, ids: Sequence[str]) -> list[str]:
        return sorted(ids, reverse=not self.oldest_first)


def list_requests(
    connection: Connection,
    wanted: RequestFilter,
    after: str | None,
    limit: int,
    *,
    oldest_first: bool = False,
    as_booked: bool = False,
    effort: Effort = DEFAULT_EFFORT,
) -> Page[RequestRecord]:
    """Requests in the order of their creation, newest first unless told otherwise. `after`: the `next` of before.

    `as_booked`: without what counts in a later month than the request. A page may be short of
    `limit`, or empty, and still have a `next`. Raises: `RowMissing` (key, team).
    """
    lower = id_floor("req", wanted.from_at or from_ms(0))
    upper = id_floor("req", wanted.to_at) if wanted.to_at is not None else None
    if after is not None and oldest_first:
        lower = max(lower, after + "\0")
    elif after is not None:
        upper = after if upper is None else min(upper, after)
    conditions = conditions_of(connection, wanted)
    search = _Search(connection, conditions, lower, upper, limit, oldest_first, as_booked, effort)
    rows, following = _found(search)
    records = request_records(connection, rows, as_booked=as_booked)
    return Page(tuple(records), following, missing_before(connection, wanted.from_at))


def _found(search: _Search) -> tuple[list[Row[Any]], str | None]:
    """The rows of a page, and behind which id the next one begins."""
    if not search.conditions:
        return _page(search, list(_rows(search, search.bounds(), search.limit + 1)))
    if len(search.conditions) == 1 and (streams := search.conditions[0].streams):
        return _page(search, _looked_up(search, _merged(search, streams), ()))
    fewest = _fewest(search)
    if fewest is not None:
        ids = _ids(search, fewest)
        return _page(search, _looked_up(search, search.sorted(ids), search.conditions))
    return _walk(search)


def _page(search: _Search, rows: list[Row[Any]]) -> tuple[list[Row[Any]], str | None]:
    return rows[: search.limit], rows[search.limit - 1].id if len(rows) > search.limit else None


# --- along an index in the right order -----------------------------------------------------


def _merged(search: _Search, streams: Sequence[ColumnElement[bool]]) -> list[str]:
    """The first ids of several index ranges, each of which is in order."""
    first = [
        select(
            select(_id).where(stream, *search.bounds()).order_by(search.order).limit(search.limit + 1).subquery().c.id
        )
        for stream in streams
    ]
    return search.sorted(search.connection.scalars(union_all(*first)).all())[: search.limit + 1]


# --- from a condition that few rows meet ---------------------------------------------------


def _fewest(search: _Search) -> Condition | None:
    """The condition that the fewest rows meet, if these are few."""
    counted = [(_count(search, condition), number) for number, condition in enumerate(search.conditions)]
    count, number = min(counted)
    return search.conditions[number] if count <= search.effort.few_rows else None


def _count(search: _Search, condition: Condition) -> int:
    """How many rows meet a condition; when they are not few any more, counting ends.

    Of one whose rows are scattered all are counted: those of a short period might be the last that are found.
    """
    too_many = search.effort.few_rows + 1
    if not (condition.drives or condition.scattered):
        return too_many
    drives = (select(_id).where(drive, *search.bounds()) for drive in condition.drives)
    found = 0
    for ids in (*drives, *condition.scattered):
        some = ids.limit(too_many - found).subquery()
        found += search.connection.scalar(select(func.count()).select_from(some)) or 0
        if found >= too_many:
            break
    return found


def _ids(search: _Search, condition: Condition) -> list[str]:
    found: set[str] = set()
    for drive in condition.drives:
        found.update(search.connection.scalars(select(_id).where(drive, *search.bounds())))
    for ids in condition.scattered:
        found.update(one for one in search.connection.scalars(ids) if search.includes(one))
    return list(found)


def _looked_up(search: _Search, ids: Sequence[str], conditions: Sequence[Condition]) -> list[Row[Any]]:
    """Those of the ids, which are in order, that meet all conditions: one more than a page has."""
    rest = iter(ids)
    tests = [condition.test for condition in conditions]
    found: list[Row[Any]] = []
    while len(found) <= search.limit and (some := list(islice(rest, _LOOKUP_ROWS))):
        listed = func.json_each(msgspec.json.encode(some).decode()).table_valued("value")
        query = requests_with_names().where(_id.in_(select(listed.c.value)), *tests)
        found += sorted(search.connection.execute(query), key=lambda row: row.id, reverse=not search.oldest_first)
    return found[: search.limit + 1]


# --- a walk through the ledger -------------------------------------------------------------


def _walk(search: _Search) -> tuple[list[Row[Any]], str | None]:
    """Step by step along the ledger, or along the one index that fits, until the page is full or far enough."""
    along = next((one for one in search.conditions if len(one.streams) == 1), None)
    stream = list(along.streams) if along is not None else []
    tests = [condition.test for condition in search.conditions if condition is not along]
    found: list[Row[Any]] = []
    for edge, step in _steps(search, stream):
        found += _rows(step, [*stream, *step.bounds(), *tests], search.limit + 1 - len(found))
        if len(found) > search.limit:
            return _page(search, found)
        if edge is None:
            return found, None
    return found, edge


def _steps(search: _Search, stream: Sequence[ColumnElement[bool]]) -> Iterator[tuple[str | None, _Search]]:
    """Spans of so many rows, each with its last id; None = the end."""
    for _ in range(search.effort.steps):
        query = select(_id).where(*stream, *search.bounds()).order_by(search.order)
        edge = search.connection.scalar(query.limit(1).offset(search.effort.step_rows - 1))
        if edge is None:
            yield None, search
            return
        if search.oldest_first:
            yield edge, replace(search, upper=edge + "\0")
            search = replace(search, lower=edge + "\0")
        else:
            yield edge, replace(search, lower=edge)
            search = replace(search, upper=edge)


def _rows(search: _Search, conditions: Sequence[ColumnElement[bool]], limit: int) -> Iterator[Row[Any]]:
    yield from search.connection.execute(
        requests_with_names().where(and_(*conditions)).order_by(search.order).limit(limit)
    )
