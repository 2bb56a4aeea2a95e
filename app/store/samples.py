"""What a key's last requests came to, by model: remembered while the writer runs, found in the ledger at first.

A guess is made from it (`core.holds`), so it need not be exact: a request closed by another process
is missing until this one looks again. A key is looked up as a whole and once: its holder may name any
model, and no name must cost the writer a search.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import cache

from sqlalchemy import Connection, Select, bindparam, func, literal_column, select

from app.core.holds import Billing, Recent, counted
from app.core.records import Settlement, State
from app.store.rows import count
from app.store.schema import requests

# So far back at most.
DEPTH = 1000

# So much is remembered: of keys those asked for last, and of each the models that were settled last.
KEYS_MAX, MODELS_MAX = 2_000, 50

_ByModel = OrderedDict[str, Recent]
_NOTHING = Recent()


class Samples:
    def __init__(self, sql: Connection, billing: Billing) -> None:
        self._sql = sql
        self._recent = _recent(billing)
        self._billing = billing
        self._known: OrderedDict[str, _ByModel] = OrderedDict()

    def of(self, key_id: str, model: str) -> Recent:
        """`model`: as the ledger keeps it."""
        known = self._known.get(key_id)
        if known is None:
            known = self._known[key_id] = self._found(key_id)
            if len(self._known) > KEYS_MAX:
                self._known.popitem(last=False)
        self._known.move_to_end(key_id)
        return known.get(model, _NOTHING)

    def add(self, key_id: str, model: str, settlement: Settlement) -> None:
        known = self._known.get(key_id)
        if known is None or settlement.state is not State.SETTLED:
            return
        cost = counted(settlement.reading, self._billing)
        if cost is not None:
            _add(known, model, cost.picodollars, count(settlement.reading.usage.total_tokens) or 0)

    def _found(self, key_id: str) -> _ByModel:
        found = _ByModel()
        for model, cost, tokens in self._sql.execute(self._recent, {"key_id": key_id}):
            _add(found, model, cost, tokens or 0)
        return found


@cache
def _recent(billing: Billing) -> Select[str, int, int | None]:
    """Model, cost that counts and tokens of what was settled of a key's last requests, oldest first."""
    recent = (
        select(requests)
        .where(requests.c.key_id == bindparam("key_id"))
        .order_by(requests.c.id.desc())
        .limit(DEPTH)
        .subquery()
    )
    first, second = recent.c.charged, recent.c.true_cost
    if billing is Billing.TRUE_COST:
        first, second = second, first
    return (
        select(recent.c.model, func.coalesce(first, second), recent.c.total_tokens)
        .where(recent.c.state == literal_column("'settled'"))
        .order_by(recent.c.id)
    )


def _add(known: _ByModel, model: str, counted_picodollars: int, tokens: int) -> None:
    recent = known.get(model)
    if recent is None:
        recent = known[model] = Recent()
        if len(known) > MODELS_MAX:
            known.popitem(last=False)
    recent.add(counted_picodollars, tokens)
    known.move_to_end(model)
