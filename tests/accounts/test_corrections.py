"""Unknown costs, settled by a person: once, with author and reason, without ever touching a closed month."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from app.accounts.corrections import Corrections, resolution
from app.accounts.errors import BadValue, CannotResolve, RequestNotFound
from app.accounts.reports import Reports
from app.core.records import Settlement, State
from app.core.views import (
    AdjustmentRecord,
    GroupBy,
    RequestFilter,
    Resolution,
    ResolutionReport,
    UsageReport,
    UsageTotals,
)
from app.store.engine import open_store
from app.store.port import Store
from tests.store.entries import Holder, a_holder, free, rows, settled, unknown

OCTOBER = datetime(2026, 10, 20, 12, tzinfo=UTC)
UTC_ZONE = ZoneInfo("UTC")
BILLED = resolution("0.0123", None, by="ann", reason="as billed")
CENTS, STEP = 12_300_000_000, 100_000_000  # 0.0123 USD, 0.0001 USD


CLOSINGS: dict[str, Callable[[str], Settlement]] = {"unknown": unknown, "settled": settled, "free": free}


class Desk:
    """A ledger, and a person who looks at it at any moment."""

    def __init__(self, store: Store, holder: Holder) -> None:
        self.store = store
        self.holder = holder
        self.reports = Reports(store, zone=UTC_ZONE)

    async def book(self, at: datetime, kind: str = "unknown", **fields: Any) -> str:
        intent = self.holder.intent(at, **fields)
        await self.store.admit(intent)
        if kind != "open":
            await self.store.settle(CLOSINGS[kind](intent.request_id), 1)
        return intent.request_id

    async def resolve(self, wanted: Any, said: Resolution = BILLED, *, at: datetime, **more: Any) -> ResolutionReport:
        wanted = [wanted] if isinstance(wanted, str) else wanted
        return await self.at(at).resolve(wanted, said, **more)

    def at(self, moment: datetime, zone: ZoneInfo = UTC_ZONE) -> Corrections:
        return Corrections(self.store, zone=zone, clock=lambda: moment)

    async def usage(self, *by: GroupBy, **period: str) -> UsageReport:
        wanted: dict[str, str] = period or {"from_": "2026-01-01", "to": "2027-12-31"}
        return await self.reports.usage(self.reports.period(**wanted), *by)

    async def total(self, **period: str) -> UsageTotals:
        return (await self.usage(**period)).total

    async def sound(self) -> bool:
        found = await self.reports.verify()
        assert found.differences == ()
        return found.ok


@pytest.fixture
async def desk(store: Store) -> Desk:
    return Desk(store, await a_holder(store, tags=("prod",)))


async def test_in_its_own_month_a_cost_counts_where_its_request_does(desk: Desk) -> None:
    """The day that was unknown is exact afterwards; the request says who settled it, when and why."""
    one = await desk.book(OCTOBER)
    other = await desk.book(OCTOBER)
    report = await desk.resolve(one, at=OCTOBER + timedelta(days=3))
    assert (len(report.requests), report.late, report.unchanged) == (1, 0, 0)
    found = await desk.reports.request(one)
    assert (found.state, found.true_cost_picodollars, found.charged_picodollars) == (State.SETTLED, CENTS, CENTS)
    assert found.charged_derived
    assert found.unknown_reason == "no_cost"
    assert found.resolved is not None
    assert (found.resolved.by, found.resolved.reason) == ("ann", "as billed")
    day = await desk.total(from_="2026-10-20", to="2026-10-20")
    assert (day.settled, day.unknown, day.true_cost_unknown, day.adjustments) == (1, 1, 1, 0)
    assert day.true_cost_picodollars == CENTS
    assert (await desk.total(from_="2026-10-23", to="2026-10-23")).requests == 0
    assert (await desk.reports.request(other)).state is State.UNKNOWN
    assert await desk.sound()


async def test_a_closed_month_never_changes(desk: Desk) -> None:
    """Its sums and its export stay to the last digit; the cost counts in the month in which it was settled."""
    one = await desk.book(OCTOBER)
    await desk.book(OCTOBER, "settled")
    before, exported = await desk.total(month="2026-10"), await entries(desk, "2026-10")
    report = await desk.resolve(one, at=datetime(2026, 11, 3, tzinfo=UTC))
    assert report.late == 1
    assert await desk.total(month="2026-10") == before
    assert await entries(desk, "2026-10") == exported
    november = await desk.total(month="2026-11")
    assert november == UsageTotals(true_cost_picodollars=CENTS, charged_picodollars=CENTS, adjustments=1)
    (adjustment,) = await entries(desk, "2026-11")
    assert isinstance(adjustment, AdjustmentRecord)
    assert (adjustment.request_id, adjustment.first, adjustment.key) == (one, True, "alice")
    assert (await desk.reports.request(one)).state is State.SETTLED
    assert await desk.sound()


async def entries(desk: Desk, month: str) -> list[Any]:
    period = desk.reports.period(month=month)
    wanted = RequestFilter(from_at=period.from_at, to_at=period.to_at)
    return [entry async for some in desk.reports.export(wanted) for entry in some]


async def test_a_period_that_holds_both_lacks_nothing(desk: Desk) -> None:
    """The cost that a day of October lacks is told in November: October, and that day, lack it; both months do not."""
    one = await desk.book(OCTOBER)
    await desk.resolve(one, at=datetime(2026, 11, 3, tzinfo=UTC))
    both = await desk.usage(GroupBy.KEY, from_="2026-10-01", to="2026-11-30")
    assert (both.total.true_cost_unknown, both.total.charged_unknown, both.total.unknown) == (0, 0, 1)
    assert [group.totals for group in both.groups] == [both.total]
    days = await desk.usage(GroupBy.DAY, from_="2026-10-01", to="2026-11-30")
    assert [(group.labels[0], group.totals.true_cost_unknown) for group in days.groups] == [
        ("2026-10-20", 1),
        ("2026-11-03", 0),
    ]
    assert days.total == both.total


async def test_a_month_ends_at_the_gateways_own_midnight(desk: Desk) -> None:
    """23:30 on the last of October in Berlin is the same month at 23:59 there, and another one minutes later."""
    berlin = ZoneInfo("Europe/Berlin")
    at = datetime(2026, 10, 31, 23, 30, tzinfo=berlin).astimezone(UTC)
    one, other = await desk.book(at), await desk.book(at)
    in_time, too_late = at + timedelta(minutes=29), at + timedelta(minutes=31)
    assert (await desk.at(in_time, berlin).resolve([one], BILLED)).late == 0
    assert (await desk.at(too_late, berlin).resolve([other], BILLED)).late == 1
    assert await desk.sound()


async def test_the_very_same_costs_again_change_nothing(desk: Desk) -> None:
    """A script that was cut off can be run again."""
    one = await desk.book(OCTOBER)
    await desk.resolve(one, at=OCTOBER)
    before = await desk.reports.request(one)
    again = await desk.resolve(one, at=OCTOBER + timedelta(days=40))
    assert (again.requests, again.unchanged) == ((), 1)
    assert again.before == again.after
    assert await desk.reports.request(one) == before


async def test_other_costs_are_a_conflict_unless_they_correct(desk: Desk) -> None:
    """The sentence says who resolved it and how to go on; a correction adds the difference, here in a later month."""
    one = await desk.book(OCTOBER)
    await desk.resolve(one, at=OCTOBER)
    october = await desk.total(month="2026-10")
    less = resolution("0.01", "0.02", by="bob", reason="credit note")
    with pytest.raises(CannotResolve, match=r"by ann .*0\.0123.*--again"):
        await desk.resolve(one, less, at=OCTOBER)
    again = resolution("0.01", "0.02", by="bob", reason="credit note", again=True)
    report = await desk.resolve(one, again, at=datetime(2026, 12, 1, tzinfo=UTC))
    assert report.late == 1
    assert await desk.total(month="2026-10") == october
    december = await desk.total(month="2026-12")
    assert december.true_cost_picodollars == 10**10 - CENTS
    assert december.charged_picodollars == 2 * 10**10 - CENTS
    found = await desk.reports.request(one)
    assert (found.true_cost_picodollars, found.charged_picodollars) == (10**10, 2 * 10**10)
    assert (found.charged_derived, found.resolved.by if found.resolved else None) == (False, "bob")
    assert (await desk.total()).true_cost_picodollars == 10**10
    assert await desk.sound()


@pytest.mark.parametrize(("kind", "why"), [("settled", "is known"), ("free", "not billed"), ("open", "still open")])
async def test_only_unknown_costs_can_be_resolved(desk: Desk, kind: str, why: str) -> None:
    """And if one of several cannot, none is."""
    good, bad = await desk.book(OCTOBER), await desk.book(OCTOBER, kind)
    with pytest.raises(CannotResolve, match=why):
        await desk.resolve([good, bad], at=OCTOBER)
    assert (await desk.reports.request(good)).resolved is None
    with pytest.raises(RequestNotFound):
        await desk.resolve("req_nothing", at=OCTOBER)


async def test_a_preview_tells_what_will_be_and_changes_nothing(desk: Desk) -> None:
    """The sums before and after are those that usage shows before and after."""
    for days in (0, 1, 40):
        await desk.book(OCTOBER - timedelta(days=days))
    await desk.book(OCTOBER, "settled")
    before = await rows(desk.store)
    wanted = RequestFilter()
    preview = await desk.at(OCTOBER).preview(wanted, BILLED)
    assert (preview.preview, len(preview.requests), preview.late) == (True, 3, 1)
    assert await rows(desk.store) == before
    total = await desk.total()
    assert (preview.before.true_cost_picodollars, preview.before.true_cost_unknown) == (
        total.true_cost_picodollars,
        total.true_cost_unknown,
    )
    done = await desk.resolve(wanted, at=OCTOBER, expected=3)
    assert (done.before, done.after, done.late) == (preview.before, preview.after, preview.late)
    total = await desk.total()
    assert (done.after.charged_picodollars, done.after.charged_unknown) == (
        total.charged_picodollars,
        total.charged_unknown,
    )
    assert (await desk.resolve(wanted, at=OCTOBER)).requests == ()
    assert await desk.sound()


async def test_what_came_after_the_preview_is_not_resolved_with_it(desk: Desk) -> None:
    """Somebody looked at two; now there are three: nothing is changed."""
    for _ in range(3):
        await desk.book(OCTOBER)
    with pytest.raises(CannotResolve, match="preview had 2 requests, now there are 3"):
        await desk.resolve(RequestFilter(), at=OCTOBER, expected=2)
    assert (await desk.total()).unknown == 3


async def test_all_unknown_ones_that_meet_the_conditions(desk: Desk) -> None:
    """By reason, model and time; the others stay unknown."""
    first = await desk.book(OCTOBER, model="a")
    await desk.book(OCTOBER, model="b")
    await desk.book(OCTOBER + timedelta(days=1), model="a")
    wanted = RequestFilter(model="a", unknown_reason="no_cost", to_at=OCTOBER + timedelta(hours=1))
    report = await desk.resolve(wanted, at=OCTOBER + timedelta(days=2))
    assert [record.id for record in report.requests] == [first]
    assert (await desk.total()).unknown == 2


@pytest.mark.parametrize(
    ("said", "param"),
    [
        ({"cost": "-1"}, "cost"),
        ({"cost": "1e-5"}, "cost"),
        ({"cost": "10000.01"}, "cost"),
        ({"cost": "1", "charged": "a lot"}, "charged"),
        ({"cost": "1", "reason": " "}, "reason"),
        ({"cost": "1", "reason": "two\nlines"}, "reason"),
        ({"cost": "1", "by": ""}, "by"),
    ],
)
def test_what_cannot_be_right_is_refused(said: dict[str, str], param: str) -> None:
    """With what to write instead."""
    with pytest.raises(BadValue) as refused:
        resolution(said["cost"], said.get("charged"), by=said.get("by", "ann"), reason=said.get("reason", "as billed"))
    assert refused.value.param == param


async def test_true_zero_is_a_cost(desk: Desk) -> None:
    """Resolved at nothing is known, and charged nothing."""
    one = await desk.book(OCTOBER)
    await desk.resolve(one, resolution("0", None, by="ann", reason="never billed"), at=OCTOBER)
    found = await desk.reports.request(one)
    assert (found.state, found.true_cost_picodollars, found.charged_picodollars) == (State.SETTLED, 0, 0)
    assert (await desk.total()).true_cost_unknown == 0


@pytest.mark.parametrize(
    "meddling",
    [
        "UPDATE adjustments SET true_cost = true_cost + 1 WHERE late = 0",
        "UPDATE adjustments SET late = 1 - late",
        "UPDATE adjustments SET true_cost = -1 WHERE late = 1",
        "UPDATE adjustments SET model = 'other'",
        "UPDATE adjustments SET seq = 2",
        "UPDATE adjustments SET reason = ''",
        "DELETE FROM adjustments WHERE late = 0",
        "UPDATE usage_days SET charged = charged + 1",
        "DELETE FROM usage_days WHERE state = 'settled'",
    ],
)
async def test_verify_finds_what_was_done_to_the_books(desk: Desk, meddling: str) -> None:
    """To an adjustment or a roll-up by day, behind the gateway's back."""
    ids = [await desk.book(OCTOBER - timedelta(days=days)) for days in (0, 40)]
    await desk.resolve(ids, at=OCTOBER)
    assert await desk.sound()
    await desk.store.change(lambda connection: connection.exec_driver_sql(meddling))
    assert not (await desk.reports.verify()).ok


