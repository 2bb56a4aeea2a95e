"""Stretches of the ledger: how an index that begins with one is searched as a whole.

What a stretch is for, and which indices begin with one, stands in `schema`. Each costs a search 2 to 5 µs: all of ten
million requests 10 to 24 ms. Called by whatever looks a request up by its cost or by an id that is not ours.
"""

from __future__ import annotations

import functools

from sqlalchemy import ColumnElement, literal_column, select

from app.store.schema import STRETCH_BITS, Whole, requests


@functools.cache  # one statement may ask for it twice, and then it must be the same
def in_any_stretch() -> ColumnElement[bool]:
    """Of every closed request, in the words of the indices that begin with a stretch."""
    seq = requests.c.closed_seq
    first, last = (
        select(_stretch_of(f"{edge}(requests.closed_seq)")).where(seq > 0).scalar_subquery() for edge in ("min", "max")
    )
    each = select(first.label("number")).cte("stretches", recursive=True)
    each = each.union_all(select(each.c.number + 1).where(each.c.number < last))
    return _stretch_of("requests.closed_seq").in_(select(each.c.number))


def _stretch_of(seq: str) -> ColumnElement[int]:
    return literal_column(f"{seq} >> {STRETCH_BITS}", Whole)
