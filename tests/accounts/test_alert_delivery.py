"""Alerts on their way: at least once, again for a day, nobody waiting for another, whatever is away."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from app.accounts import alert_delivery, sending
from app.accounts.alert_delivery import ATTEMPTS_MAX, DELAY_MAX, Delivery, delay_after
from app.accounts.alerts import Alerts
from app.accounts.sending import SendFailed
from app.core.alerts import DeliveryRecord, DestinationKind
from app.store.engine import open_store
from app.store.port import LedgerUnavailable, Store
from tests.accounts.senders import AT, Clock, Receiver, Secrets

NO = SendFailed("answered 500", status=500)


class Post:
    """A delivery without luck, over a real ledger; it looks when it is told to."""

    def __init__(self, store: Store, *, failures: list[Exception | None] | None = None) -> None:
        self.store = store
        self.receiver, self.service, self.clock = Receiver(failures=failures), Receiver(), Clock()
        self.senders = {DestinationKind.WEBHOOK: self.receiver, DestinationKind.SERVICE: self.service}
        self.alerts = Alerts(store, self.senders, Secrets(), clock=self.clock)
        self.delivery = self.another()
        self._count = itertools.count()

    def another(self) -> Delivery:
        return Delivery(self.store, self.senders, clock=self.clock, luck=lambda: 0.5)

    async def add(self, *names: str) -> None:
        for name in names:
            await self.alerts.add(name, f"https://{name}.example/")

    async def told(self) -> None:
        assert await self.alerts.raise_alert("unknown_cost", f"occasion {next(self._count)}", {"key": "alice"})

    async def look(self) -> None:
        """Looks, and waits for what that set going."""
        await self.delivery.look_once()
        await self.delivery.idle()

    async def deliveries(self) -> list[DeliveryRecord]:
        """Of the newest alert."""
        return list((await self.alerts.history()).items[0].deliveries)

    async def only(self) -> DeliveryRecord:
        (delivery,) = await self.deliveries()
        return delivery


@pytest.fixture
async def post(store: Store) -> AsyncIterator[Post]:
    made = Post(store)
    yield made
    await made.delivery.aclose()


def test_the_waits_grow_and_are_a_day_together() -> None:
    """Whatever the luck: 5 seconds at first, 4 hours at most, 16 of them."""
    for luck, hours in ((0.0, 19), (0.5, 21), (1.0, 23)):
        waits = [delay_after(number, luck) for number in range(1, ATTEMPTS_MAX)]
        assert waits == sorted(waits)
        assert timedelta(seconds=4.5) <= waits[0] <= timedelta(seconds=5.5)
        assert waits[-1] <= DELAY_MAX * 1.1
        assert sum(waits, timedelta()) // timedelta(hours=1) == hours


async def test_an_alert_arrives_at_every_destination_once(post: Post) -> None:
    """The next looks find nothing more to do."""
    await post.add("one", "two")
    await post.told()
    for _ in range(3):
        await post.look()
        post.clock.pass_by(days=1)
    ((one, first), (two, second)) = sorted(post.receiver.seen)
    assert (one, two) == ("one", "two")
    assert first == second
    assert [record.delivered_at for record in await post.deliveries()] == [AT, AT]


async def test_what_failed_is_tried_again_later_under_the_same_id(post: Post) -> None:
    """Not before its time; the reason is told until it has arrived."""
    post.receiver.failures.extend([NO, NO])
    await post.add("ops")
    await post.told()
    await post.look()
    failed = await post.only()
    assert (failed.attempts, failed.error, failed.next_at) == (1, "answered 500", AT + timedelta(seconds=5))
    post.clock.pass_by(seconds=4.9)
    await post.look()
    assert len(post.receiver.seen) == 1
    post.clock.pass_by(seconds=0.1)
    await post.look()
    assert (await post.only()).next_at == AT + timedelta(seconds=15)
    post.clock.pass_by(seconds=10)
    await post.look()
    arrived = await post.only()
    assert (arrived.attempts, arrived.error, arrived.delivered_at) == (3, None, post.clock.at)
    assert len(set(post.receiver.seen)) == 1


async def test_after_a_day_it_is_given_up(post: Post) -> None:
    """With the last reason; it stays in the history."""
    post.receiver.failures.extend([NO] * 100)
    await post.add("ops")
    await post.told()
    while (await post.alerts.history()).items[0].deliveries in [()] or (await post.only()).given_up_at is None:
        await post.look()
        post.clock.pass_by(hours=0.5)
    given_up = await post.only()
    assert given_up.attempts == ATTEMPTS_MAX == len(post.receiver.seen)
    assert given_up.error == "answered 500"
    post.clock.pass_by(days=9)
    await post.look()
    assert len(post.receiver.seen) == ATTEMPTS_MAX


async def test_who_wants_no_more_of_it_is_not_asked_again(post: Post) -> None:
    post.receiver.failures.append(SendFailed("answered 410", status=410, final=True))
    await post.add("ops")
    await post.told()
    await post.look()
    assert (await post.only()).given_up_at == AT


async def test_a_slow_destination_keeps_nobody_waiting(post: Post) -> None:
    """Each has a worker of its own, which sends one at a time."""
    await post.add("slow")
    await post.alerts.add("quick", "file:/run/secrets/quick")
    for _ in range(3):
        await post.told()
    post.receiver.go.clear()
    await post.delivery.look_once()
    async with asyncio.timeout(5):
        while len(post.service.seen) < 3 or not post.receiver.seen:
            await asyncio.sleep(0.001)
    await post.delivery.look_once()  # what is under way is not set going again
    assert len(post.receiver.seen) == 1
    post.receiver.go.set()
    await post.delivery.idle()
    assert len(set(post.receiver.seen)) == len(post.receiver.seen) == 3


async def test_after_a_failure_the_rest_waits_for_the_next_look(post: Post) -> None:
    """A destination that is down is not beaten with everything that waits for it."""
    await post.add("ops")
    for _ in range(3):
        await post.told()
    post.receiver.failures.append(NO)
    await post.look()
    assert len(post.receiver.seen) == 1
    await post.look()
    assert len(post.receiver.seen) == 3
    assert [one.waiting for one in await post.alerts.list()] == [1]


async def test_an_attempt_that_takes_too_long_is_cut_off(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "SEND_SECONDS_MAX", 0.01)
    await post.add("ops")
    await post.told()
    post.receiver.go.clear()
    await post.look()
    assert (await post.only()).error == "did not answer in 0.01 seconds"
    assert post.receiver.cut == 1


async def test_a_fault_of_a_sender_costs_one_attempt(post: Post) -> None:
    """Whatever it raises; its words, which may hold an address, are kept nowhere."""
    post.receiver.failures.append(ZeroDivisionError("SECRET"))
    await post.add("ops")
    await post.told()
    await post.look()
    assert (await post.only()).error == "could not be sent (ZeroDivisionError)"


async def test_a_new_process_goes_on_where_the_old_one_ended(path: Path) -> None:
    """What was cut off is sent again under the same id, what has arrived is not."""
    store = await open_store(path)
    post = Post(store)
    await post.add("ops")
    for _ in range(2):
        await post.told()
    post.receiver.go.clear()
    await post.delivery.look_once()
    async with asyncio.timeout(5):
        while not post.receiver.seen:
            await asyncio.sleep(0.001)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alert_delivery, "CLOSE_SECONDS", 0.01)
        await post.delivery.aclose()
    assert post.receiver.cut == 1
    await store.aclose()
    later = Post(await open_store(path))
    await later.look()
    assert post.receiver.seen[0] == later.receiver.seen[0]
    assert len(later.receiver.seen) == 2
    await later.look()
    assert len(later.receiver.seen) == 2
    await later.store.aclose()


async def test_an_end_waits_for_what_is_nearly_done(post: Post) -> None:
    """It is written down, and nothing more is begun."""
    await post.add("ops")
    for _ in range(2):
        await post.told()
    post.receiver.go.clear()
    await post.delivery.look_once()
    async with asyncio.timeout(5):
        while not post.receiver.seen:
            await asyncio.sleep(0.001)
    ending = asyncio.create_task(post.delivery.aclose())
    await asyncio.sleep(0)
    post.receiver.go.set()
    await ending
    assert (len(post.receiver.seen), post.receiver.cut) == (1, 0)
    assert [one.waiting for one in await post.alerts.list()] == [1]


class Away:
    """A ledger that can be read and, for a while, not written."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.away = False
        self.read = store.read

    async def change(self, change: object, *values: object) -> object:
        if self.away:
            raise LedgerUnavailable("the disk is full")
        return await self._store.change(change, *values)  # type: ignore[arg-type]