async def test_days_follow_the_calendar_that_the_gateway_is_started_with(path: Path) -> None:
    """Another time zone makes them anew; figures by day are those of the zone that is asked for, also in between."""
    noon = datetime(2026, 10, 20, 12, tzinfo=UTC)
    for zone in (ZoneInfo("UTC"), ZoneInfo("Asia/Kolkata"), ZoneInfo("America/New_York")):
        store = await open_store(path, zone=zone, clock=lambda: noon + timedelta(days=3))
        reports = Reports(store, zone=zone)
        if zone.key == "UTC":
            alice = await a_holder(store)
            for hours in (-30, -10, 0, 8, 11, 30):
                intent = alice.intent(noon + timedelta(hours=hours))
                await store.admit(intent)
                await store.settle(settled(intent.request_id), 1)
        period = reports.period(from_="2026-10-01", to="2026-10-31")
        days: dict[str | None, int] = {}
        for record in (await rows(store)).values():
            day = record.created_at.astimezone(zone).date().isoformat()
            days[day] = days.get(day, 0) + 1
        for asked in (reports, Reports(store, zone=zone)):
            report = await asked.usage(period, GroupBy.DAY)
            assert {group.labels[0]: group.totals.requests for group in report.groups} == days
        assert (await reports.verify()).ok
        elsewhere = Reports(store, zone=ZoneInfo("Asia/Tokyo"))
        assert (await elsewhere.usage(elsewhere.period(from_="2026-10-01", to="2026-10-31"))).total.requests == 6
        await store.aclose()


