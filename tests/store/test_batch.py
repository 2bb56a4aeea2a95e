"""Admission and settlement against the database: one row each, closed once, summed once."""

from __future__ import annotations

import asyncio
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.accounts.errors import AccountsError
from app.accounts.keyring import Keyring
from app.accounts.reports import Reports
from app.core.clock import now
from app.core.ids import id_time, new_id
from app.core.owners import KeyChange
from app.core.records import Admitted, Cost, RefusalReason, Refused, State, TokenUsage
from app.core.value import replace
from app.core.views import GroupBy
from app.core.windows import Period
from app.store.engine import open_store
from app.store.port import LedgerUnavailable, Store
from tests.store.entries import MODEL, a_holder, free, row, rows, settled, unknown

ALWAYS = Period(datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


def reports(store: Store) -> Reports:
    from zoneinfo import ZoneInfo

    return Reports(store, zone=ZoneInfo("UTC"))


async def test_an_admitted_request_has_its_open_row(store: Store) -> None:
    """The row is there when admit returns, with the key, team and tags as they are at admission and the id's time."""
    await Keyring(store).create_team("blue")
    alice = await a_holder(store, team="blue", tags=("prod", "eu"))
    intent = alice.intent(stream=True, sdk_retry=2)
    assert await store.admit(intent) == Admitted(intent.request_id, "alice", "blue", ("eu", "prod"))
    found = await row(store, intent.request_id)
    assert (found.state, found.key, found.team, found.tags) == (State.OPEN, "alice", "blue", ("eu", "prod"))
    assert (found.stream, found.sdk_retry, found.model, found.hold_picodollars) == (True, 2, MODEL, 0)
    assert found.created_at == id_time(intent.request_id)
    assert (found.outcome, found.closed_at, found.closed_seq) == (None, None, None)


async def test_a_row_keeps_the_time_of_its_id_whatever_the_caller_says(store: Store) -> None:
    """created_at is the id's own millisecond: lists and buckets cannot disagree with the id."""
    alice = await a_holder(store)
    intent = replace(alice.intent(), created_at=now() - timedelta(days=400))
    await store.admit(intent)
    assert (await row(store, intent.request_id)).created_at == id_time(intent.request_id)


async def test_a_refused_request_has_no_row(store: Store) -> None:
    """No row of the ledger, and not even the key's last use."""
    alice = await a_holder(store, models=("other/*",))
    verdict = await store.admit(alice.intent())
    assert verdict == Refused(RefusalReason.MODEL_NOT_ALLOWED, allowed_models=("other/*",))
    assert await rows(store) == {}
    assert (await Keyring(store).find("alice")).last_used_at is None


async def test_both_costs_tokens_and_ids_are_kept_as_received(store: Store) -> None:
    """The seed example, and a 22-digit float: the token stays, the count is rounded half-even to 12 places."""
    alice = await a_holder(store)
    seed, long = alice.intent(), alice.intent()
    for intent in (seed, long):
        await store.admit(intent)
    await store.settle(settled(seed.request_id, upstream_request_id="up_1"), 1)
    await store.settle(settled(long.request_id, "0.0000123456789012345678"), 1)
    found = await row(store, seed.request_id)
    assert (found.true_cost_raw, found.true_cost_picodollars) == ("0.0000123", 12_300_000)
    assert (found.charged_raw, found.charged_picodollars) == ("0.0001", 100_000_000)
    assert found.usage == TokenUsage(12, 0, 24, 0, 36)
    assert (found.response_id, found.upstream_request_id) == (f"resp_{seed.request_id}", "up_1")
    assert (found.status, found.ttfb_ms, found.duration_ms) == (200, 5, 9)
    other = await row(store, long.request_id)
    assert (other.true_cost_raw, other.true_cost_picodollars) == ("0.0000123456789012345678", 12_345_679)


async def test_a_closed_row_is_immutable(store: Store) -> None:
    """A second settlement, whatever it says, changes neither the row nor a total."""
    alice = await a_holder(store)
    intent = alice.intent()
    await store.admit(intent)
    await store.settle(settled(intent.request_id), 1)
    before = await row(store, intent.request_id)
    for again in (settled(intent.request_id, "5"), free(intent.request_id), unknown(intent.request_id)):
        await store.settle(again, 1)
    assert await row(store, intent.request_id) == before
    total = (await reports(store).usage(ALWAYS)).total
    assert (total.requests, total.settled, total.true_cost_picodollars) == (1, 1, 12_300_000)


async def test_two_settlements_of_one_row_in_one_batch_count_once(store: Store) -> None:
    """The first one queued wins, in the row and in the totals alike."""
    alice = await a_holder(store)
    intents = [alice.intent() for _ in range(20)]
    await asyncio.gather(*(store.admit(intent) for intent in intents))
    settlements = [settled(intent.request_id, cost) for intent in intents for cost in ("0.5", "7")]
    await asyncio.gather(*(store.settle(settlement, 1) for settlement in settlements))
    assert {found.true_cost_raw for found in (await rows(store)).values()} == {"0.5"}
    total = (await reports(store).usage(ALWAYS)).total
    assert (total.requests, total.true_cost_picodollars) == (20, 20 * 500_000_000_000)
    assert (await reports(store).verify()).ok


async def test_the_order_of_closing_is_strict_and_survives_a_restart(store: Store, path: Path) -> None:
    """Each closed row gets a greater number than any before it, also after the store was opened again."""
    alice = await a_holder(store)
    intents = [alice.intent() for _ in range(30)]
    await asyncio.gather(*(store.admit(intent) for intent in intents))
    for intent in intents[:10]:
        await store.settle(settled(intent.request_id), 1)
    await asyncio.gather(*(store.settle(free(intent.request_id), 1) for intent in intents[10:]))
    last = alice.intent()
    await store.aclose()
    again = await open_store(path)
    await again.admit(last)
    await again.settle(settled(last.request_id), 1)
    found = await rows(again)
    await again.aclose()
    numbers = [found[intent.request_id].closed_seq for intent in [*intents[:10], *intents[10:], last]]
    assert len(set(numbers)) == 31
    assert numbers[:10] == sorted(numbers[:10], key=lambda number: number or 0)
    assert max(numbers, key=lambda number: number or 0) == numbers[-1]


async def test_a_response_belongs_to_the_key_that_made_it(store: Store) -> None:
    """Its own key may refer to it once its settlement is written; another key and an unknown id are refused alike."""
    alice, bob = await a_holder(store, "alice"), await a_holder(store, "bob")
    first = alice.intent()
    await store.admit(first)
    reference = f"resp_{first.request_id}"
    refused = Refused(RefusalReason.RESPONSE_NOT_FOUND, reference=reference)
    assert await store.admit(alice.intent(references=(reference,))) == refused
    await store.settle(settled(first.request_id), 1)
    assert isinstance(await store.admit(alice.intent(references=(reference,))), Admitted)
    assert await store.admit(bob.intent(references=(reference,))) == refused
    strange = await store.admit(alice.intent(references=("resp_\ud800\0",)))
    assert strange == Refused(RefusalReason.RESPONSE_NOT_FOUND, reference="resp_\ud800\0")


@pytest.mark.parametrize(
    "reading",
    [
        {"model_answered": "\ud800\0\x1b[31m", "response_id": "resp_\udfff"},
        {"model_answered": "m" * 100_000, "response_id": "r" * 100_000},
        {"usage": TokenUsage(2**70, -1, 10**13, 0, 36)},
    ],
)
async def test_nothing_an_upstream_says_makes_a_row_impossible_to_write(store: Store, reading: dict[str, Any]) -> None:
    """Text is shortened and made visible, impossible counts are left out; the cost is booked all the same."""
    alice = await a_holder(store)
    intent = alice.intent(model="\udc80model\n")
    assert isinstance(await store.admit(intent), Admitted)
    await store.settle(settled(intent.request_id, reading=reading), 1)
    found = await row(store, intent.request_id)
    assert (found.state, found.true_cost_picodollars) == (State.SETTLED, 12_300_000)
    for text in (found.model, found.model_answered, found.response_id):
        assert text is not None
        assert text.isprintable()
        assert len(text) <= 512
    assert found.usage in (TokenUsage(12, 0, 24, 0, 36), TokenUsage(None, None, None, 0, 36))
    assert (await reports(store).verify()).ok


async def test_the_dearest_costs_are_summed_exactly(store: Store) -> None:
    """Ten thousand dollars a request: integers all the way, also beyond what a float can tell apart."""
    alice = await a_holder(store)
    for number in range(50):
        intent = alice.intent()
        await store.admit(intent)
        cost = Cost("9999.999999999999", 9_999_999_999_999_999 - number)
        settlement = settled(intent.request_id)
        await store.settle(replace(settlement, reading=replace(settlement.reading, true_cost=cost, charged=cost)), 1)
    expected = sum(9_999_999_999_999_999 - number for number in range(50))
    assert (await reports(store).usage(ALWAYS)).total.true_cost_picodollars == expected


async def test_one_impossible_operation_does_not_harm_its_neighbours(store: Store) -> None:
    """A request id that is taken is refused with `LedgerUnavailable`; its neighbours go through."""
    alice = await a_holder(store)
    twice = new_id("req")
    taken = alice.intent(request_id=twice)
    await store.admit(taken)
    intents = [alice.intent() for _ in range(30)]
    intents.insert(15, taken)
    settlement = store.settle(settled(twice), 1)
    change = Keyring(store).create_team("blue")
    results = await asyncio.gather(
        *(store.admit(intent) for intent in intents), settlement, change, return_exceptions=True
    )
    failed = [result for result in results if isinstance(result, BaseException)]
    assert len(failed) == 1
    assert isinstance(failed[0], LedgerUnavailable)
    found = await rows(store)
    assert len(found) == 31
    assert found[twice].state is State.SETTLED
    assert store.healthy
    assert (await reports(store).verify()).ok


async def test_a_change_that_is_refused_undoes_only_itself(store: Store) -> None:
    """A name that is taken, in the same batch as requests and other changes."""
    alice = await a_holder(store)
    keyring = Keyring(store)
    results = await asyncio.gather(
        store.admit(alice.intent()),
        keyring.create_team("blue"),
        keyring.create_team("blue"),
        keyring.create_team("red"),
        store.admit(alice.intent()),
        return_exceptions=True,
    )
    assert [isinstance(result, AccountsError) for result in results] == [False, False, True, False, False]
    assert [team.name for team in (await keyring.list_teams()).items] == ["blue", "red"]
    assert len(await rows(store)) == 2


async def test_a_settlement_of_a_row_that_never_was_is_reported(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """It cannot be booked, but a lost cost is not passed over in silence."""
    await store.settle(settled("req_01NEVERWAS"), 1)
    assert "settlement_without_row" in capsys.readouterr().out
    assert await rows(store) == {}


async def test_totals_are_kept_by_key_team_tags_model_and_state_at_admission(store: Store) -> None:
    """A key that moves takes nothing with it: what it spent stays with the team and tags it had."""
    keyring = Keyring(store)
    await keyring.create_team("blue")
    await keyring.create_team("red")
    alice = await a_holder(store, team="blue", tags=("a",))
    for change in (KeyChange(), KeyChange(team="red", tags=("b", "a")), KeyChange(team=None, tags=())):
        await keyring.change("alice", change)
        intent = alice.intent()
        await store.admit(intent)
        await store.settle(settled(intent.request_id), 1)
    by_team = await reports(store).usage(ALWAYS, GroupBy.TEAM)
    assert {group.labels[0]: group.totals.requests for group in by_team.groups} == {"blue": 1, "red": 1, None: 1}
    by_tag = await reports(store).usage(ALWAYS, GroupBy.TAG)
    assert {group.labels[0]: group.totals.requests for group in by_tag.groups} == {"a": 2, "b": 1, None: 1}
    assert by_tag.total.requests == 3


async def test_a_last_use_is_written_at_most_once_a_minute(path: Path) -> None:
    """It costs no write per request: a second use within the minute leaves it as it was."""
    at = datetime(2026, 11, 22, 12, tzinfo=UTC)
    clock = [at]
    store = await open_store(path, clock=lambda: clock[0])
    alice = await a_holder(store)
    seen = []
    for seconds in (0, 30, 59, 60, 61, 125):
        clock[0] = at + timedelta(seconds=seconds)
        await store.admit(alice.intent())
        last = (await Keyring(store).find("alice")).last_used_at
        assert last is not None
        seen.append(int((last - at).total_seconds()))
    await store.aclose()
    assert seen == [0, 0, 0, 60, 60, 125]


async def test_the_database_itself_refuses_rows_that_cannot_be(store: Store, path: Path) -> None:
    """A settled row without cost, a closed one without its number, a fraction of a picodollar."""
    alice = await a_holder(store)
    intent = alice.intent()
    await store.admit(intent)
    with sqlite3.connect(path, timeout=5) as meddler:
        for change in ("state = 'settled'", "closed_seq = 7", "state = 'paid'", "true_cost = 0.5", "state = 'unknown'"):
            with pytest.raises(sqlite3.IntegrityError):
                meddler.execute(f"UPDATE requests SET {change}")
    meddler.close()
    assert (await row(store, intent.request_id)).state is State.OPEN
