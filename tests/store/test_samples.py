"""What a key's last requests came to: by model, newest first, found in the ledger once for a key."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import Connection, event

from app.core.holds import SAMPLES_MAX, Billing, Sample
from app.core.money import format_usd
from app.store.samples import KEYS_MAX, MODELS_MAX, Samples
from tests.store.entries import Holder, settled, unknown
from tests.store.limited import LimitedLedger


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[LimitedLedger]:
    ledger = LimitedLedger(tmp_path / "gateway.db", "2026-11-23T12:30")
    await ledger.open()
    yield ledger
    await ledger.close()


async def spend(ledger: LimitedLedger, holder: Holder, model: str, cost: str) -> None:
    ledger.clock.move(milliseconds=1)
    await ledger.spend(holder, cost, model=model)


def costs(found: Sequence[Sample]) -> list[str]:
    return [format_usd(sample.counted_picodollars) for sample in found]


async def test_they_are_of_one_key_and_model_and_newest_first(ledger: LimitedLedger) -> None:
    """Without unknown costs; a model that was never settled has none."""
    alice, bob = await ledger.holder("alice"), await ledger.holder("bob")
    for cost in ("0.01", "0.03", "0.02"):
        await spend(ledger, alice, "a", cost)
    await spend(ledger, alice, "b", "0.05")
    await spend(ledger, bob, "a", "0.09")
    await ledger.store.settle(unknown(await ledger.admit(alice, model="a")), 5)

    def look(connection: Connection) -> list[list[str]]:
        found = Samples(connection, Billing.CHARGED)
        return [costs(found.of(alice.key.id, model)) for model in ("a", "b", "c")]

    assert await ledger.store.read(look) == [["0.02", "0.03", "0.01"], ["0.05"], []]


async def test_a_key_is_searched_for_once_whatever_models_it_names(ledger: LimitedLedger) -> None:
    """A holder may name any model: a search for each would keep everybody else waiting."""
    alice = await ledger.holder("alice")
    await spend(ledger, alice, "a", "0.01")

    def look(connection: Connection) -> int:
        found, asked = Samples(connection, Billing.CHARGED), list[str]()
        event.listen(connection, "before_cursor_execute", lambda _c, _cursor, statement, *_: asked.append(statement))
        for number in range(100):
            found.of(alice.key.id, f"invented-{number}")
        assert costs(found.of(alice.key.id, "a")) == ["0.01"]
        found.add(alice.key.id, "invented-1", settled("req_1", "0.02"))
        assert costs(found.of(alice.key.id, "invented-1")) == ["0.02"]
        return len(asked)

    assert await ledger.store.read(look) == 1


async def test_what_is_remembered_is_bounded(ledger: LimitedLedger) -> None:
    """The models settled last, the keys asked for last, and of each pair the newest samples."""

    def models(connection: Connection) -> None:
        found = Samples(connection, Billing.CHARGED)
        assert found.of("key_1", "0") == []
        for number in (*range(MODELS_MAX), 0, MODELS_MAX):
            found.add("key_1", str(number), settled("req_1", "0.02"))
        assert [len(found.of("key_1", str(number))) for number in (0, 1, 2, MODELS_MAX)] == [2, 0, 1, 1]
        for _ in range(SAMPLES_MAX):
            found.add("key_1", "0", settled("req_1", "0.03"))
        assert costs(found.of("key_1", "0")) == ["0.03"] * SAMPLES_MAX

    def keys(connection: Connection) -> None:
        found = Samples(connection, Billing.CHARGED)
        for number in (*range(KEYS_MAX), 0, KEYS_MAX):
            found.of(f"key_{number}", "a")
        for number in (0, 1, 2):  # one is forgotten: it is asked for anew, and has nothing in the ledger
            found.add(f"key_{number}", "a", settled("req_1", "0.02"))
        assert [len(found.of(f"key_{number}", "a")) for number in (0, 2, 1)] == [1, 1, 0]

    for look in (models, keys):
        await ledger.store.read(look)
