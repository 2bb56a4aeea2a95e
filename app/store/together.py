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
    settlements = [(one, one.what) for one in operations if isinstance(one.what, Settlement)]
    intents = [(one, one.what) for one in operations if isinstance(one.what, Intent)]
    changes = [(one, one.what) for one in operations if not isinstance(one.what, Settlement | Intent)]
    results: Results = [(one, None) for one, _ in settlements]
    with database.transaction(patient=patient) as batch:
        if settlements:
            batch.settle([settlement for _, settlement in settlements])
        if changes:
            with batch.others_write():
                results += [(one, _changed(database, change)) for one, change in changes]
        if intents:
            verdicts = batch.admit([intent for _, intent in intents])
            results += zip((one for one, _ in intents), verdicts, strict=True)
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
