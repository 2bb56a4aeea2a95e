"""How requests end, for tests of limits: known costs, one of the two, none; within the hold and far beyond it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from app.core.records import Outcome, Reading, Settlement, State, TokenUsage
from app.core.value import replace
from tests.store.entries import free, settled


def _paid(request_id: str, cost: str, tokens: int | None = 36, missing: str | None = None) -> Settlement:
    settlement = settled(request_id, cost, reading={"usage": TokenUsage(total_tokens=tokens)})
    if missing is None:
        return settlement
    fields = {missing: None}
    return replace(settlement, reading=replace(settlement.reading, **fields))


def lost(request_id: str, status: int | None = None) -> Settlement:
    """Nobody can tell what it cost."""
    return Settlement(request_id, State.UNKNOWN, Outcome.SHUT_DOWN, Reading(), status, unknown_reason="lost")


ENDINGS: dict[str, Callable[[str], Settlement]] = {
    "within": partial(_paid, cost="0.00995"),  # charged 0.01
    "tiny": partial(_paid, cost="0.0000123", tokens=None),
    "nothing": partial(_paid, cost="0", tokens=0),
    "beyond the hold": partial(_paid, cost="0.06", tokens=150),
    "charged alone": partial(_paid, cost="0.02991", missing="true_cost"),
    "true cost alone": partial(_paid, cost="0.01999", missing="charged"),
    "free": free,
    "no answer": lost,
    "no cost told": partial(lost, status=200),
    "server fault": partial(lost, status=502),
}
