"""The two hot verbs: the state that a settlement gets is the one its costs tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.accounts.ledger import Ledger
from app.core.records import Admitted, Outcome, Reading, Settlement, State
from app.core.value import replace
from app.store.engine import open_store
from app.store.port import LedgerLost, LedgerUnavailable, Store
from tests.store.entries import a_holder, row, settled


@pytest.fixture
def ledger(store: Store) -> Ledger:
    return Ledger(store, settle_wait_seconds=1)


@pytest.mark.parametrize(
    ("said", "reason", "reading", "state", "kept"),
    [
        (State.SETTLED, None, Reading(), State.UNKNOWN, "no_cost"),
        (State.SETTLED, None, Reading(unknown_reason="cost_null"), State.UNKNOWN, "cost_null"),
        (State.UNKNOWN, None, Reading(), State.UNKNOWN, "no_cost"),
        (State.UNKNOWN, "reset", Reading(unknown_reason="no_cost"), State.UNKNOWN, "reset"),
        (State.UNKNOWN, "reset", settled("").reading, State.SETTLED, None),
        (State.FREE, None, settled("").reading, State.SETTLED, None),
        (State.FREE, "odd", Reading(), State.FREE, None),
        (State.OPEN, None, Reading(), State.UNKNOWN, "no_cost"),
    ],
)
async def test_a_known_cost_is_settled_and_a_missing_one_never_is(
    store: Store, ledger: Ledger, said: State, reason: str | None, reading: Reading, state: State, kept: str | None
) -> None:
    """Whatever the caller says: no cost is never booked as settled, unknown always has a reason."""
    alice = await a_holder(store)
    intent = alice.intent()
    assert isinstance(await ledger.admit(intent), Admitted)
    settlement = Settlement(intent.request_id, said, Outcome.COMPLETED, reading, 200, unknown_reason=reason)
    await ledger.settle(settlement)
    found = await row(store, intent.request_id)
    assert (found.state, found.unknown_reason) == (state, kept)


async def test_one_known_cost_is_enough(store: Store, ledger: Ledger) -> None:
    """A request with only its charge told is settled; its true cost is unknown, not zero."""
    alice = await a_holder(store)
    intent = alice.intent()
    await ledger.admit(intent)
    settlement = settled(intent.request_id)
    partly = replace(settlement.reading, true_cost=None, true_cost_token="NaN", unknown_reason="cost_not_a_number")
    await ledger.settle(replace(settlement, reading=partly))
    found = await row(store, intent.request_id)
    assert (found.state, found.true_cost_picodollars, found.true_cost_raw) == (State.SETTLED, None, "NaN")
    assert found.charged_picodollars == 100_000_000


async def test_it_is_red_once_it_is_closed(path: Path) -> None:
    """After closing, requests are refused as unavailable and settlements as lost."""
    store = await open_store(path)
    ledger = Ledger(store, settle_wait_seconds=1)
    alice = await a_holder(store)
    assert ledger.healthy
    await store.aclose()
    assert not ledger.healthy
    with pytest.raises(LedgerUnavailable):
        await ledger.admit(alice.intent())
    with pytest.raises(LedgerLost):
        await ledger.settle(settled("req_1"))
