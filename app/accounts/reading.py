"""Reads of the store whose misses are told in words: which key or team is not there, and which ones are near."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, NoReturn, TypeVar

from app.accounts.errors import KeyNotFound, RefusalNotFound, RequestNotFound, TeamNotFound
from app.store import queries, seals
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
        before, surely = await store.read(_let_go, error.ref)
        raise RequestNotFound(error.ref, before, was_made_before=surely) from None
    if error.kind == "refusal":
        raise RefusalNotFound(error.ref) from None
    if error.kind == "team":
        raise TeamNotFound(error.ref, await store.read(queries.team_names)) from None
    raise KeyNotFound(error.ref, await store.read(queries.key_names)) from None


def _let_go(connection: Any, ref: str) -> tuple[datetime | None, bool]:
    """Before when rows may be gone, and whether this id is of such a one."""
    return seals.let_go_before(connection), seals.is_let_go(connection, ref)
