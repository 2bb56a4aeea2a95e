"""What the books say: the same figures on every page, whichever way they are asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from app.accounts import exports
from app.accounts.errors import BadValue, KeyNotFound, RequestNotFound, TeamNotFound
from app.accounts.keyring import Keyring
from app.accounts.reports import Reports
from app.core.owners import KeyChange
from app.core.records import State, TokenUsage
from app.core.value import replace
from app.core.views import GroupBy, RequestFilter, UsageReport, UsageTotals
from app.core.windows import Period
from app.store.port import Store
from app.store.verify import verify_step
from tests.store.entries import Holder, a_holder, free, rows, settled, unknown

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
ALWAYS = Period(datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture
def reports(store: Store) -> Reports:
    return Reports(store, zone=ZoneInfo("UTC"), clock=lambda: NOON)


async def book(store: Store, holder: Holder, at: datetime, kind: str = "settled", **fields: str) -> str:
    """One closed (or open) request of a given moment."""
    intent = holder.intent(at, **fields)
    await store.admit(intent)
    if kind != "open":
        made = {"settled": settled, "free": free, "unknown": unknown}[kind]
        await store.settle(made(intent.request_id), 1)
    return intent.request_id


def counts(report: UsageReport) -> dict[str | None, int]:
    return {group.labels[0]: group.totals.requests for group in report.groups}


async def test_usage_counts_every_state_and_sums_what_is_known(store: Store, reports: Reports) -> None:
    """Open ones are counted from their rows; unknown costs are counted as unknown, never as zero."""
    alice = await a_holder(store)
    for kind, times in (("settled", 3), ("free", 2), ("unknown", 4), ("open", 1)):
        for _ in range(times):
            await book(store, alice, NOON, kind)
    partly = alice.intent(NOON)
    await store.admit(partly)
    settlement = settled(partly.request_id)
    await store.settle(replace(settlement, reading=replace(settlement.reading, true_cost=None)), 1)
    report = await reports.usage(ALWAYS)
    assert report.total == UsageTotals(
        requests=11,
        settled=4,
        free=2,
        unknown=4,
        open=1,
        true_cost_picodollars=3 * 12_300_000,
        charged_picodollars=4 * 100_000_000,
        true_cost_unknown=5,
        charged_unknown=4,
        input_tokens=4 * 12,
        cached_tokens=0,
        output_tokens=4 * 24,
        reasoning_tokens=0,
        total_tokens=4 * 36,
    )
    assert [(group.labels, group.ids) for group in report.groups] == [(("alice",), (alice.key.id,))]
    assert report.groups[0].totals == report.total


async def test_every_grouping_adds_up_to_the_same_total(store: Store, reports: Reports) -> None:
    """By key, team, model, day: the groups sum to the total. By tag a request counts under each of its tags."""
    await Keyring(store).create_team("blue")
    alice = await a_holder(store, "alice", team="blue", tags=("a", "b"))
    bob = await a_holder(store, "bob")
    for day in range(3):
        for holder in (alice, bob, alice):
            await book(store, holder, NOON + timedelta(days=day), model=f"m{day % 2}")
    await book(store, bob, NOON, "open", model="m9")
    expected: dict[GroupBy, dict[str | None, int]] = {
        GroupBy.KEY: {"alice": 6, "bob": 4},
        GroupBy.TEAM: {"blue": 6, None: 4},
        GroupBy.MODEL: {"m0": 6, "m1": 3, "m9": 1},
        GroupBy.DAY: {"2026-11-20": 4, "2026-11-21": 3, "2026-11-22": 3},
        GroupBy.TAG: {"a": 6, "b": 6, None: 4},
    }
    for by, groups in expected.items():
        report = await reports.usage(ALWAYS, by)
        assert counts(report) == groups
        assert report.total.requests == 10
        assert report.total.true_cost_picodollars == 9 * 12_300_000
        if by is not GroupBy.TAG:
            assert sum(group.totals.charged_picodollars for group in report.groups) == report.total.charged_picodollars


async def test_a_period_is_half_open_and_goes_by_creation(store: Store, reports: Reports) -> None:
    """A request counts in the bucket of its creation, open or closed, whenever it was closed."""
    alice = await a_holder(store)
    edge = datetime(2026, 11, 20, 12, 15, tzinfo=UTC)
    for at in (edge - timedelta(milliseconds=1), edge, edge + timedelta(minutes=14)):
        for kind in ("settled", "open"):
            await book(store, alice, at, kind)
    before = (await reports.usage(Period(NOON, edge))).total
    after = (await reports.usage(Period(edge, edge + timedelta(minutes=15)))).total
    assert (before.requests, before.settled, before.open) == (2, 1, 1)
    assert (after.requests, after.settled, after.open) == (4, 2, 2)
    assert (await reports.usage(Period(edge + timedelta(minutes=15), edge + timedelta(days=1)))).total.requests == 0


async def test_days_are_those_of_the_gateways_zone_also_when_clocks_change(store: Store) -> None:
    """25 October 2026 has 25 hours in Berlin; midnight there is 22:00 or 23:00 UTC."""
    reports = Reports(store, zone=BERLIN)
    alice = await a_holder(store)
    for text in ("24T21:59:59.999", "24T22:00:00.000", "25T22:59:59.999", "25T23:00:00.000"):
        await book(store, alice, datetime.fromisoformat(f"2026-10-{text}+00:00"))
    day = reports.period(from_="2026-10-25", to="2026-10-25")
    assert (await reports.usage(day, GroupBy.DAY)).total.requests == 2
    month = await reports.usage(reports.period(month="2026-10"), GroupBy.DAY)
    assert counts(month) == {"2026-10-24": 1, "2026-10-25": 2, "2026-10-26": 1}


async def test_names_are_those_of_today_in_every_report(store: Store, reports: Reports) -> None:
    """A renamed key and team show their new names for old requests, on every page alike."""
    keyring = Keyring(store)
    await keyring.create_team("blue")
    alice = await a_holder(store, team="blue")
    request_id = await book(store, alice, NOON)
    await keyring.change("alice", KeyChange(name="al"))
    await keyring.change_team("blue", name="navy")
    found = await reports.request(request_id)
    assert (found.key, found.team) == ("al", "navy")
    assert counts(await reports.usage(ALWAYS)) == {"al": 1}
    assert counts(await reports.usage(ALWAYS, GroupBy.TEAM)) == {"navy": 1}


async def test_requests_are_paged_newest_first_without_gap_or_double(store: Store, reports: Reports) -> None:
    """Whatever the page size, also while new ones come in."""
    alice = await a_holder(store)
    made = [await book(store, alice, NOON + timedelta(seconds=number // 3)) for number in range(23)]
    for limit in (1, 7, 23, 1000):
        seen: list[str] = []
        after = None
        while True:
            page = await reports.requests(after=after, limit=limit)
            seen += [found.id for found in page.items]
            if (after := page.next) is None:
                break
        assert seen == sorted(made, reverse=True)
    first = await reports.requests(limit=10)
    await book(store, alice, NOON + timedelta(days=1))
    second = await reports.requests(after=first.next, limit=10)
    assert [found.id for found in (*first.items, *second.items)] == sorted(made, reverse=True)[:20]


async def test_requests_are_filtered_by_all_that_is_asked(store: Store, reports: Reports) -> None:
    """Key, team (name or id), model, state, period, and all of them together."""
    team = await Keyring(store).create_team("blue")
    alice, bob = await a_holder(store, "alice", team="blue"), await a_holder(store, "bob")
    one = await book(store, alice, NOON)
    two = await book(store, alice, NOON + timedelta(hours=1), "unknown", model="other")
    three = await book(store, bob, NOON + timedelta(hours=2), "free")
    four = await book(store, bob, NOON + timedelta(hours=3), "open")

    async def ids(**wanted: object) -> list[str]:
        page = await reports.requests(RequestFilter(**wanted))  # type: ignore[arg-type]
        return [found.id for found in page.items]

    assert await ids(key="alice") == await ids(key=alice.key.id) == await ids(team="blue") == [two, one]
    assert await ids(team=team.id, model="other") == [two]
    assert [await ids(state=state) for state in State] == [[four], [one], [three], [two]]
    assert await ids(from_at=NOON + timedelta(hours=1), to_at=NOON + timedelta(hours=3)) == [three, two]
    assert await ids(key="bob", state=State.UNKNOWN) == []
    with pytest.raises(KeyNotFound, match="Did you mean alice"):
        await ids(key="alize")
    with pytest.raises(TeamNotFound):
        await ids(team="red")
    for attempt in (reports.requests(limit=0), reports.requests(limit=1001), reports.requests(after="page 2")):
        with pytest.raises(BadValue):
            await attempt


async def test_a_request_is_found_by_any_of_its_ids(store: Store, reports: Reports) -> None:
    """Ours, the upstream's request id, the response's id; the newest if an upstream repeats itself."""
    alice = await a_holder(store)
    made = []
    for number in range(2):
        intent = alice.intent(NOON + timedelta(seconds=number))
        await store.admit(intent)
        await store.settle(settled(intent.request_id, upstream_request_id="up_1"), 1)
        made.append(intent.request_id)
    assert (await reports.request(made[0])).id == made[0]
    assert (await reports.request(f"resp_{made[0]}")).id == made[0]
    assert (await reports.request("up_1")).id == made[1]
    for ref in ("req_unknown", "", "%", "resp_"):
        with pytest.raises(RequestNotFound):
            await reports.request(ref)


def during(period: Period) -> RequestFilter:
    return RequestFilter(from_at=period.from_at, to_at=period.to_at)


async def exported(stream: AsyncIterator[Sequence[object]]) -> list[object]:
    return [entry async for entries in stream for entry in entries]


async def test_an_export_is_whole_and_ordered_while_writing_goes_on(store: Store, reports: Reports) -> None:
    """Oldest first, each once, everything that was there at its start; settlements go on beside it."""
    alice = await a_holder(store)
    intents = [alice.intent(NOON + timedelta(milliseconds=number)) for number in range(2500)]
    await asyncio.gather(*(store.admit(intent) for intent in intents))
    seen: list[str] = []
    async for entries in reports.export(during(ALWAYS)):
        assert len(entries) <= 1000
        seen += [entry.id for entry in entries]
        await asyncio.gather(*(store.settle(settled(intent.request_id), 1) for intent in intents[::7]))
        await book(store, alice, NOON + timedelta(days=1))
    assert seen[:2500] == [intent.request_id for intent in intents]
    assert seen == sorted(set(seen))
    assert await exported(reports.export(during(Period(NOON - timedelta(days=2), NOON)))) == []
    part = Period(NOON, NOON + timedelta(seconds=1))
    assert len(await exported(reports.export(during(part)))) == 1000


async def test_the_live_feed_goes_by_the_order_of_closing(store: Store, reports: Reports) -> None:
    """Not by creation; nothing twice, nothing missed; open ones do not appear."""
    alice = await a_holder(store)
    assert await reports.last_closed_seq() == 0
    intents = [alice.intent(NOON + timedelta(seconds=number)) for number in range(5)]
    for intent in intents:
        await store.admit(intent)
    for number in (3, 0, 4):
        await store.settle(settled(intents[number].request_id), 1)
    feed = await reports.closed_since(0, 2)
    assert [found.id for found in feed] == [intents[3].request_id, intents[0].request_id]
    rest = await reports.closed_since(feed[-1].closed_seq or 0)
    assert [found.id for found in rest] == [intents[4].request_id]
    assert await reports.last_closed_seq() == rest[-1].closed_seq
    assert await reports.closed_since(rest[-1].closed_seq or 0) == []


async def test_verify_agrees_with_a_ledger_that_nobody_touched(store: Store, reports: Reports) -> None:
    """Across many buckets and in small steps, with open rows, days apart."""
    assert (await reports.verify()).ok
    alice = await a_holder(store, tags=("a",))
    for number in range(60):
        await book(
            store, alice, NOON + timedelta(minutes=7 * number**2), ("settled", "free", "unknown", "open")[number % 4]
        )
    verification = await reports.verify()
    assert (verification.ok, verification.rows, verification.differences) == (True, 60, ())
    next_ms: int | None = 0
    seen, steps = 0, 0
    while next_ms is not None:
        step = await store.read(verify_step, next_ms, 7)
        assert step.differences == ()
        seen, steps, next_ms = seen + step.rows, steps + 1, step.next_ms
    assert seen == 60
    assert steps > 5


@pytest.mark.parametrize(
    ("meddling", "what"),
    [
        ("UPDATE usage SET true_cost = true_cost + 1", "rollup"),
        ("DELETE FROM usage", "rollup"),
        ("UPDATE usage SET bucket_at = bucket_at + 900000", "rollup"),
        ("UPDATE requests SET charged = charged - 1 WHERE state = 'settled'", "rollup"),
        ("UPDATE requests SET created_at = created_at + 900000 WHERE state = 'settled'", "rollup"),
        (
            "UPDATE requests SET true_cost = 1, charged = 1 WHERE state = 'unknown'",
            "a request without known cost has none",
        ),
        ("UPDATE requests SET true_cost = -1 WHERE state = 'settled'", "a cost is not negative"),
        ("UPDATE requests SET outcome = NULL WHERE state = 'free'", "a closed request has its place in the order"),
        ("UPDATE requests SET charged = 5 WHERE state = 'open'", "an open request tells no cost"),
    ],
)
async def test_verify_finds_whatever_was_changed_behind_its_back(
    store: Store, reports: Reports, path: Path, meddling: str, what: str
) -> None:
    """In a roll-up or in a row; it says where, what it should be and what it is."""
    alice = await a_holder(store)
    for kind in ("settled", "free", "unknown", "open"):
        await book(store, alice, NOON, kind)
    await store.change(lambda connection: connection.exec_driver_sql(meddling))
    verification = await reports.verify()
    assert not verification.ok
    found = [difference for difference in verification.differences if difference.what.startswith(what)]
    assert found
    assert all(difference.where for difference in found)
    if what == "rollup":
        assert all(difference.expected != difference.found for difference in found)


async def test_a_period_is_told_in_words_when_it_is_wrong(reports: Reports) -> None:
    assert reports.period(last="24h").to_at == NOON + timedelta(minutes=15)
    for wrong in ({"last": "yesterday"}, {"month": "2026-13"}, {"last": "7d", "month": "2026-10"}):
        with pytest.raises(BadValue) as refused:
            reports.period(**wrong)
        assert refused.value.param == "period"
        assert str(refused.value).endswith(".")


async def test_tokens_that_nobody_told_are_none_in_the_row(store: Store, reports: Reports) -> None:
    alice = await a_holder(store)
    intent = alice.intent(NOON)
    await store.admit(intent)
    await store.settle(settled(intent.request_id, reading={"usage": TokenUsage()}), 1)
    assert (await rows(store))[intent.request_id].usage == TokenUsage()
    assert (await reports.usage(ALWAYS)).total.total_tokens == 0


async def test_an_export_of_a_key_stays_with_that_key(
    store: Store, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name may change, and be given to another one, while the export is read."""
    monkeypatch.setattr(exports, "EXPORT_ROWS", 2)
    alice = await a_holder(store)
    booked = [await book(store, alice, NOON) for _ in range(6)]
    stream = reports.export(replace(during(ALWAYS), key="alice"))
    found = [entry.id for entry in await anext(stream)]
    await Keyring(store).change("alice", KeyChange(name="alice-before"))
    await book(store, await a_holder(store), NOON)
    async for entries in stream:
        found += [entry.id for entry in entries]
    assert found == booked
