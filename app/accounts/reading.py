"""Reads of the store whose misses are told in words: which key or team is not there, and which ones are near."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from app.accounts.errors import KeyNotFound, RefusalNotFound, RequestNotFound, TeamNotFound
from app.store import queries
from app.store.port import RowMissing, Store

T = TypeVar("T")


async def explained(store: Store, query: Callable[..., T], *values: Any) -> T:
    """`Store.read`. Raises: `KeyNotFound`, `TeamNotFound`, `RequestNotFound`, `RefusalNotFound`."""
    try:
        return await store.read(query, *values)
    except RowMissing as error:
        await explain(store, error)


async def explain(store: Store, error: RowMissing) -> NoReturn:
    if error.kind == "request":
        raise RequestNotFound(error.ref) from None
    if error.kind == "refusal":
        raise RefusalNotFound(error.ref) from None
    if error.kind == "team":
        raise TeamNotFound(error.ref, await store.read(queries.team_names)) from None
    raise KeyNotFound(error.ref, await store.read(queries.key_names)) from None