async def test_a_day_is_summed_up_once_it_is_over_and_takes_what_comes_late(path: Path) -> None:
    """A request that is closed after midnight counts in its own day, in buckets and days alike."""
    clock = [datetime(2026, 10, 20, 23, 50, tzinfo=UTC)]
    store = await open_store(path, clock=lambda: clock[0])
    desk = Desk(store, await a_holder(store))
    early, late = await desk.book(clock[0]), await desk.book(clock[0], "open")
    assert await desk.sound()
    await store.aclose()
    clock[0] += timedelta(hours=1)
    store = await open_store(path, clock=lambda: clock[0])
    desk = Desk(store, desk.holder)
    assert (await desk.reports.request(late)).unknown_reason == "instance_lost"
    await desk.resolve([early], at=clock[0])
    day = await desk.total(from_="2026-10-20", to="2026-10-20")
    assert (day.requests, day.settled, day.unknown) == (2, 1, 1)
    assert await desk.sound()
    await store.aclose()


async def test_a_slip_of_the_pen_cannot_fill_the_books_of_a_day(store: Store, path: Path) -> None:
    """What 64 bits cannot hold is refused, however it comes together; the ledger opens on the next day."""
    clock = [OCTOBER]
    await store.aclose()
    store = await open_store(path, clock=lambda: clock[0])
    desk = Desk(store, await a_holder(store))
    dear = resolution("9999", None, by="ann", reason="a slip")
    for start in (0, 15):
        for _ in range(300):
            await desk.book(OCTOBER + timedelta(minutes=start))
    clock[0] += timedelta(minutes=40)
    first = RequestFilter(to_at=OCTOBER + timedelta(minutes=15))
    assert len((await desk.resolve(first, dear, at=clock[0])).requests) == 300
    for look in (desk.at(clock[0]).preview, desk.at(clock[0]).resolve):
        with pytest.raises(BadValue, match=r"2026-10-20 would cost more than 4,000,000 USD"):
            await look(RequestFilter(), dear)
    assert len((await desk.resolve(RequestFilter(), BILLED, at=clock[0])).requests) == 300
    await store.aclose()
    clock[0] += timedelta(days=1)
    store = await open_store(path, clock=lambda: clock[0])
    assert await Desk(store, desk.holder).sound()
    await store.aclose()
