"""Several operations in one transaction. Called by the writer, in its thread or in the loop's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.core.records import Intent, Settlement
from app.store.database import Database
from app.store.operations import Change, Operation
from app.store.port import StoreError

Results = list[tuple[Operation, Any]]


def write_together(
    database: Database,
    operations: list[Operation],
    *,
    patient: bool = True,
    besides: Callable[[], None] | None = None,
) -> Results:
    """What each gets; it counts once this returns: then all is committed. Settlements come first, intents last.

    `besides`: what else is written, behind them. `patient`, and what is raised: see `Database.transaction`.
    """
    results: Results = []
    settlements: list[Settlement] = []
    intents: list[Intent] = []
    asking: list[Operation] = []  # whose these are, in the same order
    others: list[tuple[Operation, Change]] = []
    for operation in operations:
        what = operation.what
        if isinstance(what, Settlement):
            settlements.append(what)
            results.append((operation, None))
        elif isinstance(what, Intent):
            intents.append(what)
            asking.append(operation)
        else:
            others.append((operation, what))
    with database.transaction(patient=patient) as batch:
        if settlements:
            batch.settle(settlements)
        if others:
            with batch.others_write():
                results += [(one, _changed(database, change)) for one, change in others]
        if intents:
            results += zip(asking, batch.admit(intents), strict=True)
        if besides is not None:
            with batch.others_write():
                besides()
    return results


def _changed(database: Database, change: Change) -> Any:
    """Runs one change; what it refuses is undone, and only that."""
    raw = database.connection.raw
    raw.execute("SAVEPOINT change")
    try:
        result = change(database.connection.sql)
    except StoreError as error:
        raw.execute("ROLLBACK TO change")
        result = error
    raw.execute("RELEASE change")
    return result
