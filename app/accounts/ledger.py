"""The ledger's two hot verbs: admit before anything is forwarded, settle before the end is sent."""

from __future__ import annotations

from collections.abc import Awaitable

from app.core.records import Admitted, Intent, Refused, Settlement, State
from app.core.value import replace
from app.store.port import Store


class Ledger:
    """`settle_wait_seconds`: how long a settlement waits for the database before the spool takes it.

    Both verbs are the store's own, with no coroutine around them: await what they return.
    """

    def __init__(self, store: Store, *, settle_wait_seconds: float) -> None:
        self._store = store
        self._settle_wait_seconds = settle_wait_seconds

    def admit(self, intent: Intent) -> Awaitable[Admitted | Refused]:
        """`Admitted`: the request has its open row. Raises, awaited: `LedgerUnavailable`, then it has none.

        Cancelled, it leaves no open row either: one that was written meanwhile is closed as free.
        """
        return self._store.admit(intent)

    def settle(self, settlement: Settlement) -> Awaitable[None]:
        """Done: the cost is committed or in the spool on disk. Raises, called or awaited: `LedgerLost`.

        The call writes or queues it; await that it is done, and being cancelled does not take it back. A closed row
        stays as it is.
        """
        return self._store.settle(_sound(settlement), self._settle_wait_seconds)

    @property
    def healthy(self) -> bool:
        """The ledger takes requests, and nothing waits in the spool."""
        return self._store.healthy


def _sound(settlement: Settlement) -> Settlement:
    """The state that the costs tell: a known cost is settled, none is never booked as settled, unknown has a reason."""
    state, reason = settlement.state, settlement.unknown_reason
    if settlement.reading.cost_known:
        state = State.SETTLED
    elif state not in (State.FREE, State.UNKNOWN):
        state = State.UNKNOWN
    reason = (reason or settlement.reading.unknown_reason or "no_cost") if state is State.UNKNOWN else None
    if (state, reason) == (settlement.state, settlement.unknown_reason):
        return settlement
    return replace(settlement, state=state, unknown_reason=reason)
