"""What a key's last requests to a model came to: remembered while the writer runs, found in the ledger at first.

A guess is made from it (`core.holds`), so it need not be exact: a request closed by another process
is missing until this one looks again.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence

from sqlalchemy import Connection, func, literal_column, select

from app.core.holds import SAMPLES_MAX, Billing, Sample, counted
from app.core.records import Settlement, State
from app.store.rows import count
from app.store.schema import requests

# So far back at most: requests to other models in between must not make this a long search.
DEPTH = 1000

# Pairs of key and model that are remembered.
PAIRS_MAX = 10_000


class Samples:
    def __init__(self, sql: Connection, billing: Billing) -> None:
        self._sql = sql
        self._billing = billing
        self._known: OrderedDict[tuple[str, str], deque[Sample]] = OrderedDict()

    def of(self, key_id: str, model: str) -> Sequence[Sample]:
        """Newest first. `model`: as the ledger keeps it."""
        pair = (key_id, model)
        known = self._known.get(pair)
        if known is None:
            known = self._known[pair] = deque(self._found(key_id, model), maxlen=SAMPLES_MAX)
            if len(self._known) > PAIRS_MAX:
                self._known.popitem(last=False)
        return list(known)

    def add(self, key_id: str, model: str, settlement: Settlement) -> None:
        known = self._known.get((key_id, model))
        cost = counted(settlement.reading, self._billing)
        if known is not None and settlement.state is State.SETTLED and cost is not None:
            known.appendleft(Sample(cost.picodollars, count(settlement.reading.usage.total_tokens) or 0))

    def _found(self, key_id: str, model: str) -> list[Sample]:
        recent = (
            select(requests).where(requests.c.key_id == key_id).order_by(requests.c.id.desc()).limit(DEPTH).subquery()
        )
        first, second = recent.c.charged, recent.c.true_cost
        if self._billing is Billing.TRUE_COST:
            first, second = second, first
        query = (
            select(func.coalesce(first, second), recent.c.total_tokens)
            .where(recent.c.model == model, recent.c.state == literal_column("'settled'"))
            .order_by(recent.c.id.desc())
            .limit(SAMPLES_MAX)
        )
        return [Sample(cost, tokens or 0) for cost, tokens in self._sql.execute(query)]
