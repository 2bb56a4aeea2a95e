"""What a key's last requests came to: by model, found in the ledger once for a key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, event

from app.core.holds import SAMPLES_MAX, SAMPLES_MIN, Billing, Recent
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


def most(found: Recent) -> str | None:
    """The dearest, if there are enough."""
    return None if found.most is None else format_usd(found.most.counted_picodollars)


def add(found: Samples, key_id: str, model: str) -> None:
    for _ in range(SAMPLES_MIN):
        found.add(key_id, model, settled("req_1", "0.02"))


async def test_they_are_the_last_of_one_key_and_model(ledger: LimitedLedger) -> None:
    """Without unknown costs; a model that was settled too seldom, or never, has none."""
    alice, bob = await ledger.holder("alice"), await ledger.holder("bob")
    await spend(ledger, alice, "a", "0.08")
    for _ in range(SAMPLES_MAX - 1):
        await spend(ledger, alice, "a", "0.01")
    await spend(ledger, alice, "a", "0.03")
    for _ in range(SAMPLES_MIN):
        await spend(ledger, bob, "a", "0.09")
        await ledger.store.settle(unknown(await ledger.admit(alice, model="c")), 5)
    for _ in range(SAMPLES_MIN - 1):
        await spend(ledger, alice, "b", "0.05")
    await ledger.store.settle(unknown(await ledger.admit(alice, model="a")), 5)

    def look(connection: Connection) -> list[str | None]:
        found = Samples(connection, Billing.CHARGED)
        before = [most(found.of(alice.key.id, model)) for model in "abc"]
        found.add(alice.key.id, "b", settled("req_1", "0.06"))
        return [*before, most(found.of(alice.key.id, "b"))]

    assert await ledger.store.read(look) == ["0.03", None, None, "0.06"]


async def test_a_key_is_searched_for_once_whatever_models_it_names(ledger: LimitedLedger) -> None:
    """A holder may name any model: a search for each would keep everybody else waiting."""
    alice = await ledger.holder("alice")
    for _ in range(SAMPLES_MIN):
        await spend(ledger, alice, "a", "0.01")

    def look(connection: Connection) -> int:
        found, asked = Samples(connection, Billing.CHARGED), list[str]()
        event.listen(connection, "before_cursor_execute", lambda _c, _cursor, statement, *_: asked.append(statement))
        for number in range(100):
            found.of(alice.key.id, f"invented-{number}")
        assert most(found.of(alice.key.id, "a")) == "0.01"
        add(found, alice.key.id, "invented-1")
        assert most(found.of(alice.key.id, "invented-1")) == "0.02"
        return len(asked)

    assert await ledger.store.read(look) == 1


async def test_what_is_remembered_is_bounded(ledger: LimitedLedger) -> None:
    """The models settled last, and the keys asked for last."""

    def models(connection: Connection) -> None:
        found = Samples(connection, Billing.CHARGED)
        assert most(found.of("key_1", "0")) is None
        for number in (*range(MODELS_MAX), 0, MODELS_MAX):
            add(found, "key_1", str(number))
        assert [most(found.of("key_1", str(number))) for number in (0, 1, 2, MODELS_MAX)] == [
            "0.02",
            None,
            "0.02",
            "0.02",
        ]

    def keys(connection: Connection) -> None:
        found = Samples(connection, Billing.CHARGED)
        for number in (*range(KEYS_MAX), 0, KEYS_MAX):
            found.of(f"key_{number}", "a")
        for number in (0, 1, 2):  # one is forgotten: it is asked for anew, and has nothing in the ledger
            add(found, f"key_{number}", "a")
        assert [most(found.of(f"key_{number}", "a")) for number in (0, 2, 1)] == ["0.02", "0.02", None]

    for look in (models, keys):
        await ledger.store.read(look)
