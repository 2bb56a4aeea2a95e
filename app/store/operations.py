"""What waits for the writer: one operation, who asked for it, and how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import Connection

from app.core.records import Admitted, Intent, Outcome, Reading, Settlement, State

Change = Callable[[Connection], Any]


class Operation(msgspec.Struct, eq=False):
    """`result` counts once `answered`: it is the value, or the exception, that its future gets.

    `future` is None when nobody asked. `spool_at` (monotonic) is when a settlement stops
    waiting for the database alone. `waits`: it is still to be written. A struct, as each request makes two;
    one is no other's equal.
    """

    what: Intent | Settlement | Change
    future: asyncio.Future[Any] | None = None
    spool_at: float = 0.0
    result: Any = None
    answered: bool = False
    waits: bool = True

    def answer(self, result: Any, *, waits: bool = False) -> None:
        self.result, self.answered, self.waits = result, True, waits

    @property
    def unwanted(self) -> bool:
        """Whoever asked has gone. A settlement is wanted all the same."""
        return self.future is not None and self.future.done() and not isinstance(self.what, Settlement)


def deliver(operation: Operation) -> bool:
    """Gives an answer to whoever asked, in their loop; False if nobody waits any more."""
    future, result = operation.future, operation.result
    if future is None or future.done():
        return False
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
    return True


def admitted(operation: Operation) -> str | None:
    """The id of the request that an operation admitted, if it did."""
    return operation.result.request_id if isinstance(operation.result, Admitted) else None


def unforwarded(request_id: str) -> Settlement:
    """Closes a request whose client left while it was being admitted: nothing was or will be sent upstream."""
    return Settlement(request_id, State.FREE, Outcome.CLIENT_DISCONNECTED, Reading(), None)