async def test_what_cannot_be_written_down_is_not_sent_again(post: Post) -> None:
    """A full disk must not become a flood of alerts: the outcome is remembered, and written when that is possible."""
    away = Away(post.store)
    post.delivery = Delivery(away, post.senders, clock=post.clock)  # type: ignore[arg-type]
    await post.add("ops")
    for _ in range(2):
        await post.told()
    post.receiver.go.clear()
    await post.delivery.look_once()
    async with asyncio.timeout(5):
        while not post.receiver.seen:
            await asyncio.sleep(0.001)
    away.away = True
    post.receiver.go.set()
    await post.delivery.idle()
    for _ in range(5):
        with pytest.raises(LedgerUnavailable):
            await post.look()
    assert len(post.receiver.seen) == 1
    away.away = False
    await post.look()
    assert len(set(post.receiver.seen)) == len(post.receiver.seen) == 2
    assert [one.waiting for one in await post.alerts.list()] == [0]


async def test_it_looks_on_whatever_happens(post: Post) -> None:
    """A ledger that is away, then a fault of ours: the next look finds what is due."""
    looks = 0
    faults: list[Exception] = [LedgerUnavailable("away"), ZeroDivisionError("a fault")]
    arrived = asyncio.Event()

    class Faulty:
        change = post.store.change

        async def read(self, *values: object) -> object:
            if faults:
                raise faults.pop(0)
            return await post.store.read(*values)  # type: ignore[arg-type]

    async def wait(seconds: float) -> None:
        nonlocal looks
        assert seconds == alert_delivery.POLL_SECONDS
        looks += 1
        if post.receiver.seen:
            arrived.set()
            await asyncio.Event().wait()

    await post.add("ops")
    await post.told()
    delivery = Delivery(Faulty(), post.senders, clock=post.clock, wait=wait)  # type: ignore[arg-type]
    delivery.start()
    async with asyncio.timeout(5):
        await arrived.wait()
    await delivery.aclose()
    assert looks >= 3
    assert faults == []


async def test_a_removed_destination_gets_nothing_more(post: Post) -> None:
    """Also of what waits for its next attempt."""
    post.receiver.failures.append(NO)
    await post.add("ops")
    await post.told()
    await post.look()
    await post.alerts.remove("ops")
    post.clock.pass_by(days=1)
    await post.look()
    assert len(post.receiver.seen) == 1
